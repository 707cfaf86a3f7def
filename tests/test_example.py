"""The example from delivered files to a drafted plan, with the figures that are known of the panel."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path

import pytest

from cdap_assets.commands.new_home import EXAMPLE_PACKAGE
from tests.asking import answer
from tests.conftest import Cdap

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec(EXAMPLE_PACKAGE) is None, reason="the example data is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # MLflow's own
]


def test_the_panel_goes_from_files_to_a_drafted_plan(tmp_path: Path, cdap: Cdap) -> None:
    home = tmp_path / "home"
    assert answer(home, "init", "--example", str(home))
    began = time.perf_counter()
    run = cdap(home, "run", COLUMNS="80")
    assert run.returncode == 0, run.stdout + run.stderr
    print(f"the main job took {time.perf_counter() - began:.0f} s")
    assert "This data set is closed: it ends on 2017-12-31" in run.stdout
    assert "…" not in run.stdout

    def value(query: str) -> str:
        return answer(home, "sql", "--csv", query).split()[-1]

    figures = "select cast(sum(net) as decimal(18,2)) as v from order_lines"
    assert value(figures) == "4596039.58"
    found = json.loads(answer(home, "status", "--json"))
    rows = {table["name"]: table["rows"] for table in found["tables"]}
    assert rows["order_lines"] == rows["raw_transactions"] == 1_469_307
    assert rows["customer_profile"] == 2_469
    assert value("select count(*) as n from (select distinct customer_key, local_date from customer_days)") == "127431"
    assert [delivery["quarantined"] for delivery in found["deliveries"]] == [0] * 6

    models = {model["name"]: model for model in found["models"]}
    assert {model["gates"] for model in models.values()} == {"passed"}
    assert models["lapse_model"]["figures"]["auc_lift_low"] > 0
    [plan] = found["plans"]
    assert (plan["id"], plan["state"], plan["reviewed"]) == ("2017-12-31-1", "draft", False)
    assert 0 < plan["contacts"] <= 400
    assert 0 < float(plan["cost"]) <= 500
    assert float(plan["value_at_stake"]) > float(plan["cost"])

    began = time.perf_counter()
    again = cdap(home, "run")
    print(f"a second run took {time.perf_counter() - began:.1f} s")
    assert "nothing is new: everything is up to date for 2017-12-31" in again.stdout
