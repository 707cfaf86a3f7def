"""storage.yaml and contracts: what each table may do, and the one message when something cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from cdap_assets.definitions import build_definitions
from cdap_assets.lineage import read_lineage
from cdap_assets.storage.decision import Rules
from cdap_assets.storage.prices import PriceError
from cdap_assets.tiering.storage_policy import (
    FILE,
    PRICE_FILE,
    StoragePolicyError,
    prices_of,
    read_storage_policy,
    read_whole,
    refusal,
    rules_by_table,
)
from tests.curated.till import CONTRACT, Shop
from tests.tiering.conftest import APPLIED, JANUARY, AgeingShop, failure

HEAD = "schema:\n  - name: till"
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


@pytest.fixture
def home(tmp_path: Path) -> Shop:
    """A home with the till's contract and nothing else."""
    return Shop(tmp_path / "home")


def contract(home: Shop, **properties: Any) -> None:
    """Give the till's contract more custom properties."""
    told = "".join(f"  - {{property: {name}, value: {value}}}\n" for name, value in properties.items())
    home.contract("till", CONTRACT.format(name="till").replace("schema:\n", told + "schema:\n", 1))


def joined(home: Shop) -> None:
    """Let the till's order lines be joined to another source."""
    text = CONTRACT.format(name="till").replace("transformLogic: customer}", "transformLogic: cards.owner}")
    head = "  - name: order_lines\n    physicalType: canonical\n"
    join = "    customProperties:\n      - {property: joins, value: [{source: cards, on: {customer: card}}]}\n"
    home.contract("till", text.replace(head, head + join))
    home.contract("cards", CARDS)


def storage(home: Shop, text: str) -> None:
    (home.settings.home / FILE).write_text(text, encoding="utf-8")


def rules(home: Shop) -> dict[str, Rules]:
    return rules_by_table(read_lineage(home.settings), read_storage_policy(home.settings.home))


def test_a_home_without_the_file_is_a_dry_run_in_which_only_what_is_read_by_month_may_go(home: Shop) -> None:
    policy = read_storage_policy(home.settings.home)
    assert not policy.apply
    may = {name for name, found in rules(home).items() if found.may_archive}
    assert may >= {"raw_till", "order_lines", "orders"}
    whole = read_whole(read_lineage(home.settings))
    assert whole["customer_days"] == "customer_xref"
    assert not may & set(whole)
    assert {found.retention_days for found in rules(home).values()} == {None}
    assert "storage_tiers" not in rules(home)
    assert refusal(home.settings, read_lineage(home.settings)) is None


def test_what_a_contract_says_holds_for_its_raw_table_alone(home: Shop) -> None:
    contract(home, archive="false", legalHold="true", retention="1461 days", minHot="200 days")
    found = rules(home)["raw_till"]
    assert (found.may_archive, found.legal_hold, found.retention_days, found.min_hot_days) == (False, True, 1461, 200)
    other = rules(home)["order_lines"]
    assert (other.may_archive, other.legal_hold, other.retention_days, other.min_hot_days) == (True, False, None, 90)


def test_storage_yaml_goes_before_a_contract_and_the_table_before_the_file(home: Shop) -> None:
    contract(home, archive="false", retention="1461 days", minHot="200 days")
    storage(
        home,
        "{min_hot_days: 30, margin: 0.5, horizon_days: 90, "
        "tables: {raw_till: {archive: true, retention_days: 800, min_hot_days: 10}, orders: {legal_hold: true}}}",
    )
    raw, orders = rules(home)["raw_till"], rules(home)["orders"]
    assert (raw.may_archive, raw.retention_days, raw.min_hot_days) == (True, 800, 10)
    assert (float(raw.margin), raw.horizon_days) == (0.5, 90)
    assert (orders.may_archive, orders.legal_hold, orders.min_hot_days) == (True, True, 30)


def test_no_table_can_let_go_of_a_hold_that_its_contract_puts_on_it(home: Shop) -> None:
    contract(home, legalHold="true")
    storage(home, "{tables: {raw_till: {legal_hold: false}}}")
    assert rules(home)["raw_till"].legal_hold


@pytest.mark.parametrize("asked", ["archive: true", "retention_days: 400"])
@pytest.mark.parametrize(
    ("table", "reader"),
    [
        ("customer_days", "customer_xref"),
        ("customer_features", "training"),
        ("customer_scores", "monitoring"),
        ("plan_events", "the ledger of plans"),
        ("deliveries", "ingestion"),
    ],
)
def test_what_something_reads_whole_may_not_leave(home: Shop, table: str, reader: str, asked: str) -> None:
    storage(home, f"{{tables: {{{table}: {{{asked}}}}}}}")
    with pytest.raises(StoragePolicyError) as refused:
        rules(home)
    told = str(refused.value)
    assert told.startswith(f"storage.yaml: tables.{table}: ")
    assert f"would take rows from {reader}, which reads all of {table}" in told


