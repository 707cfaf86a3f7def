"""Promises as checks: told with the publish that enforced them, red when one refused it, never more than is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import dagster as dg
import ibis
import pytest

from cdap_assets.definitions import build_definitions
from cdap_assets.lineage import read_lineage
from cdap_assets.table_assets.dagster_asset import dagster_asset
from cdap_assets.table_assets.promises import promise_specs
from cdap_assets.table_assets.table_asset import TableAsset, table_asset
from resources.iceberg.table import Column, Invariant, TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from resources.tiers.moving import begun, carry_out
from tests.curated.till import Shop

GIVEN = TableSpec(
    "given", (Column("n", "int64"), Column("name", "string"), Column("month", "date")), partition_by=("month",)
)
KEPT = TableSpec(
    "kept",
    (Column("n", "int64", nullable=False), Column("name", "string", nullable=False), Column("month", "date")),
    key=("n",),
    partition_by=("month",),
    invariants=(
        Invariant("above zero", "n is above 0", lambda rows: rows.n <= 0),
        Invariant("small", "n is below 100", lambda rows: rows.n >= 100),
    ),
)
SPECS = {spec.name: spec for spec in (GIVEN, KEPT)}
JAN = date(2017, 1, 1)
Row = tuple[int | None, str | None]
Give = Callable[..., None]


@table_asset(KEPT, group="test", scope="month", driver=["given"])
def kept(given: ibis.Table) -> ibis.Table:
    """What was given."""
    return given


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    return Lakehouse(Settings(home=tmp_path, threads=1))


@pytest.fixture
def give(lakehouse: Lakehouse) -> Give:
    """Publishes rows that ``kept`` is made of."""

    def publish(*rows: Row) -> None:
        told = [{"n": n, "name": name, "month": JAN} for n, name in rows]
        with lakehouse.session() as session:
            session.publish(GIVEN, ibis.memtable(told, schema=GIVEN.schema()))

    return publish


def build(lakehouse: Lakehouse, asset: TableAsset = kept) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [dagster_asset(asset, SPECS)], instance=instance, resources={"lakehouse": lakehouse}, raise_on_error=False
        )


def told(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def figures(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, object, object]]:
    return {
        name: (one.passed, one.metadata["rows"].value, one.metadata["broken"].value)
        for name, one in told(result).items()
    }


def test_each_promise_is_a_check_that_says_what_it_keeps_from_being_published() -> None:
    specs = {spec.name: spec for spec in promise_specs(KEPT)}
    assert list(specs) == ["key", "required", "above_zero", "small"]
    assert specs["required"].description == "never null: n, name. Nothing is published while a row breaks it."
    assert specs["above_zero"].description == "n is above 0. Nothing is published while a row breaks it."
    assert all(spec.blocking for spec in specs.values())


def test_a_publish_tells_how_many_rows_each_promise_was_tried_on(lakehouse: Lakehouse, give: Give) -> None:
    give((1, "a"), (2, "b"), (3, "c"))
    assert figures(build(lakehouse)) == dict.fromkeys(("key", "required", "above_zero", "small"), (True, 3, 0))


def test_no_query_is_asked_for_the_checks(lakehouse: Lakehouse, give: Give, monkeypatch: pytest.MonkeyPatch) -> None:
    give((1, "a"))
    asked: list[object] = []
    query = ibis.expr.types.Expr.to_pyarrow
    monkeypatch.setattr(
        ibis.expr.types.Expr, "to_pyarrow", lambda self, *given, **named: asked.append(self) or query(self, *given)
    )
    assert len(told(build(lakehouse))) == len(KEPT.promises)
    with_checks = len(asked)
    asked.clear()
    with lakehouse.session() as session:
        session.publish(replace(KEPT, name="beside"), kept(session.read(GIVEN)))
    assert with_checks == len(asked) > 0


def test_a_refused_publish_leaves_red_checks_with_their_rows_before_the_asset_fails(
    lakehouse: Lakehouse, give: Give
) -> None:
    give((1, "a"))
    assert build(lakehouse).success
    before = lakehouse.state("kept")
    give((5, "a"), (5, "b"), (-1, None), (None, None))
    result = build(lakehouse)
    assert not result.success
    found = figures(result)
    assert found["required"] == (False, 4, 3)  # a row counts for each column that it leaves empty
    assert found["key"] == (False, 4, 1)
    assert found["above_zero"] == (False, 4, 1)
    assert found["small"] == (True, 4, 0)
    description = told(result)["required"].description or ""
    assert "name is never null: 2 of 4 rows break it" in description
    assert "nothing of it was published" in description
    [failure] = result.get_step_failure_events()
    assert "above zero: n is above 0: 1 of 4 rows break it" in str(failure.step_failure_data.error)
    assert lakehouse.state("kept") == before


def test_a_promise_that_was_not_tried_is_not_told_as_passed(lakehouse: Lakehouse, give: Give) -> None:
    give((1, "a"))
    broken = TableAsset(KEPT, lambda given: given.drop("name"), "test", "month", ("given",), "1", ("given",))
    result = build(lakehouse, broken)
    assert not result.success
    assert told(result) == {}


def test_when_nothing_is_rebuilt_a_check_says_since_when_it_holds(lakehouse: Lakehouse, give: Give) -> None:
    give((1, "a"), (2, "b"))
    build(lakehouse)
    snapshot = lakehouse.state("kept").snapshot_id
    again = told(build(lakehouse))
    assert list(again) == ["key", "required", "above_zero", "small"]
    for one in again.values():
        assert one.passed
        assert "holds for the rows that are there since the publish of " in (one.description or "")
        assert {name: value.value for name, value in one.metadata.items()} == {"snapshot_id": str(snapshot)}


def test_a_move_of_files_keeps_what_is_known_of_the_rows(lakehouse: Lakehouse, give: Give) -> None:
    give((1, "a"))
    build(lakehouse)
    carry_out(lakehouse, begun("cool", "kept", [(JAN,)], datetime(2030, 1, 1)))
    assert [one.passed for one in told(build(lakehouse)).values()] == [True] * 4


def test_a_promise_that_is_newer_than_the_rows_is_a_warning_until_they_are_rebuilt(
    lakehouse: Lakehouse, give: Give
) -> None:
    give((1, "a"))
    build(lakehouse)
    even = Invariant("even", "n is even", lambda rows: rows.n % 2 == 1)
    stricter = replace(kept, table=replace(KEPT, invariants=(*KEPT.invariants, even)))
    found = told(build(lakehouse, stricter))
    assert found["small"].passed
    assert not found["even"].passed
    assert found["even"].severity == dg.AssetCheckSeverity.WARN
    assert "were not tried on it" in (found["even"].description or "")
    rebuilt = build(lakehouse, replace(stricter, version="2"))
    assert figures(rebuilt)["even"] == (False, 1, 1)
    assert not rebuilt.success


def test_two_promises_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="table kept: two promises have one name"):
        replace(KEPT, invariants=(Invariant("key", "a key", lambda rows: rows.n.isnull()),))


def test_a_raw_table_tells_of_the_rows_of_all_files_of_a_pass(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    for number in (1, 2):
        shop.deliver("till", number, [(f"o{number}", 1, "ann", "2017-03-01T10:00:00", "5")])
    found = told(shop.run(datetime(2017, 3, 5), "raw_till"))
    assert set(found) == {"key", "required", "files_accepted", "rows_accepted"}
    assert (found["key"].metadata["rows"].value, found["required"].metadata["rows"].value) == (2, 2)
    again = told(shop.run(datetime(2017, 3, 6), "raw_till"))
    assert "since the publish of" in (again["key"].description or "")


def test_a_source_without_a_delivery_has_no_row_that_could_break_a_promise(tmp_path: Path) -> None:
    found = told(Shop(tmp_path).run(datetime(2017, 3, 5), "raw_till"))
    assert found["key"].description == "no row was published yet"
    assert found["key"].metadata["rows"].value == 0


def test_every_asset_with_a_table_of_its_own_has_a_check_for_each_promise(tmp_path: Path) -> None:
    definitions = build_definitions(Shop(tmp_path).settings)
    graph = definitions.resolve_asset_graph()
    built = {key.to_user_string() for key in graph.materializable_asset_keys}
    specs = read_lineage(Settings(home=tmp_path)).specs
    promised = {
        (name, check.name): check.description for name in built & set(specs) for check in promise_specs(specs[name])
    }
    there = {(key.asset_key.to_user_string(), key.name): graph.get(key).description for key in graph.asset_check_keys}
    assert len(promised) > 30
    assert {key: there.get(key) for key in promised} == promised
