"""The chance that a contract ends: churn with a known end, on a table of numbers and categories."""

from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils.validation import check_is_fitted

from ml.blend import CalibratedBlend
from ml.table import TableReader, outcomes

Floats = npt.NDArray[np.float64]

FOLDS = 3


class ChurnClassifier(ClassifierMixin, BaseEstimator):
    """P(churn) of customers whose leaving is seen: a contract, a subscription, an account.

    The mean of a spline logistic regression and boosted trees, calibrated on customers the fitted parts
    had not seen. Assumes that every row's outcome was observed for the whole window of the label; a
    customer who may still be here without having bought is no contract but a lapse (`ml.lapse`).
    Columns may be numeric, boolean or text, with missing values; a level not seen in training counts as
    the average of the levels.

    Learned: `feature_names_in_`, `n_features_in_`, `classes_` (0 stays, 1 leaves), `calibration_`
    (intercept, slope), `blend_`.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Self:
        """Learn from X (n, features) and y of 0 and 1 (n,); `groups` (n,) are customers that have several rows.

        Raises TypeError when X is no DataFrame; ValueError for a column that is a date or infinite, other
        lengths, a y that is not 0 and 1, or fewer than three customers of either class.
        """
        reader = TableReader(X)
        values = reader.values(X)
        truth, customer = outcomes(y, groups, len(values), "leaves")
        if np.isnan(values).all():
            raise ValueError("every feature of every customer is unknown (NaN)")
        for label, name in ((0, "stay"), (1, "leave")):
            found = len(np.unique(customer[truth == label]))
            if found < FOLDS:
                raise ValueError(f"at least {FOLDS} customers who {name} are needed to calibrate, found {found}")

        folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=self.seed)
        splits = folds.split(values, truth, customer)
        self._reader = reader
        self._fitted = CalibratedBlend(values, reader.categorical, truth, splits, self.seed)
        self.blend_ = self._fitted.blend
        self.calibration_ = self._fitted.sigmoid
        self.feature_names_in_ = np.array(reader.names, dtype=object)
        self.n_features_in_ = len(reader.names)
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """P(stays), P(leaves), shape (n, 2). Further columns of X and their order do not matter.

        Raises ValueError naming a column that is missing, infinite, or of another kind than in training.
        """
        check_is_fitted(self, "blend_")
        leaves = self._fitted.probability(self._reader.values(X))
        return np.column_stack([1 - leaves, leaves])

    def predict(self, X: pd.DataFrame) -> npt.NDArray[np.int_]:
        """1 where leaving is more likely than not, shape (n,)."""
        return (self.predict_proba(X)[:, 1] > 0.5).astype(int)

    def contributions(self, X: pd.DataFrame) -> pd.DataFrame:
        """Log-odds each column adds in the logistic part, relative to the typical training customer.

        Shape (n, features), index of X. A column that is unknown contributes by being unknown.
        """
        check_is_fitted(self, "blend_")
        added = self.blend_.contributions(self._reader.values(X))
        return pd.DataFrame(added, index=X.index, columns=self.feature_names_in_)
