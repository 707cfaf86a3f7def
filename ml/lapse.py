"""The chance that a regular customer without a contract lapses, on point-in-time features."""

from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GroupKFold
from sklearn.utils.validation import check_is_fitted

from ml.blend import CalibratedBlend
from ml.table import column_names, numbers, outcomes

Floats = npt.NDArray[np.float64]

FOLDS = 3


class LapseClassifier(ClassifierMixin, BaseEstimator):
    """P(lapse) from named numeric features, calibrated on customers the fitted parts had not seen.

    The mean of a spline logistic regression and boosted trees. A lapse is a silence, not an end that is
    seen; for contracts with a known end there is `ml.churn`. NaN means unknown or never, and is a signal
    of its own.

    Learned: `feature_names_in_`, `n_features_in_`, `classes_` (0 stays, 1 lapses), `calibration_`
    (intercept, slope), `blend_`.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike, groups: npt.ArrayLike) -> Self:
        """Learn from X (n, features), y of 0 and 1 (n,) and the customer id of each row (n,).

        Raises TypeError when X is no DataFrame, ValueError when a column is not numeric or infinite,
        lengths differ, y is not 0 and 1, or a fold of customers holds a single class.
        """
        names = column_names(X)
        values = numbers(X, names)
        truth, customer = outcomes(y, groups, len(values), "lapses")
        customers = len(np.unique(customer))
        if customers < FOLDS:
            raise ValueError(f"at least {FOLDS} customers are needed to calibrate, found {customers}")
        if np.isnan(values).all():
            raise ValueError("every feature of every customer is unknown (NaN)")

        splits = GroupKFold(FOLDS, shuffle=True, random_state=self.seed).split(values, truth, customer)
        self._fitted = CalibratedBlend(values, np.zeros(len(names), dtype=bool), truth, splits, self.seed)
        self.blend_ = self._fitted.blend
        self.calibration_ = self._fitted.sigmoid
        self.feature_names_in_ = np.array(names, dtype=object)
        self.n_features_in_ = len(names)
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """P(stays), P(lapses), shape (n, 2). Further columns of X and their order do not matter.

        Raises ValueError naming a missing, non-numeric or infinite column.
        """
        check_is_fitted(self, "blend_")
        lapse = self._fitted.probability(numbers(X, list(self.feature_names_in_)))
        return np.column_stack([1 - lapse, lapse])

    def predict(self, X: pd.DataFrame) -> npt.NDArray[np.int_]:
        """1 where a lapse is more likely than not, shape (n,)."""
        return (self.predict_proba(X)[:, 1] > 0.5).astype(int)

    def contributions(self, X: pd.DataFrame) -> pd.DataFrame:
        """Log-odds each feature adds in the logistic part, relative to the training median customer.

        Shape (n, features), index of X. A feature that is unknown contributes by being unknown.
        """
        check_is_fitted(self, "blend_")
        added = self.blend_.contributions(numbers(X, list(self.feature_names_in_)))
        return pd.DataFrame(added, index=X.index, columns=self.feature_names_in_)
