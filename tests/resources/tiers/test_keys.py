"""Archived partitions are found by the keys that they hold, and by no others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from resources.iceberg.catalog import Partition
from resources.iceberg.errors import LakehouseError
from resources.iceberg.placement import Placement, placed_now
from resources.iceberg.table import Column, TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.tiers.keys import keys_prefix, partitions_with
from resources.tiers.moving import begun, carry_out
from tests.examples import examples
from tests.resources.visits import FIRST, SECOND, THIRD, VISITS, put

AT = datetime(2024, 6, 1, 5)
SOUGHT = replace(VISITS, sought_by="visit")
BY_TEXT = TableSpec(
    "by_text",
    (Column("land", "string"), Column("day", "date"), Column("number", "string")),
    partition_by=("land", "day"),
    sought_by="number",
)


def archive(lake: Lakehouse, *days: date | None, sought_by: str = "visit") -> str:
    move = begun("archive", "visits", [(day,) for day in days], AT, sought_by=sought_by)
    carry_out(lake, move)
    return move.id


def placed(lake: Lakehouse, name: str) -> dict[Partition, Placement]:
    table = lake.load(name)
    assert table is not None
    return placed_now(table)


def sought(lake: Lakehouse, *numbers: int) -> set[tuple[object, ...]]:
    keys = ibis.memtable(pa.table({"visit": pa.array(numbers, pa.int64())}))
    with lake.session() as session:
        return session.archived_with(SOUGHT, keys)


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lakehouse, dict[date | None, set[int]]]:
    """Three days and a null, archived by two moves; some keys in several of them."""
    from resources.settings import Settings

    lake = Lakehouse(Settings(home=tmp_path_factory.mktemp("keys"), threads=1, memory_limit="500MB"))
    held: dict[date | None, set[int]] = {FIRST: {1, 2, 9}, SECOND: {3, 9}, THIRD: {4}, None: {5, 2}}
    for day, numbers in held.items():
        put(lake, [(number, day) for number in numbers], append=True)
    archive(lake, FIRST, None)
    archive(lake, SECOND)
    return lake, held


@examples(15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.integers(0, 10), max_size=6))
def test_exactly_the_partitions_that_hold_a_key_are_found(
    archived: tuple[Lakehouse, dict[date | None, set[int]]], numbers: Iterable[int]
) -> None:
    lake, held = archived
    wanted = set(numbers)
    archived_now = placed(lake, "visits")
    found = partitions_with(lake, SOUGHT, archived_now, pa.array(wanted, pa.int64()))
    assert found == {(day,) for day in (FIRST, SECOND, None) if held[day] & wanted}
    # of two that one move archived, only the one that is asked for is looked into
    last = {(None,): archived_now[(None,)]}
    assert partitions_with(lake, SOUGHT, last, pa.array(wanted, pa.int64())) == found & {(None,)}


def test_a_partition_that_came_back_or_was_replaced_is_not_found(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND), (3, THIRD)])
    assert sought(lake, 1, 2, 3) == set()
    archive(lake, FIRST, SECOND)
    archive(lake, THIRD)
    assert sought(lake, 1, 2, 3, 4) == {(FIRST,), (SECOND,), (THIRD,)}
    carry_out(lake, begun("restore", "visits", [(FIRST,)], AT))
    put(lake, [(4, THIRD)], replace={"day": [THIRD]})
    assert sought(lake, 1, 2, 3, 4) == {(SECOND,)}


def test_keys_of_text_in_partitions_of_two_columns(lake: Lakehouse) -> None:
    rows = [("d'e", FIRST, 'ä"1'), (None, None, "2"), ("at", None, None), ("at", FIRST, "2")]
    told = [{"land": land, "day": day, "number": number} for land, day, number in rows]
    with lake.session() as session:
        session.publish(BY_TEXT, ibis.memtable(pa.Table.from_pylist(told, schema=BY_TEXT.schema().to_pyarrow())))
    move = begun("archive", "by_text", [(land, day) for land, day, _ in rows], AT, sought_by="number")
    carry_out(lake, move)

    def found(*numbers: str | None) -> set[tuple[object, ...]]:
        return partitions_with(lake, BY_TEXT, placed(lake, "by_text"), pa.array(numbers, pa.string()))

    assert found('ä"1') == {("d'e", FIRST)}
    assert found("2") == {(None, None), ("at", FIRST)}
    assert found(None, "3") == set()


def test_an_archive_without_its_keys_is_not_taken_for_one_without_the_key(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    archive(lake, FIRST)
    archive(lake, SECOND, sought_by="")
    with pytest.raises(LakehouseError, match="has no list of its values of visit"):
        sought(lake, 2)


def test_keys_are_each_told_once_and_a_dead_try_leaves_none(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    put(lake, [(1, FIRST), (2, FIRST)], append=True)
    move = begun("archive", "visits", [(FIRST,)], AT, sought_by="visit")
    lake.stores.archive.write(f"{keys_prefix('visits', move.id)}left.parquet", b"no Parquet")
    carry_out(lake, move)
    [kept] = lake.stores.archive.list(keys_prefix("visits", move.id))
    import pyarrow.parquet as pq

    told = pq.read_table(lake.settings.home / "archive" / kept.key)
    assert told.to_pydict() == {"day": [FIRST, FIRST], "visit": [1, 2]}
