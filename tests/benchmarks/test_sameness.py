"""Equality of two ways to the features: tolerant of rounding, not of another value, a missing row or a null."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import duckdb
import pytest

from benchmarks import hand_pandas, hand_sql
from benchmarks.pipeline import slope
from benchmarks.sameness import DifferentResults, assert_same
from benchmarks.task import Task

DAY = date(2024, 6, 2)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    days, xref = tmp_path / "days.parquet", tmp_path / "xref.parquet"
    duckdb.sql(f"""COPY (SELECT 'shop' AS key_space, 'k' || i % 7 AS customer_key,
        DATE '2024-01-01' + (i * 11 % 140)::INTEGER AS local_date, (i % 5 > 0)::BIGINT AS orders,
        (i * 1.37 - 2)::DECIMAL(18, 4) AS net, 'EUR' AS currency,
        TIMESTAMP '2024-01-01' AS known_at, NULL::TIMESTAMP AS superseded_at FROM range(60) AS t(i)) TO '{days}'""")
    duckdb.sql(f"""COPY (SELECT 'shop' AS key_space, 'k' || i AS customer_key, 'c' || i // 2 AS customer_id,
        NULL::TIMESTAMP AS valid_from, NULL::TIMESTAMP AS valid_to FROM range(7) AS t(i)) TO '{xref}'""")
    files = {"customer_days": [str(days)], "customer_xref": [str(xref)]}
    return Task(tmp_path, files, {DAY: datetime(2024, 6, 2)}, 1, "1GB")


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
