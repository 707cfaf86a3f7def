"""customer_features as somebody would write it by hand in DuckDB's SQL, on the files of the same tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path

import duckdb

from benchmarks.task import WINDOWS, Files, Task


def from_customer_days(task: Task, folder: Path) -> None:
    """Features of every snapshot date."""
    _copy(_features(_scan(task.files["customer_days"]), task.files, task.cutoffs), task, folder)


def from_order_lines(task: Task, folder: Path) -> None:
    """Features of one snapshot date straight from the order lines, without the tables between."""
    ((_day, cutoff),) = task.cutoffs.items()
    days = f"""(
        SELECT key_space, customer_key, local_date, currency,
            count(*) FILTER (net >= 0) AS orders, sum(net) AS net, max(known_at) AS known_at, NULL AS superseded_at
        FROM (
            SELECT key_space, customer_key, order_id, local_date, currency,
                sum(net) AS net, max(known_at) AS known_at
            FROM {_scan(task.files["order_lines"])}
            WHERE known_at <= TIMESTAMP '{cutoff}'
                AND (superseded_at IS NULL OR superseded_at > TIMESTAMP '{cutoff}')
            GROUP BY ALL
        )
        GROUP BY ALL
    )"""
    _copy(_features(days, task.files, task.cutoffs), task, folder)


def _scan(files: Sequence[str]) -> str:
    return f"read_parquet({list(files)}, hive_partitioning = false)"


def _copy(query: str, task: Task, folder: Path) -> None:
    settings = {
        "threads": task.threads,
        "memory_limit": task.memory_limit,
        "temp_directory": str(task.home / "spill"),
        "preserve_insertion_order": False,
    }
    con = duckdb.connect(":memory:", config=settings)
    try:
        con.execute("SET enable_progress_bar = false")
        folder.mkdir(parents=True)
        con.execute(
            f"""COPY ({query}) TO '{folder / "features"}' (FORMAT parquet, COMPRESSION zstd,
            PARTITION_BY (snapshot_date), WRITE_PARTITION_COLUMNS true)"""
        )
    finally:
        con.close()


def _features(days: str, files: Files, cutoffs: Mapping[date, datetime]) -> str:
    snapshots = ", ".join(f"(DATE '{day}', TIMESTAMP '{cutoff}')" for day, cutoff in cutoffs.items())
    windows = ",\n".join(
        f"""count(*) FILTER (bought AND age <= {days}) AS purchase_days_{days},
        coalesce(sum(orders) FILTER (age <= {days}), 0)::BIGINT AS orders_{days},
        coalesce(sum(net) FILTER (age <= {days}), 0)::DECIMAL(18, 4) AS net_{days}"""
        for days in WINDOWS
    )
    return f"""
    WITH snapshots (snapshot_date, cutoff_at) AS (VALUES {snapshots}),
    days AS (
        SELECT snapshot_date, customer_id, local_date, sum(orders) AS orders, sum(net) AS net,
            min(currency) AS currency, max(currency) AS other_currency
        FROM snapshots
        JOIN {days} AS d ON local_date < snapshot_date
            AND known_at <= cutoff_at AND (superseded_at IS NULL OR superseded_at > cutoff_at)
        JOIN {_scan(files["customer_xref"])} AS x
            ON x.key_space = d.key_space AND x.customer_key = d.customer_key
            AND (valid_from IS NULL OR valid_from <= cutoff_at) AND (valid_to IS NULL OR valid_to > cutoff_at)
        GROUP BY ALL
    ), aged AS (
        SELECT *, snapshot_date - local_date AS age, orders > 0 AS bought,
            min(local_date) FILTER (orders > 0) OVER (PARTITION BY snapshot_date, customer_id) AS first_day
        FROM days
    ), customers AS (
        SELECT snapshot_date, customer_id,
            min(local_date) FILTER (bought) AS first_purchase,
            max(local_date) FILTER (bought) AS last_purchase,
            count(*) FILTER (bought) AS purchase_days,
            sum(net)::DECIMAL(18, 4) AS net,
            sum(net) FILTER (local_date > first_day) AS repeat_net,
            min(currency) AS currency,
            if(min(currency) = max(other_currency), 1, 2)::BIGINT AS currencies,
            {windows}
        FROM aged
        GROUP BY snapshot_date, customer_id
        HAVING purchase_days > 0
    ), timed AS (
        SELECT *, snapshot_date - last_purchase AS days_since_last, purchase_days - 1 AS frequency,
            (last_purchase - first_purchase)::DOUBLE / nullif(purchase_days - 1, 0) AS mean_gap
        FROM customers
    )
    SELECT * EXCLUDE (repeat_net),
        (last_purchase - first_purchase)::DOUBLE / 7 AS recency,
        (snapshot_date - first_purchase)::DOUBLE / 7 AS "T",
        days_since_last::DOUBLE / nullif(mean_gap, 0) AS overdue,
        net::DOUBLE / purchase_days AS monetary_value,
        repeat_net::DOUBLE / nullif(frequency, 0) AS repeat_value
    FROM timed
    """
