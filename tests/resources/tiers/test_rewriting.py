"""Rewritten files hold the same rows, whatever they hold, in fewer files; what does not is never committed."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import ibis
import pyarrow as pa
import pytest
from pyiceberg.table import Table

from resources.engines.duckdb import DuckDBEngine
from resources.iceberg.catalog import planned_files
from resources.iceberg.errors import NotMoved
from resources.iceberg.table import INSTANT, MONEY, Column, TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.tiers.journal import Kind
from resources.tiers.moving import begun, carry_out
from resources.tiers.rewriting import rewritten
from tests.resources.visits import FIRST, SECOND, data_files, now_reads, put

AT = datetime(2024, 6, 1, 5)
ODD = TableSpec(
    "odd",
    (
        Column("month", "date"),
        Column("number", "int64"),
        Column("small", "int32"),
        Column("money", MONEY),
        Column("large", "decimal(38, 10)"),
        Column("ratio", "float64"),
        Column("at", INSTANT),
        Column("text", "string"),
        Column("yes", "boolean"),
    ),
    partition_by=("month",),
)
TEXTS = ("", "ä€𝄞", "a\x00b", "line\nbreak", '"quoted"', " ", "null", "x" * 5_000)


def odd_rows() -> list[dict[str, Any]]:
    return [
        {
            "month": month,
            "number": number,
            "small": -(2**31) + number,
            "money": Decimal(f"-{number}.0001"),
            "large": Decimal("1234567890123456789012345678.0123456789") - number,
            "ratio": [0.1, -0.0, 1e308, float("inf"), 5e-324][number % 5],
            "at": datetime(1969, 12, 31, 23, 59, 59, 999_999) + timedelta(days=number),
            "text": TEXTS[number % len(TEXTS)],
            "yes": bool(number % 2),
        }
        for number, month in enumerate([None, FIRST] * 8)
    ] + [{**dict.fromkeys(ODD.names), "number": 99 + n, "month": month} for n, month in enumerate([None, FIRST])]


def read(lake: Lakehouse, spec: TableSpec) -> list[dict[str, Any]]:
    with lake.session() as session:
        rows: list[dict[str, Any]] = session.read(spec).order_by("number").to_pyarrow().to_pylist()
    return rows


def live(lake: Lakehouse, name: str) -> Table:
    table = lake.load(name)
    assert table is not None
    return table


def files_of(lake: Lakehouse, name: str) -> list[Any]:
    table = live(lake, name)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return planned_files(table, snapshot.snapshot_id)


@pytest.mark.parametrize("kind", ["cool", "compact"])
def test_values_of_every_type_and_partitions_of_null_are_the_same_in_fewer_files(lake: Lakehouse, kind: Kind) -> None:
    rows = odd_rows()
    for part in (rows[:6], rows[6:12], rows[12:]):
        with lake.session() as session:
            told = pa.Table.from_pylist(part, schema=ODD.schema().to_pyarrow())
            session.publish(ODD, ibis.memtable(told), append=True)
    before = read(lake, ODD)
    assert before == sorted(rows, key=lambda row: int(row["number"]))
    assert len(files_of(lake, "odd")) == 6
    moved = carry_out(lake, begun(kind, "odd", [(None,), (FIRST,)], AT))
    assert (moved.files, moved.rows) == (6, len(rows))
    assert len(files_of(lake, "odd")) == 2
    assert repr(read(lake, ODD)) == repr(before)  # also the sign of a zero
    with lake.session() as session:
        nulls = session.read(ODD, {"month": [None]}).count().to_pyarrow().as_py()
    assert nulls == 9


def test_a_cooled_partition_is_smaller(lake: Lakehouse) -> None:
    for start in range(0, 4000, 500):
        put(lake, [(number * 7919 % 100_003, FIRST) for number in range(start, start + 500)], append=True)
    moved = carry_out(lake, begun("cool", "visits", [(FIRST,)], AT))
    assert moved.rows == 4000
    assert moved.bytes_after < moved.bytes_before / 2
    assert sum(file.file_size_in_bytes for file in files_of(lake, "visits")) == moved.bytes_after


def test_files_without_the_same_rows_are_refused_and_the_table_stays(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(lake, [(1, FIRST), (2, FIRST), (3, SECOND)])
    write = DuckDBEngine.write_large

    def one_less(engine: DuckDBEngine, rows: Any, *how: Any) -> list[str]:
        return write(engine, rows.limit(1), *how)

    with monkeypatch.context() as broken:
        broken.setattr(DuckDBEngine, "write_large", one_less)
        with pytest.raises(NotMoved, match="does not hold the rows that it was written from"):
            carry_out(lake, begun("cool", "visits", [(FIRST,)], AT))
    assert now_reads(lake) == [1, 2, 3]


def test_no_reader_sees_rewritten_files_before_they_are_committed(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    put(lake, [(2, FIRST)], append=True)
    before = data_files(lake)
    made = rewritten(lake, live(lake, "visits"), files_of(lake, "visits"), "visits/data/apart", heavy=False)
    assert len(data_files(lake) - before) == len(made) == 1
    assert now_reads(lake) == [1, 2]


def test_a_partition_of_one_file_is_not_compacted_again(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, date(2024, 5, 1))])
    put(lake, [(3, FIRST)], append=True)
    assert carry_out(lake, begun("compact", "visits", [(FIRST,), (date(2024, 5, 1),)], AT)).files == 2
    snapshot = lake.state("visits").snapshot_id
    assert carry_out(lake, begun("compact", "visits", [(FIRST,)], AT)).files == 0
    assert lake.state("visits").snapshot_id == snapshot
