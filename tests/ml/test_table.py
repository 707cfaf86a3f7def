import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier, is_regressor

from ml.linear import SplineLogistic, SplineRidge
from ml.spline import SplineDesign
from ml.table import TableReader


def test_rare_levels_share_a_code_and_unknown_or_missing_ones_have_none():
    levels = ["a"] * 30 + ["b"] * 20 + ["rare"] * 2 + ["rarer"]
    reader = TableReader(pd.DataFrame({"level": levels}))
    codes = reader.values(pd.DataFrame({"level": ["a", "b", "rare", "rarer", "new", None]}))[:, 0]
    assert codes[2] == codes[3]
    assert len({*codes[:3]}) == 3
    assert np.isnan(codes[4:]).all()


def test_of_very_many_levels_the_most_frequent_are_kept():
    cities = np.repeat(np.arange(200), np.arange(200) + 10).astype(str)
    reader = TableReader(pd.DataFrame({"city": cities}))
    codes = reader.values(pd.DataFrame({"city": np.arange(200).astype(str)}))[:, 0]
    assert len(np.unique(codes)) == 50
    assert len(np.unique(codes[:151])) == 1


def test_numbers_and_text_of_every_dtype_are_read_alike():
    plain = pd.DataFrame({"n": [1.0, np.nan, 3.0] * 10, "flag": [True, False, True] * 10, "t": ["x", "y", None] * 10})
    reader = TableReader(plain)
    assert reader.categorical.tolist() == [False, False, True]
    other = plain.astype({"n": "Float64", "flag": "boolean", "t": "category"})
    np.testing.assert_array_equal(reader.values(other), reader.values(plain))
    np.testing.assert_array_equal(reader.values(plain.astype({"t": object})), reader.values(plain))
    numbered = TableReader(pd.DataFrame({"t": pd.Categorical([1, 2, None] * 10)}))
    assert numbered.categorical.tolist() == [True]


def test_the_typical_customer_is_the_origin_and_columns_are_of_one_spread():
    rng = np.random.default_rng(0)
    values = np.column_stack(
        [rng.gamma(2, 50, 2000), rng.integers(0, 2, 2000), rng.choice([0, 1, 2], 2000, p=[0.2, 0.5, 0.3])]
    ).astype(float)
    design = SplineDesign(values, np.array([False, False, True]))
    typical = np.array([[np.median(values[:, 0]), np.median(values[:, 1]), 1.0]])
    np.testing.assert_allclose(design.of(typical), 0, atol=1e-6)
    np.testing.assert_allclose(design.of(values).std(axis=0), 1, rtol=0.02)
    # a spline of five knots and degree three without its constant, a line, three levels
    assert np.bincount(design.owner).tolist() == [6, 1, 3]


def test_beyond_the_training_range_a_curve_is_flat():
    values = np.linspace(0, 100, 500)[:, None]
    design = SplineDesign(values, np.array([False]))
    far = design.of(np.array([[100.0], [1e9], [0.0], [-1e9]]))
    np.testing.assert_allclose(far[0], far[1])
    np.testing.assert_allclose(far[2], far[3])


@pytest.mark.parametrize("weighted", [False, True])
def test_linear_models_bend_and_heed_weights(weighted):
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"x": rng.uniform(0, 20, 3000), "kind": rng.choice(["a", "b"], 3000)})
    mean = 0.2 + 0.5 * np.exp(-(((X["x"] - 10) / 4) ** 2)) + 0.2 * (X["kind"] == "a")
    outcome = (rng.random(3000) < mean).astype(int)
    # the weights hide rows whose outcome is turned around
    turned = rng.random(3000) < 0.4
    y = np.where(turned, 1 - outcome, outcome) if weighted else outcome
    weight = (~turned).astype(float) if weighted else None
    p = SplineLogistic(C=10).fit(X, y, weight).predict_proba(X)[:, 1]
    m = SplineRidge().fit(X, y, weight).predict(X)
    assert np.sqrt(np.mean((p - mean) ** 2)) < 0.1
    assert np.sqrt(np.mean((m - mean) ** 2)) < 0.1


def test_they_keep_the_conventions_of_scikit_learn():
    X, y = pd.DataFrame({"x": np.arange(50.0)}), np.where(np.arange(50) > 24, "late", "early")
    model = clone(SplineLogistic(C=2)).fit(X, y)
    assert is_classifier(model)
    assert is_regressor(SplineRidge())
    assert model.get_params() == {"C": 2}
    assert model.classes_.tolist() == ["early", "late"]
    assert model.score(X, y) > 0.9
