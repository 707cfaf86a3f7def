"""The forecaster on the CDNOW 1/10 sample and on simulated bases. Figures on real holdouts are in docs/methods.md."""

import numpy as np
import pandas as pd
import pytest

from ml import evaluation
from ml.backtest import backtest
from ml.forecast import CustomerBaseForecaster, TooFewCustomers
from ml.forecast.base import shifted_to
from ml.forecast.baselines import bg_nbd
from ml.forecast.learners import OffsetGLM, OffsetTrees
from ml.forecast.origins import windows
from ml.forecast.quantiles import HurdleQuantiles
from ml.orders import OrderLog
from tests.ml.cdnow import CALIBRATION_END, purchase_days

END = int(np.datetime64(CALIBRATION_END, "D").astype(int))
HOLDOUT = 273


def cdnow(money: bool = True) -> OrderLog:
    days = purchase_days()
    return OrderLog.of(days["customer_id"], days["day"], days["spend"] if money else None)


def regulars(customers: int, weeks: int, seed: int) -> OrderLog:
    """Customers with a rhythm of their own (gaps of four to six weeks), a twentieth of whom stop at each purchase."""
    rng = np.random.default_rng(seed)
    rows = []
    for customer in range(customers):
        day, gap = rng.integers(0, weeks * 4), rng.uniform(14, 42)
        while day < weeks * 7:
            rows.append((f"c{customer}", int(day), 10 + 40 * rng.random()))
            if rng.random() < 0.05:
                break
            day += max(1, rng.normal(gap, gap / 8))
    frame = pd.DataFrame(rows, columns=["customer", "day", "amount"])
    return OrderLog.of(frame["customer"], pd.to_datetime(frame["day"], unit="D"), frame["amount"])


@pytest.fixture(scope="module")
def sample() -> tuple[CustomerBaseForecaster, pd.DataFrame]:
    forecaster = CustomerBaseForecaster(HOLDOUT).fit(cdnow(), END)
    return forecaster, forecaster.predict(cdnow(), END)


def test_a_forecast_is_consistent_within_itself(sample):
    forecaster, f = sample
    assert forecaster.learned_
    assert len(f) == 2357
    assert f.notna().all().all()
    assert f["p_purchase"].between(0, 1).all()
    assert (f["expected_purchases"] >= f["p_purchase"]).all()
    assert (f["spend_low"] <= f["median_spend"]).all()
    assert (f["median_spend"] <= f["spend_high"]).all()
    assert (f["median_purchases"] == f["median_purchases"].round()).all()
    assert ((f["median_purchases"] > 0) <= (f["p_purchase"] >= 0.5)).all()


def test_rows_after_the_end_are_never_looked_at():
    log = cdnow().sample(900)
    past = log.until(END)
    f, again = (CustomerBaseForecaster(63).fit(known, END).predict(known, END) for known in (log, past))
    pd.testing.assert_frame_equal(again, f)


def test_the_forecast_ranks_the_cdnow_sample_better_than_bg_nbd(sample):
    forecaster, f = sample
    result = backtest(forecaster, f, cdnow(), END, resamples=100)
    spend_gini = result.measure("spend_gini")
    auc = result.measure("auc")
    assert spend_gini is not None
    assert auc is not None
    assert spend_gini.verdict == "better"
    assert auc.gain is not None
    assert auc.gain.value > 0
    assert sum(week.forecast or 0 for week in result.weeks) == pytest.approx(f["expected_purchases"].sum())
    assert result.customers == 2357


def test_a_rhythm_that_btyd_models_do_not_know_is_learned_from_past_origins():
    log = regulars(900, 60, seed=4)
    end, horizon = log.first_day + 52 * 7, 35
    forecaster = CustomerBaseForecaster(horizon).fit(log, end)
    ours, (_, theirs) = forecaster.predict(log, end), bg_nbd(log, end, horizon)
    bought = np.sign(log.outcome(end, end + horizon)["purchases"])
    assert evaluation.log_loss(bought, ours["p_purchase"]) < 0.8 * evaluation.log_loss(bought, theirs["p_purchase"])
    spend = log.outcome(end, end + horizon)["spend"]
    score, textbook = (
        evaluation.interval_score(spend, f[["spend_low", "spend_high"]].to_numpy()) for f in (ours, theirs)
    )
    assert score < 0.9 * textbook


def test_few_repeat_buyers_get_the_btyd_models_alone_with_intervals_from_their_distribution():
    log = cdnow().sample(250, seed=1)
    forecaster = CustomerBaseForecaster(91).fit(log, END)
    f = forecaster.predict(log, END)
    assert not forecaster.learned_
    assert "200 are needed" in str(forecaster.reason_)
    assert (f["spend_high"] >= f["spend_low"]).all()
    assert f["expected_spend"].gt(0).all()


def test_a_base_that_says_too_little_is_refused_with_its_counts():
    log = cdnow().sample(40)
    with pytest.raises(TooFewCustomers, match=r"not enough data: 40 customers, \d+ of them with a second purchase day"):
        CustomerBaseForecaster(91).fit(log, END)


