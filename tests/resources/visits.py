"""A table of visits, partitioned by day, and what the tests ask of a lake that holds it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis

from resources.iceberg.table import MONEY, Column, Invariant, TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Session

FIRST, SECOND, THIRD = date(2024, 3, 1), date(2024, 3, 2), date(2024, 3, 3)

VISITS = TableSpec(
    "visits",
    (
        Column("visit", "int64", nullable=False),
        Column("person", "string", personal="direct"),
        Column("day", "date"),
        Column("spent", MONEY, unit="currency"),
    ),
    key=("visit",),
    partition_by=("day",),
    invariants=(Invariant("spent", "nobody spends less than nothing", lambda table: table.spent < 0),),
)


def visits(*rows: tuple[int, date | None] | tuple[int, date | None, str, str], spec: TableSpec = VISITS) -> ibis.Table:
    """Visits as a table: (visit, day) or (visit, day, person, spent)."""
    full = [(*row, "Ann", "1.50") if len(row) == 2 else row for row in rows]
    told: list[dict[str, Any]] = [
        {"visit": number, "person": person, "day": day, "spent": Decimal(spent)} for number, day, person, spent in full
    ]
    return ibis.memtable(told, schema=VISITS.schema()) if told else VISITS.empty()


def numbers(session: Session, spec: TableSpec = VISITS) -> list[int]:
    """The visits that a session reads."""
    return sorted(session.read(spec).visit.to_pyarrow().to_pylist())


def now_reads(lake: Lakehouse, spec: TableSpec = VISITS) -> list[int]:
    """The visits that a reader who comes now reads."""
    with lake.session() as session:
        return numbers(session, spec)


def operations(lake: Lakehouse, name: str = "visits") -> list[str]:
    """The operation of each snapshot of a table, oldest first."""
    table = lake.load(name)
    assert table is not None
    return [snapshot.summary.operation.value for snapshot in table.snapshots() if snapshot.summary]


def data_files(lake: Lakehouse, name: str = "visits") -> set[Path]:
    """The Parquet files in a table's folder, referenced or not."""
    return set((lake.settings.lake / name).rglob("*.parquet"))


def put(lake: Lakehouse, rows: Iterable[tuple[int, date | None]], **how: Any) -> None:
    """Publish visits from a session of their own."""
    with lake.session() as session:
        session.publish(VISITS, visits(*rows), **how)
