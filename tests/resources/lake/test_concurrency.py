"""Several processes at one table, and processes that are killed: every reader sees a whole publish."""

from __future__ import annotations

import multiprocessing
import random
import time
from datetime import date, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from resources.iceberg.catalog import open_catalog
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.processes import fresh
from tests.resources.visits import FIRST, VISITS, now_reads, put, visits

WRITERS, TURNS = 4, 3


def write_in_turns(home: Path, writer: int, failed: multiprocessing.SimpleQueue[str]) -> None:
    """Append a visit of this writer and replace this writer's own day, several times; read in between."""
    lake = Lakehouse(Settings(home=home, threads=1, memory_limit="500MB"))
    mine = FIRST + timedelta(days=1 + writer)
    try:
        for turn in range(TURNS):
            put(lake, [(1000 * (writer + 1) + turn, FIRST)], append=True)
            put(lake, [(writer * 10 + 1, mine), (writer * 10 + 2, mine)], replace={"day": [mine]})
            read = now_reads(lake)
            if {writer * 10 + 1, writer * 10 + 2} - set(read):
                failed.put(f"writer {writer} does not read its own rows in {read}")
    except BaseException as error:
        failed.put(f"writer {writer}: {error!r}")
        raise


def test_four_processes_that_append_and_replace_lose_no_row_and_fail_no_read(lake: Lakehouse) -> None:
    context = fresh()
    failed: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
    processes = [
        context.Process(target=write_in_turns, args=(lake.settings.home, writer, failed)) for writer in range(WRITERS)
    ]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        now_reads(lake)  # a reader beside the writers
    for process in processes:
        process.join()
    told = [] if failed.empty() else [failed.get()]
    assert told == []
    appended = {1000 * (writer + 1) + turn for writer in range(WRITERS) for turn in range(TURNS)}
    replaced = {writer * 10 + n for writer in range(WRITERS) for n in (1, 2)}
    assert now_reads(lake) == sorted(appended | replaced)


def open_at_once(homes: list[Path], together: Barrier, failed: multiprocessing.SimpleQueue[str]) -> None:
    """Open the catalog of each home in the same instant as the other processes."""
    settings = [Settings(home=home) for home in homes]
    open_catalog(settings[0])  # imports done, so that the others meet within a millisecond
    for one in settings[1:]:
        together.wait()
        try:
            open_catalog(one)
        except BaseException as error:
            failed.put(repr(error))
            raise


def test_processes_that_open_a_new_catalog_at_once_all_have_it(tmp_path: Path) -> None:
    context = fresh()
    failed: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
    together = context.Barrier(WRITERS, timeout=60)
    new = [tmp_path / f"home_{number}" for number in range(10)]
    processes = [
        context.Process(target=open_at_once, args=([tmp_path / f"own_{number}", *new], together, failed))
        for number in range(WRITERS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    told = [] if failed.empty() else [failed.get()]
    assert told == []
    assert [process.exitcode for process in processes] == [0] * WRITERS


def publish_for_ever(home: Path, generation: int, ready: Barrier) -> None:
    """Replace the whole table again and again, by rows that tell of which publish they are."""
    lake = Lakehouse(Settings(home=home, threads=1, memory_limit="500MB"))
    days = [FIRST + timedelta(days=n) for n in range(4)]
    ready.wait()
    while True:
        generation += 1
        with lake.session("killed") as session:
            session.publish(VISITS, visits(*((generation * 10 + n, day) for n, day in enumerate(days))))


def test_a_killed_publish_leaves_a_whole_table_and_the_next_one_works(lake: Lakehouse) -> None:
    put(lake, [(n, FIRST + timedelta(days=n)) for n in range(4)])
    chance, context = random.Random(20), fresh()
    for kill in range(6):
        ready = context.Barrier(2, timeout=60)
        process = context.Process(target=publish_for_ever, args=(lake.settings.home, kill * 1000, ready))
        process.start()
        ready.wait()
        time.sleep(chance.uniform(0.3, 1.3))
        process.kill()
        process.join()
        read = now_reads(lake)
        generation = read[0] // 10
        assert read == [generation * 10 + n for n in range(4)]
    put(lake, [(5, date(2024, 4, 1))])
    assert now_reads(lake) == [5]


@pytest.mark.parametrize("append", [True, False])
def test_a_commit_that_another_overtakes_is_tried_again(lake: Lakehouse, append: bool) -> None:
    put(lake, [(1, FIRST)])
    with lake.session() as slow:
        rows = slow.engine.materialize(visits((2, FIRST)))
        load, overtaken = lake.catalog.load_table, []

        def load_then_be_overtaken(name: tuple[str, str]) -> object:
            table = load(name)
            if not overtaken:
                overtaken.append(name)
                put(Lakehouse(lake.settings), [(3, FIRST)], append=True)
            return table

        # the table is loaded for the commit, and before the commit another has made its own
        slow.tables.ensure(VISITS)
        lake.catalog.load_table = load_then_be_overtaken  # type: ignore[method-assign, assignment]
        slow.publish(VISITS, rows, append=append)
    assert overtaken
    assert now_reads(lake) == ([1, 2, 3] if append else [2])
