"""Awkward deliveries through contracts, curated tables, profiles and features: the same tables here and on AWS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from random import Random

import dagster as dg
import pytest

from cdap_assets.definitions import build_definitions
from resources.settings import Settings
from resources.stores.stores import open_store
from tests.cloud.account import Aws
from tests.cloud.both_engines import CLOCK, DAYS, FLOATS, MONEY, ODD_MOMENTS, ODD_NUMBERS, TEXTS, Row, make_home
from tests.cloud.parity import differences, every_table, on_aws

# what libraries warn of in passing is not what this test is about
pytestmark = pytest.mark.filterwarnings("default")
PAST = [day for day in DAYS if day.year < 2030]
CUSTOMERS = ("ann", "Ann", "Žofie", "أحمد", "😀", "-1", str(2**63 - 1), "=1+1", "  ")
CARDS = ("c1", "c2", "ÇÀ", "😀", None)
PRODUCTS = ("p", "P", "p\u0301", "ß", None)
SNAPSHOTS = date(2024, 3, 31), date(2024, 4, 14)  # the first on the day that clocks change in Berlin
Delivery = dict[str, list[Row]]


def moment(random: Random) -> str:
    """A time of a shop's clock or with an offset of its own; now and then none at all."""
    written = f"{random.choice(PAST)} {random.choice(CLOCK)}"
    return random.choice((written, written, written.replace(" ", "T") + "+05:45", random.choice(ODD_MOMENTS)))


def receipts(random: Random, numbers: Sequence[int]) -> list[Row]:
    """Receipts of the till: numbers beyond 32 bits as lines, refunds, and amounts that are no number."""
    return [
        {
            "receipt": f"{number} {TEXTS[number % 12].strip()}",
            "line": 2**63 - 1 - number,
            "customer": random.choice(CUSTOMERS),
            "at": moment(random),
            "product": random.choice(PRODUCTS),
            "quantity": random.choice(("0", "-0.0001", "3", None)),
            "amount": random.choice((*MONEY, random.choice(ODD_NUMBERS))),
            "discount": random.choice(("0", "9.99", "-0.0001", None)),
        }
        for number in numbers
    ]


def first_delivery(random: Random) -> Delivery:
    """What every source delivers first."""
    return {
        "till": receipts(random, range(60)),
        "kiosk": [
            {
                "slip": 2**60 + number,
                "day": str(random.choice(PAST)),
                "card": (card := random.choice(CARDS)),
                "product": random.choice(PRODUCTS),
                "price": random.choice(FLOATS),
                # a customer pays in one currency
                "money": card and "EUR",
            }
            for number in range(40)
        ],
        "goods": [
            {"sku": sku, "name": random.choice(TEXTS), "kind": random.choice(TEXTS), "price": price}
            for sku, price in zip(PRODUCTS, ("0", "9.99", "-1", "10.01", "3"), strict=True)
        ],
        "mailings": [
            {"customer": customer, "campaign": campaign, "sent": moment(random), "opened": moment(random)}
            for customer in CUSTOMERS
            for campaign in ("spring", "Frühling 🌷")
        ],
        "people": people(random),
    }


def people(random: Random) -> list[Row]:
    """Who they say they are, some by the card that they use at the kiosk."""
    return [
        {
            "customer": customer,
            "given": random.choice(TEXTS),
            "born": random.choice(ODD_MOMENTS),
            "card": random.choice(CARDS),
            "since": str(random.choice(PAST)),
            "left": random.choice((None, "2024-12-31")),
            "agreed": random.choice(("yes", "no", None)),
            "changed": moment(random),
        }
        for customer in CUSTOMERS
    ]


def second_delivery(random: Random) -> Delivery:
    """Corrections that move receipts to other months, new ones, and an empty file."""
    return {"till": receipts(random, range(30, 80)), "kiosk": []}


# what a correction changes in part; tables that are made anew as a whole do as they did at first
CORRECTED = ("raw_till", "raw_kiosk", "order_lines", "orders", "customer_days")


def land(settings: Settings, number: int, delivery: Delivery) -> None:
    """Put a file of each source where an installation takes its deliveries."""
    landing = open_store(settings.root("landing"), settings)
    for source, rows in delivery.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        landing.write(f"{source}/{number:03}.jsonl", lines.encode())


def run(settings: Settings, job: str, now: datetime, assets: Sequence[str] = (), **tags: str) -> None:
    """Run a job of an installation at an instant, or only some assets of it."""
    definitions = build_definitions(settings, clock=lambda: now)
    keys = [dg.AssetKey(name) for name in assets] or None
    with dg.DagsterInstance.ephemeral() as instance:
        done = definitions.resolve_job_def(job).execute_in_process(instance=instance, asset_selection=keys, tags=tags)
        assert done.success


def test_awkward_deliveries_end_in_the_same_tables(
    aws: Aws, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    here = make_home(tmp_path / "home", timezone="Europe/Berlin", first_snapshot=date(2024, 1, 7))
    there = on_aws(here, aws, bucket)
    random = Random(4)
    first, second = first_delivery(random), second_delivery(random)
    span = {
        f"dagster/asset_partition_range_{end}": str(day) for end, day in zip(("start", "end"), SNAPSHOTS, strict=True)
    }
    for settings in (here, there):
        land(settings, 1, first)
        run(settings, "refresh_lake", datetime(2025, 1, 1))
        land(settings, 2, second)
        run(settings, "refresh_lake", datetime(2025, 1, 2), CORRECTED)
        run(settings, "build_snapshots", datetime(2025, 1, 3), **span)
    found = every_table(here)
    assert differences(found, every_table(there)) == []
    # nothing was compared with nothing
    filled = {name for name, rows in found.items() if rows}
    assert filled >= {"quarantine", "order_lines", "products", "campaigns", "touches", "contacts", "customer_links"}
    assert filled >= {"customer_profile", "cohort_retention", "customer_features", "lapse_labels", "value_labels"}
    assert any(row["superseded_at"] for row in found["customer_days"])
