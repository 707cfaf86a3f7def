"""The sweep deletes what nothing references any more, and never anything else."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from resources.lake.lakehouse import Lakehouse
from resources.lake.sweep import Swept, sweep
from resources.lake.table_snapshots import expire
from resources.stores import lock
from resources.tiers import committing
from resources.tiers.checking import archive_faults
from resources.tiers.journal import Journal, Kind, Move
from resources.tiers.manifest import data_prefix, partition_folder
from resources.tiers.moving import begun, carry_out, finish_pending
from tests.resources.visits import FIRST, SECOND, THIRD, VISITS, data_files, now_reads, numbers, put, visits

AGES_AGO = datetime(2001, 1, 1, tzinfo=UTC)
LEASE = datetime(2010, 1, 1, tzinfo=UTC)
AT = datetime(2024, 6, 1, 5)


def aged(*files: Path) -> None:
    """Set the files' times to long ago."""
    for file in files:
        os.utime(file, (AGES_AGO.timestamp(), AGES_AGO.timestamp()))


def age_everything(lake: Lakehouse) -> None:
    aged(*lake.settings.lake.rglob("*"), *(lake.settings.home / "runs").rglob("*"))


def killed_publish(lake: Lakehouse, run: str) -> list[Path]:
    """The files of a publish that was killed between writing and committing."""
    with lake.session() as session:
        table = lake.load("visits")
        assert table is not None
        staged = session.engine.stage(VISITS, visits((99, FIRST)), table, f"killed_{run}", run)
        return [Path(file.file_path.removeprefix("file://")) for file in staged.files]


