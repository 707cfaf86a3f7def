"""Archived months: what comes later leaves them as they are, finds its row in them, or says what to restore."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest

from cdap_assets.raw.deliveries import ledger, retract
from cdap_assets.tiering.moves import restore
from resources.iceberg.errors import PartitionsArchived
from tests.curated.till import CONTRACT, Line, rebuilt
from tests.tiering.conftest import (
    APPLIED,
    CURATED,
    FEBRUARY,
    JANUARY,
    MARCH,
    MONTHS,
    Again,
    AgeingShop,
    failure,
    line,
)

FIRST = [line("1", "01-05", "5"), line("2", "02-05", "6"), line("3", "03-05", "7")]
CARDS = """\
apiVersion: v3.1.0
kind: DataContract
id: cards
name: cards
version: 1.0.0
status: active
description: {purpose: A test.}
customProperties:
  - {property: timezone, value: Europe/Berlin}
  - {property: format, value: {type: csv, delimiter: ","}}
schema:
  - name: cards
    physicalType: file
    properties:
      - {name: card, logicalType: string, required: true, primaryKey: true}
      - {name: owner, logicalType: string, required: true}
"""
PRODUCTS = """\
apiVersion: v3.1.0
kind: DataContract
id: shelf
name: shelf
version: 1.0.0
status: active
description: {purpose: A test.}
customProperties:
  - {property: timezone, value: Europe/Berlin}
  - {property: format, value: {type: csv, delimiter: ","}}
schema:
  - name: shelf
    physicalType: file
    properties:
      - {name: article, logicalType: string, required: true, primaryKey: true}
      - {name: category, logicalType: string, required: true}
  - name: products
    physicalType: canonical
    properties:
      - {name: product_key, transformLogic: article}
      - {name: category, transformLogic: category}
