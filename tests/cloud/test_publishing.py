"""A publish by Athena is one whole commit that every reader sees, or nothing at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import ibis
import pytest

from resources.iceberg.errors import InvariantViolated, OutsidePartitions, StalePublish
from resources.iceberg.table import Column, TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.sweep import sweep
from tests.cloud.account import Aws
from tests.cloud.lake import in_process_reads, lake_on, referenced, staged, stored
from tests.cloud.trino import Server
from tests.resources.visits import FIRST, SECOND, THIRD, VISITS, now_reads, numbers, operations, put, visits

COUNTS = TableSpec("counts", (Column("n", "int64"),))
HOUR = timedelta(hours=1)


@pytest.fixture
def lake(aws: Aws, trino: Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lakehouse:
    return lake_on(aws, bucket, tmp_path / "home", monkeypatch)


def put_in_process(lake: Lakehouse, rows: ibis.Table, **how: bool) -> None:
    """Publish visits by the engine of this process."""
    with lake.in_process() as session:
        session.publish(VISITS, rows, **how)


def test_tables_partitions_and_appends_are_published_as_one_snapshot_each(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    put(lake, [(20, SECOND)], replace={"day": [SECOND, THIRD]})
    assert in_process_reads(lake) == [1, 20]
    put(lake, [(3, THIRD), (4, None)], append=True)
    put(lake, [], replace={"day": [FIRST]})
    assert now_reads(lake) == in_process_reads(lake) == [3, 4, 20]
    put(lake, [(5, None)], replace={"day": [None]})
    with lake.session() as session:
        assert session.partitions("visits") == {(None,), (SECOND,), (THIRD,)}
        assert session.read(VISITS, {"day": [None]}).visit.to_pyarrow().to_pylist() == [5]
        assert sorted(session.read(VISITS, {"day": [None, THIRD]}).visit.to_pyarrow().to_pylist()) == [3, 5]
    put(lake, [])
    assert now_reads(lake) == in_process_reads(lake) == []
    assert operations(lake) == ["append", "overwrite", "append", "overwrite", "overwrite", "overwrite"]
    assert staged(lake) == []
    assert stored(lake, "scratch/") == set()
    assert stored(lake) == referenced(lake)


def test_a_reader_never_sees_a_partition_empty_half_or_double(lake: Lakehouse) -> None:
    put_in_process(lake, visits((1, FIRST), (10, SECOND), (11, SECOND)))
    seen: list[list[int]] = []
    over = threading.Event()

    def poll() -> None:
        reader = Lakehouse(lake.settings)
        while not over.is_set():
            seen.append(in_process_reads(reader))

    with ThreadPoolExecutor(1) as pool:
        polling = pool.submit(poll)
        try:
            for generation in (2, 3):
                put(lake, [(generation * 10 + n, SECOND) for n in (0, 1)], replace={"day": [SECOND]})
        finally:
            over.set()
        polling.result()
    whole = [[1, generation * 10, generation * 10 + 1] for generation in (1, 2, 3)]
    assert [state for state in seen if state not in whole] == []
    assert len({tuple(state) for state in seen}) >= 2
    assert seen == sorted(seen)  # and none sees an older state again
    assert now_reads(lake) == whole[-1]


def test_a_column_added_later_is_null_in_old_rows_and_the_old_snapshot_still_answers(lake: Lakehouse) -> None:
    put_in_process(lake, visits((1, FIRST), (2, SECOND)))
    wider = TableSpec("visits", (*VISITS.columns, Column("shop", "string")), VISITS.key, VISITS.partition_by)
    with lake.session("before") as before:
        assert numbers(before) == [1, 2]
        with lake.session() as session:
            session.publish(wider, visits((3, SECOND)).mutate(shop=ibis.literal("Ä")), replace={"day": [SECOND]})
        for opened in (lake.session, lake.in_process):
            with opened() as session:
                read = session.read(wider).select("visit", "shop").to_pyarrow().to_pylist()
            assert sorted((row["visit"], row["shop"]) for row in read) == [(1, None), (3, "Ä")]
        assert numbers(before) == numbers(before, wider) == [1, 2]
        assert before.read(wider).shop.to_pyarrow().to_pylist() == [None, None]


def test_more_partitions_than_one_insert_may_write_are_one_snapshot(lake: Lakehouse) -> None:
    days = [FIRST + timedelta(days=n) for n in range(103)]
    with lake.session() as session:
        session.publish(VISITS, visits((0, None), *enumerate(days, start=1)))
        # refused as a whole, asked for its days, and written in two parts; then looked at
        assert len(session.engine.queries) >= 4
    assert in_process_reads(lake) == list(range(104))
    assert operations(lake) == ["append"]
    assert stored(lake) == referenced(lake)
    table = lake.load("visits")
    assert table is not None
    assert len(list(table.scan().plan_files())) == 104


def race(*work: Callable[[], None]) -> None:
    """Run all at once; raises what one of them raised."""
    ready = threading.Barrier(len(work))

    def started(one: Callable[[], None]) -> None:
        ready.wait()
        one()

    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(started, one) for one in work]:
            done.result()


def test_two_runs_that_race_on_one_table_lose_no_row(lake: Lakehouse) -> None:
    put_in_process(lake, visits((1, FIRST), (2, SECOND), (3, THIRD)))

    def turns(number: int) -> None:
        own, day = Lakehouse(lake.settings), (SECOND, THIRD)[number]
        put(own, [(100 + number, FIRST)], append=True)
        put(own, [(10 + number, day)], replace={"day": [day]})

    race(lambda: turns(0), lambda: turns(1))
    assert now_reads(lake) == [1, 10, 11, 100, 101]
    assert len(operations(lake)) == 5
    assert staged(lake) == []


def test_two_runs_that_make_two_tables_at_once_both_succeed(lake: Lakehouse) -> None:
    def first(number: int) -> None:
        own = Lakehouse(lake.settings)
        with own.session() as session:
            session.publish(TableSpec(f"counts_{number}", COUNTS.columns), ibis.memtable({"n": [number]}))
        put(own, [(number, FIRST)], append=True)

    race(lambda: first(0), lambda: first(1))
    assert lake.names() == ["counts_0", "counts_1", "visits"]
    assert now_reads(lake) == [0, 1]
    assert staged(lake) == []


def test_runs_that_widen_a_table_at_once_all_succeed(lake: Lakehouse) -> None:
    put_in_process(lake, visits((1, FIRST)))
    wider = TableSpec("visits", (*VISITS.columns, Column("shop", "string")), VISITS.key, VISITS.partition_by)

    def widen(number: int) -> None:
        with Lakehouse(lake.settings).in_process() as session:
            rows = visits((number, SECOND)).mutate(shop=ibis.literal("Ä"))
            session.publish(wider, rows, append=True)

    race(*(partial(widen, number) for number in (2, 3, 4)))
    table = lake.load("visits")
    assert table is not None
    assert [field.name for field in table.schema().fields] == list(wider.names)
    assert in_process_reads(lake, wider) == [1, 2, 3, 4]


def test_a_run_with_older_inputs_is_refused_and_leaves_no_file(lake: Lakehouse) -> None:
    put_in_process(lake, visits((1, FIRST)))
    with lake.session("slow") as slow, lake.session("fast") as fast:
        stale = slow.read(VISITS).aggregate(n=lambda t: t.count())
        put_in_process(lake, visits((2, FIRST)), append=True)
        fast.publish(COUNTS, fast.read(VISITS).aggregate(n=lambda t: t.count()))
        with pytest.raises(StalePublish, match="newer visits"):
            slow.publish(COUNTS, stale)
    with lake.session() as session:
        assert session.read(COUNTS).n.to_pyarrow().to_pylist() == [2]
    assert stored(lake, "counts/") == referenced(lake, "counts")
    assert staged(lake) == []


@pytest.mark.parametrize(
    ("rows", "how", "error", "told"),
    [
        (visits((1, FIRST, "Ann", "-0.01")), {}, InvariantViolated, "nobody spends less than nothing: 1 of 1 rows"),
        (visits((5, FIRST), (5, SECOND)), {}, InvariantViolated, r"\(visit\) is unique: 1 of 2 rows"),
        (visits((3, SECOND)), {"replace": {"day": [FIRST]}}, OutsidePartitions, "2024-03-02"),
    ],
)
def test_a_broken_promise_leaves_no_row_no_file_and_no_shadow(
    lake: Lakehouse, rows: ibis.Table, how: dict[str, object], error: type[Exception], told: str
) -> None:
    put_in_process(lake, visits((1, FIRST)))
    with lake.session() as session, pytest.raises(error, match=told):
        session.publish(VISITS, rows, **how)
    assert in_process_reads(lake) == [1]
    assert operations(lake) == ["append"]
    assert stored(lake) == referenced(lake)
    assert staged(lake) == []


def test_files_of_both_engines_are_one_table(lake: Lakehouse) -> None:
    put_in_process(lake, visits((1, FIRST), (2, SECOND)))
    put(lake, [(3, FIRST)], append=True)
    put_in_process(lake, visits((4, THIRD)), append=True)
    assert now_reads(lake) == in_process_reads(lake) == [1, 2, 3, 4]
    with lake.session() as session:
        spent = session.read(VISITS).spent.sum().to_pyarrow().as_py()
    with lake.in_process() as session:
        assert session.read(VISITS).spent.sum().to_pyarrow().as_py() == spent
    put_in_process(lake, visits((5, FIRST)), replace={"day": [FIRST]})
    assert now_reads(lake) == [2, 4, 5]


def test_values_of_personal_columns_are_in_no_metadata_file(lake: Lakehouse) -> None:
    with lake.session() as session:
        session.publish(VISITS, visits((1, FIRST, "Wilhelmina", "1"), (2, FIRST, "Zacharias", "2")))
        session.publish(VISITS, visits((3, FIRST, "Zacharias", "2")), append=True)
    table = lake.load("visits")
    assert table is not None
    written = b"".join(
        table.io.new_input(lake.stores.lake.location(key)).open().read() for key in stored(lake, "visits/meta")
    )
    assert b"Wilhelmina" not in written
    assert b"Zacharias" not in written
    snapshot = table.current_snapshot()
    assert snapshot is not None
    files = [
        entry.data_file
        for manifest in snapshot.manifests(table.io)
        for entry in manifest.fetch_manifest_entry(table.io)
    ]
    fields = {name: table.schema().find_field(name).field_id for name in ("visit", "person")}
    assert len(files) == 2
    for bounds in (file.lower_bounds or {} for file in files):
        assert fields["visit"] in bounds
        assert fields["person"] not in bounds


def killed_publish(lake: Lakehouse, number: int) -> set[str]:
    """The files that a publish killed between writing and committing leaves; its shadow and scratch stay too."""
    before = stored(lake)
    session = lake.session()
    table = lake.load("visits")
    assert table is not None
    session.engine.stage(VISITS, visits((number, FIRST)), table, f"killed_{number}", "killed")
    return stored(lake) - before


def test_the_sweep_deletes_what_is_referenced_by_nothing_and_only_that(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    expired = lake.state("visits").snapshot_id
    assert expired is not None
    put(lake, [(3, SECOND)], replace={"day": [SECOND]})
    with lake.in_process() as reader:
        assert numbers(reader) == [1, 3]
        put(lake, [(4, FIRST)], replace={"day": [FIRST]})
        table = lake.load("visits")
        assert table is not None
        table.maintenance.expire_snapshots().by_id(expired).commit()
        orphans = killed_publish(lake, 99)
        assert any(key.endswith(".parquet") for key in orphans)
        assert len(staged(lake)) == 2  # a shadow, and the scratch table of its rows
        began = datetime.now(UTC)
        assert sweep(lake, older_than=began - HOUR).files == 0  # all of it is within the lease
        assert len(staged(lake)) == 2
        everything = stored(lake, "")
        swept = sweep(lake, older_than=began + HOUR)
        assert staged(lake) == []
        assert stored(lake) == referenced(lake)
        assert not orphans & stored(lake)
        assert stored(lake, "scratch/") == set()
        assert swept.files == len(everything) - len(stored(lake, ""))
        assert numbers(reader) == [1, 3]  # pinned to the snapshot before, whose files were a shadow's
    assert now_reads(lake) == in_process_reads(lake) == [3, 4]


def test_a_shadow_at_work_on_an_old_table_is_within_the_lease(lake: Lakehouse) -> None:
    put_in_process(lake, visits((1, FIRST)))
    table = lake.load("visits")
    assert table is not None
    between = datetime.fromtimestamp(table.metadata.last_updated_ms / 1000, UTC) + timedelta(milliseconds=1)
    time.sleep(1.1)  # S3 tells times in whole seconds
    with lake.session() as session:
        at_work = session.engine.stage(VISITS, visits((2, FIRST)), table, "at_work", "run")
        sweep(lake, older_than=between)  # younger than the table's last commit, older than the shadow
        assert at_work.rows.visit.to_pyarrow().to_pylist() == [2]
        at_work.release()
    assert staged(lake) == []
