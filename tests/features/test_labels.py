"""Labels: what really happened in a window that has closed, for those who were customers at the cut-off."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import ibis
import pytest

from cdap_assets.features.labels import (
    ACTIVE_DAYS,
    LAPSE_HORIZON,
    LAPSE_LABELS,
    VALUE_HORIZON,
    VALUE_LABELS,
    covered_until,
    label_assets,
)
from cdap_assets.table_assets.snapshots import cutoff, snapshot_rows
from tests.features.lake import ANN, BOB, ZONE, Lake, S, day, link
from tests.rows import LONG_AGO

AFTER_S = cutoff(S, ZONE) + timedelta(days=9)
ENDED: Mapping[str, date | None] = {"shop": S + timedelta(days=365)}


def labels(lake: Lake, *snapshots: date, ends: Mapping[str, date | None] = ENDED) -> dict[str, dict[Any, Any]]:
    """Rows of both label tables, by (snapshot, customer)."""
    result = {}
    for asset in label_assets(ends):
        rows = asset(
            snapshots=snapshot_rows(snapshots or (S,), ZONE),
            customer_days=lake.customer_days,
            customer_xref=lake.customer_xref,
        )
        listed = rows.to_pyarrow().to_pylist()
        result[asset.name] = {(row["snapshot_date"], row["customer_id"]): row for row in listed}
        assert len(result[asset.name]) == len(listed)
        assert set(rows.columns) == set(asset.table.names)
    return result


def lapsed(lake: Lake, customer: str = ANN, **kwargs: Any) -> bool | None:
    answer: bool | None = labels(lake, **kwargs)[LAPSE_LABELS.name][S, customer]["lapsed"]
    return answer


@pytest.mark.parametrize(
    ("last", "next_", "expected"),
    [
        (1, None, True),
        (ACTIVE_DAYS, None, True),
        (ACTIVE_DAYS + 1, None, None),
        (1, 0, False),
        (1, LAPSE_HORIZON - 1, False),
        (1, LAPSE_HORIZON, True),
        (ACTIVE_DAYS + 1, 0, None),
    ],
)
def test_a_regular_lapses_who_buys_nothing_from_the_cut_off_to_the_end_of_the_horizon(
    last: int, next_: int | None, expected: bool | None
) -> None:
    later = () if next_ is None else (day(-next_),)
    assert lapsed(Lake(days=(day(last), *later))) is expected


def test_a_refund_is_neither_activity_before_nor_a_purchase_after() -> None:
    assert lapsed(Lake(days=(day(3), day(-3, orders=0)))) is True
    assert lapsed(Lake(days=(day(99), day(3, orders=0)))) is None


def test_a_purchase_that_became_known_late_counts_in_the_label_and_a_withdrawn_one_does_not() -> None:
    months_later = cutoff(S, ZONE) + timedelta(days=200)
    assert lapsed(Lake(days=(day(3), day(-3, known_at=months_later)))) is False
    assert lapsed(Lake(days=(day(3), day(-3, superseded_at=months_later)))) is True


def test_a_customer_not_known_at_the_cut_off_has_no_label() -> None:
    found = labels(Lake(days=(day(3), day(-1, "bob"), day(3, "cid", known_at=AFTER_S))))
    assert [set(rows) for rows in found.values()] == [{(S, ANN)}, {(S, ANN)}]


def test_a_merge_after_the_cut_off_leaves_no_fake_lapse() -> None:
    both_buy = Lake(days=(day(3), day(2, "bob"), day(-3), day(-4, "bob")))
    merged = both_buy.plus(links=(link("ann", "bob", AFTER_S),))
    assert labels(merged) == labels(both_buy)
    assert (lapsed(merged, ANN), lapsed(merged, BOB)) == (False, False)


def test_a_merge_before_the_cut_off_makes_one_label_of_both_keys() -> None:
    lake = Lake(days=(day(3), day(-3, "bob")), links=(link("ann", "bob", LONG_AGO),))
    assert lapsed(lake, min(ANN, BOB)) is False


def test_a_snapshot_has_labels_only_once_its_window_has_closed() -> None:
    lake = Lake(days=(day(3),))
    last_day = S + timedelta(days=LAPSE_HORIZON - 1)
    closed = labels(lake, ends={"shop": last_day})
    assert len(closed[LAPSE_LABELS.name]) == 1
    assert closed[VALUE_LABELS.name] == {}
    assert labels(lake, ends={"shop": last_day - timedelta(days=1)})[LAPSE_LABELS.name] == {}
    assert len(labels(lake, ends={"shop": S + timedelta(days=VALUE_HORIZON - 1)})[VALUE_LABELS.name]) == 1


def test_labels_of_many_snapshots_are_those_of_each_alone() -> None:
    lake = Lake(days=(day(30), day(3), day(-3), day(-20, "bob"), day(-40, "bob")))
    dates = [S + timedelta(days=7 * n) for n in range(4)]
    together = labels(lake, *dates)
    for name, rows in together.items():
        alone = [labels(lake, snapshot)[name] for snapshot in dates]
        assert rows == {key: row for one in alone for key, row in one.items()}


def test_value_is_what_was_received_in_the_horizon_refunds_taken_off() -> None:
    lake = Lake(
        days=(
            day(3, net=Decimal(99)),
            day(0, net=Decimal("0.0001")),
            day(1 - VALUE_HORIZON, net=Decimal(10)),
            day(-VALUE_HORIZON, net=Decimal(50)),
            day(-5, orders=0, net=Decimal(-3)),
            day(9, "bob"),
        )
    )
    rows = labels(lake)[VALUE_LABELS.name]
    assert (rows[S, ANN]["purchase_days"], rows[S, ANN]["net"]) == (2, Decimal("7.0001"))
    assert (rows[S, BOB]["purchase_days"], rows[S, BOB]["net"]) == (0, 0)


def covered(lake: Lake, ends: Mapping[str, date | None]) -> date | None:
    scalar = covered_until(lake.customer_days, ends)
    day_: date | None = (
        ibis.memtable([{"a": 1}], schema={"a": "int64"}).select(day=scalar.cast("date")).to_pyarrow()["day"][0].as_py()
    )
    return day_


def test_a_closed_source_covers_its_last_day() -> None:
    assert covered(Lake(days=(day(5),)), {"shop": S}) == S + timedelta(days=1)


def test_a_live_source_covers_the_days_before_its_newest_one() -> None:
    assert covered(Lake(days=(day(5), day(2))), {"shop": None}) == S - timedelta(days=2)


def test_of_several_live_sources_the_slowest_decides_and_closed_ones_do_not() -> None:
    lake = Lake(days=(day(5), day(2, source="web"), day(9, source="old")))
    assert covered(lake, {"shop": None, "web": None, "old": S}) == S - timedelta(days=5)


def test_days_of_a_delivery_that_was_withdrawn_are_not_covered() -> None:
    lake = Lake(days=(day(5), day(-40, superseded_at=AFTER_S)))
    assert covered(lake, {"shop": None}) == S - timedelta(days=5)


def test_a_live_source_without_orders_closes_no_window() -> None:
    assert labels(Lake(days=(day(5, source="old"),)), ends={"shop": None}) == {
        LAPSE_LABELS.name: {},
        VALUE_LABELS.name: {},
    }
