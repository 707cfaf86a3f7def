from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from ml import evaluation
from ml.evaluation import SingleClassError

RNG = np.random.default_rng(7)
N = 600
Y = (RNG.random(N) < 0.2).astype(float)
GOOD = np.round(np.clip(0.2 + 0.3 * (Y - 0.2) + RNG.normal(0, 0.15, N), 0.01, 0.99), 2)
POOR = np.round(np.clip(0.2 + 0.05 * Y + RNG.normal(0, 0.15, N), 0.01, 0.99), 2)
GROUPS = RNG.integers(0, 150, N)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 3)), min_size=2, max_size=40))
def test_auc_agrees_with_scikit_learn_with_ties_and_weights(rows):
    y, score, weight = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    if y.min() == y.max():
        with pytest.raises(SingleClassError):
            evaluation.auc(y, score, weight)
    else:
        expected = metrics.roc_auc_score(y, score, sample_weight=weight)
        assert evaluation.auc(y, score, weight) == pytest.approx(expected)


def test_log_loss_agrees_with_scikit_learn():
    assert evaluation.log_loss(Y, GOOD) == pytest.approx(metrics.log_loss(Y, GOOD))


def test_calibration_error_is_the_constant_by_which_predictions_are_off():
    p = np.repeat(np.arange(1, 11) / 20, 100)
    y = np.concatenate([np.arange(100) < 100 * k / 20 for k in range(1, 11)]).astype(float)
    assert evaluation.expected_calibration_error(y, p) == pytest.approx(0, abs=1e-12)
    assert evaluation.expected_calibration_error(y, p + 0.07) == pytest.approx(0.07)


def test_reliability_accounts_for_every_row_in_order():
    rows = evaluation.reliability(Y, GOOD, 5)
    assert sum(n for _, _, n in rows) == N
    assert [p for p, _, _ in rows] == sorted(p for p, _, _ in rows)
    assert sum(observed * n for _, observed, n in rows) == pytest.approx(Y.sum())


def test_the_lift_over_oneself_is_exactly_zero_and_over_a_poorer_score_positive():
    none = evaluation.paired_auc_lift(Y, GOOD, GOOD * 3 + 1, GROUPS, seed=1, resamples=50)
    assert (none.value, none.low, none.high) == (0, 0, 0)
    some = evaluation.paired_auc_lift(Y, GOOD, POOR, GROUPS, seed=1)
    assert 0 < some.low < some.value < some.high
    assert some.value == pytest.approx(evaluation.auc(Y, GOOD) - evaluation.auc(Y, POOR))


def test_the_quick_auc_interval_equals_the_general_one():
    quick = evaluation.auc_interval(Y, GOOD, GROUPS, seed=3, resamples=50)
    slow = evaluation.bootstrap(evaluation.auc, Y, GOOD, GROUPS, seed=3, resamples=50)
    assert (quick.value, quick.low, quick.high) == pytest.approx((slow.value, slow.low, slow.high))


