"""Canonical tables from contracts: unions, corrections that move, withdrawals, joins, and only what changed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cdap_assets.contracts.contract import Contract
from cdap_assets.curated.canonical import canonical_assets
from cdap_assets.curated.entities import ENTITIES
from cdap_assets.lineage import read_lineage
from cdap_assets.raw.deliveries import ledger, retract
from cdap_assets.raw.tables import raw_table
from cdap_assets.table_assets.table_asset import TableAsset
from tests.curated.till import CONTRACT, Line, Shop, rebuilt
from tests.rows import found, table

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`"),
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]
CURATED = ("order_lines", "orders", "customer_days")
START = datetime(2018, 1, 1)


def line(order: str, day: str, net: str = "5", customer: str = "ann", number: int = 1) -> Line:
    return (order, number, customer, f"2017-{day} 10:00:00", net)


def valid(shop: Shop, name: str = "order_lines") -> list[tuple[str, date, Decimal]]:
    """What is valid now of order lines: (order, local day, net)."""
    rows = [row for row in shop.rows(name) if row["superseded_at"] is None]
    return sorted((row["order_id"], row["local_date"], row["net"]) for row in rows)


def run(shop: Shop, after: int, tables: Sequence[str] = CURATED) -> Any:
    return shop.run(START + timedelta(days=after), "raw_till", *tables)


def withdraw(shop: Shop, number: int, after: int) -> None:
    """Take back the file of that number, an hour before the day's run."""
    with shop.lakehouse.session() as session:
        [entry] = [e for e in ledger(session).values() if e.delivery.path.endswith(f"{number:03}.csv")]
        contract = read_lineage(shop.settings).contracts["till"]
        at = START + timedelta(days=after, hours=-1)
        retract(session, contract, entry.delivery.id, by="ann", at=at)


def test_an_entity_that_no_contract_fills_is_empty_with_its_schema() -> None:
    assets = canonical_assets({})
    assert [asset.name for asset in assets] == list(ENTITIES)
    for asset in assets:
        assert asset.inputs == ()
        assert asset().schema() == asset.table.schema()
        assert found(asset()) == []


def test_two_contracts_fill_one_entity_side_by_side(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "till", "web")
    shop.deliver("till", 1, [line("1", "01-05", "5")])
    shop.deliver("web", 1, [line("1", "01-06", "7")])
    assert shop.run(START, "raw_till", "raw_web", "order_lines").success
    assert [(row["source"], row["net"]) for row in shop.rows("order_lines")] == [("till", 5), ("web", 7)]
    shop.deliver("web", 2, [line("1", "01-06", "8")])  # the same order number, of another source
    assert shop.run(START + timedelta(days=1), "raw_till", "raw_web", "order_lines").success
    assert valid(shop) == [("1", date(2017, 1, 5), 5), ("1", date(2017, 1, 6), 8)]


