"""Whether two ways to the features gave the same: keys, nulls, and numbers within a tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from cdap_assets.features.customer_features import CUSTOMER_FEATURES

TOLERANCE = 1e-9  # of the larger of 1 and the value
# the shop sends no campaigns, so the hand-written ways leave these out
CAMPAIGN_COLUMNS = ("touches_91", "responses_91", "responses")


class DifferentResults(AssertionError):
    """Two ways to the same features disagree."""


def assert_same(expected: Path, others: Sequence[Path]) -> int:
    """The rows of ``expected``, a folder of features that each of ``others`` must agree with.

    Raises :class:`DifferentResults` naming the columns that differ and in how many rows.
    """
    rows = 0
    for found in others:
        row = duckdb.sql(_comparison(expected, found)).fetchall()[0]
        rows = int(row[0])
        wrong = {name: count for name, count in zip(("keys", *_compared()), row[1:], strict=True) if count}
        if wrong or not rows:
            raise DifferentResults(f"{found} differs from {expected}: of {rows:,} rows, {wrong}")
    return rows


def _compared() -> dict[str, str]:
    """The condition of sameness of each column that is compared."""
    conditions = {}
    for column in CUSTOMER_FEATURES.columns:
        if column.name in CAMPAIGN_COLUMNS or column.name in CUSTOMER_FEATURES.key:
            continue
        a, b = f'a."{column.name}"', f'b."{column.name}"'
        if column.type.startswith(("int64", "float64", "decimal")):
            a, b = f"{a}::DOUBLE", f"{b}::DOUBLE"
            near = f"abs({a} - {b}) <= {TOLERANCE} * greatest(1, abs({a}))"
            conditions[column.name] = f"coalesce({near}, {a} IS NULL AND {b} IS NULL)"
        else:
            conditions[column.name] = f"{a} IS NOT DISTINCT FROM {b}"
    return conditions


def _comparison(expected: Path, found: Path) -> str:
    counts = ", ".join(f'count(*) FILTER (NOT {same}) AS "{name}"' for name, same in _compared().items())
    read = "read_parquet('{}/**/*.parquet', hive_partitioning = false)"
    return f"""
    SELECT count(*) AS rows, count(*) FILTER (a.currency IS NULL OR b.currency IS NULL) AS keys, {counts}
    FROM {read.format(expected)} AS a FULL JOIN {read.format(found)} AS b USING (snapshot_date, customer_id)
    """
