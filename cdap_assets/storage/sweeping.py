"""Sweeping: files that no retained metadata references go, once no running publish can still need them."""

from datetime import UTC, timedelta

import dagster as dg

from cdap_assets.clock import Clock
from resources.lakehouse import Lakehouse
from resources.sweep import sweep

LEASE = timedelta(days=1)  # longer than any run: a publish that is under way keeps its staged files


@dg.asset(
    group_name="storage",
    description=(
        "Deletes files of the lake that no retained table metadata references, such as those that a killed run "
        f"left, when they are older than {LEASE.days} day. Never a file that a reader can reach."
    ),
)
def sweep_lake(lakehouse: dg.ResourceParam[Lakehouse], clock: dg.ResourceParam[Clock]) -> dg.MaterializeResult:
    """Sweep, and say how much went."""
    swept = sweep(lakehouse, older_than=clock().replace(tzinfo=UTC) - LEASE)
    return dg.MaterializeResult(metadata={"files": swept.files, "bytes": swept.bytes})
