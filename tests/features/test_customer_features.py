"""Features know what was known at the cut-off, and nothing that came later."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import ibis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.table_assets.snapshots import cutoff
from tests.examples import examples
from tests.features.lake import ANN, BOB, ZONE, Lake, S, day, link, sundays
from tests.rows import LONG_AGO

WEEK = timedelta(days=7)
JUST_AFTER = cutoff(S, ZONE) + timedelta(microseconds=1)
HABIT = Lake(
    days=(day(70, net=Decimal("12.5")), day(30, net=Decimal(20)), day(10, orders=2, net=Decimal("7.5")), day(5, "bob")),
    touches=({"customer_key": "ann", "campaign": "1", "channel": "post", "sent_at": datetime(2017, 5, 1)},),
    responses=(
        {"customer_key": "ann", "campaign": "1", "kind": "coupon", "detail": "x", "responded_at": datetime(2017, 5, 2)},
    ),
)


def plain(table: dict[tuple[date, str], dict[str, Any]], snapshot: date = S) -> dict[str, dict[str, Any]]:
    return {customer: row for (day_, customer), row in table.items() if day_ == snapshot}


def test_features_are_what_their_descriptions_say() -> None:
    ann = HABIT.features(S)[S, ANN]
    assert (ann["first_purchase"], ann["last_purchase"]) == (S - timedelta(days=70), S - timedelta(days=10))
    assert (ann["purchase_days"], ann["frequency"], ann["days_since_last"]) == (3, 2, 10)
    assert (ann["recency"], ann["T"]) == (pytest.approx(60 / 7), pytest.approx(10))
    assert (ann["mean_gap"], ann["overdue"]) == (30, pytest.approx(1 / 3))
    assert (ann["net"], ann["monetary_value"], ann["repeat_value"]) == (Decimal(40), pytest.approx(40 / 3), 13.75)
    assert [ann[f"purchase_days_{window}"] for window in (28, 56, 91, 182)] == [1, 2, 3, 3]
    assert [ann[f"orders_{window}"] for window in (28, 56, 91, 182)] == [2, 3, 4, 4]
    assert [ann[f"net_{window}"] for window in (28, 56, 91, 182)] == [Decimal("7.5"), Decimal("27.5"), 40, 40]
    assert (ann["touches_91"], ann["responses_91"], ann["responses"]) == (1, 1, 1)
    assert (ann["currency"], ann["currencies"]) == ("EUR", 1)
    assert set(CUSTOMER_FEATURES.names) <= set(ann)


def test_a_customer_with_one_purchase_day_has_no_gap_and_no_repeat_value() -> None:
    bob = HABIT.features(S)[S, BOB]
    assert (bob["frequency"], bob["recency"], bob["mean_gap"], bob["overdue"], bob["repeat_value"]) == (
        0,
        0,
        None,
        None,
        None,
    )
    assert (bob["touches_91"], bob["responses_91"], bob["responses"]) == (0, 0, 0)


@pytest.mark.parametrize(("age", "inside"), [(28, 1), (29, 0)])
def test_a_window_of_28_days_ends_the_day_before_the_cut_off(age: int, inside: int) -> None:
    assert Lake(days=(day(age),)).features(S)[S, ANN]["purchase_days_28"] == inside


def test_a_purchase_moved_past_the_cut_off_changes_only_later_snapshots() -> None:
    before = HABIT.plus(days=(day(1),)).features(S, S + WEEK)
    after = HABIT.plus(days=(day(0),)).features(S, S + WEEK)
    assert plain(after) == plain(HABIT.features(S))
    assert plain(before)[ANN]["purchase_days"] == 4
    assert plain(after, S + WEEK)[ANN]["days_since_last"] == 7


def test_a_row_known_after_the_cut_off_is_absent_from_its_snapshot_and_present_in_later_ones() -> None:
    late = HABIT.plus(days=(day(3, known_at=JUST_AFTER),))
    features = late.features(S, S + WEEK)
    assert plain(features) == plain(HABIT.features(S))
    assert features[S + WEEK, ANN]["purchase_days"] == 4
    on_time = HABIT.plus(days=(day(3, known_at=cutoff(S, ZONE)),))
    assert on_time.features(S)[S, ANN]["purchase_days"] == 4


def test_a_row_corrected_after_the_cut_off_keeps_its_old_value_in_the_snapshot() -> None:
    corrected = Lake(
        days=(day(3, net=Decimal(10), superseded_at=JUST_AFTER), day(3, net=Decimal(4), known_at=JUST_AFTER))
    )
    features = corrected.features(S, S + WEEK)
    assert features[S, ANN]["net"] == 10
    assert features[S + WEEK, ANN]["net"] == 4


def test_a_merge_known_after_the_cut_off_moves_only_later_snapshots() -> None:
    merged = HABIT.plus(links=(link("ann", "bob", JUST_AFTER),))
    features = merged.features(S, S + WEEK)
    assert plain(features) == plain(HABIT.features(S))
    [(customer, row)] = plain(features, S + WEEK).items()
    assert customer == min(ANN, BOB)
    assert (row["purchase_days"], row["net"]) == (4, Decimal(50))


def test_two_keys_of_one_customer_that_buy_on_one_day_make_one_purchase_day() -> None:
    merged = Lake(days=(day(3), day(3, "bob")), links=(link("ann", "bob", LONG_AGO),))
    [row] = merged.features(S).values()
    assert (row["purchase_days"], row["orders_28"], row["net"]) == (1, 2, 20)


def test_touches_and_responses_count_when_they_had_happened_and_were_known() -> None:
    sent = {"customer_key": "ann", "campaign": "2", "channel": "post"}
    lake = Lake(
        days=(day(3),),
        touches=(
            {**sent, "sent_at": cutoff(S, ZONE) - timedelta(microseconds=1)},
            {**sent, "sent_at": cutoff(S, ZONE)},
            {**sent, "sent_at": datetime(2017, 5, 1), "known_at": JUST_AFTER},
            {**sent, "sent_at": datetime(2016, 5, 1)},
        ),
    )
    assert lake.features(S)[S, ANN]["touches_91"] == 1


def test_refunds_are_no_purchase_days_but_take_money_off() -> None:
    ann = Lake(days=(day(9, net=Decimal(30)), day(2, orders=0, net=Decimal(-30)))).features(S)[S, ANN]
    assert (ann["purchase_days"], ann["days_since_last"], ann["net"]) == (1, 9, 0)
    assert Lake(days=(day(2, orders=0, net=Decimal(-30)),)).features(S) == {}


def test_two_currencies_of_one_customer_break_the_invariant_and_of_two_customers_do_not() -> None:
    mixed = Lake(days=(day(3), day(2, currency="USD"))).features(S)[S, ANN]
    same_day = Lake(days=(day(3), day(3, currency="USD"))).features(S)[S, ANN]
    apart = Lake(days=(day(3), day(3, "bob", currency="USD"))).features(S)
    assert mixed["currencies"] == same_day["currencies"] == 2
    assert {row["currencies"] for row in apart.values()} == {1}
    [one_currency] = [i for i in CUSTOMER_FEATURES.invariants if i.name == "one currency"]
    rows = ibis.memtable([{"currencies": 1}, {"currencies": 2}], schema={"currencies": "int64"})
    assert rows.filter(one_currency.violates(rows)).to_pyarrow().to_pylist() == [{"currencies": 2}]


@pytest.mark.parametrize("snapshot", [date(2017, 3, 12), date(2017, 6, 4), date(2017, 11, 5)])
@pytest.mark.parametrize(("clock", "counts"), [((23, 59), True), ((0, 0), False)])
def test_a_purchase_a_minute_before_midnight_counts_and_at_midnight_does_not(
    snapshot: date, clock: tuple[int, int], counts: bool
) -> None:
    local = snapshot - timedelta(days=1) if counts else snapshot
    instant = datetime(local.year, local.month, local.day, *clock, tzinfo=ZONE).astimezone(UTC).replace(tzinfo=None)
    lake = Lake(
        days=({"customer_key": "ann", "local_date": local, "known_at": instant}, day(400)),
        responses=(
            {
                "customer_key": "ann",
                "campaign": "1",
                "kind": "coupon",
                "detail": "x",
                "responded_at": instant,
                "known_at": instant,
            },
        ),
    )
    ann = lake.features(snapshot)[snapshot, ANN]
    assert (ann["purchase_days"], ann["responses"]) == ((2, 1) if counts else (1, 0))


@st.composite
def any_day(draw: st.DrawFn) -> dict[str, Any]:
    known = draw(st.integers(-60, 20).map(lambda n: cutoff(S, ZONE) + timedelta(days=n)))
    end = draw(st.none() | st.integers(1, 40).map(lambda n: known + timedelta(days=n)))
    return day(
        draw(st.integers(-20, 60)),
        draw(st.sampled_from(["ann", "bob"])),
        net=Decimal(draw(st.integers(-5, 50))),
        orders=draw(st.integers(0, 2)),
        known_at=known,
        superseded_at=end,
    )


@examples(12)
@given(st.lists(any_day(), max_size=6), any_day(), st.booleans())
def test_no_row_that_happened_or_was_known_after_the_cut_off_moves_a_feature(
    rows: list[dict[str, Any]], added: dict[str, Any], unknown: bool
) -> None:
    future = {"known_at": JUST_AFTER, "superseded_at": None} if unknown else {"local_date": S}
    lake = Lake(days=tuple(rows))
    # the key itself is new knowledge too, but it adds no customer to the snapshot
    assert lake.plus(days=({**added, **future},)).features(S) == lake.features(S)


@examples(8)
@given(st.lists(any_day(), min_size=1, max_size=8))
def test_many_snapshots_in_one_pass_are_those_of_each_alone(rows: list[dict[str, Any]]) -> None:
    lake = Lake(days=tuple(rows), links=(link("ann", "bob", cutoff(S, ZONE) + timedelta(days=9)),))
    together = lake.features(*sundays(3))
    alone: dict[tuple[date, str], dict[str, Any]] = {}
    for snapshot in sundays(3):
        alone |= lake.features(snapshot)
    assert together == alone
