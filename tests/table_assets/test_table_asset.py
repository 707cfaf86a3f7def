"""Table assets under Dagster: snapshot dates asked for by name, many in one publish, and what a run rebuilds."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import ibis
import pytest

from cdap_assets.table_assets.dagster_asset import dagster_asset
from cdap_assets.table_assets.snapshots import weekly
from cdap_assets.table_assets.table_asset import TableAsset, table_asset
from resources.iceberg.table import Column, TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from resources.tiers.moving import begun, carry_out

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`"),
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

NUMBERS = TableSpec(
    "numbers",
    (Column("day", "date"), Column("n", "int64", nullable=False), Column("month", "date")),
    partition_by=("month",),
)
FACTORS = TableSpec("factors", (Column("factor", "int64"),))
SCALED = TableSpec("scaled", (Column("n", "int64"), Column("month", "date")), partition_by=("month",))
COUNTED = TableSpec(
    "counted",
    (Column("snapshot_date", "date", nullable=False), Column("n", "int64"), Column("cutoff_at", "timestamp(6)")),
    key=("snapshot_date",),
    partition_by=("snapshot_date",),
)
SPECS = {spec.name: spec for spec in (NUMBERS, FACTORS, SCALED, COUNTED)}
JAN, FEB, MAR = date(2017, 1, 1), date(2017, 2, 1), date(2017, 3, 1)


@table_asset(COUNTED, group="test", scope="snapshot")
def counted(snapshots: ibis.Table, numbers: ibis.Table) -> ibis.Table:
    """How many numbers lie before each snapshot."""
    seen = snapshots.left_join(numbers, numbers.day < snapshots.snapshot_date)
    return seen.group_by(["snapshot_date", "cutoff_at"]).aggregate(n=seen.n.count())


@table_asset(SCALED, group="test", scope="month", driver=["numbers"])
def scaled(numbers: ibis.Table, factors: ibis.Table) -> ibis.Table:
    """Numbers times the factor."""
    crossed = numbers.cross_join(factors)
    return crossed.select(n=crossed.n * crossed.factor, month=crossed.month)


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    lakehouse = Lakehouse(Settings(home=tmp_path, timezone="America/New_York", threads=1))  # type: ignore[call-arg]
    put_numbers(lakehouse, (JAN, 1), (FEB, 2))
    with lakehouse.session() as session:
        session.publish(FACTORS, ibis.memtable([{"factor": 10}], schema=FACTORS.schema()))
    return lakehouse


def put_numbers(lakehouse: Lakehouse, *rows: tuple[date, int]) -> None:
    """Replace the months of ``rows`` by them."""
    listed = [{"day": month, "n": n, "month": month} for month, n in rows]
    with lakehouse.session() as session:
        replace = {"month": [month for month, _n in rows]}
        session.publish(NUMBERS, ibis.memtable(listed, schema=NUMBERS.schema()), replace=replace)


def build(
    lakehouse: Lakehouse, asset: TableAsset, key: str | None = None, span: tuple[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    definition = dagster_asset(asset, SPECS, weekly(JAN, date(2017, 12, 31), "America/New_York"))
    tags = (
        {"dagster/asset_partition_range_start": span[0], "dagster/asset_partition_range_end": span[1]} if span else {}
    )
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [definition],
            instance=instance,
            resources={"lakehouse": lakehouse},
            partition_key=key,
            tags=tags,
            raise_on_error=False,
        )


def rows(lakehouse: Lakehouse, spec: TableSpec) -> list[dict[str, Any]]:
    with lakehouse.session() as session:
        return sorted(session.read(spec).to_pyarrow().to_pylist(), key=str)


def why(result: dg.ExecuteInProcessResult) -> str:
    [event] = result.get_asset_materialization_events()
    return str(event.materialization.metadata["rebuilt"].value)


def test_an_asset_is_called_with_tables_and_names_its_inputs_after_its_parameters() -> None:
    numbers = ibis.memtable([{"day": JAN, "n": 2, "month": JAN}], schema=NUMBERS.schema())
    factors = ibis.memtable([{"factor": 3}], schema=FACTORS.schema())
    assert scaled(numbers, factors).to_pyarrow().to_pylist() == [{"n": 6, "month": JAN}]
    assert scaled.inputs == ("numbers", "factors")
    assert counted.inputs == ("numbers",)


def test_a_snapshot_asset_run_without_dates_fails_with_the_reason_and_publishes_nothing(lakehouse: Lakehouse) -> None:
    assert build(lakehouse, counted, key="2017-01-08").success
    before = lakehouse.state("counted")
    result = build(lakehouse, counted)
    assert not result.success
    [failure] = result.get_step_failure_events()
    told = failure.step_failure_data.error
    assert told is not None
    assert "counted is built per snapshot date, and this run names none: choose partitions" in str(told)
    assert lakehouse.state("counted") == before


def test_a_snapshot_is_built_at_its_own_cut_off_and_replaces_only_itself(lakehouse: Lakehouse) -> None:
    for key in ("2017-01-08", "2017-02-05", "2017-02-05"):
        assert build(lakehouse, counted, key=key).success
    assert rows(lakehouse, COUNTED) == [
        {"snapshot_date": date(2017, 1, 8), "n": 1, "cutoff_at": datetime(2017, 1, 8, 5)},
        {"snapshot_date": date(2017, 2, 5), "n": 2, "cutoff_at": datetime(2017, 2, 5, 5)},
    ]


def test_a_range_of_dates_is_one_publish_with_the_rows_of_each(lakehouse: Lakehouse) -> None:
    result = build(lakehouse, counted, span=("2017-01-08", "2017-03-12"))
    assert result.success
    table = lakehouse.load("counted")
    assert table is not None
    assert len(table.snapshots()) == 1
    built = rows(lakehouse, COUNTED)
    assert sorted(row["snapshot_date"] for row in built) == [
        date(2017, 1, 8) + timedelta(days=7 * n) for n in range(10)
    ]
    assert max(row["cutoff_at"] for row in built) == datetime(2017, 3, 12, 5)
    for event in result.get_asset_materialization_events():
        assert event.materialization.metadata["rebuilt"].value == "10 requested snapshot dates"


def test_only_months_that_changed_in_the_driver_are_rebuilt(lakehouse: Lakehouse) -> None:
    assert why(build(lakehouse, scaled)) == "everything: first build"
    assert why(build(lakehouse, scaled)) == "nothing: no input changed since the last build"
    put_numbers(lakehouse, (FEB, 7), (MAR, 3))
    assert why(build(lakehouse, scaled)) == "2 months that changed in numbers"
    assert [row["n"] for row in rows(lakehouse, SCALED)] == [10, 30, 70]


def test_everything_is_rebuilt_when_another_input_or_the_code_changed(lakehouse: Lakehouse) -> None:
    build(lakehouse, scaled)
    with lakehouse.session() as session:
        session.publish(FACTORS, ibis.memtable([{"factor": 100}], schema=FACTORS.schema()))
    put_numbers(lakehouse, (FEB, 7))
    assert why(build(lakehouse, scaled)) == "everything: factors changed"
    assert [row["n"] for row in rows(lakehouse, SCALED)] == [100, 700]
    newer = TableAsset(SCALED, scaled.transform, "test", "month", ("numbers",), "2", scaled.inputs)
    assert why(build(lakehouse, newer)) == "everything: code version 1 became 2"


def test_a_month_of_its_own_that_was_deleted_does_not_come_back(lakehouse: Lakehouse) -> None:
    build(lakehouse, scaled)
    carry_out(lakehouse, begun("expire", "scaled", [(JAN,)], datetime(2030, 1, 1)))
    put_numbers(lakehouse, (JAN, 5), (FEB, 7))
    assert (
        why(build(lakehouse, scaled)) == "2 months that changed in numbers; 1 whose rows are expired stay as they are"
    )
    assert [row["n"] for row in rows(lakehouse, SCALED)] == [70]
    newer = TableAsset(SCALED, scaled.transform, "test", "month", ("numbers",), "2", scaled.inputs)
    assert why(build(lakehouse, newer)).startswith("1 months: code version 1 became 2; 1 whose rows are expired")
    assert [row["n"] for row in rows(lakehouse, SCALED)] == [70]


def test_a_month_that_became_empty_in_the_driver_is_emptied(lakehouse: Lakehouse) -> None:
    build(lakehouse, scaled)
    with lakehouse.session() as session:
        session.publish(NUMBERS, ibis.memtable([], schema=NUMBERS.schema()), replace={"month": [FEB]})
    assert why(build(lakehouse, scaled)) == "1 months that changed in numbers"
    assert [row["n"] for row in rows(lakehouse, SCALED)] == [10]
