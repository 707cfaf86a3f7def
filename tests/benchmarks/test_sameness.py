"""Equality of two ways to the features: tolerant of rounding, not of another value, a missing row or a null."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from benchmarks import hand_pandas, hand_sql
from benchmarks.pipeline import slope
from benchmarks.sameness import DifferentResults, assert_same
from benchmarks.task import Task


def rewritten(folder: Path, change: str, to: Path) -> Path:
    to.mkdir()
    rows = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = false)"
    duckdb.sql(f"COPY (SELECT {change} FROM {rows}) TO '{to}/changed.parquet'")
    return to


def test_sql_and_pandas_by_hand_agree(task: Task, tmp_path: Path) -> None:
    ways: dict[str, Callable[[Task, Path], None]] = {
        "sql": hand_sql.from_customer_days,
        "pandas": hand_pandas.from_customer_days,
    }
    for name, way in ways.items():
        way(task, tmp_path / name)
    assert assert_same(tmp_path / "sql", [tmp_path / "pandas"]) == 4


@pytest.mark.parametrize(
    "change",
    [
        "* REPLACE (net + 0.01 AS net)",
        "* REPLACE (NULL AS repeat_value)",
        "* REPLACE (first_purchase - 1 AS first_purchase)",
        "* REPLACE (if(customer_id = 'c0', 'other', customer_id) AS customer_id)",
    ],
)
def test_a_difference_is_told(task: Task, tmp_path: Path, change: str) -> None:
    hand_sql.from_customer_days(task, tmp_path / "sql")
    with pytest.raises(DifferentResults):
        assert_same(tmp_path / "sql", [rewritten(tmp_path / "sql", change, tmp_path / "changed")])


def test_rounding_is_no_difference(task: Task, tmp_path: Path) -> None:
    hand_sql.from_customer_days(task, tmp_path / "sql")
    rounded = rewritten(tmp_path / "sql", '* REPLACE ("T" * (1 + 1e-12) AS "T")', tmp_path / "rounded")
    assert_same(tmp_path / "sql", [rounded])


def test_the_slope_is_the_exponent_of_growth() -> None:
    assert slope([1, 4, 16], [3, 24, 192]) == pytest.approx(1.5)
