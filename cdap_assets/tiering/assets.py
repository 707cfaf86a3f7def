"""Storage as assets: what the lake holds, where each partition should be, and what that costs over time."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import dagster as dg

from cdap_assets.lineage import Lineage
from cdap_assets.storage.tables import STORAGE_INVENTORY, STORAGE_SAVINGS, STORAGE_TIERS
from cdap_assets.table_assets.table_metadata import publish_metadata
from cdap_assets.tiering.elsewhere import note_reads_elsewhere
from cdap_assets.tiering.state import State, states
from cdap_assets.tiering.storage_policy import prices_of, read_storage_policy, rules_by_table
from resources.clock import Clock
from resources.iceberg.table import TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.reads import fold
from resources.lake.session import Session
from resources.stores.lock import exclusive

GROUP = "storage"
WAIT = 600  # seconds for another process that looks at storage
CENT = Decimal("0.000001")  # prices of one partition are small
TIERS = ("hot", "cool", "archived", "expired")
STAY = "stay"
COMPACT = "compact"


def state_of(lakehouse: Lakehouse, lineage: Lineage, at: datetime) -> tuple[list[State], str]:
    """Every partition with the decision on it at ``at`` (UTC), and the currency of the decisions.

    Raises what reading storage.yaml and the price book raises.
    """
    policy = read_storage_policy(lakehouse.settings.home)
    prices = prices_of(lakehouse.settings, policy)
    with exclusive(lakehouse.settings, "reads", timeout=WAIT):
        fold(lakehouse.stores.reads)
    return list(states(lakehouse, rules_by_table(lineage, policy), prices, at)), prices.currency


def inventory_rows(found: Iterable[State], at: datetime) -> list[dict[str, Any]]:
    """Rows of ``storage_inventory``."""
    return [
        {
            **_common(state, at),
            "rows": state.held.rows,
            "reads_91": state.recent_reads,
            "observed_since": state.holding.observed_since,
        }
        for state in found
    ]


def tier_rows(found: Iterable[State], currency: str, at: datetime) -> list[dict[str, Any]]:
    """Rows of ``storage_tiers``."""
    rows = []
    for state in found:
        decision = state.decision
        row = {
            **_common(state, at),
            "storage_month": state.storage_month,
            "currency": currency,
            "seen": state.held.seen,
        }
        if decision is None:
            gone = {"decision": STAY, "to_tier": state.tier, "to_class": "", "move_cost": Decimal(0)}
            rows.append({**row, **gone, "saving": Decimal(0), "reason": "deleted when its retention ended"})
            continue
        monthly = {f"monthly_{tier}": decision.monthly.get(tier) for tier in ("hot", "cool", "archived")}
        told = {
            "decision": COMPACT if decision.compact else decision.action,
            "to_tier": "expired" if decision.action == "expire" else decision.tier,
            "to_class": decision.storage_class,
            "move_cost": decision.move_cost,
            "saving": decision.saving,
            "reason": decision.reason,
        }
        rows.append({**row, **monthly, **told})
    return rows


def saving_rows(rows: Iterable[Mapping[str, Any]], at: datetime) -> list[dict[str, Any]]:
    """Rows of ``storage_savings`` for one day, from those of ``storage_tiers``."""
    by_tier: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_tier.setdefault(row["tier"], []).append(row)
    nothing = Decimal(0)
    return [
        {
            "day": at.date(),
            "tier": tier,
            "partitions": len(held),
            "objects": sum(row["objects"] for row in held),
            "bytes": sum(row["bytes"] for row in held),
            "monthly_cost": sum((row.get(f"monthly_{tier}") or nothing for row in held), nothing),
            "monthly_cost_hot": sum((row.get("monthly_hot") or nothing for row in held), nothing),
            "proposed_moves": sum(row["decision"] != STAY for row in held),
            "proposed_saving": sum((row["saving"] for row in held), nothing),
            "currency": held[0]["currency"],
        }
        for tier in TIERS
        if (held := by_tier.get(tier, []))
    ]


def storage_assets(lineage: Lineage, refused: str | None) -> dg.AssetsDefinition:
    """``storage_inventory``, ``storage_tiers`` and ``storage_savings``, in one pass over table metadata.

    With ``refused`` they fail with the reason: the policy asks for what cannot be, and nothing moves.
    """

    @dg.multi_asset(
        name="look_at_storage",
        specs=[
            dg.AssetSpec(STORAGE_INVENTORY.name, group_name=GROUP, description=STORAGE_INVENTORY.description),
            dg.AssetSpec(
                STORAGE_TIERS.name,
                deps=[STORAGE_INVENTORY.name],
                group_name=GROUP,
                description=_described(STORAGE_TIERS, refused),
            ),
            dg.AssetSpec(
                STORAGE_SAVINGS.name,
                deps=[STORAGE_TIERS.name],
                group_name=GROUP,
                description=STORAGE_SAVINGS.description,
            ),
        ],
    )
    def look_at_storage(
        context: dg.AssetExecutionContext,
        lakehouse: dg.ResourceParam[Lakehouse],
        clock: dg.ResourceParam[Clock],
    ) -> "Iterable[dg.MaterializeResult]":
        from cdap_assets.tiering.storage_page import PAGE, write_storage_page

        if refused:
            raise dg.Failure(refused, allow_retries=False)
        at = clock()
        policy = read_storage_policy(lakehouse.settings.home)
        with exclusive(lakehouse.settings, "reads", timeout=WAIT):
            fold(lakehouse.stores.reads)
            note_reads_elsewhere(lakehouse, policy.elsewhere, at)
        found, currency = state_of(lakehouse, lineage, at)
        tiers = tier_rows(found, currency, at)
        savings = saving_rows(tiers, at)
        with lakehouse.in_process(context.run.run_id) as session:
            yield published(session, STORAGE_INVENTORY, inventory_rows(found, at))
            yield published(session, STORAGE_TIERS, tiers)
            saved = published(session, STORAGE_SAVINGS, savings, {"day": [at.date()]})
        settings = lakehouse.settings
        rules = rules_by_table(lineage, policy)
        write_storage_page(lakehouse, found, tiers, rules, policy, prices_of(settings, policy), at)
        page = dg.MetadataValue.url(settings.page_url(PAGE))
        yield saved._replace(metadata={**(saved.metadata or {}), "page": page})

    return look_at_storage


def _common(state: State, at: datetime) -> dict[str, Any]:
    return {
        "as_of": at,
        "table_name": state.held.table,
        "partition": state.partition,
        "partition_values": json.dumps(state.values),
        "tier": state.tier,
        "storage_class": state.holding.storage_class if state.tier != "expired" else "",
        "since": state.since,
        "objects": len(state.held.sizes),
        "bytes": sum(state.held.sizes),
        "written_at": state.held.written or state.since,
        "last_read": state.last_read,
    }


def published(
    session: Session,
    spec: TableSpec,
    rows: Sequence[Mapping[str, Any]],
    replace: Mapping[str, Sequence[Any]] | None = None,
) -> dg.MaterializeResult:
    """Publish rows as a table of storage, in place of all of it or of ``replace``."""
    import ibis
    import pyarrow as pa

    plain = [{name: _stored(row.get(name)) for name in spec.names} for row in rows]
    schema = spec.schema()
    # not through pandas, which takes decimals for floats
    expression = ibis.memtable(pa.Table.from_pylist(plain, schema=schema.to_pyarrow()), schema=schema)
    done = session.publish(spec, expression, replace=replace, inputs={})
    return dg.MaterializeResult(asset_key=spec.name, metadata=publish_metadata(spec, done, expression, session))


def _stored(value: Any) -> Any:
    return value.quantize(CENT) if isinstance(value, Decimal) else value


def _described(spec: TableSpec, refused: str | None) -> str:
    return f"**The storage policy is refused.** {refused}" if refused else spec.description
