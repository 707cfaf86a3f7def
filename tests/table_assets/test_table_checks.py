"""Checks across tables fail on what they are there to see, and pass on tables that agree."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cdap_assets.lineage import read_lineage
from cdap_assets.table_assets.table_checks import table_checks
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.rows import LONG_AGO, table

Write = Callable[..., None]
DECEMBER = date(2017, 12, 4)


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    return Lakehouse(Settings(home=tmp_path / "home"))


@pytest.fixture
def write(lakehouse: Lakehouse) -> Write:
    specs = read_lineage(lakehouse.settings).specs

    def publish(name: str, *rows: dict[str, Any]) -> None:
        with lakehouse.session() as session:
            session.publish(specs[name], table(specs[name], *rows))

    return publish


def checked(lakehouse: Lakehouse, name: str) -> list[dg.AssetCheckResult]:
    """What a check tells; nothing where it has nothing to compare."""
    found = {next(iter(each.check_keys)).name: each for each in table_checks(read_lineage(lakehouse.settings).specs)}
    result = found[name](lakehouse=lakehouse)
    return [result] if isinstance(result, dg.AssetCheckResult) else list(result)


def check(lakehouse: Lakehouse, name: str) -> dg.AssetCheckResult:
    [result] = checked(lakehouse, name)
    return result


def order(number: int, net: str, day: date = DECEMBER) -> dict[str, Any]:
    return {"order_id": str(number), "local_date": day, "ordered_at": LONG_AGO, "net": Decimal(net)}


def test_sums_that_differ_by_a_cent_in_a_newest_month_are_an_error(lakehouse: Lakehouse, write: Write) -> None:
    write("orders", order(1, "10.10"), order(2, "5.05"))
    write("customer_days", {"local_date": DECEMBER, "orders": 2, "net": Decimal("15.15")})
    assert check(lakehouse, "sums_agree").passed
    write("customer_days", {"local_date": DECEMBER, "orders": 2, "net": Decimal("15.14")})
    wrong = check(lakehouse, "sums_agree")
    assert not wrong.passed
    assert wrong.severity == dg.AssetCheckSeverity.ERROR
    assert wrong.metadata["difference"].value == pytest.approx(0.01)


def test_lines_of_products_without_a_master_row_are_counted_and_warn(lakehouse: Lakehouse, write: Write) -> None:
    def line(number: int, product: str | None) -> dict[str, Any]:
        return {**order(number, "1"), "line": "1", "product_key": product, "is_refund": False}

    write("products", {"product_key": "tea"})
    write("order_lines", *(line(number, "tea") for number in range(99)), line(99, None))
    assert check(lakehouse, "products_known").passed
    write("order_lines", *(line(number, "tea") for number in range(9)), line(10, "gone"))
    unknown = check(lakehouse, "products_known")
    assert not unknown.passed
    assert unknown.severity == dg.AssetCheckSeverity.WARN
    assert unknown.metadata["share"].value == pytest.approx(0.1)


def test_a_customer_without_a_profile_is_an_error(lakehouse: Lakehouse, write: Write) -> None:
    profile = {"purchase_days": 1, "touches": 0, "responses": 0, "traits": 0, "segment": "loyal"}
    write("customer_xref", {"customer_key": "ann", "customer_id": "c1"}, {"customer_key": "bob", "customer_id": "c2"})
    write("customer_profile", {"customer_id": "c1", **profile})
    missing = check(lakehouse, "one_profile_each")
    assert not missing.passed
    assert missing.metadata["without_profile"].value == 1
    write("customer_profile", {"customer_id": "c1", **profile}, {"customer_id": "c2", **profile})
    assert check(lakehouse, "one_profile_each").passed


def test_a_jump_of_the_base_rate_warns_once_there_is_a_snapshot_before(lakehouse: Lakehouse, write: Write) -> None:
    def week(day: date, lapses: int) -> list[dict[str, Any]]:
        return [
            {"snapshot_date": day, "customer_id": f"c{n}", "eligible": True, "lapsed": n < lapses} for n in range(20)
        ]

    write("lapse_labels", *week(date(2017, 11, 19), 2))
    assert checked(lakehouse, "base_rate_steady") == []  # one snapshot has nothing to be compared with
    before = [*week(date(2017, 11, 19), 2), *week(date(2017, 11, 26), 2)]
    write("lapse_labels", *before, *week(date(2017, 12, 3), 3))
    assert check(lakehouse, "base_rate_steady").passed
    write("lapse_labels", *before, *week(date(2017, 12, 3), 12))
    jumped = check(lakehouse, "base_rate_steady")
    assert not jumped.passed
    assert jumped.metadata["base_rate"].value == pytest.approx(0.6)
