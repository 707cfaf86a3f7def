"""Placements survive JSON whatever a partition is called, and last as long as a snapshot may need them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.table import Table

from resources.iceberg.catalog import Partition
from resources.iceberg.errors import PartitionsArchived
from resources.iceberg.placement import (
    PROPERTY,
    Placement,
    decoded,
    encoded,
    placed_now,
    placements,
    refuse_archived,
    with_hot,
    with_placed,
)
from resources.lake.lakehouse import Lakehouse
from resources.lake.table_snapshots import expire, keep, release
from resources.tiers.moving import begun, carry_out
from tests.resources.visits import FIRST, SECOND, THIRD, VISITS, now_reads, put

AT = datetime(2024, 6, 1, 5)
VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.dates() | st.text(max_size=20)
PARTITIONS = st.lists(VALUES, max_size=3).map(tuple)
COUNTS = st.integers(0, 2**62)
PLACEMENTS = st.builds(
    Placement,
    PARTITIONS,
    st.sampled_from(["cool", "archived", "restored", "expired"]),
    st.text(max_size=20),
    st.text(max_size=40),
    st.datetimes(),
    st.integers(0, 50),
    st.none() | st.integers(51, 99),
    COUNTS,
    COUNTS,
    COUNTS,
    st.text(max_size=40),
    st.none() | st.dates(),
)


@dataclass
class Metadata:
    """What placements ask of a table's metadata."""

    properties: dict[str, str] = field(default_factory=dict)
    snapshots: tuple[Any, ...] = ()


def table_of(properties: dict[str, str], columns: tuple[str, ...] = ()) -> Table:
    spec = SimpleNamespace(fields=[SimpleNamespace(name=name) for name in columns])
    return cast(Table, SimpleNamespace(metadata=Metadata(properties), spec=lambda: spec))


@given(PARTITIONS)
def test_a_partition_is_the_same_after_json(partition: Partition) -> None:
    again = decoded(encoded(partition))
    assert again == partition
    assert [type(value) for value in again] == [type(value) for value in partition]


@given(st.lists(PLACEMENTS, max_size=4))
def test_placements_are_the_same_after_json(found: list[Placement]) -> None:
    assert sorted(placements(table_of(with_placed(table_of({}), found))), key=repr) == sorted(found, key=repr)


@given(st.lists(PLACEMENTS, max_size=4, unique_by=lambda one: one.partition), st.integers(100, 200))
def test_what_becomes_hot_ends_and_is_otherwise_as_it_was(found: list[Placement], sequence: int) -> None:
    table = table_of(with_placed(table_of({}), found))
    after = table_of(with_hot(table, [one.partition for one in found], sequence))
    assert placed_now(after) == {}
    before = {one.partition: one for one in found}
    assert len(placements(after)) == len(found)
    for one in placements(after):
        was = before[one.partition]
        assert one.until == (was.until or sequence)
        assert one.held(was.since)
        assert not one.held(sequence)


def archived(*partitions: Partition, columns: tuple[str, ...], offer: str = "") -> Table:
    found = [Placement(one, "archived", "", "m", AT, 3, None, 1, 10, 1_000, offer) for one in partitions]
    return table_of(with_placed(table_of({}), found), columns)


@pytest.mark.parametrize(("count", "more"), [(1, ""), (5, ""), (6, " and 1 more"), (40, " and 35 more")])
def test_a_refusal_names_at_most_five_and_counts_the_rest(count: int, more: str) -> None:
    table = archived(*((FIRST + timedelta(n),) for n in range(count)), columns=("day",), offer="5 hours")
    with pytest.raises(PartitionsArchived) as refused:
        refuse_archived(table, "visits", 3, {})
    told = str(refused.value)
    assert told.count("--partition day=") == min(count, 5)
    assert f"{more} {'is' if count == 1 else 'are'} archived ({count * 1_000:,} rows)" in told
    assert told.count("5 hours") == 1


def test_a_read_is_refused_for_what_it_needs_alone() -> None:
    table = archived((FIRST, "de"), (None, "at"), columns=("day", "land"))
    refuse_archived(table, "visits", 2, {})  # an older snapshot has them
    refuse_archived(table, "visits", 3, {"day": [FIRST], "land": ["at"]})
    refuse_archived(table, "visits", 3, {"day": [SECOND]})
    refuse_archived(table, "visits", 3, {"day": []})
    asked: tuple[dict[str, list[Any]], ...] = (
        {},
        {"day": [None]},
        {"land": ["de", "fr"]},
        {"day": [FIRST, SECOND]},
        {"spent": [1]},
    )
    for only in asked:
        with pytest.raises(PartitionsArchived):
            refuse_archived(table, "visits", 3, only)


def test_what_a_tagged_old_snapshot_lacks_is_told_as_long_as_it_is_kept(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    carry_out(lake, begun("archive", "visits", [(FIRST,)], AT))
    tagged = lake.state("visits").snapshot_id
    assert tagged is not None
    keep(lake, "visits", tagged, "model.v1")
    carry_out(lake, begun("restore", "visits", [(FIRST,)], AT))
    put(lake, [(3, FIRST)], replace={"day": [FIRST]})
    expire(lake, before=datetime.now(UTC) + timedelta(days=1))
    carry_out(lake, begun("archive", "visits", [(SECOND,)], AT))  # prunes
    with lake.session() as session:
        session.run.get = lambda _name: tagged  # type: ignore[assignment]  # as one who reads that snapshot
        with pytest.raises(PartitionsArchived, match="day=2024-03-01 is archived"):
            session.read(VISITS)

    release(lake, "model.v1")
    expire(lake, before=datetime.now(UTC) + timedelta(days=1))
    carry_out(lake, begun("restore", "visits", [(SECOND,)], AT))
    carry_out(lake, begun("archive", "visits", [(SECOND,)], AT))
    table = lake.load("visits")
    assert table is not None
    assert {one.partition for one in placements(table)} == {(SECOND,)}


def test_a_lake_that_never_moved_anything_has_no_record(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, THIRD)])
    put(lake, [(3, FIRST)], replace={"day": [FIRST]})
    table = lake.load("visits")
    assert table is not None
    assert PROPERTY not in table.metadata.properties
    assert now_reads(lake) == [2, 3]


def test_dates_before_the_year_1000_are_dates_again() -> None:
    assert decoded(encoded((date(1, 1, 1), date(9999, 12, 31)))) == (date(1, 1, 1), date(9999, 12, 31))


def test_what_a_property_says_of_many_partitions_of_one_move_stays_small() -> None:
    offer = "up to 48 hours by Bulk, up to 0.12 USD each by prices of 2026-11-02"
    one = Placement((), "archived", "DEEP_ARCHIVE", "m" * 60, AT, 9, None, 3, 10**9, 10**6, offer)
    found = [replace(one, partition=(f"delivery-{n}", date(2024, 3, 1))) for n in range(5_000)]
    assert len(with_placed(table_of({}), found)[PROPERTY]) < 512_000, "Glue's limit of a table's parameter"
