"""A tagged snapshot outlives expiry until its tag is released, and never an erasure."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from resources.iceberg.errors import LakehouseError
from resources.iceberg.publish_record import newest_publish
from resources.iceberg.table import TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.sweep import sweep
from resources.lake.table_snapshots import expire, is_kept, keep, let_go, release, rows_of, tags_of
from resources.tiers.journal import Journal, Kind
from resources.tiers.moving import begun, carry_out, finish_pending
from tests.resources.visits import FIRST, SECOND, THIRD, VISITS, data_files, now_reads, numbers, put

TAG = "model.lapse.v1"
AT = datetime(2024, 6, 1, 5)


def move(lake: Lakehouse, kind: Kind, *days: date) -> None:
    carry_out(lake, begun(kind, "visits", [(day,) for day in days], AT))


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


def later() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def put_from(lake: Lakehouse, source: TableSpec, target: TableSpec) -> None:
    """Publish a table made of all of another."""
    with lake.session() as session:
        session.publish(target, session.read(source))


def test_what_the_newest_publish_was_made_from_and_all_since_stay(lake: Lakehouse) -> None:
    made = replace(VISITS, name="made")
    put(lake, [(1, FIRST)])
    too_old = snapshot(lake)
    put(lake, [(2, FIRST)])
    source = snapshot(lake)
    put_from(lake, VISITS, made)
    put(lake, [(3, SECOND)], append=True)
    between = snapshot(lake)
    put(lake, [(4, THIRD)], append=True)
    assert expire(lake, before=later()) == {"visits": 1}
    assert [is_kept(lake, "visits", one) for one in (too_old, source, between)] == [False, True, True]
    with lake.session() as session:
        assert session.changed_since("visits", source) == {(SECOND,), (THIRD,)}
    put_from(lake, VISITS, made)
    assert expire(lake, before=later()) == {"made": 1, "visits": 2}
    assert [is_kept(lake, "visits", one) for one in (source, between)] == [False, False]
    assert expire(lake, before=later()) == {}


def test_what_changed_is_known_after_moves_and_expiry(lake: Lakehouse) -> None:
    made = replace(VISITS, name="made")
    put(lake, [(1, FIRST), (2, SECOND)])
    put(lake, [(3, FIRST)], append=True)
    source = snapshot(lake)
    put_from(lake, VISITS, made)
    kinds: tuple[Kind, ...] = ("compact", "cool", "archive", "restore")
    for kind in kinds:
        move(lake, kind, FIRST)
        expire(lake, before=later())
    put(lake, [(4, THIRD)], append=True)
    move(lake, "archive", SECOND)
    expire(lake, before=later())
    with lake.session() as session:
        assert session.changed_since("visits", source) == {(THIRD,)}
        assert session.last_publish("made") is not None
    # the newest publish of each table stays although moves came after it
    table = lake.load("visits")
    assert table is not None
    assert newest_publish(table) is not None


def test_only_what_nobody_could_see_since_an_instant_goes(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    put(lake, [(2, FIRST)])
    seen = snapshot(lake)
    time.sleep(0.01)
    instant = datetime.now(UTC)
    time.sleep(0.01)
    with lake.session("run") as run:
        assert run.snapshot_id("visits") == seen
        put(lake, [(3, FIRST)])
        assert expire(lake, before=instant) == {"visits": 1}  # `seen` was what a reader at that instant pinned
        assert numbers(run) == [2]
    assert expire(lake, before=later()) == {"visits": 1}
    assert not is_kept(lake, "visits", seen)


def test_the_snapshot_of_a_move_in_the_journal_stays(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    dead = begun("expire", "visits", [(FIRST,)], AT)
    carry_out(lake, dead)
    Journal(lake.stores.archive).begin(dead)  # as if it had died before it was struck
    put(lake, [(3, FIRST)], append=True)
    put(lake, [(2, SECOND)], replace={"day": [SECOND]})
    expire(lake, before=later())
    list(finish_pending(lake))
    assert now_reads(lake) == [2, 3]
    assert expire(lake, before=later()) == {"visits": 1}


def test_an_instant_without_a_zone_is_refused(lake: Lakehouse) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        expire(lake, before=datetime(2024, 1, 1))


def test_what_is_deleted_from_a_quiet_table_is_gone_with_its_snapshots(lake: Lakehouse) -> None:
    """No publish follows, and a table made of it was made long before: neither needs the rows."""
    put(lake, [(1, FIRST)])
    put(lake, [(2, SECOND)], append=True)
    with lake.session() as session:
        published = session.last_publish("visits")
    put_from(lake, VISITS, replace(VISITS, name="made"))
    carry_out(lake, begun("expire", "visits", [(FIRST,)], AT))
    carry_out(lake, begun("cool", "visits", [(SECOND,)], AT))
    with lake.session() as session:
        made, before = session.last_publish("made"), session.last_publish("visits")
        assert before == published
        assert made is not None
    assert expire(lake, before=later()) == {"visits": 3}
    sweep(lake, older_than=later())
    assert len(data_files(lake)) == 1, "what was deleted, and what was written anew"
    with lake.session() as session:
        assert session.last_publish("visits") == published
        assert session.last_publish("made") == made
        assert not session.has_changed("visits", made.inputs["visits"])
        assert session.changed_since("visits", made.inputs["visits"]) == set()
    put(lake, [(3, THIRD)], append=True)
    with lake.session() as session:
        assert session.changed_since("visits", made.inputs["visits"]) == {(THIRD,)}
