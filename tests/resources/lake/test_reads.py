"""Every read is noted once and counted once, wherever a fold is stopped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from resources.iceberg.catalog import Partition
from resources.iceberg.errors import PartitionsArchived
from resources.lake.lakehouse import Lakehouse
from resources.lake.reads import MONTHS, NOTES, ReadLog, Reads, fold, history
from resources.settings import Settings
from resources.stores.folder_store import FolderStore
from resources.tiers.moving import begun, carry_out
from tests.resources.visits import FIRST, SECOND, VISITS, numbers, put

DAY = date(2024, 5, 31)
AT = datetime(2024, 5, 31, 23, 59)


class Stop(BaseException):
    """The process ends here."""


class Dying(FolderStore):
    """A store whose process dies after ``steps`` writes and deletions; each file is deleted by itself."""

    def __init__(self, folder: Path, steps: int) -> None:
        super().__init__(folder)
        self._left = steps

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Stop

    def write(self, key: str, content: bytes) -> None:
        self._step()
        super().write(key, content)

    def delete(self, keys: Iterable[str]) -> int:
        gone = 0
        for key in keys:
            self._step()
            gone += super().delete([key])
        return gone


def noted(store: FolderStore, at: datetime, *partitions: Partition, size: int = 10) -> None:
    log = ReadLog(store)
    for partition in partitions:
        log._counts["visits", partition] += 1
        log._seen["visits", partition] += size
    log.flush(at)


def counts(store: FolderStore) -> Mapping[Partition, Mapping[date, Reads]]:
    return {partition: dict(days) for (_table, partition), days in history(store).items()}


def files(store: FolderStore, prefix: str) -> list[str]:
    return [found.key for found in store.list(prefix)]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "reads")


def clocked(tmp_path: Path, at: datetime) -> Lakehouse:
    return Lakehouse(Settings(home=tmp_path / "home", threads=1, memory_limit="500MB"), lambda: at)


def test_a_session_notes_the_partitions_and_bytes_that_it_planned_to_read(tmp_path: Path) -> None:
    lake = clocked(tmp_path, AT)
    put(lake, [(1, FIRST), (2, SECOND), (3, None)])
    with lake.session() as session:
        numbers(session)
        numbers(session)
        session.read(VISITS, {"day": [FIRST]}).count().to_pyarrow()
        assert list(lake.stores.reads.list()) == []  # nothing before it ends
    assert len(list(lake.stores.reads.list(NOTES))) == 1
    fold(lake.stores.reads)
    found = history(lake.stores.reads)
    assert {key: {day: reads.count for day, reads in days.items()} for key, days in found.items()} == {
        ("visits", (FIRST,)): {DAY: 3},
        ("visits", (SECOND,)): {DAY: 2},
        ("visits", (None,)): {DAY: 2},
    }
    table = lake.load("visits")
    assert table is not None
    sizes = dict(zip([1, 2, 3], table.inspect.files()["file_size_in_bytes"].to_pylist(), strict=True))
    total = sum(reads.bytes for days in found.values() for reads in days.values())
    assert total == 2 * sum(sizes.values()) + found["visits", (FIRST,)][DAY].bytes // 3


def test_a_session_that_reads_nothing_writes_nothing_and_a_failing_one_tells_what_it_read(tmp_path: Path) -> None:
    lake = clocked(tmp_path, AT)
    put(lake, [(1, FIRST)])
    with lake.session():
        pass
    assert list(lake.stores.reads.list()) == []
    session = lake.session()
    session.read(VISITS)
    session.__exit__(Stop, Stop(), None)
    assert len(list(lake.stores.reads.list(NOTES))) == 1


def test_a_refused_read_is_no_read(tmp_path: Path) -> None:
    lake = clocked(tmp_path, AT)
    put(lake, [(1, FIRST)])
    carry_out(lake, begun("archive", "visits", [(FIRST,)], AT))
    with lake.session() as session, pytest.raises(PartitionsArchived):
        session.read(VISITS)
    assert list(lake.stores.reads.list()) == []


def test_a_fold_adds_up_by_day_and_leaves_one_file_a_month(store: FolderStore) -> None:
    noted(store, AT, (FIRST,), (FIRST,), ("de", None))
    noted(store, AT, (FIRST,))
    noted(store, AT + timedelta(minutes=1), (FIRST,))
    assert history(store) == {}
    fold(store)
    june = DAY + timedelta(days=1)
    assert counts(store) == {(FIRST,): {DAY: Reads(3, 30), june: Reads(1, 10)}, ("de", None): {DAY: Reads(1, 10)}}
    assert files(store, NOTES) == []
    assert files(store, MONTHS) == ["months/2024-05.json", "months/2024-06.json"]
    noted(store, AT, (FIRST,), size=7)  # late
    fold(store)
    fold(store)
    assert counts(store)[FIRST,] == {DAY: Reads(4, 37), june: Reads(1, 10)}


def test_each_note_counts_once_wherever_folds_die(tmp_path: Path) -> None:
    for steps in range(20):
        store = FolderStore(tmp_path / str(steps))
        for number in range(4):
            noted(store, AT, (FIRST,), (number,))
            noted(store, AT + timedelta(days=1), (FIRST,))
        try:
            fold(Dying(store.folder, steps))
        except Stop:
            stopped = True
        else:
            stopped = False
        noted(store, AT, (FIRST,))  # comes in between
        for more in range(1, 4):
            try:
                fold(Dying(store.folder, more))
            except Stop:
                noted(store, AT, (FIRST,))
        fold(store)
        noted_between = sum(reads.count for reads in counts(store)[FIRST,].values()) - 8
        assert 1 <= noted_between <= 4
        assert counts(store)[FIRST,][DAY + timedelta(days=1)] == Reads(4, 40)
        assert {counts(store)[number,][DAY] for number in range(4)} == {Reads(1, 10)}
        assert sum(reads.bytes for reads in counts(store)[FIRST,].values()) == 10 * (8 + noted_between)
        if not stopped:
            break
    else:
        pytest.fail("a fold of eight notes has more than twenty steps")
    assert steps == 10  # two months written, eight notes deleted


def test_notes_that_come_during_a_fold_wait_for_the_next(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    noted(store, AT, (FIRST,))
    write = store.write

    def written(key: str, content: bytes) -> None:
        if key.startswith(MONTHS):
            noted(FolderStore(store.folder), AT, (FIRST,))
        write(key, content)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", written)
        fold(store)
    assert counts(store)[FIRST,] == {DAY: Reads(1, 10)}
    fold(store)
    assert counts(store)[FIRST,] == {DAY: Reads(2, 20)}


def test_concurrent_sessions_are_all_counted(tmp_path: Path) -> None:
    put(clocked(tmp_path, AT), [(1, FIRST), (2, SECOND)])

    def read_once(_number: int) -> Any:
        with clocked(tmp_path, AT).session() as session:
            return numbers(session)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(read_once, range(12))) == [[1, 2]] * 12
    lake = clocked(tmp_path, AT)
    fold(lake.stores.reads)
    assert {reads[DAY].count for reads in history(lake.stores.reads).values()} == {12}


def test_what_the_platform_looks_at_by_itself_is_no_use_of_it(tmp_path: Path) -> None:
    lake = clocked(tmp_path, AT)
    put(lake, [(1, FIRST)])
    with lake.looking() as session:
        assert numbers(session) == [1]
    assert list(lake.stores.reads.list(NOTES)) == []
