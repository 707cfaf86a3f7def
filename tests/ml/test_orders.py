import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.orders import OrderLog
from tests.examples import examples
from tests.ml.cdnow import CALIBRATION_END, histories, purchase_days


def log_of(rows: list[tuple[str, int, float]]) -> OrderLog:
    frame = pd.DataFrame(rows, columns=["customer", "day", "amount"])
    return OrderLog.of(frame["customer"], pd.to_datetime(frame["day"], unit="D"), frame["amount"])


ROWS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 60), st.floats(0, 100)), min_size=1, max_size=80)


def test_the_histories_of_cdnow_are_those_of_the_protocol():
    days = purchase_days()
    log = OrderLog.of(days["customer_id"], days["day"], days["spend"])
    end = int(np.datetime64(CALIBRATION_END, "D").astype(int))
    ours, known = log.until(end).histories(end), histories()
    for column in ("frequency", "recency", "T", "spend_per_day_all"):
        np.testing.assert_allclose(ours[column], known[column], err_msg=column)
    actual = log.outcome(end, log.last_day)
    np.testing.assert_allclose(actual["spend"], known["actual_spend"])
    np.testing.assert_allclose(actual["purchases"], known["actual_days"])


def test_several_orders_of_a_customer_on_one_day_are_one_purchase_day():
    log = log_of([("a", 3, 5.0), ("a", 3, 7.0), ("a", 4, 1.0)])
    assert log.day.tolist() == [3, 4]
    assert log.spend is not None
    assert log.spend.tolist() == [12.0, 1.0]
    assert log.lines.tolist() == [2.0, 1.0]


@examples(60)
@given(rows=ROWS, end=st.integers(0, 60))
def test_what_came_after_the_end_changes_nothing_that_was_known_by_then(rows, end):
    past = [row for row in rows if row[1] <= end]
    if not past:
        return
    seen, alone = log_of(rows).until(end), log_of(past)
    pd.testing.assert_frame_equal(seen.histories(end), alone.histories(end))
    np.testing.assert_array_equal(seen.lines, alone.lines)


@examples(60)
@given(rows=ROWS, start=st.integers(0, 40), days=st.integers(1, 20))
def test_the_outcome_counts_the_days_after_the_start_of_customers_seen_by_then(rows, start, days):
    outcome = log_of(rows).outcome(start, start + days)
    seen = {customer for customer, day, _ in rows if day <= start}
    bought = {(customer, day) for customer, day, _ in rows if start < day <= start + days and customer in seen}
    assert set(outcome.index) == seen
    assert outcome["purchases"].sum() == len(bought)


def test_a_sample_keeps_whole_customers():
    log = log_of([(f"c{i % 40}", i, 1.0) for i in range(400)])
    few = log.sample(10)
    assert len(few.customers) == 10
    assert np.bincount(few.code).tolist() == [10] * 10


def test_rows_without_a_value_are_refused_by_column():
    with pytest.raises(ValueError, match="without customer"):
        OrderLog.of(pd.Series([None, "a"]), pd.to_datetime(pd.Series([1, 2]), unit="D"))
    with pytest.raises(ValueError, match="no row"):
        OrderLog.of(pd.Series([], dtype=str), pd.Series([], dtype="datetime64[ns]"))
