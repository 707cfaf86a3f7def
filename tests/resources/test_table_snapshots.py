"""A tagged snapshot outlives expiry until its tag is released, and never an erasure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from resources.errors import LakehouseError
from resources.lakehouse import Lakehouse
from resources.table_snapshots import is_kept, keep, let_go, release, rows_of, tags_of
from tests.resources.visits import FIRST, SECOND, now_reads, put

TAG = "model.lapse.v1"


def snapshot(lake: Lakehouse) -> int:
    found = lake.state("visits").snapshot_id
    assert found is not None
    return found


def expire_all(lake: Lakehouse) -> None:
    table = lake.load("visits")
    assert table is not None
    table.maintenance.expire_snapshots().older_than(datetime.now(UTC) + timedelta(days=1)).commit()


def test_a_tagged_snapshot_outlives_expiry_and_goes_with_its_tag(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    first = snapshot(lake)
    keep(lake, "visits", first, TAG)
    keep(lake, "visits", first, TAG)
    put(lake, [(3, FIRST)])
    expire_all(lake)
    assert is_kept(lake, "visits", first)
    assert rows_of(lake, "visits", first) == 2
    assert tags_of(lake, "visits") == {TAG: first}

    assert release(lake, TAG) == ["visits"]
    assert release(lake, TAG) == []
    expire_all(lake)
    assert not is_kept(lake, "visits", first)
    with pytest.raises(LakehouseError, match=f"snapshot {first} is no longer kept"):
        rows_of(lake, "visits", first)
    with pytest.raises(LakehouseError, match="no longer kept"):
        keep(lake, "visits", first, TAG)


def test_a_tag_stays_on_the_snapshot_that_it_keeps(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    first = snapshot(lake)
    keep(lake, "visits", first, TAG)
    put(lake, [(2, FIRST)])
    with pytest.raises(LakehouseError, match=f"keeps snapshot {first}"):
        keep(lake, "visits", snapshot(lake), TAG)


def test_an_erasure_lets_go_of_a_tagged_snapshot_and_is_told_whose_it_was(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, FIRST)])
    first = snapshot(lake)
    keep(lake, "visits", first, TAG)
    with pytest.raises(LakehouseError, match="what readers see"):
        let_go(lake, "visits", [first])
    assert tags_of(lake, "visits") == {TAG: first}
    put(lake, [(2, FIRST)])
    assert let_go(lake, "visits", [first]) == {TAG: first}
    assert not is_kept(lake, "visits", first)
    assert tags_of(lake, "visits") == {}
    assert now_reads(lake) == [2]
    assert let_go(lake, "visits", [first]) == {}
