"""What each table would scan and cost on Athena if it were built now, told by metadata before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

from cdap_assets.lineage import Lineage
from cdap_assets.table_assets.snapshots import snapshot_rows
from cdap_assets.table_assets.table_asset import TableAsset, Work
from resources.engines.scan_estimate import Footprint, cost_of, estimated_scan, footprint
from resources.iceberg.staging import counts, sample
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Session, is_empty


@dataclass(frozen=True)
class ScanCost:
    """Bytes and USD of building one table now; ``queries`` is how many statements that takes.

    ``why`` says what would be rebuilt. ``unbuilt`` names inputs that have no rows to measure yet: the figure
    leaves them out.
    """

    asset: str
    why: str
    queries: int
    bytes: int
    cost: float
    unbuilt: tuple[str, ...]


def scan_costs(
    lineage: Lineage,
    lakehouse: Lakehouse,
    dates: Sequence[date],
    chosen: Collection[str] | None = None,
    *,
    anew: bool = False,
) -> list[ScanCost]:
    """The cost of each chosen table in the order of the lineage; snapshot tables for ``dates``.

    ``anew`` takes every table to be rebuilt whole, whatever has changed.

    From Iceberg manifests alone: column sizes of the files that would be read. Rows that are not written yet are
    taken to be as large as those that they replace.
    """
    with lakehouse.looking() as session:
        return [
            _cost(asset, lineage, session, dates, anew=anew)
            for asset in lineage.assets
            if chosen is None or asset.name in chosen
        ]


def _cost(asset: TableAsset, lineage: Lineage, session: Session, dates: Sequence[date], *, anew: bool) -> ScanCost:
    whole = anew and asset.scope != "snapshot"
    work = Work("everything") if whole else asset.foreseen(session, dates)
    unbuilt = tuple(name for name in asset.inputs if session.snapshot_id(name) is None)
    if not work.needed:
        return ScanCost(asset.name, work.why, 0, 0, 0.0, unbuilt)
    tables = {name: session.foresee(lineage.specs[name], work.only.get(name)) for name in asset.inputs}
    if asset.scope == "snapshot":
        tables = {"snapshots": snapshot_rows(list(dates), session.tables.settings.zone), **tables}
    questions = asset.questions(tables)
    if not asset.in_python and is_empty(questions[0]):  # no contract fills it, and no engine is asked
        return ScanCost(asset.name, work.why, 0, 0, 0.0, unbuilt)
    written = session.foresee(asset.table, work.replace)
    shown = sample(asset.table, written)
    asked = [*questions, counts(asset.table, written, work.replace), *([] if shown is None else [shown])]
    sizes: dict[str, Footprint] = {
        name: footprint(source.files, source.columns) for name, source in session.sources.items()
    }
    scanned = [estimated_scan(expression, sizes) for expression in asked]
    return ScanCost(asset.name, work.why, len(scanned), sum(scanned), sum(cost_of(size) for size in scanned), unbuilt)
