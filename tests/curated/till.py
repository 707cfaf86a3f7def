"""A shop with a till whose contract, deliveries and clock a test writes; runs go through Dagster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from cdap_assets.lineage import read_lineage
from cdap_assets.raw.assets import raw_asset
from cdap_assets.table_assets.dagster_asset import dagster_asset
from cdap_assets.table_assets.snapshots import weekly
from resources.clock import Calendar
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: {name}
name: {name}
version: 1.0.0
status: active
description: {{purpose: A test.}}
customProperties:
  - {{property: timezone, value: Europe/Berlin}}
  - {{property: currency, value: EUR}}
  - {{property: keySpace, value: shop}}
  - {{property: eventTime, value: ordered_at}}
  - {{property: eventTimeZone, value: UTC}}
  - {{property: history, value: {{lag: 1 hour}}}}
  - {{property: format, value: {{type: csv, delimiter: ","}}}}
schema:
  - name: {name}
    physicalType: file
    properties:
      - {{name: order_id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}}
      - {{name: line, logicalType: integer, required: true, primaryKey: true, primaryKeyPosition: 2}}
      - {{name: customer, logicalType: string, required: true}}
      - {{name: ordered_at, logicalType: timestamp, required: true}}
      - {{name: amount, logicalType: number, physicalType: "decimal(18,4)", required: true}}
  - name: order_lines
    physicalType: canonical
    properties:
      - {{name: customer_key, transformLogic: customer}}
      - {{name: order_id, transformLogic: order_id}}
      - {{name: line, transformLogic: line}}
      - {{name: ordered_at, transformLogic: ordered_at}}
      - {{name: net, transformLogic: amount}}
"""
Line = tuple[str, int, str, str, str]  # order, line, customer, ordered_at, amount


class Shop:
    """One installation in a folder, run at instants that a test names."""

    def __init__(self, home: Path, *contracts: str) -> None:
        self.settings = Settings(  # type: ignore[call-arg]
            home=home, first_snapshot=date(2017, 1, 1), timezone="Europe/Berlin", threads=1
        )
        self.lakehouse = Lakehouse(self.settings)
        self.settings.contracts.mkdir(parents=True)
        for name in contracts or ("till",):
            self.contract(name, CONTRACT.format(name=name))

    def contract(self, name: str, text: str) -> None:
        """Write a contract of the home."""
        (self.settings.contracts / f"{name}.yaml").write_text(text, encoding="utf-8")

    def deliver(self, source: str, number: int, lines: Sequence[Line]) -> None:
        """Land a file of ``source``."""
        rows = [",".join(map(str, line)) for line in lines]
        self.deliver_text(source, number, "\n".join(["order_id,line,customer,ordered_at,amount", *rows]) + "\n")

    def deliver_text(self, source: str, number: int, text: str) -> None:
        """Land a file with any text."""
        folder = self.settings.landing / source
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:03}.csv").write_text(text, encoding="utf-8")

    def run(
        self, now: datetime, *assets: str, partition_key: str | None = None, tags: Mapping[str, str] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Materialize ``assets`` (all that need no snapshot date, when none is named) at an instant."""
        lineage = read_lineage(self.settings)
        partitions = weekly(self.settings.first_snapshot, lineage.closed, self.settings.timezone)
        definitions = [
            *(raw_asset(contract) for contract in lineage.contracts.values()),
            *(dagster_asset(table, lineage.specs, partitions) for table in lineage.tables),
        ]
        names = assets or [
            *(f"raw_{name}" for name in lineage.contracts),
            *(table.name for table in lineage.tables if table.scope != "snapshot"),
        ]
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(
                definitions,
                instance=instance,
                resources={"lakehouse": self.lakehouse, "installation": Calendar(lambda: now)},
                selection=[dg.AssetKey(name) for name in names],
                partition_key=partition_key,
                tags=dict(tags or {}),
                raise_on_error=False,
            )

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A published table."""
        with self.lakehouse.session() as session:
            found = session.read(read_lineage(self.settings).specs[name]).to_pyarrow().to_pylist()
        return sorted(found, key=str)


def rebuilt(result: dg.ExecuteInProcessResult, asset: str) -> str:
    """What a run says it rebuilt of an asset."""
    assert result.success
    [event] = result.asset_materializations_for_node(asset)
    return str(event.metadata["rebuilt"].value)
