import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.special import gammaln, hyp2f1
from sklearn.base import clone

from ml.btyd import BetaGeometric, GammaGamma, Histories, ModifiedBetaGeometric, ParetoNBD
from ml.btyd.estimator import PurchaseModel
from tests.examples import examples
from tests.ml.cdnow import histories

CDNOW = histories()
MODELS = (BetaGeometric, ModifiedBetaGeometric, ParetoNBD)
PUBLISHED = {
    BetaGeometric: ([0.243, 4.414, 0.793, 2.426], -9582.43),
    ModifiedBetaGeometric: ([0.525, 6.183, 0.891, 1.614], -9582.1),
    ParetoNBD: ([0.553, 10.578, 0.606, 11.669], -9594.98),
}


def frame(rows: list[tuple[float, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["frequency", "recency", "T"], dtype=float)


def with_parameters(model: PurchaseModel, values: list[float]) -> PurchaseModel:
    model.parameters_ = pd.Series(values, index=list(model.names))
    for name, value in model.parameters_.items():
        setattr(model, f"{name}_", value)
    return model


@pytest.mark.parametrize("model", MODELS)
def test_the_published_figures_of_the_cdnow_sample_are_found_to_the_printed_digits(model):
    parameters, log_likelihood = PUBLISHED[model]
    m = model(prior_sd=np.inf).fit(CDNOW)
    np.testing.assert_allclose(m.parameters_, parameters, atol=0.00051)
    digits = 0.05 if model is ModifiedBetaGeometric else 0.0051
    assert m.log_likelihood_ == pytest.approx(log_likelihood, abs=digits)
    assert m.n_customers_ == 2357


def test_the_published_gamma_gamma_figures_are_found_to_the_printed_digits():
    m = GammaGamma(prior_sd=np.inf).fit(CDNOW)
    np.testing.assert_allclose(m.parameters_, [6.250, 3.744, 15.444], atol=0.00051)
    assert m.n_customers_ == 946
    assert m.log_likelihood_ == pytest.approx(-4055.9, abs=0.05)


@pytest.mark.parametrize("model", MODELS)
def test_the_prior_moves_no_figure_of_the_sample_by_more_than_a_tenth_of_its_standard_error(model):
    free, held = model(prior_sd=np.inf).fit(CDNOW), model().fit(CDNOW)
    assert (np.abs(free.parameters_ - held.parameters_) < 0.1 * free.standard_errors_).all()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("theta", [[0.0, 0.0, 0.0, 0.0], [-1.4, -2.0, -0.2, 0.9], [1.0, 2.0, -3.0, 3.0]])
def test_the_gradients_agree_with_finite_differences(model, theta):
    likelihood = model()._likelihood(Histories.of(CDNOW))
    _, gradient = likelihood(np.array(theta))
    numeric = approx_fprime(np.array(theta), lambda at: likelihood(at)[0])
    np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-4 * np.abs(gradient).max())


def test_merging_equal_histories_changes_no_likelihood_and_no_prediction():
    merged = Histories.of(CDNOW)
    assert len(merged.x) < len(CDNOW)
    apart = Histories(*(CDNOW[c].to_numpy() for c in ("frequency", "recency", "T")), np.ones(2357), np.arange(2357))
    for model in MODELS:
        theta = np.array([-0.5, 1.0, -0.2, 0.8])
        assert model()._likelihood(merged)(theta)[0] == pytest.approx(model()._likelihood(apart)(theta)[0])
        m = model().fit(CDNOW)
        alone = np.concatenate([m.expected_purchases(CDNOW.iloc[[i]], 39) for i in (0, 7, 99)])
        np.testing.assert_allclose(m.expected_purchases(CDNOW, 39)[[0, 7, 99]], alone)


def test_the_expected_purchases_agree_with_the_closed_form_of_the_paper():
    m = BetaGeometric().fit(CDNOW)
    x, age = CDNOW["frequency"].to_numpy(), CDNOW["T"].to_numpy()
    horizon, r, alpha, a, b = 39.0, m.r_, m.alpha_, m.a_, m.b_
    end = alpha + age + horizon
    shrink = ((alpha + age) / end) ** (r + x) * hyp2f1(r + x, b + x, a + b + x - 1, horizon / end)
    closed = (a + b + x - 1) / (a - 1) * (1 - shrink) * m.probability_alive(CDNOW)
    np.testing.assert_allclose(m.expected_purchases(CDNOW, horizon), closed, rtol=1e-10)


def test_the_pareto_likelihood_agrees_with_the_hypergeometric_form_of_the_note():
    r, alpha, s, beta = 0.553, 10.578, 0.606, 11.669
    of = Histories.of(CDNOW)
    x, t_x, age = of.x, of.t_x, of.age

    def part(t):
        top = beta + t
        return hyp2f1(r + s + x, r + x, r + s + x + 1, (beta - alpha) / top) / top ** (r + s + x)

    left = s / (r + s + x) * (part(t_x) - part(age))
    alive = (alpha + age) ** -(r + x) * (beta + age) ** -s
    each = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta) + np.log(alive + left)
    value, _ = ParetoNBD()._likelihood(of)(np.log([r, alpha, s, beta]))
    assert value == pytest.approx(float(of.weight @ each), rel=1e-10)
    m = with_parameters(ParetoNBD(), [r, alpha, s, beta])
    np.testing.assert_allclose(m.probability_alive(CDNOW), (alive / (alive + left))[of.member], rtol=1e-8)


