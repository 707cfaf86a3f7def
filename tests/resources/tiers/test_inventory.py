"""What the lake holds is told by metadata: sizes, rows, and when rows last came, whatever was moved since."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import ibis
import pyarrow as pa
import pytest

from resources.iceberg.table import Column, TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.table_snapshots import expire, let_go
from resources.tiers.inventory import Held, holdings
from resources.tiers.journal import Kind
from resources.tiers.moving import begun, carry_out
from tests.resources.visits import FIRST, SECOND, THIRD, data_files, now_reads, put

AT = datetime(2024, 6, 1, 5)
BY_TWO = TableSpec(
    "by_two",
    (Column("land", "string"), Column("day", "date"), Column("number", "int64")),
    partition_by=("land", "day"),
)
WHOLE = TableSpec("whole", (Column("number", "int64"),))


def held(lake: Lakehouse, name: str = "visits") -> dict[Any, Held]:
    return {one.partition: one for one in holdings(lake, name)}


def move(lake: Lakehouse, kind: Kind, *days: date | None) -> None:
    carry_out(lake, begun(kind, "visits", [(day,) for day in days], AT))


def publish(lake: Lakehouse, spec: TableSpec, rows: list[dict[str, Any]]) -> None:
    with lake.session() as session:
        told = pa.Table.from_pylist(rows, schema=spec.schema().to_pyarrow())
        session.publish(spec, ibis.memtable(told), append=True)


def forget_all(lake: Lakehouse) -> None:
    """Expire every snapshot but the current one, also those that a rebuild would want."""
    table = lake.load("visits")
    assert table is not None
    current = table.current_snapshot()
    assert current is not None
    let_go(lake, "visits", [one.snapshot_id for one in table.snapshots() if one.snapshot_id != current.snapshot_id])


def test_sizes_are_those_of_the_files_and_rows_are_counted(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, FIRST), (3, SECOND)])
    put(lake, [(4, FIRST)], append=True)
    found = held(lake)
    assert {one: (len(it.sizes), it.rows) for one, it in found.items()} == {(FIRST,): (2, 3), (SECOND,): (1, 1)}
    assert sum(sum(it.sizes) for it in found.values()) == sum(path.stat().st_size for path in data_files(lake))
    assert found[FIRST,].columns == ("day",)


def test_a_table_by_two_columns_with_nulls_and_one_without_partitions(lake: Lakehouse) -> None:
    publish(
        lake,
        BY_TWO,
        [
            {"land": "de", "day": FIRST, "number": 1},
            {"land": None, "day": FIRST, "number": 2},
            {"land": None, "day": None, "number": 3},
            {"land": "de", "day": FIRST, "number": 4},
        ],
    )
    publish(lake, WHOLE, [{"number": 1}, {"number": 2}])
    assert {one: it.rows for one, it in held(lake, "by_two").items()} == {
        ("de", FIRST): 2,
        (None, FIRST): 1,
        (None, None): 1,
    }
    assert {one: it.rows for one, it in held(lake, "whole").items()} == {(): 2}
    assert held(lake, "never built") == {}
    for name, partition in (("by_two", (None, None)), ("whole", ())):
        carry_out(lake, begun("archive", name, [partition], AT))
        found = held(lake, name)[partition]
        assert found.placed is not None
        assert found.placed.tier == "archived"
        assert found.written is not None


def test_archived_and_expired_partitions_have_the_sizes_they_had(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND), (3, THIRD)])
    put(lake, [(4, FIRST)], append=True)
    before = held(lake)
    move(lake, "archive", FIRST, SECOND)
    move(lake, "expire", SECOND)
    after = held(lake)
    for day in (FIRST, SECOND):
        was, one = before[day,], after[day,]
        assert (sum(one.sizes) // 2, one.rows, len(one.sizes)) == (sum(was.sizes) // 2, was.rows, len(was.sizes))
        assert one.written == was.written
    assert {one.placed.tier for one in after.values() if one.placed} == {"archived", "expired"}
    put(lake, [(5, FIRST)], append=True)
    late = held(lake)[FIRST,]
    assert (late.rows, len(late.sizes)) == (3, 3)
    assert late.written is not None
    assert before[FIRST,].written is not None
    assert late.written > before[FIRST,].written
    move(lake, "restore", FIRST)
    restored = held(lake)[FIRST,]
    assert (restored.rows, len(restored.sizes), restored.written) == (3, 3, late.written)
    assert restored.placed is not None
    assert restored.placed.tier == "restored"


@pytest.mark.parametrize("kinds", [("compact",), ("cool",), ("cool", "warm", "compact"), ("archive", "restore")])
@pytest.mark.parametrize("forgotten", [False, True])
def test_when_rows_last_came_outlives_moves_and_the_expiry_of_snapshots(
    lake: Lakehouse, kinds: tuple[Kind, ...], forgotten: bool
) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    put(lake, [(3, FIRST)], append=True)
    before = {one: it.written for one, it in held(lake).items()}
    assert None not in before.values()
    for kind in kinds:
        move(lake, kind, FIRST)
        if forgotten:
            forget_all(lake)
    assert {one: it.written for one, it in held(lake).items()} == before
    put(lake, [(5, SECOND)], replace={"day": [SECOND]})
    after = held(lake)
    assert after[FIRST,].written == before[FIRST,]
    newest = after[SECOND,].written
    assert newest is not None
    assert before[SECOND,] is not None
    assert newest > before[SECOND,]


def test_when_rows_came_is_known_after_the_snapshots_that_brought_them_expired(lake: Lakehouse) -> None:
    for number, day in enumerate([FIRST, SECOND, THIRD]):
        put(lake, [(number, day)], append=True)
    before = {one: it.written for one, it in held(lake).items()}
    assert expire(lake, before=datetime.now(UTC) + timedelta(days=1)) == {"visits": 2}
    assert {one: it.written for one, it in held(lake).items()} == before
    put(lake, [], replace={"day": [FIRST]})
    assert set(held(lake)) == {(SECOND,), (THIRD,)}


def test_what_nothing_tells_any_more_is_unknown(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)], append=True)
    put(lake, [(2, SECOND)], append=True)
    table = lake.load("visits")
    assert table is not None
    table.maintenance.expire_snapshots().older_than(datetime.now(UTC) + timedelta(days=1)).commit()  # not by us
    found = held(lake)
    assert found[FIRST,].written is None
    assert found[SECOND,].written is not None
    move(lake, "cool", FIRST)
    assert held(lake)[FIRST,].written is None


def test_rows_that_come_to_an_expired_partition_are_hot_as_any(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, FIRST), (3, SECOND)])
    carry_out(lake, begun("expire", "visits", [(FIRST,)], AT))
    [gone, _other] = holdings(lake, "visits")
    assert gone.placed is not None
    assert (gone.placed.tier, gone.rows) == ("expired", 2)
    put(lake, [(4, FIRST)], append=True)
    [late, _other] = holdings(lake, "visits")
    assert (late.placed, late.rows, len(late.sizes)) == (None, 1, 1)
    carry_out(lake, begun("expire", "visits", [(FIRST,)], AT))
    assert now_reads(lake) == [3]
