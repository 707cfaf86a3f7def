"""What Dagster is told of the tables that no asset builds: a materialization for each decision written to them."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from cdap_assets.retention.tables import ARMS, PLAN_EVENTS
from resources.lake.lakehouse import Lakehouse
from resources.lake.publish_history import PastPublish, publishes_since

SNAPSHOT = "snapshot_id"
LOOKED_AT = 20  # materializations, among them those that somebody reported by hand and that name no snapshot


def report(lakehouse: Lakehouse, instance: dg.DagsterInstance, tell: Callable[[dg.AssetMaterialization], None]) -> None:
    """Have ``tell`` report what was written to `plan_events` and `arms` since the snapshot that was told of last.

    What an earlier report missed is made up, and nothing is told twice: call it while nobody else decides. Of a table
    that was never told of, only the newest publish is.
    """
    for spec in (PLAN_EVENTS, ARMS):
        for publish in publishes_since(lakehouse, spec.name, _last_told(instance, spec.name)):
            tell(_materialization(spec.name, publish))


def _last_told(instance: dg.DagsterInstance, name: str) -> int | None:
    found = instance.fetch_materializations(dg.AssetKey(name), limit=LOOKED_AT).records
    for record in found:
        told = record.asset_materialization
        if told is not None and SNAPSHOT in told.metadata:
            return int(str(told.metadata[SNAPSHOT].value))
    return None


def _materialization(name: str, publish: PastPublish) -> dg.AssetMaterialization:
    """Whom a decision concerns and who made it stays in the tables, which ask who reads them."""
    told = {key: publish.recorded[key] for key in ("plan_id", "event") if publish.recorded.get(key)}
    return dg.AssetMaterialization(
        name,
        metadata={
            **told,
            "dagster/row_count": publish.total_rows,
            "dagster/table_name": f"cdap.{name}",
            SNAPSHOT: str(publish.snapshot_id),
            "rows_written": publish.rows,
            "written_at": dg.MetadataValue.timestamp(publish.at),
        },
    )
