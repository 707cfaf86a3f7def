import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold

from benchmarks.churn import customers, held_out, logistic
from ml.churn import ChurnClassifier
from ml.evaluation import auc, expected_calibration_error, log_loss, paired_auc_lift

X, Y = customers()


@pytest.fixture(scope="module")
def halves() -> tuple[np.ndarray, np.ndarray]:
    train, test = next(StratifiedKFold(2, shuffle=True, random_state=1).split(X, Y))
    return train, test


@pytest.fixture(scope="module")
def model(halves) -> ChurnClassifier:
    train, _ = halves
    return ChurnClassifier(seed=3).fit(X.iloc[train], Y[train])


def test_on_telco_it_is_as_good_as_was_reached_and_ranks_better_than_plain_logistic_regression():
    p, plain = (held_out(make, X, Y, repeats=1)[:, 0] for make in (ChurnClassifier, logistic))
    # one standard error of each figure below .850, .410 and .0085
    assert auc(Y, p) > 0.845
    assert log_loss(Y, p) < 0.416
    assert expected_calibration_error(Y, p) < 0.013
    assert paired_auc_lift(Y, p, plain, np.arange(len(Y)), seed=0, resamples=200).low > 0


def test_it_is_calibrated_in_each_kind_of_contract(model, halves):
    _, test = halves
    seen, p = X.iloc[test], model.predict_proba(X.iloc[test])[:, 1]
    for contract, rows in seen.groupby("Contract").indices.items():
        assert p[rows].mean() == pytest.approx(Y[test][rows].mean(), abs=0.025), contract


def test_the_same_seed_gives_the_same_model_and_a_pickle_keeps_it(model, halves):
    train, test = halves
    p = model.predict_proba(X.iloc[test])
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_array_equal(clone(model).fit(X.iloc[train], Y[train]).predict_proba(X.iloc[test]), p)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X.iloc[test]), p)
    assert model.get_params() == {"seed": 3}


def test_a_customers_score_does_not_depend_on_company_order_or_further_columns(model):
    few = X.iloc[:50]
    p = model.predict_proba(few)
    np.testing.assert_allclose(model.predict_proba(few.iloc[[7]]), p[[7]])
    np.testing.assert_array_equal(model.predict_proba(few[few.columns[::-1]].assign(unused=pd.NaT)), p)


def test_an_unknown_category_counts_as_the_average_of_the_known_ones(model):
    customer = X.iloc[[0]]
    known = {
        level: model.contributions(customer.assign(Contract=level))["Contract"].item() for level in set(X.Contract)
    }
    new = customer.assign(Contract="Ten years")
    assert min(known.values()) < model.contributions(new)["Contract"].item() < max(known.values())
    assert 0 < model.predict_proba(new)[0, 1] < 1


def test_missing_values_are_accepted_and_can_be_a_signal(model):
    gone = X.iloc[[0]].astype(object).mask(X.iloc[[0]].notna())
    gone = gone.astype(dict.fromkeys(X.select_dtypes("number"), float))
    assert 0 < model.predict_proba(gone)[0, 1] < 1

    rng = np.random.default_rng(0)
    plan = pd.Series(rng.choice(["a", "b"], 3000)).mask(rng.random(3000) < 0.3)
    usage = pd.Series(rng.normal(size=3000)).mask(rng.random(3000) < 0.3)
    y = (rng.random(3000) < 0.1 + 0.3 * plan.isna() + 0.3 * usage.isna()).astype(int)
    told = ChurnClassifier().fit(pd.DataFrame({"plan": plan, "usage": usage}), y)
    cases = pd.DataFrame({"plan": ["a", None, "a", None], "usage": [0.1, 0.1, np.nan, np.nan]})
    np.testing.assert_allclose(told.predict_proba(cases)[:, 1], [0.1, 0.4, 0.4, 0.7], atol=0.06)


def test_a_curve_that_turns_is_learned():
    rng = np.random.default_rng(1)
    month = rng.uniform(0, 24, 4000)
    y = (rng.random(4000) < np.where(np.abs(month - 12) < 3, 0.7, 0.1)).astype(int)
    model = ChurnClassifier().fit(pd.DataFrame({"month": month}), y)
    p = model.predict_proba(pd.DataFrame({"month": [2.0, 12.0, 22.0]}))[:, 1]
    np.testing.assert_allclose(p, [0.1, 0.7, 0.1], atol=0.08)


def test_rows_of_one_customer_are_not_taken_for_calibration():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 20)
    frame = pd.DataFrame({"id_like": groups + rng.normal(0, 0.01, len(groups)), "other": rng.normal(size=len(groups))})
    y = rng.permutation(np.arange(200) % 2)[groups]
    p = ChurnClassifier().fit(frame, y, groups).predict_proba(frame)[:, 1]
    assert p.min() > 0.15
    assert p.max() < 0.85


def test_unusable_input_is_named(model):
    with pytest.raises(ValueError, match=r"missing feature column.*tenure"):
        model.predict_proba(X.drop(columns="tenure"))
    with pytest.raises(ValueError, match="must be numeric, found tenure"):
        model.predict_proba(X.assign(tenure="long"))
    with pytest.raises(ValueError, match="must be text, found Contract"):
        model.predict_proba(X.assign(Contract=12))
    with pytest.raises(ValueError, match="infinity in tenure"):
        model.predict_proba(X.assign(tenure=np.inf))
    with pytest.raises(ValueError, match=r"found end \(datetime.*turn a date into days"):
        ChurnClassifier().fit(X.assign(end=pd.Timestamp("2026-01-01")), Y)
    with pytest.raises(ValueError, match="columns must be named by text, found 0"):
        ChurnClassifier().fit(pd.DataFrame(X.to_numpy()), Y)
    with pytest.raises(ValueError, match="column 'tenure' is there twice"):
        ChurnClassifier().fit(pd.concat([X, X[["tenure"]]], axis=1), Y)
    with pytest.raises(TypeError, match="DataFrame"):
        ChurnClassifier().fit(X.to_numpy(), Y)
    with pytest.raises(ValueError, match=r"both 0 \(stays\) and 1"):
        ChurnClassifier().fit(X, np.where(Y == 1, "Yes", "No"))
    with pytest.raises(ValueError, match="y must have shape"):
        ChurnClassifier().fit(X, Y[:-1])
    with pytest.raises(ValueError, match=r"groups must have shape .*, found \(3,\)"):
        ChurnClassifier().fit(X, Y, groups=[1, 2, 3])
    with pytest.raises(ValueError, match="3 customers who leave are needed to calibrate, found 2"):
        ChurnClassifier().fit(X, (np.arange(len(X)) < 2).astype(int))
    with pytest.raises(ValueError, match="every feature"):
        ChurnClassifier().fit(X[["tenure"]] * np.nan, Y)


def test_exact_money_is_not_taken_for_categories():
    bills = pd.DataFrame({"bill": [Decimal("1.10"), Decimal("2.20"), None] * 10})
    with pytest.raises(ValueError, match=r"numeric, boolean or text, found bill \(object\)"):
        ChurnClassifier().fit(bills, np.arange(30) % 2)
