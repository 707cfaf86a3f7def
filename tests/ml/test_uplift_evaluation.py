import numpy as np
import pytest

from ml.evaluation import SingleClassError
from ml.evaluation.uplift import (
    doubly_robust_outcomes,
    highest,
    paired_policy_gain,
    paired_qini_lift,
    policy_gain,
    qini,
    qini_curve,
    qini_interval,
    select_ranking,
    uplift_at_k,
)


def lot(n: int, seed: int, share: float = 0.5):
    """Treatment, outcome and true effect of a random draw; the effect is .4 x score."""
    rng = np.random.default_rng(seed)
    score = rng.random(n)
    treated = (rng.random(n) < share).astype(int)
    y = (rng.random(n) < 0.2 + 0.4 * score * treated).astype(int)
    return y, treated, score


def test_the_curve_counts_as_radcliffe_does():
    # in order of score: treated yes, control no, treated no, control yes
    share, extra = qini_curve([1, 0, 0, 1], [1, 0, 1, 0], [4, 3, 2, 1])
    np.testing.assert_allclose(share, [0, 0.25, 0.5, 0.75, 1])
    # treated yes - control yes x treated / control so far, over the two treated
    np.testing.assert_allclose(extra, [0, 0.5, 0.5, 0.5, 0])


def test_the_perfect_order_has_a_qini_of_one_and_no_order_of_zero():
    y, treated, _ = lot(5_000, 1)
    perfect = y * treated - y * (1 - treated)
    assert qini(y, treated, perfect) == pytest.approx(1)
    assert qini(y, treated, np.zeros(len(y))) == pytest.approx(0)
    assert qini(y, treated, -perfect) < -0.5


def test_random_orders_have_a_qini_of_zero_on_average():
    y, treated, score = lot(4_000, 2)
    rng = np.random.default_rng(0)
    at_random = [qini(y, treated, rng.random(len(y))) for _ in range(200)]
    assert np.mean(at_random) == pytest.approx(0, abs=3 * np.std(at_random) / np.sqrt(200))
    assert qini(y, treated, score) > np.quantile(at_random, 0.99)


def test_a_weight_counts_as_so_many_rows_and_only_the_order_of_scores_matters():
    y, treated, score = lot(500, 3)
    times = np.random.default_rng(1).integers(0, 4, 500)
    rows = np.repeat(np.arange(500), times)
    for figure in (qini, lambda *a, **k: uplift_at_k(*a, 0.3, **k)):
        weighted = figure(y, treated, score, weights=times)
        assert figure(y[rows], treated[rows], score[rows]) == pytest.approx(weighted)
        assert figure(y, treated, np.exp(5 * score), weights=times) == pytest.approx(weighted)


def test_chances_that_differ_are_weighed_out():
    rng = np.random.default_rng(4)
    n = 40_000
    loyal = rng.random(n) < 0.5
    chance = np.where(loyal, 0.8, 0.2)
    treated = (rng.random(n) < chance).astype(int)
    y = (rng.random(n) < 0.1 + 0.4 * loyal + 0.1 * treated).astype(int)
    assert uplift_at_k(y, treated, np.zeros(n), 1.0) > 0.25
    assert uplift_at_k(y, treated, np.zeros(n), 1.0, propensity=chance) == pytest.approx(0.1, abs=0.02)
    assert qini_curve(y, treated, np.zeros(n), propensity=chance)[1][-1] == pytest.approx(0.1, abs=0.02)
    assert qini(y, treated, loyal, propensity=0.5) == pytest.approx(qini(y, treated, loyal))


def test_uplift_at_k_is_the_difference_among_the_highest_and_equal_scores_count_in_part():
    y, treated = np.array([1, 0, 1, 1, 0, 0]), np.array([1, 0, 1, 0, 1, 0])
    assert uplift_at_k(y, treated, [6, 5, 4, 3, 2, 1], 1 / 3) == 1
    assert uplift_at_k(y, treated, [6, 5, 4, 3, 2, 1], 4 / 6) == 0.5
    assert uplift_at_k(y, treated, [1, 1, 1, 1, 1, 1], 0.1) == pytest.approx(uplift_at_k(y, treated, [1] * 6, 1.0))
    with pytest.raises(SingleClassError, match="one arm only"):
        uplift_at_k(y, treated, [6, 5, 4, 3, 2, 1], 1 / 6)


