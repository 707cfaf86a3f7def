"""Small tables of the lineage, written as the columns that a test is about; the rest takes a plain value."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import ibis
import pyarrow as pa

from resources.iceberg.table import TableSpec

LONG_AGO = datetime(2000, 1, 1)
_PLAIN: dict[str, Any] = {
    "source": "shop",
    "key_space": "shop",
    "customer_key": "ann",
    "currency": "EUR",
    "known_at": LONG_AGO,
    "orders": 1,
    "lines": 1,
    "net": Decimal(10),
}


def table(spec: TableSpec, *rows: dict[str, Any]) -> ibis.Table:
    """Rows of ``spec`` from dicts of some of its columns; unnamed ones are plain or null, ``month`` follows."""
    unknown = {name for row in rows for name in row} - set(spec.names)
    assert not unknown, f"{spec.name} has no {unknown}"
    full = []
    for row in rows:
        values = {name: row.get(name, _PLAIN.get(name)) for name in spec.names}
        day = values.get("local_date")
        if isinstance(day, date):
            values["month"] = day.replace(day=1)
        full.append(values)
    return ibis.memtable(pa.Table.from_pylist(full, schema=spec.schema().to_pyarrow()))


def found(expression: ibis.Table) -> list[dict[str, Any]]:
    """The rows of an expression, in a fixed order."""
    return sorted(expression.to_pyarrow().to_pylist(), key=str)
