import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from ml import blend
from ml.evaluation import auc, expected_calibration_error
from ml.lapse import LapseClassifier
from tests.ml.regulars import shop, true_log_odds

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


def test_a_risk_that_rises_and_falls_again_is_learned():
    rng = np.random.default_rng(4)
    recency = rng.gamma(2, 20, 6000)
    y = (rng.random(6000) < np.where((recency > 30) & (recency < 60), 0.5, 0.1)).astype(int)
    model = LapseClassifier().fit(pd.DataFrame({"recency": recency}), y, np.arange(6000))
    seen = pd.DataFrame({"recency": [10.0, 44.0, 110.0]})
    np.testing.assert_allclose(model.predict_proba(seen)[:, 1], [0.1, 0.5, 0.1], atol=0.07)
    assert model.contributions(seen)["recency"].idxmax() == 1


def test_a_large_shop_is_learned_from_a_part_and_scored_in_batches(model, monkeypatch):
    X, _, _ = TEST
    whole = model.predict_proba(X)
    monkeypatch.setattr(blend, "BATCH", 700)
    np.testing.assert_allclose(model.predict_proba(X), whole)
    assert model.predict_proba(X.iloc[:0]).shape == (0, 2)
    monkeypatch.setattr(blend, "MOST_LOGISTIC_ROWS", 2000)
    part = LapseClassifier(seed=3).fit(*TRAIN).predict_proba(X)
    assert 0 < np.abs(part - whole)[:, 1].mean() < 0.02


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
    with pytest.raises(ValueError, match="y must have shape"):
        LapseClassifier().fit(X, y[:-1], groups)
    with pytest.raises(ValueError, match="groups must have shape"):
        LapseClassifier().fit(X, y, groups[:-1])
    with pytest.raises(ValueError, match="at least 3 customers are needed to calibrate, found 2"):
        LapseClassifier().fit(X, y, groups % 2)
    with pytest.raises(ValueError, match="every feature"):
        LapseClassifier().fit(X * np.nan, y, groups)
    with pytest.raises(ValueError, match="fall into one of"):
        LapseClassifier().fit(X, (groups == 0).astype(int), groups)