@pytest.mark.parametrize("model", MODELS)
def test_the_distribution_of_purchases_agrees_with_mean_and_chance(model):
    m = model().fit(CDNOW)
    mass = m.purchase_distribution(CDNOW, 39.0, 250)
    np.testing.assert_allclose(mass.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(mass @ np.arange(251), m.expected_purchases(CDNOW, 39.0), rtol=1e-5)
    np.testing.assert_allclose(1 - mass[:, 0], m.probability_any_purchase(CDNOW, 39.0), atol=1e-9)


def simulated(model: type[PurchaseModel], n: int, seed: int) -> pd.DataFrame:
    """Histories in continuous time of customers with the parameters (.8, 6, .6, 1.8) or (.8, 6, .9, 15)."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(30, 80, n)
    rate = rng.gamma(0.8, 1 / 6, n)
    last, count, now = np.zeros(n), np.zeros(n), np.zeros(n)
    leaving = rng.beta(0.6, 1.8, n)
    stop = rng.exponential(1 / rng.gamma(0.9, 1 / 15, n)) if model is ParetoNBD else np.full(n, np.inf)
    here = rng.random(n) >= leaving if model is ModifiedBetaGeometric else np.ones(n, dtype=bool)
    while here.any():
        now = now + rng.exponential(1 / rate)
        here &= (now <= age) & (now <= stop)
        last[here], count[here] = now[here], count[here] + 1
        if model is not ParetoNBD:
            here &= rng.random(n) >= leaving
    return pd.DataFrame({"frequency": count, "recency": last, "T": age})


@pytest.mark.parametrize("model", MODELS)
def test_the_parameters_of_a_simulated_base_are_recovered_within_their_standard_errors(model):
    m = model(prior_sd=np.inf).fit(simulated(model, 30_000, seed=5))
    truth = [0.8, 6.0, 0.9, 15.0] if model is ParetoNBD else [0.8, 6.0, 0.6, 1.8]
    assert (np.abs(m.parameters_ - truth) < 3.5 * m.standard_errors_).all()
    assert (m.standard_errors_ < 0.25 * m.parameters_).all()


def test_the_chance_of_a_purchase_agrees_with_simulation():
    m = BetaGeometric().fit(CDNOW)
    rng = np.random.default_rng(1)
    draws = 200_000
    one, horizon = frame([(3, 20.0, 30.0)]), 26.0
    alive = rng.random(draws) < m.probability_alive(one)[0]
    rate = rng.gamma(m.r_ + 3, 1 / (m.alpha_ + 30), draws)
    leaving = rng.beta(m.a_, m.b_ + 3, draws)
    # A Poisson number of chances to buy, cut after the geometric purchase at which one leaves.
    bought = np.minimum(rng.poisson(rate * horizon), rng.geometric(leaving)) * alive
    assert m.probability_any_purchase(one, horizon)[0] == pytest.approx((bought > 0).mean(), abs=0.005)
    assert m.expected_purchases(one, horizon)[0] == pytest.approx(bought.mean(), abs=0.02)


HARD = {
    "no repeat buyers": [(0, 0, 5.0)] * 50,
    "one repeat buyer": [(0, 0, 5.0)] * 49 + [(1, 2.0, 5.0)],
    "all rows equal": [(3, 5.0, 5.0)] * 30,
    "one customer": [(3, 4.0, 5.0)],
    "nobody leaves": [(12, 39.0, 39.0), (11, 39.0, 39.0), (13, 39.0, 39.0)] * 30,
    "a + b below 1": [(1, 0.5, 39.0)] * 60 + [(30, 39.0, 39.0)] * 10,
    "thousands of purchases": [(5000, 30.0, 30.0), (0, 0, 30.0), (1, 1.0, 20.0)],
    "T is zero": [(0, 0, 0.0)] * 5,
    "T is zero for some": [(0, 0, 0.0)] * 5 + [(2, 3.0, 9.0)] * 5,
    "hours for weeks": [(3, 3000.0, 5000.0), (0, 0, 4000.0), (9, 4000.0, 4100.0)] * 9,
    "far apart": [(2, 1e-3, 1e-3)] * 5 + [(0, 0, 1e4)] * 5,
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rows", HARD.values(), ids=HARD.keys())
def test_hard_data_stay_finite_and_sane(model, rows):
    X = frame(rows)
    m = model().fit(X)
    assert np.isfinite([*m.parameters_, m.log_likelihood_]).all()
    alive = m.probability_alive(X)
    for horizon in (0.0, 1e-6, 1.0, 39.0, 5200.0):
        p, expected = m.probability_any_purchase(X, horizon), m.expected_purchases(X, horizon)
        assert np.isfinite(expected).all()
        assert ((p >= 0) & (p <= alive + 1e-9) & (alive <= 1)).all()
        assert (expected >= p * (1 - 1e-9)).all()


@pytest.mark.parametrize("model", MODELS)
def test_the_unit_of_time_does_not_matter(model):
    hours = CDNOW.assign(recency=CDNOW["recency"] * 168, T=CDNOW["T"] * 168)
    np.testing.assert_allclose(
        model().fit(hours).expected_purchases(hours, 39 * 168),
        model().fit(CDNOW).expected_purchases(CDNOW, 39),
        rtol=1e-3,
    )


@examples(50)
@given(
    model=st.sampled_from(MODELS),
    x=st.integers(0, 2000),
    share=st.floats(0.01, 1.0),
    age=st.floats(0.1, 500.0),
    horizon=st.floats(0.0, 500.0),
    log_parameters=st.tuples(*[st.floats(-5.0, 5.0)] * 4),
)
def test_more_time_never_means_fewer_purchases(model, x, share, age, horizon, log_parameters):
    m = with_parameters(model(), np.exp(log_parameters).tolist())
    history = frame([(x, age * share if x else 0.0, age)])
    shorter, longer = (m.expected_purchases(history, h)[0] for h in (horizon, horizon + 1))
    assert 0 <= shorter <= longer * (1 + 1e-9)
    assert m.probability_any_purchase(history, horizon)[0] <= shorter * (1 + 1e-6) + 1e-12


@examples(50)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 300), st.integers(0, 90)), min_size=1, max_size=60))
def test_every_customer_keeps_their_history_when_merged(rows):
    X = frame([(x, t / 7, (t + more) / 7) for x, t, more in rows])
    merged = Histories.of(X)
    np.testing.assert_array_equal(merged.x[merged.member], X["frequency"])
    np.testing.assert_array_equal(merged.t_x[merged.member], X["recency"])
    np.testing.assert_array_equal(merged.age[merged.member], X["T"])
    assert merged.weight.sum() == len(X)
    assert len(merged.x) == len(X.drop_duplicates())


def test_a_large_base_is_fitted_from_a_pilot_to_the_same_maximum():
    few = simulated(BetaGeometric, 3000, seed=2)
    many = pd.concat([few] * 20, ignore_index=True)
    np.testing.assert_allclose(
        BetaGeometric(prior_sd=np.inf).fit(many).parameters_,
        BetaGeometric(prior_sd=np.inf).fit(few).parameters_,
        rtol=1e-3,
    )


@pytest.mark.parametrize("model", MODELS)
def test_the_models_are_scikit_learn_estimators_that_survive_a_pickle(model):
    m = clone(model(prior_sd=2.0)).fit(CDNOW)
    again = pickle.loads(pickle.dumps(m))
    np.testing.assert_array_equal(again.expected_purchases(CDNOW, 13), m.expected_purchases(CDNOW, 13))
    assert m.score(CDNOW) == pytest.approx(m.log_likelihood_ / 2357)


def test_an_impossible_history_is_named():
    with pytest.raises(ValueError, match=r"recency must lie between 0 and T; row 1 .*recency 9, T 5"):
        BetaGeometric().fit(frame([(1, 2.0, 5.0), (1, 9.0, 5.0)]))
    with pytest.raises(ValueError, match="whole number"):
        BetaGeometric().fit(frame([(0.5, 2.0, 5.0)]))
    with pytest.raises(ValueError, match="at least one customer"):
        ParetoNBD().fit(frame([]))
    with pytest.raises(ValueError, match=r"missing column\(s\): recency"):
        BetaGeometric().fit(CDNOW.drop(columns="recency"))
    with pytest.raises(ValueError, match="horizon_weeks"):
        BetaGeometric().fit(frame([(1, 2.0, 5.0)])).expected_purchases(frame([(1, 2.0, 5.0)]), -1)


def money(rows: list[tuple[float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["frequency", "monetary_value"], dtype=float)


def test_spend_is_shrunk_towards_the_population_and_less_so_with_more_purchases():
    m = GammaGamma().fit(CDNOW)
    population, once, often = m.expected_value(money([(0, np.nan), (1, 100.0), (50, 100.0)]))
    assert population < once < often < 100.0
    assert population == pytest.approx(m.p_ * m.v_ / (m.q_ - 1))


def test_drawn_spend_has_the_expected_mean():
    m = GammaGamma().fit(CDNOW)
    X = money([(4, 30.0)] * 100_000)
    drawn = m.sample_value(X, np.full(len(X), 3.0), np.random.default_rng(3))
    assert drawn.mean() == pytest.approx(3 * m.expected_value(X.head(1))[0], rel=0.01)


def test_equal_amounts_stay_finite_and_are_returned():
    m = GammaGamma().fit(money([(3, 20.0)] * 40))
    assert m.expected_value(money([(3, 20.0)]))[0] == pytest.approx(20.0, rel=0.01)


def test_no_customer_with_a_positive_mean_is_an_error():
    with pytest.raises(ValueError, match="monetary_value > 0"):
        GammaGamma().fit(money([(0, np.nan), (2, 0.0)]))
