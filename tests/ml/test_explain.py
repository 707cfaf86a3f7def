import time

import numpy as np
import pandas as pd
import pytest

from ml.explain import LEAST_SHARE, Theme, feature_directions, reasons, tree_contributions
from ml.lapse import LapseClassifier
from tests.ml.regulars import shop

TRAIN = shop(1500, 1)
TEST = shop(1500, 2)
CATALOGUE = (
    Theme("absence", ("recency", "recency_weeks"), lambda c: f"No purchase for {c['recency']:.0f} days"),
    Theme("rhythm", ("frequency",), lambda c: f"Only {c['frequency']:.0f} purchase days"),
    Theme("gap", ("gap",), lambda c: "Has no usual gap" if np.isnan(c["gap"]) else f"Gap of {c['gap']:.0f}"),
)
WITH_NOISE = (*CATALOGUE, Theme("noise", ("noise",), lambda c: "Noise"))


@pytest.fixture(scope="module")
def model() -> LapseClassifier:
    return LapseClassifier(seed=3).fit(*TRAIN)


def test_contributions_add_up_to_what_the_trees_say_of_each_customer_unknown_values_included(model):
    X = TEST[0].head(300)
    said = model.blend_.trees.decision_function(X.to_numpy())
    added = tree_contributions(model, X).sum(axis=1)
    np.testing.assert_allclose(said - added, np.full(300, (said - added).mean()), atol=1e-9)
    assert tree_contributions(model, X.iloc[:0]).empty


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


def test_customers_at_risk_have_a_reason_and_each_is_strong_and_agreed_by_both_learners(model):
    X = TEST[0]
    found = reasons(model, X, WITH_NOISE)
    risky = np.argsort(-model.predict_proba(X)[:, 1])[: len(X) // 5]
    assert np.mean([bool(found[row]) for row in risky]) > 0.98
    effects, linear = tree_contributions(model, X), model.contributions(X)
    for theme in WITH_NOISE:
        told = np.array([theme.name in [reason.theme for reason in given] for given in found])
        own = effects[list(theme.features)].sum(axis=1)
        of_all = sum(effects[list(other.features)].sum(axis=1).abs() for other in WITH_NOISE)
        assert (own[told] >= LEAST_SHARE * of_all[told]).all()
        assert (linear.loc[told, list(theme.features)].sum(axis=1) > 0).all()


def test_reasons_outlast_a_refit_on_other_customers_better_than_without_the_check(model):
    X = TEST[0].head(1500)
    again = LapseClassifier(seed=4).fit(*shop(1500, 9))

    def of_themes(fitted: LapseClassifier) -> np.ndarray:
        effects = tree_contributions(fitted, X)
        return np.column_stack([effects[list(theme.features)].sum(axis=1) for theme in WITH_NOISE])

    still = of_themes(again) > 0
    names = [theme.name for theme in WITH_NOISE]
    given = [
        (row, names.index(reason.theme)) for row, found in enumerate(reasons(model, X, WITH_NOISE)) for reason in found
    ]
    checked = np.mean([still[place] for place in given])
    unchecked = still[of_themes(model) > 0].mean()
    assert checked > 0.87
    assert checked > unchecked + 0.1


def test_a_model_of_frequency_alone_speaks_of_frequency_alone():
    X, y, groups = TRAIN
    alone = LapseClassifier().fit(X[["frequency"]], y, groups)
    found = reasons(alone, X.head(200), CATALOGUE[1:2])
    rare = (X["frequency"].head(200) < 5).to_numpy()
    assert all(found[row] for row in np.flatnonzero(rare))
    assert not any(found[row] for row in np.flatnonzero(X["frequency"].head(200) > 14))
    assert [one[0::2] for one in feature_directions(alone, X)] == [("frequency", "lowers")]


def test_directions_tell_what_drives_the_model_and_which_way(model):
    X = TEST[0]
    directions = feature_directions(model, X)
    found = {one.feature: one for one in directions}
    strengths = [one.strength for one in directions]
    assert strengths == sorted(strengths, reverse=True)
    assert found["recency"].effect == "raises"
    assert found["frequency"].effect == "lowers"
    assert found["noise"].effect == "either way"
    assert found["noise"].strength < 0.5 * found["frequency"].strength


def test_an_effect_that_falls_and_rises_has_no_direction_and_a_dead_feature_none_at_all():
    rng = np.random.default_rng(5)
    X = pd.DataFrame({"u": rng.normal(size=3000), "never": np.nan})
    y = (rng.random(3000) < np.where(X["u"].abs() > 1, 0.7, 0.1)).astype(int)
    model = LapseClassifier().fit(X, y, np.arange(3000))
    assert [one[0::2] for one in feature_directions(model, X)] == [("u", "either way")]


def test_a_hundred_thousand_customers_have_their_reasons_within_a_minute(model):
    X = pd.concat([TEST[0]] * 2, ignore_index=True)
    start = time.perf_counter()
    reasons(model, X, CATALOGUE)
    assert len(X) / (time.perf_counter() - start) > 100_000 / 60


def test_a_catalogue_that_does_not_fit_the_model_is_refused(model):
    X, _, _ = TEST
    with pytest.raises(ValueError, match="'colour', which the model does not use"):
        reasons(model, X, [Theme("looks", ("colour",), str)])
    with pytest.raises(ValueError, match="two themes, 'absence' and 'again'"):
        reasons(model, X, [CATALOGUE[0], Theme("again", ("recency",), str)])
    with pytest.raises(ValueError, match="catalogue of themes is empty"):
        reasons(model, X, [])