def test_without_amounts_only_purchases_are_forecast():
    f = CustomerBaseForecaster(91).fit(cdnow(money=False), END).predict(cdnow(money=False), END)
    assert f.columns.tolist() == ["p_purchase", "expected_purchases", "median_purchases"]


def test_windows_fit_between_history_and_end_and_leave_both_their_room():
    for horizon, weeks in ((91, 39), (273, 39), (28, 104), (365, 60), (7, 20)):
        chosen = windows(0, weeks * 7, horizon)
        assert chosen, (horizon, weeks)
        for origin, days in chosen:
            assert origin >= 70
            assert origin + days <= weeks * 7
            assert days <= horizon
    assert windows(0, 60, 91) == []


@pytest.mark.parametrize("kind", ["count", "chance"])
@pytest.mark.parametrize("learner", [OffsetGLM, OffsetTrees])
def test_a_learner_finds_an_error_of_its_offset_and_leaves_a_right_offset_alone(learner, kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 2))
    offset = 0.3 * x[:, 1]
    for error in (0.0, 0.8):
        eta = offset + error * x[:, 0]
        y = rng.poisson(np.exp(eta)) if kind == "count" else rng.random(20_000) < 1 / (1 + np.exp(-eta))
        fitted = learner(kind).fit(x, y.astype(float), offset)
        correction = fitted.correction(x)
        assert np.polyfit(x[:, 0], correction, 1)[0] == pytest.approx(error, abs=0.15)


def test_one_extreme_customer_does_not_move_the_correction_of_the_others():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5000, 1))
    y = rng.poisson(1.0, 5000).astype(float)
    calm = OffsetGLM("count").fit(x, y, np.zeros(5000)).correction(x[1:])
    x[0] = 1e6
    wild = OffsetGLM("count").fit(x, y, np.zeros(5000)).correction(x)
    assert np.abs(wild[1:] - calm).max() < 0.05
    assert np.isfinite(wild).all()


def test_hurdle_quantiles_cover_what_they_promise():
    rng = np.random.default_rng(2)
    n = 40_000
    expected, chance = np.exp(rng.normal(2, 1, n)), rng.uniform(0.05, 0.95, n)
    actual = np.where(rng.random(n) < chance, expected * np.exp(rng.normal(0, 0.7, n)), 0.0)
    paid = actual > 0
    q = HurdleQuantiles().fit(expected[paid], actual[paid], expected[paid])
    for level in (0.1, 0.5, 0.9):
        below = actual <= q.predict(level, chance, expected, expected) + 1e-12
        decided = level > 1 - chance
        assert below[decided].mean() == pytest.approx(level, abs=0.02)
    assert (q.predict(0.5, np.full(3, 0.4), expected[:3], expected[:3]) == 0).all()


def test_log_odds_are_shifted_to_the_asked_total():
    odds = np.linspace(-5, 3, 101)
    shift = shifted_to(70.0, odds)
    assert (1 / (1 + np.exp(-(odds + shift)))).sum() == pytest.approx(70.0)


def flat(rows: list[tuple[int, int, float]]) -> OrderLog:
    frame = pd.DataFrame(rows, columns=["customer", "day", "amount"])
    return OrderLog.of(frame["customer"], pd.to_datetime(frame["day"], unit="D"), frame["amount"])


def test_money_that_stops_or_begins_late_is_still_forecast():
    log = regulars(400, 52, seed=1)
    assert log.spend is not None
    middle = log.first_day + 60
    for free in (log.day > middle, log.day <= log.first_day + 150):
        spend = np.where(free, 0.0, log.spend)
        some = OrderLog(log.customers, log.code, log.day, spend, log.lines)
        f = CustomerBaseForecaster(35).fit(some, some.last_day).predict(some, some.last_day)
        assert f.notna().all().all()
        assert (f["spend_low"] <= f["spend_high"]).all()


def test_a_base_in_which_nobody_buys_a_third_time_is_forecast():
    rng = np.random.default_rng(3)
    rows = []
    for customer in range(600):
        first = int(rng.integers(0, 250))
        rows += [(customer, first, 100.0), (customer, first + int(rng.integers(20, 120)), 90.0)]
    log = flat(rows)
    f = CustomerBaseForecaster(60).fit(log, 300).predict(log, 300)
    assert f.notna().all().all()


def test_subscribers_who_are_long_gone_do_not_lift_the_active_ones():
    rng = np.random.default_rng(1)
    rows = []
    for customer in range(1500):
        day = int(rng.integers(0, 300))
        while day < 460:
            rows.append((customer, day, 10.0))
            if rng.random() < 0.1:
                break
            day += 30
    log = flat(rows)
    forecaster = CustomerBaseForecaster(90).fit(log, 365)
    ours, (_, theirs) = forecaster.predict(log, 365), bg_nbd(log, 365, 90)
    bought = np.sign(log.outcome(365, 455)["purchases"])
    assert evaluation.log_loss(bought, ours["p_purchase"]) < 0.8 * evaluation.log_loss(bought, theirs["p_purchase"])
