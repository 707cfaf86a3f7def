"""The sweep deletes what nothing references any more, and never anything else."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

from resources import lock
from resources.lakehouse import Lakehouse
from resources.sweep import Swept, sweep
from tests.resources.visits import FIRST, SECOND, VISITS, data_files, now_reads, numbers, put, visits

AGES_AGO = datetime(2001, 1, 1, tzinfo=UTC)
LEASE = datetime(2010, 1, 1, tzinfo=UTC)


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
