"""What a query will scan: the chunks of its columns and what lies near between them, once for each place that reads."""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import pytest
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat

from resources.engines.scan_estimate import FOOTER, TB, cost_of, estimated_scan, footprint, scans

MB = 1 << 20
IDS = {"id": 1, "wide": 2, "text": 3, "day": 4}
T = ibis.table({"id": "int64", "wide": "string", "text": "string", "day": "date"}, name="t")


def file(sizes: dict[int, int] | None, size: int = 100 * MB, row_groups: int = 1) -> DataFile:
    """A data file as a manifest tells it."""
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path="s3://b/t/data/f.parquet",
        file_format=FileFormat.PARQUET,
        record_count=1,
        file_size_in_bytes=size,
        column_sizes=sizes,
        split_offsets=[4 + n for n in range(row_groups)],
    )


SIZES = {1: 2 * MB, 2: 5 * MB, 3: 3 * MB, 4: 10}


def expected(expression: ibis.Expr, files: Sequence[DataFile] = (file(SIZES),)) -> int:
    return estimated_scan(expression, {"t": footprint(files, IDS)})


def test_only_the_columns_that_are_needed_count() -> None:
    assert expected(T.aggregate(n=T.id.max())) == 2 * MB + FOOTER
    assert expected(T.filter(T.text == "x").aggregate(n=T.id.max())) == 5 * MB + FOOTER
    renamed = T.mutate(other=T.id + 1, unused=T.wide.upper())
    assert expected(renamed.aggregate(n=renamed.other.max())) == 2 * MB + FOOTER
    assert expected(T) == sum(SIZES.values()) + FOOTER


def test_every_file_and_every_row_group_costs_its_footer() -> None:
    question = T.aggregate(n=T.id.max())
    assert expected(question, [file(SIZES), file(SIZES)]) == 2 * (2 * MB + FOOTER)
    assert expected(question, [file(SIZES, row_groups=4)]) == 2 * MB + 4 * FOOTER
    assert expected(question, [file({1: 100}, size=1000)]) == 100 + 1000  # the file is smaller than its footer's read
    assert expected(question, []) == 0


def test_a_short_gap_between_two_columns_is_read_along() -> None:
    ends = T.aggregate(n=T.id.max(), d=T.text.max())
    near, far = {1: 100, 2: MB, 3: 100, 4: 0}, {1: 100, 2: MB + 2, 3: 100, 4: 0}
    assert expected(ends, [file(near)]) == MB + 200 + FOOTER
    assert expected(ends, [file(far)]) == 200 + FOOTER
    assert expected(ends, [file(far, row_groups=2)]) == MB + 2 + 200 + 2 * FOOTER
    long = {1: 8 * MB, 2: 100, 3: 100, 4: 0}  # one request would be too long
    assert expected(ends, [file(long)]) == 8 * MB + 100 + FOOTER


def test_a_writer_that_tells_no_sizes_counts_evenly_by_column() -> None:
    assert expected(T.aggregate(n=T.id.max()), [file(None, size=40 * MB)]) == 10 * MB + FOOTER


def test_a_self_join_reads_each_side_for_itself() -> None:
    joined = T.join(T.view(), "day").select("id", "text_right")
    assert scans(joined) == {("t", frozenset({"id", "day"})): 1, ("t", frozenset({"text", "day"})): 1}
    assert scans(T.join(T.view(), "day").select("id", "id_right")) == {("t", frozenset({"id", "day"})): 2}


def test_what_a_query_names_twice_is_computed_twice() -> None:
    daily = T.group_by("day").aggregate(n=T.id.max())
    twice = daily.join(daily.view(), "day").select("day", "n", "n_right")
    assert scans(twice) == {("t", frozenset({"id", "day"})): 2}
    again = twice.mutate(m=twice.n + twice.n_right)
    fourfold = again.join(again.view(), "day").select("m", "m_right", "n", "n_right")
    assert sum(scans(fourfold).values()) == 4
    assert expected(fourfold) == 4 * expected(daily)


def test_unions_and_subqueries_are_read_too() -> None:
    assert scans(ibis.union(T.select("id"), T.select("id"))) == {("t", frozenset({"id"})): 2}
    among = T.filter(T.id.isin(T.filter(T.text == "x").id)).select("wide")
    assert scans(among) == {("t", frozenset({"id", "wide"})): 1, ("t", frozenset({"id", "text"})): 1}


def test_rows_of_python_and_unknown_relations_cost_nothing() -> None:
    rows = ibis.memtable({"id": [1]})
    assert expected(T.join(rows, "id").aggregate(n=T.id.max())) == 2 * MB + FOOTER
    assert estimated_scan(T.aggregate(n=T.id.max()), {}) == 0


@pytest.mark.parametrize(("scanned", "usd"), [(0, 0.00005), (10**7, 0.00005), (2 * 10**7, 0.0001), (TB, 5.0)])
def test_a_query_costs_by_what_it_scans_and_at_least_for_ten_megabytes(scanned: int, usd: float) -> None:
    assert cost_of(scanned) == pytest.approx(usd)
