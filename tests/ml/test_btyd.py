import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.special import hyp2f1

from ml import btyd
from ml.btyd import BetaGeometric, GammaGamma
from tests.ml.cdnow import histories

CDNOW = histories()
HISTORY = (CDNOW["frequency"], CDNOW["recency"], CDNOW["T"])


@pytest.fixture(scope="module")
def cdnow_model() -> BetaGeometric:
    return BetaGeometric().fit(*HISTORY)


def test_bg_nbd_recovers_the_published_cdnow_figures(cdnow_model):
    m = cdnow_model
    np.testing.assert_allclose([m.r_, m.alpha_, m.a_, m.b_], [0.2426, 4.414, 0.793, 2.426], rtol=0.01)
    assert m.log_likelihood_ == pytest.approx(-9582.43, abs=0.01)


def test_gamma_gamma_recovers_the_published_cdnow_figures():
    m = GammaGamma().fit(CDNOW["frequency"], CDNOW["monetary_value"])
    np.testing.assert_allclose([m.p_, m.q_, m.v_], [6.25, 3.744, 15.444], rtol=0.02)
    assert m.n_customers_ == 946
    assert m.log_likelihood_ == pytest.approx(-4055.9, abs=0.05)


@pytest.mark.parametrize("theta", [[0.0, 0.0, 0.0, 0.0], [-1.4, -2.0, -0.2, 0.9], [1.0, 2.0, -3.0, 3.0]])
def test_the_gradients_agree_with_finite_differences(theta):
    x, t_x, age = (np.asarray(v, dtype=float) for v in HISTORY)
    weight = np.ones_like(x)

    def bg(v):
        return btyd._bg_log_likelihood(v, x, t_x, age, weight)

    def gg(v):
        return btyd._gg_log_likelihood(v, x + 1, age)

    for likelihood, at in ((bg, np.array(theta)), (gg, np.array(theta[:3]))):
        _, gradient = likelihood(at)
        numeric = approx_fprime(at, lambda v, f=likelihood: f(v)[0])
        np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-4 * np.abs(gradient).max())


def test_expected_purchases_agree_with_the_closed_form_of_the_paper(cdnow_model):
    m = cdnow_model
    x, t_x, age = (np.asarray(v, dtype=float) for v in HISTORY)
    horizon, r, alpha, a, b = 39.0, m.r_, m.alpha_, m.a_, m.b_
    end = alpha + age + horizon
    shrink = ((alpha + age) / end) ** (r + x) * hyp2f1(r + x, b + x, a + b + x - 1, horizon / end)
    closed = (a + b + x - 1) / (a - 1) * (1 - shrink) * m.probability_alive(x, t_x, age)
    np.testing.assert_allclose(m.expected_purchases(horizon, x, t_x, age), closed, rtol=1e-10)


def test_the_probability_of_a_purchase_agrees_with_simulation(cdnow_model):
    m = cdnow_model
    rng = np.random.default_rng(1)
    draws = 200_000
    x, t_x, age, horizon = 3.0, 20.0, 30.0, 26.0
    alive = rng.random(draws) < m.probability_alive(x, t_x, age)[0]
    rate = rng.gamma(m.r_ + x, 1 / (m.alpha_ + age), draws)
    leaving = rng.beta(m.a_, m.b_ + x, draws)
    # A Poisson number of chances to buy, cut after the geometric purchase at which one leaves.
    bought = np.minimum(rng.poisson(rate * horizon), rng.geometric(leaving)) * alive
    assert m.probability_any_purchase(horizon, x, t_x, age)[0] == pytest.approx((bought > 0).mean(), abs=0.005)
    assert m.expected_purchases(horizon, x, t_x, age)[0] == pytest.approx(bought.mean(), abs=0.02)


