"""Figures of a published table that make a plot over its materializations. Each table declares its own.

They are computed in this process, whatever the engine, and their one query counts as no use of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from resources.iceberg.table import TableSpec
from resources.lake.lakehouse import Lakehouse

if TYPE_CHECKING:
    import ibis

# of a table, a small one: a name ``figure``, a number ``value``, and columns that say what the values are of
Figures = Callable[["ibis.Table"], "ibis.Table"]


def figures_metadata(lakehouse: Lakehouse, spec: TableSpec, figures: Figures) -> dict[str, Any]:
    """The figures by name, and what they are of; of a table by snapshot dates, those of the newest.

    Nothing is told where there are no rows. Rows that are archived are left out.
    """
    with lakehouse.looking() as session:
        only = None
        if "snapshot_date" in spec.partition_by:
            days = [partition[spec.partition_by.index("snapshot_date")] for partition in session.partitions(spec.name)]
            only = {"snapshot_date": [max(days)]} if days else None
        found = figures(session.read(spec, only, without_archived=True)).to_pyarrow().to_pylist()
    told: dict[str, Any] = {}
    for row in sorted((row for row in found if row["value"] is not None), key=lambda row: str(row["figure"])):
        told |= {row.pop("figure"): row.pop("value"), **row}
    return {name: _plain(value) for name, value in told.items()}


def _plain(value: Any) -> int | float | str:
    """A number that Dagster plots, or text."""
    if isinstance(value, Decimal):
        return float(value)
    return value if isinstance(value, (int, float)) else str(value)