def test_a_customer_repeated_in_many_snapshots_does_not_narrow_the_interval():
    once = evaluation.auc_interval(Y, GOOD, np.arange(N), seed=5)
    tenfold = evaluation.auc_interval(np.tile(Y, 10), np.tile(GOOD, 10), np.tile(np.arange(N), 10), seed=5)
    assert tenfold.high - tenfold.low == pytest.approx(once.high - once.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    covered = 0
    for trial in range(100):
        person = rng.normal(10, 3, 80)
        actual = np.repeat(person, 3)
        found = evaluation.bootstrap(
            evaluation.mean_absolute_error,
            actual,
            np.full(240, 10.0),
            np.repeat(np.arange(80), 3),
            seed=trial,
            resamples=200,
        )
        covered += found.low <= 3 * np.sqrt(2 / np.pi) <= found.high
    assert 86 <= covered <= 100


def test_value_figures_have_their_textbook_values():
    actual, predicted = np.array([0.0, 10.0, 20.0]), np.array([3.0, 10.0, 23.0])
    assert evaluation.mean_absolute_error(actual, predicted) == pytest.approx(2)
    assert evaluation.root_mean_squared_error(actual, predicted) == pytest.approx(np.sqrt(6))
    assert evaluation.bias_percent(actual, predicted) == pytest.approx(20)


def test_the_gini_is_one_for_the_perfect_order_zero_without_and_minus_one_reversed():
    actual = np.array([1.0, 2.0, 3.0, 10.0])
    assert evaluation.gini(actual, actual**3) == pytest.approx(1)
    assert evaluation.gini(actual, np.ones(4)) == pytest.approx(0)
    assert evaluation.gini(actual, -actual) == pytest.approx(-1)


@pytest.mark.parametrize(
    "call",
    [
        lambda y: evaluation.auc(y, y),
        lambda y: evaluation.log_loss(y, y),
        lambda y: evaluation.expected_calibration_error(y, y),
        lambda y: evaluation.reliability(y, y, 5),
        lambda y: evaluation.paired_auc_lift(y, y, y, y, seed=0),
    ],
)
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_labels_of_one_class_are_refused(call, label):
    with pytest.raises(ValueError, match="single class"):
        call(np.full(20, label))


def test_one_positive_customer_gives_no_interval_but_a_message():
    y = np.zeros(50)
    y[0] = 1
    with pytest.raises(ValueError, match="too few customers of one class"):
        evaluation.auc_interval(y, np.arange(50), np.arange(50), seed=0)


def test_unusable_input_is_named():
    with pytest.raises(ValueError, match="finite"):
        evaluation.auc([0, 1], [0.1, np.nan])
    with pytest.raises(ValueError, match="0 and 1 only"):
        evaluation.auc([0, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match=r"lie in 0\.\.1"):
        evaluation.log_loss([0, 1], [0.1, 1.2])
    with pytest.raises(ValueError, match="positive actual total"):
        evaluation.bias_percent([0, 0], [1, 1])


def test_the_poisson_deviance_is_least_for_the_true_mean():
    counts = np.random.default_rng(0).poisson(2.0, 5000).astype(float)
    at_mean = evaluation.poisson_deviance(counts, np.full(5000, counts.mean()))
    assert at_mean < evaluation.poisson_deviance(counts, np.full(5000, 1.1 * counts.mean()))
    assert evaluation.poisson_deviance([1.0, 4.0], [1.0, 4.0]) == pytest.approx(0)


def test_the_interval_score_is_width_plus_ten_times_what_an_80_percent_interval_missed():
    bounds = np.array([[0.0, 10.0], [0.0, 10.0], [5.0, 10.0]])
    assert evaluation.interval_score([4.0, 12.0, 3.0], bounds) == pytest.approx((10 + 30 + 25) / 3)
    assert evaluation.coverage([4.0, 12.0, 5.0], bounds) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="low end is above the high one in 1 rows"):
        evaluation.coverage([1.0], [[2.0, 1.0]])


def test_the_interval_score_is_least_for_the_true_quantiles():
    x = np.random.default_rng(1).normal(size=20_000)
    scores = [evaluation.interval_score(x, np.tile([-z, z], (len(x), 1))) for z in (0.9, 1.2816, 1.8)]
    assert min(scores) == scores[1]


def test_deciles_hold_everybody_once_and_all_of_the_total():
    table = evaluation.deciles(Y, GOOD)
    assert sum(row.n for row in table) == N
    assert table[-1].captured == pytest.approx(1)
    assert [row.predicted for row in table] == sorted((row.predicted for row in table), reverse=True)
    assert table[0].lift > 1 > table[-1].lift


def test_equal_predictions_share_a_decile():
    assert [row.n for row in evaluation.deciles([1.0, 0.0, 3.0], [2.0, 2.0, 2.0])] == [3]


def test_the_rule_of_the_profit_curve_treats_whom_it_pays_to_treat():
    y, p = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.9, 0.6, 0.3, 0.1])
    curve = evaluation.profit_curve(y, p, value=10, cost=2, success=0.5)
    assert curve.break_even == pytest.approx(0.4)
    assert (curve.rule_share, curve.rule_profit) == (0.5, pytest.approx(6.0))
    assert curve.best_profit == pytest.approx(6.0)
    assert (curve.share[0], curve.profit[0]) == (0, 0)
    assert curve.profit[-1] == pytest.approx(2.0)
    with pytest.raises(ValueError, match=r"success in \(0, 1\]"):
        evaluation.profit_curve(y, p, value=10, cost=2, success=0)


DAYS = [date(2026, 1, 4) + timedelta(days=7 * week) for week in range(12)]


@given(cutoff=st.sampled_from(DAYS[5:]), horizon=st.integers(1, 35))
def test_no_training_label_is_open_at_the_cutoff_of_a_temporal_split(cutoff, horizon):
    train, test = evaluation.temporal_split(DAYS, cutoff, horizon)
    assert not (train & test).any()
    assert all(day + timedelta(days=horizon) <= cutoff for day, chosen in zip(DAYS, train, strict=True) if chosen)
    assert all(day >= cutoff for day, chosen in zip(DAYS, test, strict=True) if chosen)


def test_a_split_without_a_closed_label_is_refused():
    with pytest.raises(ValueError, match="closed label before 2026-01-11"):
        evaluation.temporal_split(DAYS, DAYS[1], 28)


def test_rolling_origins_leave_their_history_before_and_a_whole_horizon_after_them():
    origins = evaluation.rolling_origins(date(2026, 1, 1), date(2026, 12, 31), 28, step_days=21, history_days=180)
    assert origins[-1] == date(2026, 12, 3)
    assert origins[0] >= date(2026, 6, 30)
    assert {(b - a).days for a, b in pairwise(origins)} == {21}
    assert evaluation.rolling_origins(date(2026, 1, 1), date(2026, 2, 1), 28, step_days=7, history_days=30) == []


def test_no_customer_is_in_two_folds():
    seen = np.zeros(N, dtype=int)
    for train, test in evaluation.customer_folds(GROUPS, 5, seed=0):
        assert not set(GROUPS[train]) & set(GROUPS[test])
        seen += test
    assert (seen == 1).all()


def test_a_paired_difference_is_that_of_the_figures_on_the_same_draws():
    quick = evaluation.paired_auc_lift(Y, GOOD, POOR, GROUPS, seed=1, resamples=50)
    general = evaluation.paired_difference(evaluation.auc, Y, GOOD, POOR, GROUPS, seed=1, resamples=50)
    assert (general.value, general.low, general.high) == pytest.approx((quick.value, quick.low, quick.high))
    bounds = np.column_stack([GOOD - 0.1, GOOD + 0.1])
    same = evaluation.paired_difference(evaluation.interval_score, Y, bounds, bounds, GROUPS, seed=1, resamples=20)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_deciles_of_nothing_are_refused():
    with pytest.raises(evaluation.UndefinedFigureError, match="positive"):
        evaluation.deciles([0.0, 0.0], [1.0, 2.0])