def test_a_correction_that_moves_an_order_to_another_month_leaves_no_old_row_valid(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    shop.deliver("till", 1, [line("1", "01-31"), line("2", "03-05"), line("3", "05-05")])
    run(shop, 0)
    shop.deliver("till", 2, [line("1", "02-01")])
    result = run(shop, 1)
    assert rebuilt(result, "order_lines") == "2 months that changed in raw_till"
    assert rebuilt(result, "customer_days") == "2 months that changed in orders"
    assert valid(shop) == [("1", date(2017, 2, 1), 5), ("2", date(2017, 3, 5), 5), ("3", date(2017, 5, 5), 5)]
    assert valid(shop, "orders") == valid(shop)
    [old] = [row for row in shop.rows("order_lines") if row["superseded_at"] is not None]
    assert (old["local_date"], old["superseded_at"]) == (date(2017, 1, 31), START + timedelta(days=1))


def test_a_chain_of_moves_stays_superseded_when_only_its_first_month_changes(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.deliver("till", 1, [line("a", "01-10"), line("b", "05-10")])
    run(shop, 0, ["order_lines"])
    shop.deliver("till", 2, [line("a", "05-11"), line("b", "09-10")])
    run(shop, 1, ["order_lines"])
    expected = [("a", date(2017, 5, 11), Decimal(5)), ("b", date(2017, 9, 10), Decimal(5))]
    assert valid(shop) == expected
    shop.deliver("till", 3, [line("c", "01-12")])
    assert rebuilt(run(shop, 2, ["order_lines"]), "order_lines") == "3 months that changed in raw_till"
    assert valid(shop) == [*expected, ("c", date(2017, 1, 12), Decimal(5))]


def test_a_withdrawn_delivery_is_superseded_everywhere_by_the_next_run(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.deliver("till", 1, [line("1", "01-05", "5"), line("9", "06-05", "1")])
    run(shop, 0)
    shop.deliver("till", 2, [line("1", "01-05", "3"), line("2", "01-05", "4")])
    run(shop, 1)
    assert [row["net"] for row in shop.rows("customer_days") if row["superseded_at"] is None] == [7, 1]
    withdraw(shop, 2, 2)
    result = run(shop, 2)
    assert rebuilt(result, "customer_days") == "1 months that changed in orders"
    assert valid(shop) == [("1", date(2017, 1, 5), 5), ("9", date(2017, 6, 5), 1)]
    days = [row for row in shop.rows("customer_days") if row["local_date"] == date(2017, 1, 5)]
    at = START + timedelta(days=2, hours=-1)
    assert sorted((row["known_at"], row["superseded_at"], row["net"]) for row in days if row["net"] == 7) == [
        (START + timedelta(days=1), at, 7)
    ]
    assert [row["net"] for row in days if row["superseded_at"] is None] == [5]


def test_runs_that_rebuild_what_changed_end_where_one_run_over_everything_does(tmp_path: Path) -> None:
    chance = random.Random(2)
    shop = Shop(tmp_path)
    withdrawn = {2: 1, 3: 2}
    for number in range(4):
        days = [f"{chance.randint(1, 6):02}-{chance.randint(1, 28):02}" for _ in "ab"]
        orders = chance.sample("abcd", 2)
        files = [line(order, day, str(chance.randint(-3, 9))) for order, day in zip(orders, days, strict=True)]
        shop.deliver("till", number, files)
        if number in withdrawn:
            withdraw(shop, withdrawn[number], number)
        assert run(shop, number).success
    step_by_step = {name: shop.rows(name) for name in CURATED}
    for name in CURATED:
        shop.lakehouse.catalog.drop_table((shop.lakehouse.database, name))
    result = shop.run(START + timedelta(days=9), *CURATED)
    assert rebuilt(result, "order_lines") == "everything: first build"
    assert {name: shop.rows(name) for name in CURATED} == step_by_step
    assert len(step_by_step["order_lines"]) > 4


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
  - {property: keySpace, value: shop}
  - {property: history, value: {validFrom: 2016-01-01}}
  - {property: format, value: {type: csv, delimiter: ","}}
schema:
  - name: cards
    physicalType: file
    properties:
      - {name: card, logicalType: string, required: true, primaryKey: true}
      - {name: owner, logicalType: string, required: true}
"""


def shop_with_cards(home: Path) -> Shop:
    shop = Shop(home)
    joined = CONTRACT.format(name="till").replace("transformLogic: customer}", "transformLogic: cards.owner}")
    head = "  - name: order_lines\n    physicalType: canonical\n"
    join = "    customProperties:\n      - {property: joins, value: [{source: cards, on: {customer: card}}]}\n"
    shop.contract("till", joined.replace(head, head + join))
    shop.contract("cards", CARDS)
    assert not read_lineage(shop.settings).broken
    return shop


def owners(shop: Shop) -> list[tuple[str, str, Decimal]]:
    rows = [row for row in shop.rows("order_lines") if row["superseded_at"] is None]
    return sorted((row["order_id"], row["customer_key"], row["net"]) for row in rows)


def test_a_corrected_line_whose_joined_side_changes_later_stands_once_with_its_correction(tmp_path: Path) -> None:
    shop = shop_with_cards(tmp_path)
    names = ("raw_till", "raw_cards", "order_lines")
    shop.deliver("till", 1, [line("1", "01-05", "5", "card-1"), line("2", "04-05", "6", "card-1")])
    shop.deliver_text("cards", 1, "card,owner\ncard-1,ann\n")
    assert shop.run(START, *names).success
    assert owners(shop) == [("1", "ann", 5), ("2", "ann", 6)]
    shop.deliver("till", 2, [line("1", "02-05", "4", "card-1")])
    result = shop.run(START + timedelta(days=1), *names)
    assert rebuilt(result, "order_lines") == "2 months that changed in raw_till"
    assert owners(shop) == [("1", "ann", 4), ("2", "ann", 6)]
    shop.deliver_text("cards", 2, "card,owner\ncard-1,bob\n")
    assert shop.run(START + timedelta(days=2), *names).success
    assert owners(shop) == [("1", "bob", 4), ("2", "bob", 6)]


def test_a_source_that_moves_days_is_not_read_by_month(tmp_path: Path) -> None:
    shop = shop_with_cards(tmp_path)
    assert order_lines(shop)[0].driver == ("raw_till",)
    moved = CONTRACT.format(name="till") + "      - {name: local_date, transformLogic: cast(ordered_at as date)}\n"
    shop.contract("till", moved)
    assert order_lines(shop)[0].driver == ()


def delivered(contract: Contract, *rows: dict[str, Any]) -> Any:
    """Raw rows of the till, an hour apart in the order they are written."""
    full = []
    for number, row in enumerate(rows):
        at = START + timedelta(hours=number)
        plain = {"delivery_id": str(number), "row_number": number, "known_at": at, "delivered_at": at}
        full.append({**plain, "local_date": date(2017, 1, 5), "occurred_at": datetime(2017, 1, 5, 10), **row})
    return table(raw_table(contract), *full)


def order_lines(shop: Shop) -> tuple[TableAsset, Mapping[str, Contract]]:
    lineage = read_lineage(shop.settings)
    assert not lineage.broken
    [asset] = [asset for asset in canonical_assets(lineage.contracts) if asset.name == "order_lines"]
    return asset, lineage.contracts


def test_a_source_row_that_gets_another_order_number_replaces_the_old_one(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    text = CONTRACT.format(name="till").replace("primaryKey: true, primaryKeyPosition: 1", "primaryKey: false")
    shop.contract("till", text)
    asset, contracts = order_lines(shop)
    till = delivered(
        contracts["till"],
        {"order_id": "1", "line": 7, "customer": "ann", "ordered_at": datetime(2017, 1, 5, 10), "amount": Decimal(5)},
        {"order_id": "2", "line": 7, "customer": "ann", "ordered_at": datetime(2017, 1, 5, 10), "amount": Decimal(5)},
    )
    spans = [(row["order_id"], row["superseded_at"]) for row in found(asset(raw_till=till))]
    assert sorted(spans) == [("1", START + timedelta(hours=1)), ("2", None)]
    assert asset.driver == ()  # a month alone does not hold every version of a row


def test_a_sum_over_joined_rows_counts_a_corrected_side_once(tmp_path: Path) -> None:
    shop = shop_with_cards(tmp_path)
    path = shop.settings.contracts / "till.yaml"
    grouping = "      - {property: groupBy, value: [order_id, local_date, ordered_at, cards.owner]}\n"
    joins = "on: {customer: card}}]}\n"
    text = path.read_text().replace(joins, joins + grouping)
    for old, new in (
        ("transformLogic: amount", "transformLogic: sum(amount)"),
        ("transformLogic: line", "transformLogic: \"'all'\""),
    ):
        text = text.replace(old, new)
    path.write_text(text)
    asset, contracts = order_lines(shop)
    bought = {"order_id": "1", "customer": "card-1", "ordered_at": datetime(2017, 1, 5, 10)}
    till = delivered(
        contracts["till"],
        {**bought, "line": 1, "amount": Decimal(5)},
        {**bought, "line": 2, "amount": Decimal(9)},
        {**bought, "line": 2, "amount": Decimal(2)},
    )
    cards = delivered(contracts["cards"], {"card": "card-1", "owner": "ann"}, {"card": "card-1", "owner": "ann"})
    [order] = found(asset(raw_till=till, raw_cards=cards))
    assert (order["customer_key"], order["net"], order["superseded_at"]) == ("ann", 7, None)
