"""Orders, customer days and category spend: money adds up exactly, and what was believed stays readable."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cdap_assets.curated.entities import ENTITIES
from cdap_assets.curated.orders import customer_categories, customer_days, orders
from tests.examples import examples
from tests.rows import LONG_AGO, found, table

LINES = ENTITIES["order_lines"].table
PRODUCTS = ENTITIES["products"].table
MAY = date(2017, 5, 1)


def line(order: str, number: str, net: str, **other: Any) -> dict[str, Any]:
    day = other.pop("local_date", MAY)
    return {
        "order_id": order,
        "line": number,
        "local_date": day,
        "ordered_at": datetime(day.year, day.month, day.day, 12),
        "net": Decimal(net),
        "gross": Decimal(net),
        "discount": Decimal(0),
        "is_refund": Decimal(net) < 0,
        **other,
    }


def test_lines_of_an_order_are_summed_without_losing_a_ten_thousandth() -> None:
    [order] = found(orders(table(LINES, line("1", "1", "0.1000"), line("1", "2", "0.2001"))))
    assert (order["net"], order["gross"], order["lines"]) == (Decimal("0.3001"), Decimal("0.3001"), 2)


def test_an_order_over_two_local_days_is_a_row_on_each_with_the_sum_split() -> None:
    lines = table(LINES, line("1", "1", "5"), line("1", "2", "7", local_date=date(2017, 5, 2)))
    assert [(row["local_date"].day, row["net"]) for row in found(orders(lines))] == [(1, 5), (2, 7)]
    assert [(row["local_date"].day, row["net"]) for row in found(customer_days(orders(lines)))] == [(1, 5), (2, 7)]


def test_two_currencies_of_one_order_are_never_added() -> None:
    lines = table(LINES, line("1", "1", "5"), line("1", "2", "7", currency="USD"))
    expected = [("EUR", 5), ("USD", 7)]
    assert sorted((row["currency"], row["net"]) for row in found(orders(lines))) == expected
    assert sorted((row["currency"], row["net"]) for row in found(customer_days(orders(lines)))) == expected


def test_a_day_of_refunds_alone_counts_no_order_and_takes_its_money_off() -> None:
    lines = table(LINES, line("1", "1", "9"), line("1", "1r", "-9", local_date=date(2017, 5, 3)))
    days = found(customer_days(orders(lines)))
    assert [(row["orders"], row["net"]) for row in days] == [(1, 9), (0, -9)]


def test_a_correction_known_later_leaves_the_day_as_it_was_believed_before() -> None:
    learned = datetime(2017, 6, 1)
    lines = table(
        LINES,
        line("1", "1", "9", superseded_at=learned),
        line("1", "1", "4", known_at=learned),
        line("2", "1", "1"),
    )
    days = found(customer_days(orders(lines)))
    spans = sorted((row["known_at"], row["superseded_at"], row["net"], row["orders"]) for row in days)
    assert spans == [(LONG_AGO, learned, 10, 2), (learned, None, 5, 2)]


amounts = st.decimals(-99999, 99999, places=4)
drawn_lines = st.lists(
    st.tuples(
        st.sampled_from("12"), st.sampled_from("ab"), st.integers(1, 3), amounts, st.sampled_from(["EUR", "USD"])
    ),
    min_size=1,
    max_size=10,
)


@examples(15)
@given(drawn_lines)
def test_money_and_lines_reconcile_from_lines_to_orders_to_days_to_categories(
    drawn: list[tuple[str, str, int, Decimal, str]],
) -> None:
    lines = table(
        LINES,
        *(
            line(order, str(n), str(net), customer_key=who, local_date=date(2017, 5, day), currency=currency)
            for n, (order, who, day, net, currency) in enumerate(drawn)
        ),
    )

    def sums(rows: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[Decimal, int]]:
        total: dict[tuple[str, str], tuple[Decimal, int]] = {}
        for row in rows:
            net, count = total.get((row["customer_key"], row["currency"]), (Decimal(0), 0))
            total[row["customer_key"], row["currency"]] = (net + row["net"], count + row.get("lines", 1))
        return total

    expected = sums(lines.to_pyarrow().to_pylist())
    assert sums(found(orders(lines))) == expected
    assert sums(found(customer_days(orders(lines)))) == expected
    assert sums(found(customer_categories(lines, table(PRODUCTS)))) == expected


def test_categories_count_what_is_valid_now_and_call_a_product_without_a_master_unknown() -> None:
    lines = table(
        LINES,
        line("1", "1", "9", product_key="milk", superseded_at=datetime(2017, 6, 1)),
        line("1", "1", "4", product_key="milk", known_at=datetime(2017, 6, 1)),
        line("1", "2", "3", product_key="nail"),
        line("1", "3", "2"),
    )
    products = table(
        PRODUCTS,
        {"product_key": "milk", "category": "OLD", "superseded_at": datetime(2017, 1, 1)},
        {"product_key": "milk", "category": "DAIRY", "known_at": datetime(2017, 1, 1)},
    )
    spent = {row["category"]: row["net"] for row in found(customer_categories(lines, products))}
    assert spent == {"DAIRY": 4, "unknown": 5}
