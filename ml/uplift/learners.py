"""T-, R- and DR-learners: the difference a treatment makes to each customer's chance."""

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from ml.linear import SplineLogistic, SplineRidge
from ml.table import check_present, column_names
from ml.uplift.assignment import Assignment, AssignmentUnknown

Floats = npt.NDArray[np.float64]
Binary = npt.NDArray[np.int_]

FEWEST_OF_AN_OUTCOME = 5

_one_thread = threadpool_limits.wrap(limits=1)


class UpliftLearner(BaseEstimator, ABC):
    """What T-, R- and DR-learner share: checks, the assignment, and cross-fitting.

    Assumes that one customer's treatment does not change another's outcome, and that every feature was
    known before the treatment. Learned: `feature_names_in_`, `n_features_in_`, `assignment_`, `chances_`
    (of the training rows to be treated) and `treated_`, a classifier of the treated.
    """

    classifier: Any

    @_one_thread
    def fit(
        self, X: pd.DataFrame, treatment: npt.ArrayLike, y: npt.ArrayLike, *, assignment: Assignment | None = None
    ) -> Self:
        """Learn from X (n, features), treatment of 0 and 1 (n,) and the outcome y of 0 and 1 (n,).

        `assignment` says how customers came to be treated: Randomised(share) or AssumedByFeatures().
        Raises AssignmentError (AssignmentUnknown, AssignmentContradicted, NoOverlap); TypeError when X is no
        DataFrame; ValueError for other lengths or values, or an arm with too few of either outcome.
        """
        column_names(X)
        treated, outcome = _binary(treatment, "treatment", len(X)), _binary(y, "y", len(X))
        if assignment is None:
            raise AssignmentUnknown(
                "how were customers chosen for the treatment? Pass assignment=Randomised(share) for a lot, with the "
                "chance to be treated, or assignment=AssumedByFeatures() if X holds all that decided it. Without "
                "either, a difference between treated and untreated customers is no effect"
            )
        self._check_arms(treated, outcome)
        chance = assignment.chances(X, treated)
        self.assignment_ = assignment
        return self._fit(assignment.features(X), treated, outcome, chance)

    @_one_thread
    def fit_with_chances(self, X: pd.DataFrame, treated: Binary, y: Binary, chance: Floats) -> Self:
        """Learn from rows whose assignment was checked before: `chance` (n,) is each row's chance to be treated.

        For cross-fitting; everybody else calls `fit`. Raises ValueError for an arm with too few of either outcome.
        """
        self._check_arms(treated, y)
        return self._fit(X, treated, y, chance)

    def _fit(self, X: pd.DataFrame, treated: Binary, y: Binary, chance: Floats) -> Self:
        self.feature_names_in_ = np.array(column_names(X), dtype=object)
        self.n_features_in_ = len(self.feature_names_in_)
        self.chances_ = chance
        self.treated_ = self._fitted(X[treated == 1], y[treated == 1])
        self._learn(X, treated, y, chance)
        return self

    @_one_thread
    def predict_uplift(self, X: pd.DataFrame) -> Floats:
        """P(y = 1 if treated) - P(y = 1 if not), -1 to 1, shape (n,).

        Raises ValueError naming a missing column. Further columns and their order do not matter.
        """
        return np.clip(self._effect(self._features(X)), -1.0, 1.0)

    @_one_thread
    def predict_response(self, X: pd.DataFrame) -> Floats:
        """P(y = 1 if treated), shape (n,): the ranking that knows of no effect. Raises as predict_uplift."""
        return np.asarray(self.treated_.predict_proba(self._features(X))[:, 1])

    @abstractmethod
    def _learn(self, X: pd.DataFrame, treated: Binary, y: Binary, chance: Floats) -> None: ...

    @abstractmethod
    def _effect(self, X: pd.DataFrame) -> Floats: ...

    def _fewest(self) -> int:
        """Rows of each outcome that each arm must hold."""
        return FEWEST_OF_AN_OUTCOME

    def _check_arms(self, treated: Binary, y: Binary) -> None:
        for arm, name in ((1, "treated"), (0, "control")):
            rows = y[treated == arm]
            if len(rows) == 0:
                raise ValueError(
                    f"the {name} arm is empty: an effect needs customers who were treated and customers who were not"
                )
            ones = int((rows == 1).sum())
            if min(ones, len(rows) - ones) < self._fewest():
                raise ValueError(
                    f"the {name} arm holds {ones} rows with y = 1 and {len(rows) - ones} with y = 0; at least "
                    f"{self._fewest()} of each are needed"
                )

    def _features(self, X: pd.DataFrame) -> pd.DataFrame:
        check_is_fitted(self, "feature_names_in_")
        names = list(self.feature_names_in_)
        check_present(X, names)
        return X[names]

    def _fitted(self, X: pd.DataFrame, y: Binary) -> Any:
        template = SplineLogistic() if self.classifier is None else clone(self.classifier)
        return template.fit(X, y)


