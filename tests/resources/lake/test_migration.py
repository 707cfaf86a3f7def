"""A lake moves with its history; what was interrupted is finished, and what differs is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import ibis
import pytest

from resources.iceberg.errors import PartitionsArchived
from resources.iceberg.placement import placed_now
from resources.iceberg.table import Column, TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.migration import Migrated, MigrationRefused, migrate
from resources.stores.folder_store import FolderStore
from resources.tiers.moving import begun, carry_out
from tests.resources.visits import FIRST, SECOND, VISITS, data_files, now_reads, numbers, operations, put, visits

COUNTS = TableSpec("counts", (Column("n", "int64"),))
WIDER = TableSpec("visits", (*VISITS.columns, Column("shop", "string")), VISITS.key, VISITS.partition_by)


@pytest.fixture
def source(open_lake: Callable[..., Lakehouse]) -> Lakehouse:
    """A lake with a history: partitions, a replaced one, a column added, and a table made of another."""
    lake = open_lake("source")
    fill(lake)
    return lake


@pytest.fixture
def target(open_lake: Callable[..., Lakehouse]) -> Lakehouse:
    return open_lake("target")


def fill(lake: Lakehouse) -> None:
    """Three publishes of visits, and one of what was counted of them."""
    put(lake, [(1, FIRST), (2, SECOND), (3, None)])
    put(lake, [(20, SECOND)], replace={"day": [SECOND]})
    with lake.in_process() as session:
        session.publish(WIDER, visits((4, FIRST)).mutate(shop=ibis.literal("Ä")), append=True)
    with lake.in_process() as session:
        rows = session.read(WIDER)
        session.publish(COUNTS, rows.aggregate(n=rows.count()), provenance={"code_version": "7"})


def history(lake: Lakehouse, name: str) -> list[tuple[Any, ...]]:
    """Id, parent, sequence, time and summary of every snapshot of a table."""
    table = lake.load(name)
    assert table is not None
    return [
        (one.snapshot_id, one.parent_snapshot_id, one.sequence_number, one.timestamp_ms, one.summary)
        for one in table.snapshots()
    ]


def test_a_lake_moves_with_its_rows_its_snapshots_and_its_record_of_inputs(
    source: Lakehouse, target: Lakehouse
) -> None:
    moved = {one.table: one for one in migrate(source, target)}
    assert sorted(moved) == ["counts", "visits"]
    assert (moved["visits"].snapshots, moved["visits"].rows, moved["visits"].was_there) == (3, 4, False)
    assert moved["visits"].files == len(data_files(source)) == len(data_files(target)) == 5
    assert moved["visits"].bytes == sum(path.stat().st_size for path in data_files(source))
    assert now_reads(target, WIDER) == now_reads(source, WIDER) == [1, 3, 4, 20]
    for name in ("counts", "visits"):
        assert history(target, name) == history(source, name)
    with source.session() as old, target.session() as new:
        assert new.last_publish("counts") == old.last_publish("counts")
        assert new.partitions("visits") == old.partitions("visits")
        first = history(source, "visits")[0][0]
        assert new.changed_since("visits", first) == old.changed_since("visits", first)


def test_the_moved_lake_stands_alone(source: Lakehouse, target: Lakehouse) -> None:
    list(migrate(source, target))
    source.settings.lake.rename(source.settings.home / "away")
    with target.session("run") as pinned:
        assert numbers(pinned, WIDER) == [1, 3, 4, 20]
        put(target, [(21, SECOND)], replace={"day": [SECOND]})
        assert numbers(pinned, WIDER) == [1, 3, 4, 20]
    assert now_reads(target, WIDER) == [1, 3, 4, 21]
    table = target.load("visits")
    assert table is not None
    for snapshot, rows in zip(table.snapshots(), (3, 3, 4, 4), strict=True):
        assert table.scan(snapshot_id=snapshot.snapshot_id).to_arrow().num_rows == rows


def test_moving_again_what_is_there_copies_nothing(source: Lakehouse, target: Lakehouse) -> None:
    list(migrate(source, target))
    written = {path: path.stat().st_mtime_ns for path in target.settings.lake.rglob("*") if path.suffix != ".db"}
    again = list(migrate(source, target))
    assert [one.was_there for one in again] == [True, True]
    assert {
        path: path.stat().st_mtime_ns for path in target.settings.lake.rglob("*") if path.suffix != ".db"
    } == written


def test_a_table_published_since_is_moved_and_one_that_differs_is_refused(source: Lakehouse, target: Lakehouse) -> None:
    list(migrate(source, target))
    with source.session() as session:
        session.publish(TableSpec("later", COUNTS.columns), ibis.memtable({"n": [1]}))
    assert [one.table for one in migrate(source, target) if not one.was_there] == ["later"]
    put(target, [(5, FIRST)], append=True)
    before = history(target, "visits"), history(source, "visits")
    with pytest.raises(MigrationRefused, match="visits: the target has one with other snapshots"):
        list(migrate(source, target))
    assert (history(target, "visits"), history(source, "visits")) == before


@pytest.mark.parametrize("killed_at", range(1, 12))
def test_a_move_that_was_killed_shows_no_part_and_is_finished_without_copying_twice(
    source: Lakehouse, target: Lakehouse, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    write, written = FolderStore.write, []

    def write_until_killed(self: FolderStore, key: str, content: bytes) -> None:
        if len(written) == killed_at:
            raise KeyboardInterrupt
        write(self, key, content)
        written.append(key)

    monkeypatch.setattr(FolderStore, "write", write_until_killed)
    with pytest.raises(KeyboardInterrupt):
        list(migrate(source, target))
    shown = target.names()
    assert all(history(target, name) == history(source, name) for name in shown)
    data = [key for key in written if "/data/" in key]
    written.clear()
    monkeypatch.setattr(FolderStore, "write", lambda self, *told: (written.append(told[0]), write(self, *told))[1])
    list(migrate(Lakehouse(source.settings), Lakehouse(target.settings)))
    assert not set(data) & set(written)
    assert now_reads(Lakehouse(target.settings), WIDER) == [1, 3, 4, 20]


def test_a_file_that_was_damaged_on_its_way_is_noticed(
    source: Lakehouse, target: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = FolderStore.write

    def damage(self: FolderStore, key: str, content: bytes) -> None:
        write(self, key, content[:-20] + bytes(20) if key.startswith("visits/data/") else content)

    monkeypatch.setattr(FolderStore, "write", damage)
    with pytest.raises(MigrationRefused, match=r"visits/data/.* is not the file that was copied; delete it"):
        list(migrate(source, target))
    monkeypatch.undo()
    assert target.names() == ["counts"]
    with pytest.raises(MigrationRefused, match="is not the file that was copied"):  # of the same size, so kept
        list(migrate(source, target))
    for path in data_files(target):
        path.unlink()
    assert len(list(migrate(source, target))) == 2
    assert now_reads(target, WIDER) == [1, 3, 4, 20]


def test_empty_tables_and_a_lake_without_any_move_too(open_lake: Callable[..., Lakehouse], tmp_path: Path) -> None:
    source, target = open_lake("source"), open_lake("target")
    assert list(migrate(source, target)) == []
    put(source, [])
    assert list(migrate(source, target)) == [Migrated("visits", 1, 0, 0, 0, False)]
    assert now_reads(target) == []
    assert operations(target) == ["append"]


def test_what_is_archived_is_restored_before_it_moves(source: Lakehouse, target: Lakehouse) -> None:
    carry_out(source, begun("archive", "visits", [(FIRST,)], datetime(2024, 6, 1)))
    with pytest.raises(MigrationRefused, match="1 partitions are archived, such as day=2024-03-01; restore them"):
        list(migrate(source, target))
    carry_out(source, begun("restore", "visits", [(FIRST,)], datetime(2024, 6, 2)))
    list(migrate(source, target))
    assert now_reads(target, WIDER) == now_reads(source, WIDER)
    table = target.load("visits")
    assert table is not None
    assert placed_now(table) == {}
    between = next(one for one in table.snapshots() if one.summary and one.summary["cdap.maintenance"] == "archive")
    with target.session() as session:
        session.run.published("visits", between.snapshot_id, 0)
        with pytest.raises(PartitionsArchived):
            numbers(session, WIDER)
