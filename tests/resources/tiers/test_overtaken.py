"""Moves and publishes that overtake each other just before they commit: both count once, or one is told it lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import date, datetime
from typing import Any

import pytest

from resources.iceberg import commit
from resources.iceberg.errors import NotMoved, PartitionsArchived
from resources.iceberg.placement import placed_now
from resources.lake.lakehouse import Lakehouse
from resources.tiers import committing
from resources.tiers.inventory import sequence_of
from resources.tiers.journal import Journal, Kind
from resources.tiers.moving import begun, carry_out, finish_pending
from tests.resources.visits import FIRST, SECOND, THIRD, VISITS, now_reads, put

AT = datetime(2024, 6, 1, 5)
Open = Callable[..., Lakehouse]


def move(lake: Lakehouse, kind: Kind, *days: date | None) -> None:
    carry_out(lake, begun(kind, "visits", [(day,) for day in days], AT))


def before_the_commit(patch: pytest.MonkeyPatch, place: Any, first: Callable[[], None]) -> None:
    """Have ``first`` happen once, when ``place`` has read the table and is about to commit."""
    overwritten, waiting = commit.overwritten, [first]

    def overtaken(*args: Any, **how: Any) -> Any:
        if waiting:
            waiting.pop()()
        return overwritten(*args, **how)

    patch.setattr(place, "overwritten", overtaken)


def whole(lake: Lakehouse) -> list[int]:
    """All there is, with what is archived brought back."""
    table = lake.load("visits")
    assert table is not None
    archived = [one.partition for one in placed_now(table).values() if one.tier == "archived"]
    if archived:
        with pytest.raises(PartitionsArchived):
            now_reads(lake)
        carry_out(lake, begun("restore", "visits", archived, AT))
    assert list(Journal(lake.stores.archive).pending()) == []
    return now_reads(lake)


def prepared(lake: Lakehouse, kind: Kind) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    put(lake, [(3, FIRST)], append=True)
    if kind in ("restore", "return"):
        move(lake, "archive", FIRST)
    if kind == "return":
        move(lake, "restore", FIRST)
    if kind == "warm":
        move(lake, "cool", FIRST)


KINDS: tuple[Kind, ...] = ("archive", "restore", "return", "cool", "warm", "compact")


@pytest.mark.parametrize("kind", KINDS)
def test_a_publish_to_another_partition_keeps_no_move_from_its_commit(
    open_lake: Open, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, other = open_lake(), open_lake()
    prepared(lake, kind)
    before_the_commit(monkeypatch, committing, lambda: put(other, [(9, SECOND)], replace={"day": [SECOND]}))
    move(lake, kind, FIRST)
    assert whole(lake) == [1, 3, 9]


@pytest.mark.parametrize("kind", KINDS)
def test_a_publish_in_place_of_a_partition_wins_over_its_move(
    open_lake: Open, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, other = open_lake(), open_lake()
    prepared(lake, kind)
    before_the_commit(monkeypatch, committing, lambda: put(other, [(9, FIRST)], replace={"day": [FIRST]}))
    with suppress(NotMoved):
        move(lake, kind, FIRST)
    assert whole(lake) == [2, 9]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_appended_to_a_partition_that_moves_are_there_once(
    open_lake: Open, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, other = open_lake(), open_lake()
    prepared(lake, kind)
    before_the_commit(monkeypatch, committing, lambda: put(other, [(9, FIRST)], append=True))
    with nullcontext() if kind == "restore" else pytest.raises(NotMoved):
        move(lake, kind, FIRST)
    assert whole(lake) == [1, 2, 3, 9]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [{"replace": {"day": [FIRST]}}, {"append": True}, {}], ids=["replace", "append", "all"])
def test_a_publish_that_a_move_overtakes_counts_once(
    open_lake: Open, kind: Kind, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, other = open_lake(), open_lake()
    prepared(lake, kind)
    before_the_commit(monkeypatch, commit, lambda: move(other, kind, FIRST))
    put(lake, [(9, FIRST)], **how)
    assert whole(lake) == {"append": [1, 2, 3, 9], "replace": [2, 9]}.get(next(iter(how), ""), [9])


def test_a_publish_of_a_partition_that_came_and_was_archived_meanwhile_replaces_it(
    open_lake: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, other = open_lake(), open_lake()
    put(lake, [(1, FIRST)])

    def first() -> None:
        put(other, [(2, THIRD)], append=True)
        move(other, "archive", THIRD)

    before_the_commit(monkeypatch, commit, first)
    put(lake, [(3, THIRD)], replace={"day": [THIRD]})
    assert whole(lake) == [1, 3]


def test_of_two_publishes_of_a_new_partition_one_is_left(open_lake: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, other = open_lake(), open_lake()
    put(lake, [(1, FIRST)])
    before_the_commit(monkeypatch, commit, lambda: put(other, [(2, THIRD), (7, THIRD)], replace={"day": [THIRD]}))
    put(lake, [(3, THIRD)], replace={"day": [THIRD]})
    assert now_reads(lake) == [1, 3]


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("how", [{"append": True}, {"replace": {"day": [FIRST]}}], ids=["append", "replace"])
def test_rows_that_come_while_a_partition_expires_are_not_deleted(
    open_lake: Open, archived: bool, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, other = open_lake(), open_lake()
    prepared(lake, "archive")
    if archived:
        move(lake, "archive", FIRST)
    before_the_commit(monkeypatch, committing, lambda: put(other, [(9, FIRST)], **how))
    try:
        move(lake, "expire", FIRST)
    except NotMoved:
        kept = [2, 9] if "replace" in how else [1, 2, 3, 9]
        assert whole(lake) == kept
    else:
        assert Counter(now_reads(lake)) == Counter([2, 9])


@pytest.mark.parametrize("kind", ["archive", "cool", "warm", "compact", "expire"])
def test_a_partition_that_was_written_after_its_move_was_decided_does_not_move(open_lake: Open, kind: Kind) -> None:
    lake = open_lake()
    prepared(lake, kind)
    table = lake.load("visits")
    assert table is not None
    seen = sequence_of(table)
    put(lake, [(9, SECOND)], append=True)
    move(lake, "compact", SECOND)  # a move is no write
    decided = begun(kind, "visits", [(FIRST,), (SECOND,)], AT, seen=seen)
    with pytest.raises(NotMoved, match="day=2024-03-02 was written meanwhile, so nothing of 2 partitions was moved"):
        carry_out(lake, decided)
    assert whole(lake) == [1, 2, 3, 9]
    carry_out(lake, begun(kind, "visits", [(FIRST,)], AT, seen=seen))
    assert whole(lake) == ([2, 9] if kind == "expire" else [1, 2, 3, 9])


@pytest.mark.parametrize("archived", [False, True])
def test_an_expiry_that_died_before_its_commit_deletes_nothing_that_came_meanwhile(
    open_lake: Open, archived: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = open_lake()
    prepared(lake, "archive")
    if archived:
        move(lake, "archive", FIRST)

    def never(*_args: Any, **_how: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(committing, "overwritten", never)
        with pytest.raises(KeyboardInterrupt):
            move(lake, "expire", FIRST)
    put(lake, [(9, FIRST)], append=True)
    [given_up] = finish_pending(lake)
    assert given_up.rows == 0
    assert whole(lake) == [1, 2, 3, 9]


def test_a_snapshot_pinned_before_an_overtaken_move_reads_what_it_read(
    open_lake: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, other = open_lake(), open_lake()
    prepared(lake, "archive")
    before_the_commit(monkeypatch, committing, lambda: put(other, [(9, SECOND)], append=True))
    with lake.session() as session:
        assert session.snapshot_id("visits")
        move(lake, "archive", FIRST)
        assert sorted(session.read(VISITS).visit.to_pyarrow().to_pylist()) == [1, 2, 3]
