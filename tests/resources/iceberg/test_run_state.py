"""The processes of a run share what it reads and what its queries scanned, without a lock."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resources.iceberg.run_state import RunState
from resources.stores.folder_store import FolderStore
from tests.processes import fresh

Pins = Callable[[], dict[str, int]]


def run_of(folder: Path, run_id: str | None = "run", current: Pins = lambda: {"visits": 1}) -> RunState:
    """A run as one of its processes sees it."""
    return RunState(FolderStore(folder), run_id, current)


def test_what_was_current_when_a_run_first_looked_is_what_it_reads(tmp_path: Path) -> None:
    now = {"visits": 1}
    run = run_of(tmp_path, current=lambda: dict(now))
    assert run.get("visits") == 1
    assert run.get("never built") is None
    now |= {"visits": 2, "never built": 3}
    assert [run.get("visits"), run.get("never built")] == [1, None]
    assert run_of(tmp_path, current=lambda: dict(now)).get("visits") == 1  # another process of the run
    assert run_of(tmp_path, "next run", current=lambda: dict(now)).get("visits") == 2


def pin(folder: Path, number: int, gate: threading.Barrier, answers: multiprocessing.SimpleQueue[int | None]) -> None:
    def current() -> dict[str, int]:
        gate.wait(60)  # all have seen that nothing is pinned
        return {"visits": number}

    answers.put(run_of(folder, current=current).get("visits"))


def test_of_processes_that_look_at_once_one_decides_for_all(tmp_path: Path) -> None:
    context = fresh()
    answers: multiprocessing.SimpleQueue[int | None] = context.SimpleQueue()
    gate = context.Barrier(3)
    processes = [context.Process(target=pin, args=(tmp_path, number, gate, answers)) for number in (1, 2, 3)]
    for process in processes:
        process.start()
    seen = {answers.get() for _ in processes}
    for process in processes:
        process.join(60)
    assert len(seen) == 1
    assert seen <= {1, 2, 3}


@pytest.mark.parametrize("run_id", ["run", None])
def test_a_run_reads_its_own_publish_and_of_other_tables_its_pins(tmp_path: Path, run_id: str | None) -> None:
    now = {"visits": 1, "other": 1}
    run = run_of(tmp_path, run_id, lambda: dict(now))
    run.published("visits", 7, 2)
    now["other"] = 2
    assert [run.get("visits"), run.get("other")] == [7, 1]


def test_of_several_publishes_the_newest_in_the_table_is_read_whoever_tells_first(tmp_path: Path) -> None:
    run, beside = run_of(tmp_path), run_of(tmp_path)
    run.published("visits", 30, 10)
    beside.published("visits", 20, 9)
    assert [run.get("visits"), beside.get("visits")] == [30, 30]
    assert run_of(tmp_path, "other").get("visits") == 1


def test_a_publish_before_the_first_look_pins_what_was_there(tmp_path: Path) -> None:
    now = {"visits": 1, "other": 1}
    run_of(tmp_path, current=lambda: dict(now)).published("visits", 7, 2)
    now |= {"visits": 7, "other": 9}
    assert run_of(tmp_path, current=lambda: dict(now)).get("other") == 1


def test_publishing_and_reading_at_once_fail_neither(tmp_path: Path) -> None:
    run_of(tmp_path).get("visits")
    over = threading.Event()

    def publish(table: str) -> None:
        run = run_of(tmp_path)
        for sequence in range(1, 150):
            run.published(table, 1000 + sequence, sequence)

    def read() -> None:
        run, last = run_of(tmp_path), 0
        while not over.is_set():
            found = run.get("visits") or 0
            assert found >= last
            last = found

    with ThreadPoolExecutor(4) as pool:
        reading = [pool.submit(read) for _ in range(2)]
        try:
            for done in [pool.submit(publish, table) for table in ("visits", "other")]:
                done.result()
        finally:
            over.set()
        for each in reading:
            each.result()
    assert run_of(tmp_path).get("visits") == 1149


def test_bytes_scanned_add_up_over_the_processes_of_a_run(tmp_path: Path) -> None:
    run, beside = run_of(tmp_path), run_of(tmp_path)
    assert run.scanned_bytes() == 0
    run.scanned("query-1", 100)
    beside.scanned("query-2", 100)
    beside.scanned("query-3", 0)
    assert run.scanned_bytes() == beside.scanned_bytes() == 200
    assert run_of(tmp_path, "other").scanned_bytes() == 0


def test_without_a_run_nothing_is_written(tmp_path: Path) -> None:
    alone = run_of(tmp_path, None)
    alone.published("visits", 7, 2)
    alone.scanned("query", 5)
    assert (alone.get("visits"), alone.scanned_bytes()) == (7, 5)
    assert list(tmp_path.rglob("*")) == []
