import pickle

import numpy as np
import pytest
from sklearn.base import clone

from ml.intervals import OutOfTimeIntervals, TooFewOutcomes


def lapses(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, whether each lapsed, and the true chances, which lie above the scores."""
    rng = np.random.default_rng(seed)
    score = rng.beta(1, 5, n)
    true = score**0.8
    return score, (rng.random(n) < true).astype(float), true


def spend(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Expected and actual spend: many buy nothing, the others a skewed amount."""
    rng = np.random.default_rng(seed)
    expected = rng.gamma(1.5, 40, n)
    buys = rng.random(n) < 1 - np.exp(-expected / 30)
    return expected, np.where(buys, expected * rng.lognormal(0, 0.7, n), 0.0)


def test_the_rate_of_customers_scored_alike_lies_in_four_of_five_intervals():
    inside = []
    for seed in range(40):
        score, lapsed, _ = lapses(3000, seed)
        model = OutOfTimeIntervals("probability").fit(score, lapsed)
        low, high = model.interval(model.score_)
        inside.append((low <= model.score_**0.8) & (model.score_**0.8 <= high))
    assert 0.78 < np.mean(inside) < 0.92


def test_one_customer_in_ten_to_come_spends_above_the_interval_and_at_most_one_below_at_every_level_of_spend():
    model = OutOfTimeIntervals("spend").fit(*spend(6000, 1))
    expected, actual = spend(6000, 2)
    low, high = model.interval(expected)
    for third in np.array_split(np.argsort(expected), 3):
        assert (actual > high)[third].mean() == pytest.approx(0.1, abs=0.025)
        assert (actual < low)[third].mean() < 0.12
    assert (actual < low)[expected > 100].mean() == pytest.approx(0.1, abs=0.025)
    assert (low[expected < 10] == 0).all()
    assert (high[expected > 10] > 0).all()


@pytest.mark.parametrize("kind", ["probability", "spend"])
def test_bounds_rise_with_the_score_and_never_cross(kind):
    score, outcome = lapses(400, 3)[:2] if kind == "probability" else spend(400, 3)
    model = OutOfTimeIntervals(kind).fit(score, outcome)
    low, high = model.interval(np.linspace(0, 1 if kind == "probability" else 2 * score.max(), 500))
    assert (np.diff(low) >= -1e-12).all()
    assert (np.diff(high) >= -1e-12).all()
    assert (low <= high).all()
    assert (low >= 0).all()
    if kind == "probability":
        assert (high <= 1).all()
    else:
        assert high[-1] > 1.5 * model.high_[-1]


def test_scores_beyond_the_last_bin_take_their_interval_along():
    score, lapsed, _ = lapses(3000, 7)
    model = OutOfTimeIntervals("probability").fit(score, lapsed)
    low, high = model.interval([model.score_[-1], 0.99])
    assert high[0] < 0.7
    assert low[1] > 0.95
    first, _ = model.interval([model.score_[0] / 10])
    assert 0 < first[0] < model.low_[0] / 5


def test_more_customers_make_a_rate_surer_and_more_snapshots_of_the_same_ones_do_not():
    score, lapsed, _ = lapses(1000, 4)

    def width(*data: np.ndarray) -> float:
        low, high = OutOfTimeIntervals("probability").fit(*data).interval(score)
        return float((high - low).mean())

    again = np.tile(np.arange(1000), 4)
    repeated = width(np.tile(score, 4), np.tile(lapsed, 4), again)
    assert repeated == pytest.approx(width(score, lapsed), rel=0.01)
    assert width(*lapses(4000, 4)[:2]) < 0.7 * width(score, lapsed)


def test_a_model_of_few_distinct_scores_and_a_rate_of_nought_have_intervals():
    score = np.repeat([0.1, 0.3], 200)
    low, high = OutOfTimeIntervals("probability").fit(score, np.repeat([0.0, 1.0], 200)).interval([0.1, 0.3, np.nan])
    assert low[0] == pytest.approx(0, abs=1e-6)
    assert 0 < high[0] < 0.02
    assert high[1] == pytest.approx(1, abs=1e-6)
    assert np.isnan(low[2])
    assert np.isnan(high[2])
    same = OutOfTimeIntervals("spend").fit(np.zeros(200), np.zeros(200)).interval([0.0, 5.0])
    np.testing.assert_array_equal(same, 0)


def test_a_level_is_kept_by_clone_and_pickle_and_widens():
    expected, actual = spend(3000, 5)
    wide = OutOfTimeIntervals("spend", level=0.95).fit(expected, actual)
    assert clone(wide).level == 0.95
    again = pickle.loads(pickle.dumps(wide)).interval(expected)
    np.testing.assert_array_equal(again, wide.interval(expected))
    low, high = OutOfTimeIntervals("spend").fit(expected, actual).interval(expected)
    assert (again[0] <= low).all()
    assert (again[1] >= high).all()


def test_outcomes_that_teach_no_interval_are_refused_by_name():
    score, lapsed, _ = lapses(300, 6)
    with pytest.raises(TooFewOutcomes, match=r"99 customers .* at least 100"):
        OutOfTimeIntervals("probability").fit(score[:99], lapsed[:99])
    with pytest.raises(TooFewOutcomes, match="60 customers"):
        OutOfTimeIntervals("spend").fit(score, lapsed, np.arange(300) % 60)
    with pytest.raises(ValueError, match="must be 0 or 1"):
        OutOfTimeIntervals("probability").fit(score, lapsed * 2)
    with pytest.raises(ValueError, match="found NaN"):
        OutOfTimeIntervals("spend").fit(score, np.where(lapsed > 0, np.nan, 1))
    with pytest.raises(ValueError, match="customers must have shape"):
        OutOfTimeIntervals("spend").fit(score, lapsed, np.arange(3))
    with pytest.raises(ValueError, match="kind must be"):
        OutOfTimeIntervals("chance").fit(score, lapsed)
    with pytest.raises(ValueError, match="level must lie"):
        OutOfTimeIntervals("spend", level=80).fit(score, lapsed)
