"""Which ranking to contact by: uplift where it shows, else response."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.validation import check_is_fitted

from ml.evaluation.uplift import select_ranking
from ml.uplift.assignment import Assignment
from ml.uplift.learners import Binary, TLearner, UpliftLearner

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Scores by models that had not seen the customer, each of shape (n, repeats)."""

    uplift: Floats
    response: Floats


def held_out_rankings(
    learner: UpliftLearner,
    X: pd.DataFrame,
    treated: Binary,
    y: Binary,
    chance: Floats,
    *,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
) -> HeldOut:
    """Uplift, and the chance of y = 1 if treated, cross-fitted in `repeats` divisions of the rows into `folds`.

    `chance` (n,) is each row's chance to be treated, checked before. One row per customer.
    """
    found = HeldOut(np.empty((len(y), repeats)), np.empty((len(y), repeats)))
    for repeat in range(repeats):
        division = StratifiedKFold(folds, shuffle=True, random_state=seed + repeat)
        for train, test in division.split(X, 2 * treated + y):
            model = clone(learner).fit_with_chances(X.iloc[train], treated[train], y[train], chance[train])
            found.uplift[test, repeat] = model.predict_uplift(X.iloc[test])
            found.response[test, repeat] = model.predict_response(X.iloc[test])
    return found


class RankingSelector(BaseEstimator):
    """Ranks customers for a contact by uplift, or by response where uplift is not better by more than its noise.

    Both rankings are judged on customers their models have not seen, in `repeats` divisions into `folds`;
    give one row per customer. The response ranking is P(y = 1) if treated. `learner` is a T-, R- or
    DR-learner (default TLearner()).

    Learned: `selection_` (chosen ranking, advantage of uplift in Qini with its interval), `held_out_` (the
    scores it rests on) and `learner_`, fitted on all rows.
    """

    def __init__(self, learner: UpliftLearner | None = None, folds: int = 5, repeats: int = 1, seed: int = 0) -> None:
        self.learner = learner
        self.folds = folds
        self.repeats = repeats
        self.seed = seed

    def fit(
        self, X: pd.DataFrame, treatment: npt.ArrayLike, y: npt.ArrayLike, *, assignment: Assignment | None = None
    ) -> Self:
        """Learn from X (n, features), treatment and y of 0 and 1 (n,). Raises what the learner's fit raises."""
        template = TLearner() if self.learner is None else self.learner
        self.learner_ = clone(template).fit(X, treatment, y, assignment=assignment)
        treated, outcome = np.asarray(treatment).astype(int), np.asarray(y).astype(int)
        chance = self.learner_.chances_
        self.held_out_ = held_out_rankings(
            template,
            X[list(self.learner_.feature_names_in_)],
            treated,
            outcome,
            chance,
            folds=self.folds,
            repeats=self.repeats,
            seed=self.seed,
        )
        self.selection_ = select_ranking(
            outcome,
            treated,
            self.held_out_.uplift,
            self.held_out_.response,
            np.arange(len(outcome)),
            seed=self.seed,
            propensity=chance,
        )
        return self

    def predict_ranking(self, X: pd.DataFrame) -> Floats:
        """A score per row, shape (n,), highest to contact first: an uplift or a chance, as `selection_.chosen` says."""
        check_is_fitted(self, "selection_")
        uplift = self.selection_.chosen == "uplift"
        return self.learner_.predict_uplift(X) if uplift else self.learner_.predict_response(X)
