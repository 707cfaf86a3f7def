"""Linear models that bend: ridge regression and ridge logistic regression on splines and levels."""

from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from ml.spline import SplineDesign
from ml.table import TableReader

Floats = npt.NDArray[np.float64]

RIDGE_PENALTIES = np.logspace(1, 6, 11)

# Of a hundred coefficients, threads wait for each other longer than they work.
_one_thread = threadpool_limits.wrap(limits=1)


class SplineLogistic(ClassifierMixin, BaseEstimator):
    """P(y = 1) from a frame of numeric, boolean and text columns with missing values.

    A ridge logistic regression on `ml.spline.SplineDesign`; `C` is the inverse penalty of a column of
    variance 1. Learned: `classes_`, `feature_names_in_`, `n_features_in_`, `model_`.
    """

    def __init__(self, C: float = 0.1) -> None:
        self.C = C

    @_one_thread
    def fit(self, X: pd.DataFrame, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Learn from X (n, features) and y of two classes (n,). Raises what TableReader and sklearn raise."""
        self._reader = TableReader(X)
        values = self._reader.values(X)
        self._design = SplineDesign(values, self._reader.categorical)
        self.model_ = LogisticRegression(C=self.C, max_iter=1000).fit(self._design.of(values), y, sample_weight)
        self.classes_ = self.model_.classes_
        self.feature_names_in_ = np.array(self._reader.names, dtype=object)
        self.n_features_in_ = len(self._reader.names)
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Probability per class, shape (n, 2). Raises ValueError naming an unusable column."""
        check_is_fitted(self, "model_")
        return np.asarray(self.model_.predict_proba(self._design.of(self._reader.values(X))))

    def predict(self, X: pd.DataFrame) -> npt.NDArray[np.generic]:
        """The likelier class per row, shape (n,)."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])


class SplineRidge(RegressorMixin, BaseEstimator):
    """A mean from a frame of numeric, boolean and text columns with missing values.

    A ridge regression on `ml.spline.SplineDesign`, its penalty chosen by efficient leave-one-out.
    Learned: `feature_names_in_`, `n_features_in_`, `model_`.
    """

    @_one_thread
    def fit(self, X: pd.DataFrame, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Learn from X (n, features) and y (n,). Raises what TableReader and sklearn raise."""
        self._reader = TableReader(X)
        values = self._reader.values(X)
        self._design = SplineDesign(values, self._reader.categorical)
        self.model_ = RidgeCV(RIDGE_PENALTIES).fit(self._design.of(values), y, sample_weight)
        self.feature_names_in_ = np.array(self._reader.names, dtype=object)
        self.n_features_in_ = len(self._reader.names)
        return self

    def predict(self, X: pd.DataFrame) -> Floats:
        """The mean per row, shape (n,). Raises ValueError naming an unusable column."""
        check_is_fitted(self, "model_")
        return np.asarray(self.model_.predict(self._design.of(self._reader.values(X))))