class TLearner(UpliftLearner):
    """Two models: the chance if treated minus the chance if not (Künzel, Sekhon, Bickel & Yu 2019).

    `classifier` is any scikit-learn classifier that reads X (default `ml.linear.SplineLogistic`). Learned:
    `treated_` and `control_`, the classifiers of the arms.
    """

    def __init__(self, classifier: Any = None) -> None:
        self.classifier = classifier

    def _learn(self, X: pd.DataFrame, treated: Binary, y: Binary, chance: Floats) -> None:
        self.control_ = self._fitted(X[treated == 0], y[treated == 0])

    def _effect(self, X: pd.DataFrame) -> Floats:
        return np.asarray(self.treated_.predict_proba(X)[:, 1] - self.control_.predict_proba(X)[:, 1])


class _TwoStages(UpliftLearner):
    """A regression on a signal of the effect that is made from classifiers of other folds."""

    def __init__(self, classifier: Any = None, regressor: Any = None, folds: int = 5, seed: int = 0) -> None:
        self.classifier = classifier
        self.regressor = regressor
        self.folds = folds
        self.seed = seed

    def _fewest(self) -> int:
        return max(FEWEST_OF_AN_OUTCOME, self.folds)

    def _held_out(self, X: pd.DataFrame, y: Binary, treated: Binary, rows: npt.NDArray[np.bool_]) -> Floats:
        """P(y = 1) of every row by a classifier of `rows` in the other folds, shape (n,)."""
        p = np.empty(len(y))
        for train, test in StratifiedKFold(self.folds, shuffle=True, random_state=self.seed).split(X, 2 * treated + y):
            used = train[rows[train]]
            p[test] = self._fitted(X.iloc[used], y[used]).predict_proba(X.iloc[test])[:, 1]
        return p

    def _regress(self, X: pd.DataFrame, signal: Floats, weight: Floats | None) -> None:
        template = SplineRidge() if self.regressor is None else clone(self.regressor)
        weights = {} if weight is None else {_weight_name(template): weight}
        self.regressor_ = template.fit(X, signal, **weights)

    def _effect(self, X: pd.DataFrame) -> Floats:
        return np.asarray(self.regressor_.predict(X), dtype=float)


class RLearner(_TwoStages):
    """The effect that explains best how outcome and treatment depart from what X lets expect.

    Nie & Wager (2021), Quasi-oracle estimation of heterogeneous treatment effects. `classifier` (default
    `ml.linear.SplineLogistic`) gives P(y = 1) whatever the treatment; `regressor` (default
    `ml.linear.SplineRidge`) must accept sample_weight, of a pipeline its last step. Learned: `regressor_`.
    """

    def _learn(self, X: pd.DataFrame, treated: Binary, y: Binary, chance: Floats) -> None:
        expected = self._held_out(X, y, treated, np.ones(len(y), dtype=bool))
        departure = treated - chance
        self._regress(X, (y - expected) / departure, departure**2)


class DRLearner(_TwoStages):
    """A regression on each customer's doubly robust effect.

    Kennedy (2023), Towards optimal doubly robust estimation of heterogeneous causal effects. `classifier`
    (default `ml.linear.SplineLogistic`) gives P(y = 1) per arm; `regressor` (default
    `ml.linear.SplineRidge`) any that reads X. Learned: `regressor_`.
    """

    def _learn(self, X: pd.DataFrame, treated: Binary, y: Binary, chance: Floats) -> None:
        if_treated, if_not = (self._held_out(X, y, treated, treated == arm) for arm in (1, 0))
        corrected = np.where(treated == 1, (y - if_treated) / chance, -(y - if_not) / (1 - chance))
        self._regress(X, if_treated - if_not + corrected, None)


def _weight_name(regressor: Any) -> str:
    return f"{regressor.steps[-1][0]}__sample_weight" if isinstance(regressor, Pipeline) else "sample_weight"


def _binary(values: npt.ArrayLike, name: str, rows: int) -> Binary:
    found = np.asarray(values)
    if found.shape != (rows,):
        raise ValueError(f"X has {rows} rows; {name} must have shape ({rows},), found {found.shape}")
    other = ~np.isin(found, (0, 1))
    if other.any():
        row = int(np.flatnonzero(other)[0])
        raise ValueError(f"{name} must hold 0 and 1 only, found {found[row]!r} in row {row}")
    return found.astype(int)