def test_the_orphan_of_a_killed_run_goes_and_fresh_staged_files_stay(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    [orphan] = killed_publish(lake, "run-killed")
    aged(orphan)
    [running] = killed_publish(lake, "run-now")
    size = orphan.stat().st_size
    assert sweep(lake, older_than=LEASE) == Swept(1, size)
    assert not orphan.exists()
    assert running.exists()
    assert now_reads(lake) == [1, 2]


def test_everything_that_metadata_references_stays_however_old(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    put(lake, [(3, SECOND)], replace={"day": [SECOND]})
    put(lake, [(4, FIRST)], append=True)
    age_everything(lake)
    assert sweep(lake, older_than=LEASE) == Swept(0, 0)
    assert now_reads(lake) == [1, 3, 4]
    put(lake, [(5, FIRST)], append=True)
    assert now_reads(lake) == [1, 3, 4, 5]


def test_a_reader_pinned_to_an_older_retained_snapshot_still_reads(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    with lake.session() as reader:
        assert numbers(reader) == [1]
        put(lake, [(2, FIRST)])
        age_everything(lake)
        sweep(lake, older_than=LEASE)
        assert numbers(reader) == [1]


def test_files_of_expired_snapshots_go_with_their_manifests(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    expired = lake.state("visits").snapshot_id
    old = data_files(lake)
    put(lake, [(2, FIRST)])
    table = lake.load("visits")
    assert table is not None
    assert expired is not None
    [gone] = [snapshot for snapshot in table.snapshots() if snapshot.snapshot_id == expired]
    manifests = {Path(manifest.manifest_path.removeprefix("file://")) for manifest in gone.manifests(table.io)}
    table.maintenance.expire_snapshots().by_id(expired).commit()
    age_everything(lake)
    swept = sweep(lake, older_than=LEASE)
    assert swept.files >= 3  # data, manifest, manifest list
    assert not any(path.exists() for path in old | manifests)
    assert now_reads(lake) == [2]


def test_nothing_outside_the_folders_of_tables_is_touched(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    strangers = [
        lake.settings.lake / "notes.txt",
        lake.settings.lake / "other" / "data" / "a.parquet",
        lake.settings.home / "landing" / "shop" / "orders.csv",
    ]
    for path in strangers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    link = lake.settings.lake / "visits" / "data" / "link.parquet"
    link.symlink_to(strangers[0])
    age_everything(lake)
    aged(*strangers)
    assert sweep(lake, older_than=LEASE) == Swept(0, 0)
    assert all(path.read_text() == "mine" for path in strangers)


def test_pins_of_runs_long_over_go_and_those_of_today_stay(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    for run in ("old", "new"):
        with lake.session(run) as session:
            assert numbers(session) == [1]
    runs = lake.settings.home / "runs"
    aged(*(runs / "old").iterdir())
    sweep(lake, older_than=LEASE)
    assert {path.name for path in runs.iterdir()} == {"new"}


def test_a_lake_without_tables_has_nothing_to_sweep(lake: Lakehouse) -> None:
    assert sweep(lake, older_than=LEASE) == Swept(0, 0)


def test_a_lease_without_a_zone_is_refused(lake: Lakehouse) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        sweep(lake, older_than=datetime(2024, 1, 1))


def test_every_file_of_a_lake_at_work_is_fresh_to_a_lease_of_an_hour(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    [running] = killed_publish(lake, "run-now")
    assert sweep(lake, older_than=datetime.now(UTC) - timedelta(hours=1)) == Swept(0, 0)
    assert running.exists()


def test_a_held_lock_says_who_holds_it(open_lake: Callable[..., Lakehouse]) -> None:
    settings = open_lake().settings
    with (
        lock.exclusive(settings, "sweep", timeout=1),
        pytest.raises(lock.Busy, match=f"sweep is being worked on by process {os.getpid()}.*Nothing was done"),
        lock.exclusive(settings, "sweep", timeout=0.2),
    ):
        pytest.fail("two held one lock")
    with lock.exclusive(settings, "sweep", timeout=1):
        assert FileLock(settings.locks / "sweep.lock", timeout=0) is not None


def test_an_error_of_the_work_itself_is_no_busy_lock(open_lake: Callable[..., Lakehouse]) -> None:
    with pytest.raises(TimeoutError, match="mine"), lock.exclusive(open_lake().settings, "x", timeout=1):
        raise TimeoutError("mine")


def move(lake: Lakehouse, kind: Kind, *days: date, **how: Any) -> Move:
    made = begun(kind, "visits", [(day,) for day in days], AT, **how)
    carry_out(lake, made)
    return made


def age_archive(lake: Lakehouse) -> None:
    aged(*(lake.settings.home / "archive").rglob("*"))


def archived_moves(lake: Lakehouse) -> dict[str, set[str]]:
    """The moves of which the archive holds something, by kind of file."""
    found: dict[str, set[str]] = {}
    for stored in lake.stores.archive.list():
        kind, *below = stored.key.split("/")
        found.setdefault(kind, set()).add(below[-1 if kind == "journal" else 1].removesuffix(".json"))
    return found


def test_archives_that_a_table_refers_to_stay_however_old(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    first = move(lake, "archive", FIRST, sought_by="visit")
    second = move(lake, "archive", SECOND, sought_by="visit")
    move(lake, "restore", SECOND)  # goes back to the same files
    age_everything(lake)
    age_archive(lake)
    sweep(lake, older_than=LEASE)
    kept = {first.id, second.id}
    assert archived_moves(lake) == {"data": kept, "keys": kept, "manifests": kept}
    move(lake, "return", SECOND)
    move(lake, "restore", FIRST, SECOND)
    assert now_reads(lake) == [1, 2]


def test_what_is_archived_of_a_partition_that_expired_goes_and_that_of_others_of_its_move_stays(
    lake: Lakehouse,
) -> None:
    put(lake, [(1, FIRST), (2, SECOND), (3, THIRD)])
    together = move(lake, "archive", FIRST, SECOND, THIRD, sought_by="visit")
    move(lake, "expire", FIRST)
    put(lake, [(9, SECOND)], replace={"day": [SECOND]})
    age_archive(lake)
    sweep(lake, older_than=LEASE)
    left = [stored.key for stored in lake.stores.archive.list() if not stored.key.startswith("manifests/")]
    assert sorted(key.rsplit("/", 1)[0] for key in left) == [
        f"{kind}/visits/{together.id}/{partition_folder((THIRD,))}" for kind in ("data", "keys")
    ]
    assert list(archive_faults(lake, 5, "seed")) == []
    move(lake, "restore", THIRD)
    assert now_reads(lake) == [3, 9]


@pytest.mark.parametrize("end", ["replaced", "expired", "compacted", "all replaced"])
def test_archives_that_nothing_refers_to_go_with_manifest_and_keys_after_the_lease(lake: Lakehouse, end: str) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    gone = move(lake, "archive", FIRST, sought_by="visit")
    kept = move(lake, "archive", SECOND, sought_by="visit")
    match end:
        case "replaced":
            put(lake, [(3, FIRST)], replace={"day": [FIRST]})
        case "expired":
            move(lake, "expire", FIRST)
        case "compacted":
            move(lake, "restore", FIRST)
            move(lake, "warm", FIRST)
        case _:
            put(lake, [(3, FIRST)])
    fresh = archived_moves(lake)
    sweep(lake, older_than=LEASE)
    assert archived_moves(lake) == fresh
    age_archive(lake)
    sweep(lake, older_than=LEASE)
    left = archived_moves(lake)
    assert all(gone.id not in moves for moves in left.values())
    if end != "all replaced":
        assert left == {kind: {kept.id} for kind in ("data", "keys", "manifests")}
        move(lake, "restore", SECOND)
        assert 2 in now_reads(lake)


def test_what_a_move_under_way_has_copied_stays_and_what_a_refused_one_left_goes(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    under_way = begun("archive", "visits", [(FIRST,)], AT)
    for name in (under_way.id, "refused"):
        lake.stores.archive.write(f"{data_prefix('visits', name, (FIRST,))}00000.parquet", b"copied")
        lake.stores.archive.write(f"manifests/visits/{name}.json", b"{}")
    lake.stores.archive.write("elsewhere/visits/refused/a", b"mine")
    Journal(lake.stores.archive).begin(under_way)
    age_archive(lake)
    assert sweep(lake, older_than=LEASE).files == 2
    assert archived_moves(lake)["journal"] == {under_way.id}
    assert archived_moves(lake)["manifests"] == {under_way.id}
    assert lake.stores.archive.exists("elsewhere/visits/refused/a")
    [done] = finish_pending(lake)
    assert done.files == 1
    move(lake, "restore", FIRST)
    assert now_reads(lake) == [1, 2]


def test_files_that_a_dead_restore_left_stay_for_the_run_that_finishes_it(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    move(lake, "archive", FIRST)
    put(lake, [(2, SECOND)], replace={"day": [SECOND]})

    def never(*_args: Any, **_how: Any) -> None:
        raise KeyboardInterrupt

    dead = begun("restore", "visits", [(FIRST,)], AT)
    with monkeypatch.context() as patch:
        patch.setattr(committing, "overwritten", never)
        with pytest.raises(KeyboardInterrupt):
            carry_out(lake, dead)
    [copied] = [path for path in data_files(lake) if f"restored-{dead.id}" in str(path)]
    age_everything(lake)
    sweep(lake, older_than=LEASE)
    assert copied.exists()
    Journal(lake.stores.archive).finish(dead)  # given up
    sweep(lake, older_than=LEASE)
    assert not copied.exists()
    move(lake, "restore", FIRST)
    assert now_reads(lake) == [1, 2]


def test_a_move_that_ends_while_the_journal_is_read_is_no_error(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, under_way = (begun("archive", "visits", [(day,)], AT) for day in (FIRST, SECOND))
    journal = Journal(lake.stores.archive)
    journal.begin(ended)
    journal.begin(under_way)
    listed = list(lake.stores.archive.list("journal/"))
    journal.finish(ended)
    with monkeypatch.context() as patch:
        patch.setattr(lake.stores.archive, "list", lambda _prefix: iter(listed))
        assert list(journal.pending()) == [under_way]


def test_files_of_a_table_that_moved_go_when_no_snapshot_needs_them(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    before = data_files(lake)
    move(lake, "archive", FIRST)
    move(lake, "cool", SECOND)
    age_everything(lake)
    sweep(lake, older_than=LEASE)
    assert before <= data_files(lake)
    table = lake.load("visits")
    assert table is not None
    expire(lake, before=datetime.now(UTC) + timedelta(days=1))
    # the newest publish is what a rebuild compares with: it goes with the next one
    assert before <= data_files(lake)
    put(lake, [(3, SECOND)], append=True)
    expire(lake, before=datetime.now(UTC) + timedelta(days=1))
    age_everything(lake)
    sweep(lake, older_than=LEASE)
    assert not before & data_files(lake)
    move(lake, "restore", FIRST)
    assert now_reads(lake) == [1, 2, 3]
