"""Rows of results: there at once, whole, without the machine's name, and also of ways that fail."""

from __future__ import annotations

import json
import os
import signal
import socket
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from benchmarks import hand_pandas, hand_sql
from benchmarks.features import Ways, beside
from benchmarks.process import Failed, Killed, Measured, attempt, in_own_process
from benchmarks.results import Results, Spread, one_line, table
from benchmarks.task import Task


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def raise_memory_error(task: Task, folder: Path) -> None:
    raise MemoryError("could not allocate 512 MB")


def be_killed(task: Task, folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def give_other_features(task: Task, folder: Path) -> None:
    made = folder.with_name(f"made-{folder.name}")
    hand_sql.from_customer_days(task, made)
    folder.mkdir()
    rows = f"read_parquet('{made}/**/*.parquet', hive_partitioning = false)"
    duckdb.sql(f"COPY (SELECT * REPLACE (net + 1 AS net) FROM {rows}) TO '{folder}/changed.parquet'")


def test_a_way_that_raises_or_is_killed_becomes_a_row_and_the_next_goes_on(task: Task, tmp_path: Path) -> None:
    results = Results("features", folder=tmp_path / "results")
    ways: Ways = {
        "SQL": hand_sql.from_customer_days,
        "raises": raise_memory_error,
        "is killed": be_killed,
        "pandas": hand_pandas.from_customer_days,
    }
    assert beside(results, task, tmp_path / "work", ways, "tiny")
    found = rows(results.path)
    assert [row["way"] for row in found] == list(ways)
    assert [row.get("error") for row in found] == [
        None,
        "MemoryError: could not allocate 512 MB",
        "Killed: its process was killed, perhaps for want of memory",
        None,
    ]
    assert found[0]["ratio"] == 1
    assert found[3]["ratio"] == pytest.approx(found[3]["seconds"] / found[0]["seconds"], rel=1e-3)
    assert found[3]["against"] == "SQL"


def test_a_first_way_that_fails_leaves_the_others_without_a_ratio(task: Task, tmp_path: Path) -> None:
    results = Results("features", folder=tmp_path / "results")
    ways: Ways = {"raises": raise_memory_error, "SQL": hand_sql.from_customer_days}
    beside(results, task, tmp_path / "work", ways, "tiny")
    assert "ratio" not in rows(results.path)[1]
    assert rows(results.path)[1]["seconds"] > 0


def test_ways_that_differ_are_told_after_all_of_them_were_measured(task: Task, tmp_path: Path) -> None:
    results = Results("features", folder=tmp_path / "results")
    ways: Ways = {
        "SQL": hand_sql.from_customer_days,
        "other": give_other_features,
        "pandas": hand_pandas.from_customer_days,
    }
    assert not beside(results, task, tmp_path / "work", ways, "tiny")
    *measured, told = rows(results.path)
    assert [row["way"] for row in measured] == list(ways)
    assert told["error"].startswith("DifferentResults")
    assert str(tmp_path) not in told["error"]


def test_each_row_is_in_the_file_as_soon_as_it_was_added(tmp_path: Path) -> None:
    results = Results("made up", folder=tmp_path)
    for number in range(3):
        results.add(f"way {number}", "1x", seconds=float(number))
        assert [row["way"] for row in rows(results.path)] == [f"way {n}" for n in range(number + 1)]
    assert [path.name for path in tmp_path.iterdir()] == [results.path.name]


def test_a_row_that_cannot_be_written_leaves_those_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results("made up", folder=tmp_path)
    results.add("first", "1x", seconds=1.0)

    def full(_descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        results.add("second", "1x", seconds=2.0)
    assert [row["way"] for row in rows(results.path)] == ["first"]


def test_benchmarks_of_one_day_and_commit_share_a_file(tmp_path: Path) -> None:
    for name in ("features", "btyd"):
        results = Results(name, folder=tmp_path)
        results.add("ours", "1x", seconds=1.0)
    assert [row["benchmark"] for row in rows(results.path)] == ["features", "btyd"]
    assert date.fromisoformat(results.path.name[:10])


def test_a_row_says_the_machine_and_the_commit_but_no_name_and_no_folder(tmp_path: Path) -> None:
    results = Results("made up", folder=tmp_path, note="four other test runs")
    results.add("fails", "1x", error=one_line(OSError(f"cannot open '{Path.home()}/lake/data/0.parquet': full")))
    (row,) = rows(results.path)
    assert row["machine"].keys() == {"cores", "memory_gb", "cpu", "system", "python"}
    assert row["commit"]
    assert row["note"] == "four other test runs"
    assert row["error"] == "OSError: cannot open '0.parquet': full"
    text = results.path.read_text(encoding="utf-8")
    assert str(Path.home()) + "/" not in text
    assert socket.gethostname() not in text


def test_the_table_is_made_of_the_rows_and_says_what_failed(tmp_path: Path) -> None:
    results = Results("made up", folder=tmp_path)
    results.add("ours", "1x", seconds=1.5, ratio=0.5, against="theirs", figures={"AUC": Spread(0.85, 0.8, 0.9)})
    results.add("theirs", "1x", error="MemoryError")
    assert table(results.rows).splitlines() == [
        "| way | size | s | ratio | AUC | failed |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        "| ours | 1x | 1.50 | 0.50 | 0.85 (0.8 to 0.9) |  |",
        "| theirs | 1x |  |  |  | MemoryError |",
    ]


def test_work_that_everything_else_needs_raises_what_it_raised(task: Task, tmp_path: Path) -> None:
    with pytest.raises(MemoryError, match="could not allocate"):
        in_own_process(raise_memory_error, task, tmp_path)
    with pytest.raises(Killed):
        in_own_process(be_killed, task, tmp_path)


def test_an_attempt_tells_the_memory_of_what_raised_and_of_what_finished() -> None:
    assert isinstance(found := attempt(int, "7"), Measured)
    assert (found.result, found.peak_mb > 0) == (7, True)
    failed = attempt(int, "seven")
    assert isinstance(failed, Failed)
    assert failed.peak_mb
