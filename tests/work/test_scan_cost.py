"""`cdap cost` tells what a build would scan before it runs, and measures nothing that is not there."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from cdap_assets.lineage import read_lineage
from cdap_assets.work.scan_cost import scan_costs
from resources.engines.scan_estimate import cost_of
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.conftest import Cdap
from tests.shop import SNAPSHOT, make_shop


def test_what_is_up_to_date_costs_nothing_and_anew_it_costs_its_columns(finished_shop: Settings) -> None:
    lineage, lakehouse = read_lineage(finished_shop), Lakehouse(finished_shop)
    now = {cost.asset: cost for cost in scan_costs(lineage, lakehouse, [SNAPSHOT])}
    assert {cost.asset: cost.queries for cost in scan_costs(lineage, lakehouse, [])} == dict.fromkeys(now, 0)
    anew = {cost.asset: cost for cost in scan_costs(lineage, lakehouse, [SNAPSHOT], anew=True)}
    assert now["customer_days"].bytes == now["customer_days"].queries == 0
    assert now["customer_features"].queries == 3  # the build, and two questions about its rows
    size = lakehouse.state("orders").size_bytes
    assert (
        0.5 * size < anew["customer_days"].bytes < 20 * size
    )  # a footer for each file of each month weighs more than so few rows
    assert anew["customer_days"].unbuilt == ()
    assert anew["customer_days"].cost >= 3 * cost_of(0)


def test_inputs_that_are_not_built_are_named_and_not_guessed(tmp_path: Path) -> None:
    settings = make_shop(tmp_path / "home")
    costs = {cost.asset: cost for cost in scan_costs(read_lineage(settings), Lakehouse(settings), [date(2023, 10, 8)])}
    assert costs["orders"].unbuilt == ("order_lines",)
    assert costs["orders"].bytes == 0


def test_the_command_adds_up_names_what_it_left_out_and_holds_it_against_the_budget(
    finished_shop: Settings, cdap: Cdap
) -> None:
    told = cdap(finished_shop.home, "cost", "--anew", "--select", "group:curated", CDAP_RUN_BUDGET_GB="0.000001")
    assert told.returncode == 0, told.stderr
    assert "customer_days" in told.stdout
    assert "customer_features" not in told.stdout
    assert "this would be refused" in " ".join(told.stdout.split())
    wrong = cdap(finished_shop.home, "cost", "--select", "group:nowhere")
    assert wrong.returncode == 1
    assert "selects no asset" in wrong.stdout + wrong.stderr


def test_after_a_finished_run_there_is_nothing_to_build(finished_shop: Settings, cdap: Cdap) -> None:
    told = cdap(finished_shop.home, "cost")
    assert told.returncode == 0, told.stderr
    assert "customer_features" not in told.stdout
    assert "more are up to date" in told.stdout


def test_an_estimate_opens_no_engine_and_counts_as_no_read(
    finished_shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an estimate computes nothing")

    lakehouse = Lakehouse(finished_shop)
    noted = {found.key for found in lakehouse.stores.reads.list()}
    monkeypatch.setattr("resources.engines.duckdb.DuckDBEngine.__init__", refuse)
    costs = {cost.asset: cost for cost in scan_costs(read_lineage(finished_shop), lakehouse, [SNAPSHOT], anew=True)}
    assert min(costs[name].bytes for name in ("orders", "customer_xref", "customer_features", "lapse_labels")) > 0
    assert {found.key for found in lakehouse.stores.reads.list()} == noted