def test_a_source_that_another_one_is_joined_to_may_not_leave_and_its_contract_is_named(home: Shop) -> None:
    joined(home)
    home.contract(
        "cards", CARDS.replace("customProperties:\n", "customProperties:\n  - {property: archive, value: true}\n")
    )
    with pytest.raises(StoragePolicyError, match="contract cards: archive: true would take rows from order_lines"):
        rules(home)
    home.contract("cards", CARDS)
    assert not rules(home)["raw_cards"].may_archive
    assert rules(home)["raw_till"].may_archive


@pytest.mark.parametrize("asked", ["archive: true", "retention_days: 30"])
def test_a_table_without_months_or_snapshots_may_not_leave_by_parts_it_has_not(home: Shop, asked: str) -> None:
    storage(home, f"{{tables: {{cohort_retention: {{{asked}}}}}}}")
    with pytest.raises(StoragePolicyError, match=r"tables\.cohort_retention: .*is not partitioned by month or snaps"):
        rules(home)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{tables: {ordr_lines: {archive: true}}}", "storage.yaml: tables: there is no table ordr_lines that could"),
        ("{tables: {storage_tiers: {archive: true}}}", "there is no table storage_tiers that could move"),
        ("apply: [", "storage.yaml is not YAML: "),
        ("- apply", "storage.yaml: the file: "),
        ("{aply: true}", "storage.yaml: aply: Extra inputs are not permitted, found True"),
        ("{horizon_days: 0}", "storage.yaml: horizon_days: Input should be greater than or equal to 1, found 0"),
        ("{time_travel_days: 1000000000}", "storage.yaml: time_travel_days: "),
        ("{tables: {orders: {retention_days: soon}}}", "storage.yaml: tables.orders.retention_days: "),
        ("{prices: mars-1}", "has no region 'mars-1', only "),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_in_one_message(home: Shop, text: str, told: str) -> None:
    storage(home, text)
    found = refusal(home.settings, read_lineage(home.settings))
    assert found is not None
    assert told in found


@pytest.mark.parametrize("name", [FILE, PRICE_FILE])
def test_a_file_that_is_no_text_is_refused_by_name(home: Shop, name: str) -> None:
    (home.settings.home / name).write_bytes("prices: gr\xf6\xdfer".encode("latin-1"))
    found = refusal(home.settings, read_lineage(home.settings))
    assert found is not None
    assert f"{name} is no" in found


def test_what_is_said_of_a_table_whose_contract_is_broken_waits_for_the_contract(home: Shop) -> None:
    storage(home, "{tables: {raw_till: {archive: true}}}")
    home.contract("till", "name: till")
    assert "raw_till" not in rules(home)
    assert "order_lines" in rules(home)


def test_prices_are_those_of_the_home_where_it_has_a_book(tmp_path: Path) -> None:
    shop = AgeingShop(tmp_path / "home")
    assert prices_of(shop.settings, read_storage_policy(shop.settings.home)).currency == "EUR"
    shop.policy(prices="local")
    with pytest.raises(PriceError, match="the price book test has no region 'local', only dear"):
        prices_of(shop.settings, read_storage_policy(shop.settings.home))
    (shop.settings.home / PRICE_FILE).unlink()
    assert prices_of(shop.settings, read_storage_policy(shop.settings.home)).region == "local"
    shop.policy()
    on_s3 = shop.settings.model_copy(update={"warehouse": "s3://lake", "region": "us-east-1"})
    assert prices_of(on_s3, read_storage_policy(shop.settings.home)).region == "us-east-1"


def test_a_refused_policy_stops_storage_with_its_reason_and_nothing_else(tmp_path: Path) -> None:
    shop = AgeingShop(tmp_path / "home")
    fine = build_definitions(shop.settings, clock=shop.clock)
    storage(shop, yaml.safe_dump({**APPLIED, "tables": {"customer_days": {"archive": True}}}))
    refused = build_definitions(shop.settings, clock=shop.clock)

    def keys(definitions: dg.Definitions) -> set[str]:
        return {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}

    def sensors(definitions: dg.Definitions) -> set[str]:
        return {sensor.name for sensor in definitions.get_repository_def().sensor_defs}

    assert keys(refused) == keys(fine)
    assert sensors(fine) - sensors(refused) == {"storage_tiering_sensor", "storage_restore_sensor"}
    shop.deliver("till", 1, [("1", 1, "ann", "2017-01-05 10:00:00", "5")])
    assert shop.refresh("order_lines").success
    told = "storage.yaml: tables.customer_days: archive: true would take rows from customer_xref"
    assert failure(shop.job("review_storage")).startswith(told)
    [spec] = [one for one in refused.resolve_all_asset_specs() if one.key.to_user_string() == "storage_tiers"]
    assert told in (spec.description or "")
    # a batch that somebody starts by hand is refused alike
    batch = {"table": "order_lines", "partitions": ['[{"date": "2017-01-01"}]'], "action": "archive"}
    moved = shop.job("tier_partitions", {"ops": {"move_tiers": {"config": {**batch, "storage_class": "shelf"}}}})
    assert failure(moved).startswith(told)
    assert shop.month("order_lines", JANUARY)
