"""Sweeping: files that no retained metadata references go, once no running publish can still need them."""

from datetime import UTC, timedelta

import dagster as dg

from cdap_assets.lineage import read_lineage
from cdap_assets.storage.tables import GROUP
from cdap_assets.tiering.storage_policy import read_terms, refusal
from resources.clock import Calendar
from resources.lake.lakehouse import Lakehouse
from resources.lake.sweep import sweep
from resources.lake.table_snapshots import expire

LEASE = timedelta(days=1)  # longer than any run: a publish that is under way keeps its staged files


@dg.asset(
    group_name=GROUP,
    pool=GROUP,
    description=(
        "Lets go of old snapshots that nothing needs, where storage.yaml is applied, and deletes files of lake and "
        "archive that no retained table metadata references, such as those that a killed run left, when they are "
        f"older than {LEASE.days} day. Never a file that a reader can reach."
    ),
)
def sweep_lake(
    lakehouse: dg.ResourceParam[Lakehouse], installation: dg.ResourceParam[Calendar]
) -> dg.MaterializeResult:
    """Expire and sweep, and say how much went."""
    at = installation.now().replace(tzinfo=UTC)
    lineage = read_lineage(lakehouse.settings)
    expired: dict[str, int] = {}
    # a policy that is refused lets nothing go, and what is referenced by nothing goes all the same
    settings = lakehouse.settings
    if refusal(settings, lineage) is None and (terms := read_terms(settings, lineage)).policy.apply:
        held = [name for name, rules in terms.rules.items() if rules.legal_hold]
        kept = max(LEASE, timedelta(days=terms.policy.time_travel_days))
        expired = expire(lakehouse, before=at - kept, held=held)
    swept = sweep(lakehouse, older_than=at - LEASE)
    return dg.MaterializeResult(
        metadata={"files": swept.files, "bytes": swept.bytes, "snapshots": sum(expired.values())}
    )