HARD = {
    "no repeat buyers": [(0, 0, 5.0)] * 50,
    "one repeat buyer": [(0, 0, 5.0)] * 49 + [(1, 2.0, 5.0)],
    "all rows equal": [(3, 5.0, 5.0)] * 30,
    "one customer": [(3, 4.0, 5.0)],
    "nobody leaves": [(12, 39.0, 39.0), (11, 39.0, 39.0), (13, 39.0, 39.0)] * 30,
    "thousands of purchases": [(5000, 30.0, 30.0), (0, 0, 30.0), (1, 1.0, 20.0)],
    "T is zero": [(0, 0, 0.0)] * 5,
    "T is zero for some": [(0, 0, 0.0)] * 5 + [(2, 3.0, 9.0)] * 5,
    "far apart": [(2, 1e-3, 1e-3)] * 5 + [(0, 0, 1e4)] * 5,
}


@pytest.mark.parametrize("rows", HARD.values(), ids=HARD.keys())
def test_hard_data_stay_finite_and_sane(rows):
    x, t_x, age = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    m = BetaGeometric().fit(x, t_x, age)
    assert np.isfinite([m.r_, m.alpha_, m.a_, m.b_, m.log_likelihood_]).all()
    alive = m.probability_alive(x, t_x, age)
    for horizon in (0.0, 1e-6, 1.0, 39.0, 5200.0):
        p = m.probability_any_purchase(horizon, x, t_x, age)
        expected = m.expected_purchases(horizon, x, t_x, age)
        assert np.isfinite(expected).all()
        assert ((p >= 0) & (p <= alive + 1e-12) & (alive <= 1)).all()
        assert (expected >= p * (1 - 1e-9)).all()


def test_the_unit_of_time_does_not_matter(cdnow_model):
    x, t_x, age = HISTORY
    hours = BetaGeometric().fit(x, t_x * 168, age * 168)
    np.testing.assert_allclose(
        hours.expected_purchases(39 * 168, x, t_x * 168, age * 168),
        cdnow_model.expected_purchases(39, x, t_x, age),
        rtol=1e-3,
    )


@settings(max_examples=50, deadline=None)
@given(
    x=st.integers(0, 2000),
    share=st.floats(0.01, 1.0),
    age=st.floats(0.1, 500.0),
    horizon=st.floats(0.0, 500.0),
    log_parameters=st.tuples(*[st.floats(-5.0, 5.0)] * 4),
)
def test_more_time_never_means_fewer_purchases(x, share, age, horizon, log_parameters):
    m = BetaGeometric()
    m.r_, m.alpha_, m.a_, m.b_ = np.exp(log_parameters).tolist()
    history = (x, age * share if x else 0.0, age)
    shorter, longer = (m.expected_purchases(h, *history)[0] for h in (horizon, horizon + 1))
    assert 0 <= shorter <= longer * (1 + 1e-9)
    assert m.probability_any_purchase(horizon, *history)[0] <= shorter * (1 + 1e-6) + 1e-12


def test_an_impossible_history_is_named():
    with pytest.raises(ValueError, match=r"recency must lie between 0 and T; row 1 .*recency 9, T 5"):
        BetaGeometric().fit([1, 1], [2.0, 9.0], [5.0, 5.0])
    with pytest.raises(ValueError, match="whole number"):
        BetaGeometric().fit([0.5], [2.0], [5.0])
    with pytest.raises(ValueError, match="at least one customer"):
        BetaGeometric().fit([], [], [])
    with pytest.raises(ValueError, match="horizon_weeks"):
        BetaGeometric().fit([1], [2.0], [5.0]).expected_purchases(-1, [1], [2.0], [5.0])


def test_spend_is_shrunk_towards_the_population_and_less_so_with_more_purchases():
    m = GammaGamma().fit(CDNOW["frequency"], CDNOW["monetary_value"])
    population, once, often = m.expected_value([0, 1, 50], [np.nan, 100.0, 100.0])
    assert population < once < often < 100.0
    assert population == pytest.approx(m.p_ * m.v_ / (m.q_ - 1))


def test_equal_amounts_stay_finite_and_are_returned():
    m = GammaGamma().fit([3] * 40, [20.0] * 40)
    assert m.expected_value([3], [20.0])[0] == pytest.approx(20.0, rel=0.01)


def test_no_customer_with_a_positive_mean_is_an_error():
    with pytest.raises(ValueError, match="monetary_value > 0"):
        GammaGamma().fit([0, 2], [np.nan, 0.0])
