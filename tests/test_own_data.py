"""A shop's own order log, by the very contract that docs/your-data.md shows."""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

import cdap as product
from cdap_assets.commands.new_home import make_home
from resources.settings import Settings
from tests.asking import answer, refusal
from tests.conftest import Cdap

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # MLflow's own
GUIDE = Path(__file__).parents[1] / "docs" / "your-data.md"
ORDERS = [line.split() for line in (Path(__file__).parent / "data" / "cdnow_sample.txt").read_text().splitlines()]


def cdnow(home: Path) -> Settings:
    """A home made as the guide says, with the order log as one csv file."""
    settings = make_home(home, example=False, timezone="America/New_York", first_snapshot=date(1997, 1, 5))
    [contract] = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    (settings.contracts / "orders.yaml").write_text(contract, encoding="utf-8")
    (settings.landing / "orders").mkdir()
    lines = [",".join([customer, day, discs, dollars]) for customer, _sample, day, discs, dollars in ORDERS]
    (settings.landing / "orders" / "orders.csv").write_text("\n".join(["customer,date,cds,dollars", *lines, ""]))
    return settings


def test_an_order_log_without_order_numbers_products_or_campaigns_runs_through_to_plans(
    tmp_path: Path, cdap: Cdap
) -> None:
    home = cdnow(tmp_path / "home").home
    run = cdap(home, "run", "--snapshot", "1998-03-29")
    assert run.returncode == 0, run.stdout + run.stderr

    lake = product.open(home)

    def value(query: str) -> str:
        return str(lake.sql(query).iloc[0, 0])

    assert value("select cast(sum(net) as decimal(18,2)) as net from order_lines") == str(
        sum(Decimal(order[4]) for order in ORDERS)
    )
    customers_and_days = len({order[0] for order in ORDERS}), len({(order[0], order[2]) for order in ORDERS})
    assert value("select count(*) as n from customer_profile") == str(customers_and_days[0])
    # midnight of the shop's zone stays on its own day
    assert value("select count(*) as n from customer_days") == str(customers_and_days[1])
    assert value("select cast(max(local_date) as varchar) as day from customer_days") == "1998-06-30"

    found = json.loads(answer(home, "status", "--json"))
    rows = {table["name"]: table["rows"] for table in found["tables"]}
    assert rows["customer_segments"] == customers_and_days[0]
    models = {model["name"]: model for model in found["models"]}
    assert models["lapse_model"]["kind"] == "frequency alone"
    assert models["lapse_model"]["figures"]["auc_lift_low"] < 0
    assert (
        models["lifetime_value_model"]["figures"]["mae"]
        < 0.7 * models["lifetime_value_model"]["figures"]["mae_past_spend"]
    )
    [plan] = found["plans"]
    assert (plan["id"], plan["state"], plan["currency"]) == ("1998-03-29-1", "draft", "USD")
    assert 100 <= plan["contacts"] <= 400
    assert Decimal(plan["cost"]) <= 500 < Decimal(plan["value_at_stake"])

    # a later version that fails its gate leaves the champion serving
    newest = cdap(home, "run")
    assert newest.returncode == 0, newest.stdout + newest.stderr
    found = json.loads(answer(home, "status", "--json"))
    versions = {(model["name"], model["version"]): model for model in found["models"]}
    assert versions["lapse_model", 2]["gates"] == "failed: calibrated, no_segment_badly_off"
    assert versions["lapse_model", 2]["aliases"] == ["challenger"]
    assert versions["lapse_model", 1]["aliases"] == ["champion"]
    assert [plan["id"] for plan in found["plans"]] == ["1998-03-29-1", "1998-06-28-1"]
    approve = ("models", "approve", "lapse_model", "2", "--reviewer", "Ann", "--note", "read it")
    assert "did not pass its gates" in refusal(home, *approve)
