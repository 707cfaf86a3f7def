"""A small shop that runs through the whole pipeline: 240 customers, 40 weeks, contracts and files, no Python.

``python -m tests.shop ARGUMENTS`` is the ``cdap`` command by the shop's clock.
"""

from __future__ import annotations

import csv
import warnings
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from cdap_assets.commands.new_home import make_home
from resources.settings import Settings

FIRST = date(2023, 1, 1)
WEEKS = 40
LAST_DAY = FIRST + timedelta(days=7 * WEEKS - 1)
SNAPSHOT = FIRST + timedelta(days=7 * WEEKS)
CLOCK = datetime(2023, 10, 9, 8)
CUSTOMERS, LEAVING = 240, 0.03
FEW_LINES = 19
POLICY = """
currency: EUR
margin: 0.3
budget: 40
max_contacts: 60
min_days_between_contacts: 28
holdout_share: 0.1
control_share: 0.3
channels:
  - {name: letter, cost: 0.85}
"""


def key(number: int) -> str:
    """The customer's key in the shop; some of them are what a spreadsheet would run, or beyond ASCII."""
    return {0: "=1+1", 1: "+49", 2: "@at", 3: "-x", 4: "Žofie Ünicode 顧客"}.get(number, f"k{number:03}")


def purchases(customers: int = CUSTOMERS, seed: int = 7) -> list[tuple[str, date, str]]:
    """(customer key, local day, amount): each has a rhythm and a level, and after any purchase some leave for good."""
    drawn = np.random.default_rng(seed)
    bought = []
    for number in range(customers):
        rhythm = float(drawn.gamma(2, 5)) + 2
        level = float(drawn.lognormal(3, 0.3))
        day = float(drawn.uniform(0, 150))
        while day < 7 * WEEKS:
            amount = level * drawn.lognormal(0, 0.6)
            bought.append((key(number), FIRST + timedelta(days=int(day)), f"{amount:.2f}"))
            if drawn.random() < LEAVING:
                break
            day += max(1.0, float(drawn.gamma(1.5, rhythm / 1.5)))
    return sorted(bought)


CONTRACT = f"""
apiVersion: v3.1.0
kind: DataContract
id: orders
name: orders
version: 1.0.0
status: active
description: {{purpose: "Orders of a shop made up for tests."}}
customProperties:
  - {{property: timezone, value: UTC}}
  - {{property: currency, value: EUR}}
  - {{property: keySpace, value: shop}}
  - {{property: eventTime, value: ordered_at}}
  - {{property: history, value: {{lag: 1 minute}}}}
  - {{property: live, value: false}}
  - {{property: ends, value: {LAST_DAY}}}
  - {{property: format, value: {{type: csv}}}}
schema:
  - name: orders
    physicalType: file
    properties:
      - {{name: order_id, logicalType: integer, required: true, primaryKey: true}}
      - {{name: customer, logicalType: string, required: true}}
      - {{name: ordered_at, logicalType: timestamp, required: true}}
      - {{name: amount, logicalType: number, physicalType: "decimal(18,2)", required: true}}
  - name: order_lines
    physicalType: canonical
    properties:
      - {{name: customer_key, transformLogic: customer}}
      - {{name: order_id, transformLogic: order_id}}
      - {{name: line, transformLogic: "1"}}
      - {{name: ordered_at, transformLogic: ordered_at}}
      - {{name: net, transformLogic: amount}}
"""


def make_shop(home: Path, customers: int = CUSTOMERS) -> Settings:
    """A home with the shop's contract, policy and delivered file; nothing has been run."""
    return _made(home, purchases(customers), FIRST)


def make_new_shop(home: Path) -> Settings:
    """The same after its first sales and with one snapshot: enough for tables, and nothing that models learn from."""
    return _made(home, purchases()[:FEW_LINES], SNAPSHOT)


def _made(home: Path, bought: list[tuple[str, date, str]], first_snapshot: date) -> Settings:
    make_home(home, example=False, first_snapshot=first_snapshot)
    (home / "contracts" / "orders.yaml").write_text(CONTRACT, encoding="utf-8")
    (home / "retention.yaml").write_text(POLICY, encoding="utf-8")
    landing = home / "landing" / "orders"
    landing.mkdir(parents=True)
    with (landing / "orders.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["order_id", "customer", "ordered_at", "amount"])
        for number, (customer, day, amount) in enumerate(bought):
            writer.writerow([number, customer, f"{day} 12:00:00", amount])
    return Settings(home=home, first_snapshot=first_snapshot, threads=1, memory_limit="1GB")


def run_shop(settings: Settings, snapshot: date | None = None) -> list[str]:
    """Run the main job by the shop's clock, and tell the jobs that it ran."""
    from cdap_assets.commands.running import run
    from cdap_assets.installation import Installation

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(settings.home / "dagster"))
        return [stage.job for stage in run(Installation.of(settings, lambda: CLOCK), snapshot).stages]


@pytest.fixture(scope="session")
def ran_shop(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The shop after its first `cdap run`; whoever changes it leaves model versions 1 and the first plan there."""
    settings = make_shop(tmp_path_factory.mktemp("shop") / "home")
    with warnings.catch_warnings():
        # what libraries warn of in passing is not what a test of the shop is about
        warnings.simplefilter("default")
        run_shop(settings)
    return settings


def main() -> None:
    """The command, for which now is :data:`CLOCK`."""
    from cdap_assets.cli import app
    from cdap_assets.installation import Installation

    of = Installation.of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Installation, "of", lambda settings: of(settings, lambda: CLOCK))
        app()


if __name__ == "__main__":
    main()
