import numpy as np
import pandas as pd
import pytest

from benchmarks.uplift import MENS, WOMENS, experiment, one_arm
from ml.uplift import (
    AssignmentContradicted,
    AssignmentError,
    AssignmentUnknown,
    AssumedByFeatures,
    DRLearner,
    NoOverlap,
    Randomised,
    TLearner,
)
from tests.ml.test_uplift import campaign

X, TREATED, Y, TRUE = campaign(3_000, 11)


def test_without_a_word_on_the_assignment_it_is_refused_and_told_what_to_say():
    with pytest.raises(AssignmentUnknown, match=r"Randomised\(share\).*AssumedByFeatures\(\)"):
        TLearner().fit(X, TREATED, Y)


def test_a_lot_of_another_share_is_contradicted():
    with pytest.raises(AssignmentContradicted, match=r"% of 3000 rows are treated and 30\.0% were to be"):
        TLearner().fit(X, TREATED, Y, assignment=Randomised(0.3))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("age", lambda treated, rng: X["age"] + 4 * treated),
        ("opened", lambda treated, rng: np.where((treated == 1) & (rng.random(3000) < 0.1), "yes", "no")),
        (
            "answer",
            lambda treated, rng: pd.Series(rng.normal(size=3000)).mask((treated == 1) & (rng.random(3000) < 0.1)),
        ),
    ],
    ids=["a number", "a category", "what is missing"],
)
def test_a_column_that_tells_who_was_treated_is_named(column, values):
    told = X.assign(**{column: values(TREATED, np.random.default_rng(0))})
    with pytest.raises(AssignmentContradicted, match=f"column '{column}' tells who was treated.*AssumedByFeatures"):
        TLearner().fit(told, TREATED, Y, assignment=Randomised(0.5))


def test_columns_that_tell_it_only_together_are_named():
    rng = np.random.default_rng(1)
    left = rng.normal(size=3000)
    right = np.where(TREATED == 1, np.sign(left), -np.sign(left)) * np.abs(rng.normal(size=3000))
    with pytest.raises(AssignmentContradicted, match=r"columns together tell who was treated, '(left|right)' most"):
        TLearner().fit(X.assign(left=left, right=right), TREATED, Y, assignment=Randomised(0.5))


def test_fair_lots_pass():
    refused = 0
    for seed in range(20):
        frame, treated, _, _ = campaign(800, 100 + seed, share=None if seed % 2 else 0.4)
        try:
            Randomised("chance" if seed % 2 else 0.4).chances(frame, treated)
        except AssignmentContradicted:
            refused += 1
    assert refused <= 1


@pytest.mark.parametrize("mailed", [MENS, WOMENS])
def test_hillstroms_lots_pass_and_the_two_mailings_taken_for_one_lot_of_a_half_do_not(mailed):
    frame, arm, visit = experiment()
    features, treated, _ = one_arm(frame, arm, visit, mailed)
    assert set(Randomised(0.5).chances(features, treated)) == {0.5}
    with pytest.raises(AssignmentContradicted, match="rows are treated"):
        Randomised(0.5).chances(frame, (arm > 0).astype(int))


def test_an_assumed_assignment_takes_out_what_the_features_explain():
    frame, treated, y, true = campaign(12_000, 12, share=None)
    frame = frame.drop(columns="chance")
    model = DRLearner().fit(frame, treated, y, assignment=AssumedByFeatures())
    naive = y[treated == 1].mean() - y[treated == 0].mean()
    found = model.predict_uplift(frame).mean()
    assert abs(found - true.mean()) < 0.5 * abs(naive - true.mean())


def test_customers_whom_nobody_is_like_are_no_basis_and_the_column_is_named():
    rng = np.random.default_rng(2)
    sure = X.assign(loyalty=rng.normal(size=3000) + 6 * TREATED)
    with pytest.raises(NoOverlap, match="most told by column 'loyalty'"):
        TLearner().fit(sure, TREATED, Y, assignment=AssumedByFeatures())


def test_every_refusal_of_an_assignment_is_of_one_kind():
    assert all(issubclass(e, AssignmentError) for e in (AssignmentUnknown, AssignmentContradicted, NoOverlap))
    assert issubclass(AssignmentError, ValueError)


def test_unusable_input_is_named():
    lot = Randomised(0.5)
    with pytest.raises(ValueError, match="control arm is empty"):
        TLearner().fit(X, np.ones_like(TREATED), Y, assignment=lot)
    with pytest.raises(ValueError, match="treated arm is empty"):
        TLearner().fit(X, np.zeros_like(TREATED), Y, assignment=lot)
    with pytest.raises(ValueError, match=r"y must hold 0 and 1 only, found .*2.* in row 0"):
        TLearner().fit(X, TREATED, Y * 0 + 2, assignment=lot)
    with pytest.raises(ValueError, match="treatment must hold 0 and 1 only"):
        TLearner().fit(X, TREATED * 1.5, Y, assignment=lot)
    with pytest.raises(ValueError, match="treatment must have shape"):
        TLearner().fit(X, TREATED[1:], Y, assignment=lot)
    with pytest.raises(ValueError, match="0 rows with y = 1"):
        TLearner().fit(X, TREATED, np.where(TREATED == 1, 0, Y), assignment=lot)
    with pytest.raises(TypeError, match="DataFrame"):
        TLearner().fit(X.to_numpy(), TREATED, Y, assignment=lot)
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        Randomised(1.0)
    with pytest.raises(ValueError, match=r"missing feature column\(s\): chance"):
        TLearner().fit(X, TREATED, Y, assignment=Randomised("chance"))
    with pytest.raises(ValueError, match=r"column 'chance' .* found 0 in row 3"):
        TLearner().fit(
            X.assign(chance=np.where(np.arange(3000) == 3, 0.0, 0.5)), TREATED, Y, assignment=Randomised("chance")
        )
    with pytest.raises(ValueError, match=r"missing feature column.*age"):
        TLearner().fit(X, TREATED, Y, assignment=lot).predict_uplift(X.drop(columns="age"))
