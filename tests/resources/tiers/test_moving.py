"""Partitions on their way between tiers: every reader sees all rows or is told, and every move can be finished."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest

from resources.iceberg.errors import ArchiveDamaged, NotMoved, PartitionsArchived
from resources.iceberg.placement import placed_now
from resources.lake.lakehouse import Lakehouse
from resources.tiers.journal import Journal, Kind
from resources.tiers.moving import Moved, begun, carry_out, finish_pending
from tests.resources.visits import FIRST, SECOND, THIRD, VISITS, now_reads, numbers, put

AT = datetime(2024, 6, 1, 5)


def move(lake: Lakehouse, kind: Kind, *days: date, **how: Any) -> Moved:
    return carry_out(lake, begun(kind, "visits", [(day,) for day in days], AT, **how))


def read(lake: Lakehouse, day: date) -> list[int]:
    with lake.session() as session:
        return sorted(session.read(VISITS, {"day": [day]}).visit.to_pyarrow().to_pylist())


@pytest.fixture
def visited(lake: Lakehouse) -> Lakehouse:
    """Three days, two files each."""
    for number in (0, 10):
        put(lake, [(number + 1, FIRST), (number + 2, SECOND), (number + 3, THIRD)], append=True)
    return lake


def test_an_archived_partition_is_refused_by_name_and_the_others_read_on(visited: Lakehouse) -> None:
    moved = move(visited, "archive", FIRST, offer="3 to 5 hours, 0.01 USD")
    assert (moved.files, moved.rows) == (2, 2)
    assert read(visited, SECOND) == [2, 12]
    with pytest.raises(PartitionsArchived, match=r"visits: day=2024-03-01 is archived \(2 rows\)") as refused:
        now_reads(visited)
    assert "cdap storage restore visits --partition day=2024-03-01` (3 to 5 hours, 0.01 USD)" in str(refused.value)
    with pytest.raises(PartitionsArchived):
        read(visited, FIRST)


def test_who_pinned_a_snapshot_before_a_move_reads_it_to_the_end(visited: Lakehouse) -> None:
    with visited.session() as early, visited.session("run") as run:
        before = numbers(early)
        run.snapshot_id("visits")
        move(visited, "archive", FIRST)
        assert numbers(run) == before
    with pytest.raises(PartitionsArchived), visited.session() as late:
        numbers(late)
    move(visited, "restore", FIRST, due=date(2024, 6, 8))
    assert now_reads(visited) == before


def test_a_restored_partition_goes_back_without_being_copied_again(visited: Lakehouse) -> None:
    move(visited, "archive", FIRST, SECOND)
    archived = {found.key for found in visited.stores.archive.list("data/")}
    move(visited, "restore", FIRST, due=date(2024, 6, 8))
    assert read(visited, FIRST) == [1, 11]
    with pytest.raises(PartitionsArchived):
        read(visited, SECOND)
    move(visited, "return", FIRST)
    with pytest.raises(PartitionsArchived):
        read(visited, FIRST)
    assert {found.key for found in visited.stores.archive.list("data/")} == archived
    move(visited, "restore", FIRST, SECOND)
    assert now_reads(visited) == [1, 2, 3, 11, 12, 13]


def test_a_publish_in_place_of_an_archived_partition_is_all_there_is_of_it(visited: Lakehouse) -> None:
    move(visited, "archive", FIRST)
    put(visited, [(100, FIRST)], replace={"day": [FIRST]})
    assert now_reads(visited) == [2, 3, 12, 13, 100]
    with pytest.raises(NotMoved, match="day=2024-03-01 is not archived"):
        move(visited, "restore", FIRST)


def test_rows_that_come_after_an_archive_wait_for_the_rest(visited: Lakehouse) -> None:
    move(visited, "archive", FIRST)
    put(visited, [(100, FIRST)], append=True)
    with pytest.raises(PartitionsArchived):
        read(visited, FIRST)
    with pytest.raises(NotMoved, match="is archived"):
        move(visited, "archive", FIRST)
    move(visited, "restore", FIRST, due=date(2024, 6, 8))
    assert read(visited, FIRST) == [1, 11, 100]
    with pytest.raises(NotMoved, match="has got rows since"):
        move(visited, "return", FIRST)


def test_cooled_and_compacted_files_hold_the_same_rows_in_fewer_files(visited: Lakehouse) -> None:
    cooled = move(visited, "cool", FIRST)
    compacted = move(visited, "compact", SECOND)
    assert (cooled.files, compacted.files) == (2, 2)
    assert now_reads(visited) == [1, 2, 3, 11, 12, 13]
    table = visited.load("visits")
    assert table is not None
    assert len(table.inspect.files()) == 4
    assert {one.tier for one in placed_now(table).values()} == {"cool"}


def test_an_expired_partition_is_gone_from_table_and_archive(visited: Lakehouse) -> None:
    move(visited, "archive", FIRST)
    gone = move(visited, "expire", FIRST, SECOND)
    assert gone.rows == 4
    assert now_reads(visited) == [3, 13]


def test_nothing_is_left_in_the_journal_of_a_move_that_ended_or_was_refused(visited: Lakehouse) -> None:
    move(visited, "archive", FIRST)
    with pytest.raises(NotMoved, match="day=2030-01-01 is not in the table"):
        move(visited, "archive", date(2030, 1, 1))
    assert list(Journal(visited.stores.archive).pending()) == []


def test_a_move_changes_nothing_that_a_reader_would_rebuild_for(visited: Lakehouse) -> None:
    with visited.session() as session:
        before = session.snapshot_id("visits")
    assert before is not None
    move(visited, "archive", FIRST)
    move(visited, "cool", SECOND)
    move(visited, "compact", THIRD)
    move(visited, "restore", FIRST)
    with visited.session() as session:
        assert session.changed_since("visits", before) == set()
        assert session.last_publish("visits") is not None


def test_a_move_of_a_table_that_is_gone_is_given_up(visited: Lakehouse) -> None:
    Journal(visited.stores.archive).begin(begun("archive", "visits", [(FIRST,)], AT))
    visited.catalog.drop_table((visited.database, "visits"))
    [given_up] = finish_pending(visited)
    assert given_up.given_up == "there is no table visits"
    assert list(Journal(visited.stores.archive).pending()) == []


def test_a_restore_goes_on_with_what_is_still_archived(visited: Lakehouse) -> None:
    move(visited, "archive", FIRST, SECOND)
    Journal(visited.stores.archive).begin(begun("restore", "visits", [(FIRST,), (SECOND,)], AT, due=date(2024, 6, 8)))
    put(visited, [(100, SECOND)], replace={"day": [SECOND]})
    [done] = finish_pending(visited)
    assert (done.rows, done.given_up) == (2, "")
    assert now_reads(visited) == [1, 3, 11, 13, 100]


def test_an_archived_file_that_was_changed_never_becomes_part_of_a_table(visited: Lakehouse) -> None:
    move(visited, "archive", FIRST)
    first = next(iter(visited.stores.archive.list("data/")))
    whole = (visited.settings.home / "archive" / first.key).read_bytes()
    visited.stores.archive.write(first.key, whole[:-9] + b"tampered!")
    restore = begun("restore", "visits", [(FIRST,)], AT)
    with pytest.raises(ArchiveDamaged, match=f"cdap storage give-up {restore.id}"):
        carry_out(visited, restore)
    with pytest.raises(ArchiveDamaged):
        list(finish_pending(visited))
    with pytest.raises(PartitionsArchived):
        now_reads(visited)
    visited.stores.archive.write(first.key, whole)
    [done] = finish_pending(visited)
    assert done.rows == 2
    assert now_reads(visited) == [1, 2, 3, 11, 12, 13]
