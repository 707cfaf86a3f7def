import time

import numpy as np
import pytest

from ml import evaluation
from ml.evaluation import SingleClassError
from ml.evaluation.realised import realised_lapse, realised_spend


def outcomes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    chance = rng.beta(2, 6, n)
    return (rng.random(n) < chance).astype(float), chance


def spend(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    expected = rng.gamma(2, 30, n)
    return np.where(rng.random(n) < 0.4, 0.0, expected / 0.6 * rng.gamma(2, 0.5, n)), expected


def test_figures_and_intervals_are_those_of_resampling_customers():
    lapsed, chance = outcomes(1500, 1)
    found, customers = realised_lapse(lapsed, chance), np.arange(1500)
    pairs = [
        (found.auc, evaluation.auc),
        (found.log_loss, evaluation.log_loss),
        (found.gap, lambda y, p, w: float(np.average(p - y, weights=w))),
    ]
    actual, expected = spend(1500, 2)
    money = realised_spend(actual, expected)
    for closed, metric in pairs:
        drawn = evaluation.bootstrap(metric, lapsed, chance, customers, seed=0, resamples=800)
        assert closed.value == pytest.approx(drawn.value)
        assert (closed.low, closed.high) == pytest.approx((drawn.low, drawn.high), abs=0.12 * (drawn.high - drawn.low))
    for closed, metric in ((money.bias_percent, evaluation.bias_percent), (money.mae, evaluation.mean_absolute_error)):
        drawn = evaluation.bootstrap(metric, actual, expected, customers, seed=0, resamples=800)
        assert closed.value == pytest.approx(drawn.value)
        assert (closed.low, closed.high) == pytest.approx((drawn.low, drawn.high), abs=0.12 * (drawn.high - drawn.low))


def test_a_calibrated_snapshot_holds_no_gap_and_no_bias_in_nineteen_of_twenty_intervals():
    gaps = [realised_lapse(*outcomes(600, seed)).gap for seed in range(200)]
    biases = [realised_spend(*spend(600, seed)).bias_percent for seed in range(200)]
    for intervals in (gaps, biases):
        assert 0.91 < np.mean([one.low <= 0 <= one.high for one in intervals]) < 0.99


def test_probabilities_that_are_too_high_leave_a_gap_and_keep_the_ranking():
    lapsed, chance = outcomes(3000, 1)
    fair, high = realised_lapse(lapsed, chance), realised_lapse(lapsed, chance**0.5)
    assert high.gap.low > 0.1
    assert high.auc == fair.auc
    assert high.log_loss.value > fair.log_loss.high
    assert (fair.n, fair.lapses) == (3000, int(lapsed.sum()))


def test_scores_that_are_all_equal_rank_like_a_coin():
    lapsed, _ = outcomes(500, 3)
    assert realised_lapse(lapsed, np.full(500, 0.2)).auc == evaluation.Interval(0.5, 0.5, 0.5)


def test_a_million_customers_are_compared_in_seconds():
    lapsed, chance = outcomes(1_000_000, 4)
    start = time.process_time()
    realised_lapse(lapsed, chance)
    assert time.process_time() - start < 10


def test_what_is_too_little_to_compare_with_is_refused():
    few = np.zeros(50)
    few[:9] = 1
    with pytest.raises(SingleClassError, match="9 of 50 customers lapsed; at least 10"):
        realised_lapse(few, np.full(50, 0.1))
    with pytest.raises(SingleClassError, match="41 of 50"):
        realised_lapse(1 - few, np.full(50, 0.1))
    with pytest.raises(ValueError, match="0 and 1 only"):
        realised_lapse(few * 2, np.full(50, 0.1))
    with pytest.raises(ValueError, match="9 of 50 customers spent"):
        realised_spend(few, np.ones(50))
    with pytest.raises(ValueError, match="found NaN"):
        realised_spend(few * np.nan, np.ones(50))
