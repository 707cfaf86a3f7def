"""A task of a few rows that every way to the features can do."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import duckdb
import pytest

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
