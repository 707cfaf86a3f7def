"""Profiles, RFM segments and cohorts, by what is known now."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import ibis
from hypothesis import given
from hypothesis import strategies as st

from cdap_assets.curated.entities import ENTITIES
from cdap_assets.curated.orders import CUSTOMER_CATEGORIES, CUSTOMER_DAYS
from cdap_assets.identity.customer_xref import CUSTOMER_XREF
from cdap_assets.profiles.cohorts import COHORT_RETENTION, PERIOD, cohort_retention
from cdap_assets.profiles.profile import CUSTOMER_PROFILE, customer_profile
from cdap_assets.profiles.segments import CUSTOMER_SEGMENTS, customer_segments
from tests.examples import examples
from tests.rows import found, table

START = date(2017, 1, 1)
Row = dict[str, Any]


def bought(customer: str, after: int, **other: Any) -> Row:
    return {"customer_key": customer, "local_date": START + timedelta(days=after), **other}


def xref(*customers: str) -> ibis.Table:
    return table(CUSTOMER_XREF, *({"customer_key": name, "customer_id": name} for name in sorted(set(customers))))


def segments(*days: Row) -> list[Row]:
    return found(customer_segments(table(CUSTOMER_DAYS, *days), xref(*(day["customer_key"] for day in days))))


def profile(days: list[Row], customers: list[str], **sides: list[Row]) -> dict[str, Row]:
    people, purchases = xref(*customers), table(CUSTOMER_DAYS, *days)
    result = customer_profile(
        people,
        purchases,
        customer_segments(purchases, people),
        table(CUSTOMER_CATEGORIES, *sides.get("categories", [])),
        *(table(ENTITIES[name].table, *sides.get(name, [])) for name in ("touches", "responses", "customer_traits")),
    )
    assert set(CUSTOMER_PROFILE.names) <= set(result.columns)
    rows = found(result)
    assert len({row["customer_id"] for row in rows}) == len(rows)
    return {row["customer_id"]: row for row in rows}


@examples(12)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=23))
def test_fifths_run_from_1_to_5_and_differ_in_size_by_at_most_one(drawn: list[tuple[int, int]]) -> None:
    rows = segments(*(bought(f"c{n:02}", after, net=Decimal(net)) for n, (after, net) in enumerate(drawn)))
    assert len(rows) == len(drawn)
    for column in "rfm":
        sizes = Counter(row[column] for row in rows)
        assert set(sizes) <= set(range(1, 6))
        assert max(sizes.values()) - min(sizes[fifth] for fifth in range(1, 6)) <= 1


def test_the_most_recent_the_most_frequent_and_the_highest_spender_are_5() -> None:
    days = [bought(f"c{n}", n, net=Decimal(n)) for n in range(10)] + [bought("c0", n) for n in range(1, 4)]
    rows = {row["customer_id"]: row for row in segments(*days)}
    assert (rows["c9"]["r"], rows["c0"]["f"], rows["c0"]["m"]) == (5, 5, 5)
    assert (rows["c1"]["r"], rows["c1"]["m"]) == (1, 1)
    assert rows["c9"]["recency_days"] == 1
    assert {row["as_of"] for row in rows.values()} == {START + timedelta(days=10)}


def test_ties_are_broken_by_customer_id_whatever_the_order_of_rows() -> None:
    days = [bought(f"c{n}", 3) for n in range(10)]
    rows = segments(*days)
    assert rows == segments(*reversed(days))
    assert [row["f"] for row in rows] == sorted(row["f"] for row in rows)


def test_amounts_of_two_currencies_are_caught_before_anything_is_published() -> None:
    rows = segments(bought("ann", 1), bought("ann", 2, currency="USD"), bought("bob", 1))
    assert {row["customer_id"]: row["currencies"] for row in rows} == {"ann": 2, "bob": 1}
    assert "one currency" in {invariant.name for invariant in CUSTOMER_SEGMENTS.invariants}


def test_a_customer_without_purchases_has_a_profile() -> None:
    rows = profile([bought("ann", 0)], ["ann", "eve"])
    eve = rows["eve"]
    assert (eve["segment"], eve["purchase_days"], eve["orders"], eve["net"]) == ("no purchase", 0, 0, 0)
    assert (eve["last_purchase"], eve["mean_gap_days"], eve["top_category"]) == (None, None, None)
    assert (eve["touches"], eve["responses"], eve["traits"]) == (0, 0, 0)


def test_an_installation_without_orders_still_has_profiles() -> None:
    assert profile([], ["eve"])["eve"]["segment"] == "no purchase"


def test_a_profile_counts_what_is_valid_now() -> None:
    gone = datetime(2017, 6, 1)
    sent = {"customer_key": "ann", "campaign": "1", "channel": "post"}
    ann = profile(
        [bought("ann", 0), bought("ann", 4), bought("ann", 10, orders=2), bought("ann", 30, superseded_at=gone)],
        ["ann"],
        touches=[
            {**sent, "sent_at": datetime(2017, 2, 1)},
            {**sent, "campaign": "2", "sent_at": datetime(2017, 3, 1)},
            {**sent, "campaign": "3", "sent_at": datetime(2017, 4, 1), "superseded_at": gone},
        ],
        customer_traits=[{"customer_key": "ann", "name": "age", "value": "35-44"}],
    )["ann"]
    assert (ann["purchase_days"], ann["orders"], ann["mean_gap_days"], ann["recency_days"]) == (3, 4, 5, 1)
    assert (ann["touches"], ann["last_touch_at"], ann["traits"]) == (2, datetime(2017, 3, 1), 1)
    assert (ann["tenure_days"], ann["net"], ann["currency"]) == (11, 30, "EUR")


def test_of_categories_with_equal_spend_the_first_by_name_is_the_favourite() -> None:
    def spent(category: str, net: int) -> Row:
        return {"customer_key": "ann", "category": category, "net": Decimal(net), "month": START}

    categories = [spent("TEA", 3), spent("TEA", 2), spent("BREAD", 5), spent("RETURNED", -4)]
    for order in (categories, categories[::-1]):
        ann = profile([bought("ann", 0)], ["ann"], categories=order)["ann"]
        assert (ann["top_category"], ann["top_category_share"]) == ("BREAD", 0.5)


def cohorts(*days: Row) -> list[Row]:
    rows = found(cohort_retention(table(CUSTOMER_DAYS, *days), xref(*(day["customer_key"] for day in days))))
    assert all(set(row) == set(COHORT_RETENTION.names) for row in rows)
    return rows


@examples(15)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5 * PERIOD)), min_size=1, max_size=15))
def test_retention_is_a_share_that_begins_at_1_and_covers_every_whole_period(drawn: list[tuple[str, int]]) -> None:
    rows = cohorts(*(bought(*one) for one in set(drawn)))
    ages = [age for _who, age in drawn]
    whole = (max(ages) - min(ages) + 1) // PERIOD
    first = {who: (min(a for w, a in drawn if w == who) - min(ages)) // PERIOD for who, _age in drawn}
    expected: dict[tuple[date, int], set[str]] = {}
    for who, cohort in first.items():
        for number in range(cohort, whole):
            begin = START + timedelta(days=min(ages) + cohort * PERIOD)
            active = expected.setdefault((begin, number - cohort), set())
            active |= {w for w, a in drawn if w == who and (a - min(ages)) // PERIOD == number}
    assert {(row["cohort"], row["period"]): row["active"] for row in rows} == {k: len(v) for k, v in expected.items()}
    for row in rows:
        assert 0 <= row["retention"] <= 1
        assert row["retention"] == row["active"] / row["customers"]
        assert row["period"] > 0 or row["retention"] == 1


def test_a_period_in_which_nobody_of_a_cohort_bought_is_a_row_with_zero() -> None:
    rows = cohorts(bought("ann", 0), bought("ann", 2 * PERIOD), bought("bob", 3 * PERIOD - 1))
    assert [(row["period"], row["retention"]) for row in rows if row["cohort"] == START] == [
        (0, 1.0),
        (1, 0.0),
        (2, 1.0),
    ]


def test_periods_that_the_data_does_not_wholly_cover_are_left_out() -> None:
    assert cohorts(bought("ann", 0), bought("ann", PERIOD - 2)) == []
    assert [row["period"] for row in cohorts(bought("ann", 0), bought("ann", PERIOD - 1))] == [0]
