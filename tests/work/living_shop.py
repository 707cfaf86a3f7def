"""A living shop of 80 customers who come and go: delivered week by week, by a clock that the test sets."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path

import dagster as dg
import numpy as np

from cdap_assets.commands.new_home import make_home
from cdap_assets.definitions import definitions_of
from cdap_assets.installation import Installation
from resources.settings import Settings
from tests.shop import CONTRACT, FIRST, POLICY, key

CUSTOMERS, WEEKS, HISTORY = 80, 42, 36
RHYTHM, SHAPE, LEAVING, SEED = 5, 3, 0.05, 6  # days between purchases, and how even they are
LIVE = "\n".join(
    line for line in CONTRACT.splitlines() if "property: live" not in line and "property: ends" not in line
)
MENDED = LIVE.replace("version: 1.0.0", "version: 1.0.1").replace("Logic: amount", 'Logic: "amount * 0.8"')


def purchases(seed: int = SEED) -> list[tuple[str, date, str]]:
    """(customer key, local day, amount): each buys in a rhythm and, after any purchase, may leave for good."""
    drawn = np.random.default_rng(seed)
    bought = []
    for number in range(CUSTOMERS):
        level, rhythm = float(drawn.lognormal(3, 0.5)), RHYTHM * float(drawn.uniform(0.5, 1.5))
        day = float(drawn.uniform(0, 7 * WEEKS - 14))
        while day < 7 * WEEKS:
            bought.append((key(number), FIRST + timedelta(days=int(day)), f"{level * drawn.lognormal(0, 0.4):.2f}"))
            if drawn.random() < LEAVING:
                break
            day += max(1.0, float(drawn.gamma(SHAPE, rhythm / SHAPE)))
    return sorted(bought)


def week(number: int) -> datetime:
    """The Sunday morning (UTC) after so many weeks."""
    return datetime.combine(FIRST + timedelta(days=7 * number), time(8))


@dataclass
class LivingShop:
    """A home of the shop, and what now is to it."""

    home: Path
    now: datetime = field(default_factory=lambda: week(HISTORY))

    def __post_init__(self) -> None:
        make_home(self.home, example=False, first_snapshot=FIRST)
        self.contract(LIVE)
        (self.home / "retention.yaml").write_text(POLICY, encoding="utf-8")

    @property
    def installation(self) -> Installation:
        """The home as it is now, with its contracts."""
        settings = Settings(home=self.home, first_snapshot=FIRST, threads=1, memory_limit="1GB")
        return Installation.of(settings, lambda: self.now)

    def contract(self, text: str) -> None:
        """Write the contract of the orders."""
        (self.home / "contracts" / "orders.yaml").write_text(text, encoding="utf-8")

    def deliver(self, name: str, first: date, until: date, *, every: int = 1, but: int = 0) -> None:
        """Orders of the days from ``first`` to before ``until``; of them those whose number ``every`` divides."""
        landing = self.home / "landing" / "orders"
        landing.mkdir(parents=True, exist_ok=True)
        with (landing / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["order_id", "customer", "ordered_at", "amount"])
            for number, (customer, day, amount) in enumerate(purchases()):
                if first <= day < until and (number % every == 0) and not (but and number % but == 0):
                    writer.writerow([number, customer, f"{day} 12:00:00", amount])


@cache  # a run asks for its job several times, as its process would have it at hand
def job_of(home: str, now: str, job: str) -> dg.JobDefinition:
    """A job of a home as a run's own process makes it."""
    shop = object.__new__(LivingShop)
    shop.home, shop.now = Path(home), datetime.fromisoformat(now)
    return definitions_of(shop.installation).resolve_job_def(job)
