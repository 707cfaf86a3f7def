"""A run reads one state of the lake, whatever others publish and however many processes it has."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from resources.iceberg.errors import LakehouseError
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.processes import fresh
from tests.resources.visits import FIRST, SECOND, VISITS, now_reads, numbers, put, visits


@pytest.mark.parametrize("run_id", ["run", None])
def test_a_reader_with_an_earlier_pin_still_reads_the_old_state(lake: Lakehouse, run_id: str | None) -> None:
    put(lake, [(1, FIRST)])
    with lake.session(run_id) as reader:
        assert numbers(reader) == [1]
        put(lake, [(2, FIRST)])
        assert numbers(reader) == [1]
        assert reader.partitions("visits") == {(FIRST,)}
    assert now_reads(lake) == [2]


def test_a_table_first_published_after_the_run_began_is_empty_to_it(lake: Lakehouse) -> None:
    with lake.session("run") as reader:
        assert numbers(reader) == []
        put(lake, [(1, FIRST)])
        assert numbers(reader) == []


@pytest.mark.parametrize("run_id", ["run", None])
def test_a_run_reads_its_own_publish_and_of_others_the_old_state(lake: Lakehouse, run_id: str | None) -> None:
    put(lake, [(1, FIRST)])
    other = type(VISITS)("other", VISITS.columns)
    with lake.session() as session:
        session.publish(other, visits((1, FIRST)))
    with lake.session(run_id) as run:
        assert numbers(run) == [1]
        with lake.session() as session:
            session.publish(other, visits((7, FIRST)))
        run.publish(VISITS, visits((2, SECOND)), replace={"day": [SECOND]})
        assert numbers(run) == [1, 2]
        assert numbers(run, other) == [1]


def read_in_a_process(home: Path, run_id: str, answer: multiprocessing.SimpleQueue[list[int]]) -> None:
    with Lakehouse(Settings(home=home, threads=1)).session(run_id) as session:
        answer.put(numbers(session))


def test_the_processes_of_a_run_share_its_pins(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    with lake.session("shared") as first:
        assert numbers(first) == [1]
    put(lake, [(2, FIRST)])
    context = fresh()
    answers: dict[str, list[int]] = {}
    for run_id in ("shared", "new"):
        queue: multiprocessing.SimpleQueue[list[int]] = context.SimpleQueue()
        process = context.Process(target=read_in_a_process, args=(lake.settings.home, run_id, queue))
        process.start()
        process.join(60)
        assert process.exitcode == 0
        answers[run_id] = queue.get()
    assert answers == {"shared": [1], "new": [2]}


def test_a_snapshot_that_is_no_longer_kept_asks_for_a_new_run(open_lake: Callable[..., Lakehouse]) -> None:
    lake = open_lake()
    put(lake, [(1, FIRST)])
    with lake.session("run") as reader:
        assert numbers(reader) == [1]
        pinned = reader.snapshot_id("visits")
        put(lake, [(2, FIRST)])
        table = lake.load("visits")
        assert table is not None
        assert pinned is not None
        table.maintenance.expire_snapshots().by_id(pinned).commit()
        with pytest.raises(LakehouseError, match="no longer kept; start a new run"):
            numbers(reader)
