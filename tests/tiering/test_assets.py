"""The tables of storage as a run of their job leaves them: one row per partition, and one a day for each tier."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest

from cdap_assets.tiering.storage_page import PAGE
from tests.tiering.conftest import ARCHIVE, JANUARY, AgeingShop, made

TABLES = ("storage_inventory", "storage_tiers", "storage_savings")


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> tuple[AgeingShop, dg.ExecuteInProcessResult]:
    """A shop that was looked at after half a year, and twice on the next day with a month archived."""
    shop = made(AgeingShop(tmp_path_factory.mktemp("looked") / "home"))
    shop.pass_days(180)
    assert shop.job("review_storage").success
    shop.pass_days(1)
    shop.archive("order_lines", JANUARY)
    assert shop.job("review_storage").success
    shop.at += timedelta(minutes=1)
    return shop, shop.job("review_storage")


def rows(shop: AgeingShop, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shop.rows(name)
    return found


def test_every_partition_has_one_row_in_each_table_with_the_same_figures(looked: Any) -> None:
    shop, result = looked
    assert result.success
    inventory, tiers = rows(shop, TABLES[0]), rows(shop, TABLES[1])
    states = shop.states()
    assert Counter((row["table_name"], row["partition"]) for row in inventory) == Counter([*states])
    shared = [*inventory[0].keys() & tiers[0].keys()]
    assert sorted(str([row[name] for name in shared]) for row in inventory) == sorted(
        str([row[name] for name in shared]) for row in tiers
    )
    assert {row["as_of"] for row in [*inventory, *tiers]} == {shop.at}
    by = {(row["table_name"], row["partition"]): row for row in inventory}
    assert by["order_lines", "month=2017-01-01"]["rows"] == 40
    assert by["order_lines", "month=2017-01-01"]["tier"] == "archived"
    assert by["order_lines", "month=2017-02-01"]["last_read"] == shop.began.date()
    assert by["customer_days", "month=2017-02-01"]["observed_since"] is None


def test_each_row_says_what_every_tier_would_cost_and_why_it_should_be_where(looked: Any) -> None:
    shop, _result = looked
    by = {(row["table_name"], row["partition"]): row for row in rows(shop, "storage_tiers")}
    february = by["order_lines", "month=2017-02-01"]
    assert (february["decision"], february["to_tier"], february["to_class"]) == ("archive", "archived", ARCHIVE)
    assert february["monthly_hot"] > february["monthly_cool"] > february["monthly_archived"] > 0
    assert february["storage_month"] == february["monthly_hot"]
    assert february["saving"] > 0
    assert february["reason"].startswith("181 days unread, ")
    assert february["currency"] == "EUR"
    january = by["order_lines", "month=2017-01-01"]
    assert (january["decision"], january["to_tier"], january["move_cost"]) == ("stay", "archived", 0)
    # what is read whole may be cooled, never archived
    assert {row["decision"] for (table, _), row in by.items() if table == "customer_days"} == {"stay"}


def test_savings_keep_one_row_a_day_for_each_tier_however_often_one_looks(looked: Any) -> None:
    shop, _result = looked
    days = Counter(row["day"] for row in rows(shop, "storage_savings"))
    half = (shop.began + timedelta(days=180)).date()
    assert days == {half: 1, half + timedelta(days=1): 2}
    newest = {row["tier"]: row for row in rows(shop, "storage_savings") if row["day"] == shop.at.date()}
    tiers = rows(shop, "storage_tiers")
    for name, row in newest.items():
        own = [one for one in tiers if one["tier"] == name]
        assert row["partitions"] == len(own)
        assert row["bytes"] == sum(one["bytes"] for one in own)
        hot = float(sum((one["monthly_hot"] for one in own), Decimal(0)))
        assert float(row["monthly_cost_hot"]) == pytest.approx(hot, abs=1e-5)
    archived, there = newest["archived"], newest["hot"]
    assert archived["monthly_cost"] < archived["monthly_cost_hot"] / 50
    assert there["monthly_cost"] == there["monthly_cost_hot"]
    assert there["proposed_moves"] == sum(one["decision"] != "stay" for one in tiers)
    assert there["proposed_saving"] > archived["proposed_saving"] == 0


def test_a_look_is_seen_in_dagster_with_rows_page_and_passing_checks(looked: Any) -> None:
    shop, result = looked
    for name in TABLES:
        [event] = [one for one in result.get_asset_materialization_events() if one.asset_key == dg.AssetKey(name)]
        assert event.materialization.metadata["dagster/row_count"].value == len(rows(shop, name))
        page = next(iter(event.materialization.metadata.values()))
        assert page == dg.MetadataValue.url(shop.settings.page_url(PAGE))
    checks = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert {name for name, one in checks.items() if one.passed} >= {
        "live_files_readable",
        "archives_whole",
        "cost_as_expected",
    }, {name: (one.description, one.metadata) for name, one in checks.items() if not one.passed}


def test_a_home_without_tables_has_nothing_to_look_at_and_says_so_in_empty_tables(tmp_path: Any) -> None:
    shop = AgeingShop(tmp_path / "home")
    assert shop.job("review_storage").success
    assert [rows(shop, name) for name in TABLES] == [[], [], []]
