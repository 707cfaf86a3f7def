import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from ml.evaluation import auc, expected_calibration_error
from ml.explanation import Theme, reasons
from ml.lapse import LapseClassifier


def true_log_odds(X: pd.DataFrame) -> pd.Series:
    recency, frequency = np.log1p(X["recency"]), np.log1p(X["frequency"])
    return -2 + 1.2 * (recency - 2.5) - 0.9 * (frequency - 2) + 0.8 * X["gap"].isna()


def shop(customers: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Three snapshots per customer; recency raises the risk, frequency lowers it, noise does nothing."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(customers), 3)
    n = len(groups)
    recency, frequency = rng.gamma(2, 8, n), rng.poisson(8, n).astype(float)
    gap = np.where(rng.random(n) < 0.2, np.nan, rng.gamma(4, 2, n))
    X = pd.DataFrame({"recency": recency, "recency_weeks": recency / 7, "frequency": frequency, "gap": gap})
    y = (rng.random(n) < 1 / (1 + np.exp(-true_log_odds(X)))).astype(int)
    return X.assign(noise=rng.normal(size=n)), y, groups


TRAIN = shop(1500, 1)
TEST = shop(1500, 2)


@pytest.fixture(scope="module")
def model() -> LapseClassifier:
    return LapseClassifier(seed=3).fit(*TRAIN)


def test_it_ranks_and_is_calibrated_on_customers_it_has_not_seen(model):
    X, y, _ = TEST
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    best_possible = auc(y, true_log_odds(X))
    assert auc(y, X["recency"]) < best_possible - 0.02
    assert best_possible - 0.01 < auc(y, p[:, 1]) <= best_possible + 0.005
    assert expected_calibration_error(y, p[:, 1]) < 0.03
    assert p[:, 1].mean() == pytest.approx(y.mean(), abs=0.03)


def test_memorising_customers_is_not_taken_for_calibration():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 20)
    X = pd.DataFrame({"id_like": groups + rng.normal(0, 0.01, len(groups)), "other": rng.normal(size=len(groups))})
    y = rng.permutation(np.arange(200) % 2)[groups]
    p = LapseClassifier().fit(X, y, groups).predict_proba(X)[:, 1]
    assert p.min() > 0.15
    assert p.max() < 0.85


def test_the_same_seed_gives_the_same_model_and_a_pickle_keeps_it(model):
    X, _, _ = TEST
    again = clone(model).fit(*TRAIN)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), model.predict_proba(X))


def test_a_customers_score_does_not_depend_on_who_is_scored_with_them(model):
    X, _, _ = TEST
    all_at_once = model.predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(X.iloc[[5]]), all_at_once[[5]])
    shuffled = X[X.columns[::-1]].assign(unused="text")
    np.testing.assert_array_equal(model.predict_proba(shuffled), all_at_once)


def test_an_extreme_or_unknown_customer_gets_a_probability(model):
    odd = pd.DataFrame(
        {"recency": [1e12, -1e12, np.nan], "recency_weeks": np.nan, "frequency": [0, 1e9, np.nan], "gap": np.nan}
    ).assign(noise=0.0)
    p = model.predict_proba(odd)
    assert ((p > 0) & (p < 1)).all()


def test_columns_that_are_constant_or_never_known_do_no_harm():
    X, y, groups = TRAIN
    with_dead = LapseClassifier().fit(X.assign(constant=1.0, never=np.nan), y, groups)
    assert (with_dead.contributions(X.assign(constant=9.0, never=4.0))[["constant", "never"]] == 0).all(axis=None)


def test_the_median_customer_has_no_contributions(model):
    X, _, _ = TRAIN
    median = X.median().to_frame().T
    assert model.contributions(median).abs().max(axis=None) < 1e-3


def test_unusable_input_is_named(model):
    X, y, groups = TEST
    with pytest.raises(ValueError, match=r"missing feature column.*gap"):
        model.predict_proba(X.drop(columns="gap"))
    with pytest.raises(ValueError, match="numeric, found gap"):
        model.predict_proba(X.assign(gap="often"))
    with pytest.raises(ValueError, match="infinity in gap"):
        model.predict_proba(X.assign(gap=np.inf))
    with pytest.raises(TypeError, match="DataFrame"):
        LapseClassifier().fit(X.to_numpy(), y, groups)
    with pytest.raises(ValueError, match=r"both 0 .* and 1"):
        LapseClassifier().fit(X, np.zeros_like(y), groups)
    with pytest.raises(ValueError, match="y and groups must have shape"):
        LapseClassifier().fit(X, y[:-1], groups)
    with pytest.raises(ValueError, match="every feature"):
        LapseClassifier().fit(X * np.nan, y, groups)
    with pytest.raises(ValueError, match="fall into one of"):
        LapseClassifier().fit(X, (groups == 0).astype(int), groups)


CATALOGUE = (
    Theme("absence", ("recency", "recency_weeks"), lambda c: f"No purchase for {c['recency']:.0f} days"),
    Theme("rhythm", ("frequency",), lambda c: f"Only {c['frequency']:.0f} purchase days"),
    Theme("gap", ("gap",), lambda c: "Has no usual gap" if np.isnan(c["gap"]) else f"Gap of {c['gap']:.0f}"),
)


def test_reasons_are_in_the_customers_own_values_one_per_theme_and_strongest_first(model):
    late = pd.DataFrame(
        {"recency": [90.0], "recency_weeks": [90 / 7], "frequency": [6.0], "gap": [np.nan], "noise": [0.0]}
    )
    (given,) = reasons(model, late, CATALOGUE)
    assert given[0] == ("absence", "No purchase for 90 days")
    assert sorted(reason.sentence for reason in given[1:]) == ["Has no usual gap", "Only 6 purchase days"]
    assert reasons(model, late, CATALOGUE, k=1) == [[("absence", "No purchase for 90 days")]]


def test_a_safe_customer_gets_no_reason(model):
    safe = pd.DataFrame({"recency": [1.0], "recency_weeks": [1 / 7], "frequency": [40.0], "noise": [0.0]})
    (given,) = reasons(model, safe.assign(gap=TRAIN[0]["gap"].median()), CATALOGUE[:2])
    assert given == []


def test_a_catalogue_that_does_not_fit_the_model_is_refused(model):
    X, _, _ = TEST
    with pytest.raises(ValueError, match="'colour', which the model does not use"):
        reasons(model, X, [Theme("looks", ("colour",), str)])
    with pytest.raises(ValueError, match="two themes, 'absence' and 'again'"):
        reasons(model, X, [CATALOGUE[0], Theme("again", ("recency",), str)])