def test_the_interval_of_the_doubly_robust_gain_covers_the_truth_whatever_was_predicted():
    covered = {"right": 0, "wrong": 0}
    for seed in range(60):
        y, treated, score = lot(600, 1_000 + seed, share=0.3)
        policy = (score > 0.6).astype(int)
        truth = 1000 * np.mean(0.4 * score * policy)
        chances = np.tile([0.7, 0.3], (600, 1))
        right = np.column_stack([np.full(600, 0.2), 0.2 + 0.4 * score])
        for name, predicted in (("right", right), ("wrong", np.full((600, 2), 0.5))):
            gain = policy_gain(
                doubly_robust_outcomes(y, treated, chances, predicted), policy, np.arange(600), seed=seed, resamples=120
            )
            covered[name] += gain.low <= truth <= gain.high
    # 95 % of 60 is 57; below 52 has a chance of one in a thousand
    assert min(covered.values()) >= 52


def test_policies_are_compared_on_the_same_customers():
    y, treated, score = lot(4_000, 5)
    outcomes = doubly_robust_outcomes(y, treated, np.full((4_000, 2), 0.5), np.full((4_000, 2), y.mean()))
    best, at_random = highest(score, 0.3).astype(int), np.tile([0.7, 0.3], (4_000, 1))
    gain = paired_policy_gain(outcomes, best, at_random, np.arange(4_000), seed=0)
    each = [policy_gain(outcomes, policy, np.arange(4_000), seed=0) for policy in (best, at_random)]
    assert gain.value == pytest.approx(each[0].value - each[1].value)
    assert gain.low > 0
    # 1,000 x .3 x .4 x (mean of the top three tenths - mean of all)
    assert gain.low < 1000 * 0.3 * 0.4 * (0.85 - 0.5) < gain.high


def test_the_highest_share_is_exact_and_stable():
    assert highest([1, 3, 3, 2], 0.5).tolist() == [False, True, True, False]
    assert highest(np.zeros(10), 0.3).tolist() == [True] * 3 + [False] * 7


def test_uplift_is_selected_only_beyond_its_noise():
    y, treated, score = lot(4_000, 6)
    noise = np.random.default_rng(2).random((4_000, 2))
    customer = np.arange(4_000)
    found = select_ranking(y, treated, score, noise, customer, seed=0, resamples=200)
    assert found.chosen == "uplift"
    assert found.advantage.low > 0
    assert select_ranking(y, treated, noise, score, customer, seed=0, resamples=200).chosen == "response"
    assert select_ranking(y, treated, noise[:, 0], noise[:, 1], customer, seed=0, resamples=200).chosen == "response"


def test_intervals_hold_the_figure_and_repeats_are_averaged():
    y, treated, score = lot(2_000, 7)
    other = np.random.default_rng(3).random(2_000)
    customer = np.arange(2_000)
    found = qini_interval(y, treated, np.column_stack([score, other]), customer, seed=0, resamples=100)
    assert found.value == pytest.approx((qini(y, treated, score) + qini(y, treated, other)) / 2)
    assert found.low < found.value < found.high
    same = paired_qini_lift(y, treated, score, score, customer, seed=0, resamples=50)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_unusable_input_is_named():
    y, treated, score = lot(100, 8)
    with pytest.raises(ValueError, match="y must hold 0 and 1 only"):
        qini(y * 3, treated, score)
    with pytest.raises(ValueError, match="treatment must hold 100 values of 0 and 1"):
        qini(y, treated[1:], score)
    with pytest.raises(ValueError, match="propensities must lie between 0 and 1"):
        qini(y, treated, score, propensity=1.0)
    with pytest.raises(SingleClassError, match="one arm is empty"):
        qini(y, np.ones(100), score)
    with pytest.raises(SingleClassError, match="single outcome"):
        qini(treated, treated, score)
    with pytest.raises(ValueError, match="k must be a share"):
        uplift_at_k(y, treated, score, 0)
    with pytest.raises(ValueError, match=r"propensity and predicted \(n, actions\)"):
        doubly_robust_outcomes(y, treated, np.full(100, 0.5), np.zeros((100, 2)))
    with pytest.raises(ValueError, match=r"actions must be 0\.\.1"):
        doubly_robust_outcomes(y, treated + 1, np.full((100, 2), 0.5), np.zeros((100, 2)))
    with pytest.raises(ValueError, match="a chance above 0"):
        doubly_robust_outcomes(y, treated, np.tile([1.0, 0.0], (100, 1)), np.zeros((100, 2)))
    with pytest.raises(ValueError, match=r"100 actions of 0\.\.1, or their chances"):
        policy_gain(np.zeros((100, 2)), np.full(100, 2), np.arange(100), seed=0)
    with pytest.raises(ValueError, match="add up to 1"):
        policy_gain(np.zeros((100, 2)), np.zeros((100, 2)), np.arange(100), seed=0)