"""


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Again:
    """The small shop of all tests here."""
    return Again(tmp_path_factory.mktemp("again"), *FIRST)


@pytest.fixture
def small(again: Again) -> AgeingShop:
    """A shop with one order in each of three months, half a year ago."""
    shop = again.shop()
    shop.pass_days(180)
    return shop


def bring_back(shop: AgeingShop, table: str, month: date) -> None:
    """Restore what is archived of a month."""
    held = [state.held for (name, _text), state in shop.states().items() if name == table and state.tier == "archived"]
    gone = [one.partition for one in held if one.partition[-1] == month]
    assert gone
    restore(shop.lakehouse, table, gone, shop.at)


def valid(shop: AgeingShop, table: str, *months: date) -> list[tuple[date, Decimal]]:
    """What is valid now: (local day, net)."""
    rows = [row for row in shop.month(table, *months) if row["superseded_at"] is None]
    return sorted((row["local_date"], row["net"]) for row in rows)


def deliver(
    shop: AgeingShop, number: int, *lines: Line, tables: Sequence[str] = ("order_lines",)
) -> dg.ExecuteInProcessResult:
    """Land a file on the next day, and build what is told of."""
    shop.deliver("till", number, lines)
    shop.pass_days(1)
    return shop.refresh(*tables)


def test_a_new_order_of_a_month_that_is_there_leaves_an_archived_month_alone(small: AgeingShop) -> None:
    small.archive("order_lines", JANUARY)
    small.archive("raw_till", JANUARY)
    result = deliver(small, 2, line("4", "03-06", "8"), tables=CURATED)
    for table in CURATED:
        assert rebuilt(result, table).startswith("1 months that changed in "), table
    assert valid(small, "customer_days", MARCH) == [(date(2017, 3, 5), 7), (date(2017, 3, 6), 8)]
    assert valid(small, "customer_days", JANUARY) == [(date(2017, 1, 5), 5)]  # it is never archived
    with pytest.raises(PartitionsArchived, match=r"order_lines: month=2017-01-01 is archived \(1 rows\)"):
        small.month("order_lines", JANUARY)
    again = small.refresh()
    assert {rebuilt(again, table) for table in CURATED} == {"nothing: no input changed since the last build"}


def test_a_correction_finds_its_row_in_an_archived_month_and_builds_it_anew_from_raw(small: AgeingShop) -> None:
    small.archive("order_lines", JANUARY)
    small.archive("orders", JANUARY)
    result = deliver(small, 2, line("1", "02-20", "50"), tables=CURATED)  # it was in February after all
    assert rebuilt(result, "order_lines") == "2 months that changed in raw_till"
    for table in CURATED:
        assert valid(small, table, JANUARY) == [], table
        assert valid(small, table, FEBRUARY) == [(date(2017, 2, 5), 6), (date(2017, 2, 20), 50)], table
    assert small.states()["order_lines", "month=2017-01-01"].tier == "hot"


def test_a_correction_of_a_row_whose_raw_month_is_archived_is_refused_and_found_after_the_restore(
    small: AgeingShop,
) -> None:
    small.archive("order_lines", JANUARY)
    small.archive("raw_till", JANUARY)
    told = failure(deliver(small, 2, line("1", "02-20", "50")))
    [partition] = [text for (name, text) in small.states() if name == "raw_till" and text.endswith("2017-01-01")]
    assert f"table raw_till: {partition} is archived (1 rows)" in told
    assert f"`cdap storage restore raw_till --partition {partition}`" in told
    assert valid(small, "customer_days", JANUARY, FEBRUARY) == [(date(2017, 1, 5), 5), (date(2017, 2, 5), 6)]
    # it goes on being refused, and is found once the month is there
    assert "is archived" in failure(small.refresh("order_lines"))
    bring_back(small, "raw_till", JANUARY)
    assert small.refresh().success
    assert valid(small, "customer_days", JANUARY, FEBRUARY) == [(date(2017, 2, 5), 6), (date(2017, 2, 20), 50)]


def test_a_late_order_of_an_archived_raw_month_waits_for_the_rest_of_its_month(small: AgeingShop) -> None:
    small.archive("raw_till", JANUARY)
    assert "table raw_till: " in failure(deliver(small, 2, line("9", "01-09", "9")))
    assert valid(small, "order_lines", JANUARY) == [(date(2017, 1, 5), 5)]
    bring_back(small, "raw_till", JANUARY)
    assert small.refresh("order_lines").success
    assert valid(small, "order_lines", JANUARY) == [(date(2017, 1, 5), 5), (date(2017, 1, 9), 9)]


def test_a_withdrawn_delivery_takes_its_rows_out_of_an_archived_month_too(small: AgeingShop) -> None:
    deliver(small, 2, line("4", "01-06", "8"), line("5", "03-06", "9"))
    small.archive("order_lines", JANUARY)
    with small.lakehouse.in_process() as session:
        [entry] = [one for one in ledger(session).values() if one.delivery.path.endswith("002.csv")]
        contract = small.lineage.contracts["till"]
        retract(session, contract, entry.delivery.id, by="ann", at=small.at.astimezone())
    small.pass_days(1)
    assert small.refresh("order_lines").success
    assert valid(small, "order_lines", JANUARY, MARCH) == [(date(2017, 1, 5), 5), (date(2017, 3, 5), 7)]


def test_new_code_needs_every_month_and_names_what_to_restore(small: AgeingShop) -> None:
    small.archive("raw_till", JANUARY)
    small.contract("till", CONTRACT.format(name="till").replace("version: 1.0.0", "version: 1.1.0"))
    small.pass_days(1)
    told = failure(small.refresh("order_lines"))
    assert "raw_till: " in told
    assert "cdap storage restore raw_till" in told
    bring_back(small, "raw_till", JANUARY)
    assert small.refresh("order_lines").success


def test_a_joined_source_that_changes_leaves_archived_months_as_they_were_and_the_run_says_so(tmp_path: Path) -> None:
    text = CONTRACT.format(name="till").replace("transformLogic: customer}", "transformLogic: cards.owner}")
    head = "  - name: order_lines\n    physicalType: canonical\n"
    join = "    customProperties:\n      - {property: joins, value: [{source: cards, on: {customer: card}}]}\n"
    shop = AgeingShop(tmp_path / "home")
    shop.contract("till", text.replace(head, head + join))
    shop.contract("cards", CARDS)
    shop.deliver_text("cards", 1, "card,owner\nann,Ann\n")
    shop.deliver("till", 1, FIRST)
    assert shop.refresh("order_lines").success
    shop.pass_days(180)
    raw = shop.partitions("raw_till", JANUARY)
    shop.archive("raw_till", JANUARY)
    shop.deliver_text("cards", 2, "card,owner\nann,Anna\n")
    shop.pass_days(1)
    result = shop.refresh("order_lines")
    assert rebuilt(result, "order_lines") == (
        "2 months: raw_cards changed; 1 whose rows are archived or expired stay as they are"
    )

    def owners(month: date) -> set[str]:
        return {row["customer_key"] for row in shop.month("order_lines", month) if row["superseded_at"] is None}

    assert (owners(JANUARY), owners(MARCH)) == ({"Ann"}, {"Anna"})
    assert rebuilt(shop.refresh("order_lines"), "order_lines") == "nothing: no input changed since the last build"
    restore(shop.lakehouse, "raw_till", raw, shop.at)
    assert rebuilt(shop.refresh("order_lines"), "order_lines") == "1 months are back"
    assert (owners(JANUARY), owners(MARCH)) == ({"Anna"}, {"Anna"})
    assert rebuilt(shop.refresh("order_lines"), "order_lines") == "nothing: no input changed since the last build"


@pytest.fixture
def forgotten(small: AgeingShop) -> AgeingShop:
    """The small shop after the retention of its raw January ended."""
    small.policy(**{**APPLIED, "tables": {"raw_till": {"retention_days": 90}}})
    small.move("expire", "raw_till", JANUARY)
    assert small.partitions("raw_till", JANUARY) == []
    return small


def test_products_that_change_leave_the_categories_of_archived_months_and_the_run_says_so(small: AgeingShop) -> None:
    small.refresh("order_lines", "customer_categories")
    before = small.month("customer_categories", JANUARY)
    small.archive("order_lines", JANUARY)
    small.contract("shelf", PRODUCTS)
    small.deliver_text("shelf", 1, "article,category\n1,books\n")
    small.pass_days(1)
    result = small.refresh("order_lines", "products", "customer_categories")
    assert rebuilt(result, "customer_categories") == (
        "2 months: products changed; 1 whose rows are archived or expired stay as they are"
    )
    assert small.month("customer_categories", JANUARY) == before
    assert rebuilt(small.refresh("products", "customer_categories"), "customer_categories").startswith("nothing: ")
    restore(small.lakehouse, "order_lines", [(JANUARY,)], small.at)
    assert rebuilt(small.refresh("customer_categories"), "customer_categories") == "1 months are back"
    assert rebuilt(small.refresh("customer_categories"), "customer_categories").startswith("nothing: ")


def test_what_was_deleted_by_its_retention_stays_in_what_was_made_of_it(forgotten: AgeingShop) -> None:
    assert rebuilt(forgotten.refresh("order_lines"), "order_lines").startswith("nothing: ")
    forgotten.contract("till", CONTRACT.format(name="till").replace("version: 1.0.0", "version: 1.1.0"))
    forgotten.pass_days(1)
    told = rebuilt(forgotten.refresh("order_lines"), "order_lines")
    assert told.startswith("2 months: code version ")
    assert told.endswith("; 1 whose rows are expired stay as they are")
    assert valid(forgotten, "order_lines", *MONTHS) == [(date(2017, n, 5), n + 4) for n in (1, 2, 3)]


def test_a_late_order_of_a_month_that_was_deleted_takes_nothing_from_what_was_made_of_it(
    forgotten: AgeingShop,
) -> None:
    deliver(forgotten, 2, line("9", "01-09", "9"))
    assert (date(2017, 1, 5), 5) in valid(forgotten, "order_lines", JANUARY)
