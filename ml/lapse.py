"""The chance that a regular customer lapses: a calibrated mean of a logistic regression and boosted trees."""

from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float64]

FOLDS = 3
CLIP_QUANTILES = (0.002, 0.998)


class LapseClassifier(ClassifierMixin, BaseEstimator):
    """P(lapse) from named numeric features, calibrated on customers the fitted parts had not seen.

    The logistic part reads sign(x) log(1 + |x|), clipped to the training .2-99.8 % quantiles and
    standardised: without the clip one extreme customer moves everybody's coefficient. The trees read
    the values as they are. The mean of both probabilities passes a sigmoid (Platt 1999) learned on
    predictions cross-validated by customer. NaN means unknown or never, and is a signal of its own.

    Learned: `feature_names_in_`, `classes_` (0 stays, 1 lapses), `calibration_` (intercept, slope).
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike, groups: npt.ArrayLike) -> Self:
        """Learn from X (n, features), y of 0 and 1 (n,) and the customer id of each row (n,).

        Raises TypeError when X is no DataFrame, ValueError when a column is not numeric or infinite,
        lengths differ, y is not 0 and 1, or a fold of customers holds a single class.
        """
        if not isinstance(X, pd.DataFrame):
            raise TypeError(f"X must be a pandas DataFrame with named columns, found {type(X).__name__}")
        names = [str(name) for name in X.columns]
        values = _numbers(X, names)
        truth, customer = _labels(y, groups, len(values))
        if np.isnan(values).all():
            raise ValueError("every feature of every customer is unknown (NaN)")

        held_out = np.empty(len(truth))
        for train, test in GroupKFold(FOLDS, shuffle=True, random_state=self.seed).split(values, truth, customer):
            if len(np.unique(truth[train])) < 2:
                raise ValueError(
                    f"all customers of one class fall into one of {FOLDS} folds: more customers of both classes "
                    "are needed to calibrate"
                )
            held_out[test] = _Blend(values[train], truth[train], self.seed).probability(values[test])
        sigmoid = LogisticRegression(C=1e6).fit(_log_odds(held_out)[:, None], truth)

        self.blend_ = _Blend(values, truth, self.seed)
        self.calibration_ = (float(sigmoid.intercept_[0]), float(sigmoid.coef_[0, 0]))
        self.feature_names_in_ = np.array(names, dtype=object)
        self.n_features_in_ = len(names)
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """P(stays), P(lapses), shape (n, 2). Further columns of X and their order do not matter.

        Raises ValueError naming a missing, non-numeric or infinite column.
        """
        check_is_fitted(self, "blend_")
        values = _numbers(X, list(self.feature_names_in_))
        intercept, slope = self.calibration_
        lapse = expit(intercept + slope * _log_odds(self.blend_.probability(values)))
        return np.column_stack([1 - lapse, lapse])

    def predict(self, X: pd.DataFrame) -> npt.NDArray[np.int_]:
        """1 where a lapse is more likely than not, shape (n,)."""
        return (self.predict_proba(X)[:, 1] > 0.5).astype(int)

    def contributions(self, X: pd.DataFrame) -> pd.DataFrame:
        """Log-odds each feature adds in the logistic part, relative to the training median customer.

        Shape (n, features), index of X. A feature that is unknown contributes by being unknown.
        """
        check_is_fitted(self, "blend_")
        values = _numbers(X, list(self.feature_names_in_))
        return pd.DataFrame(self.blend_.contributions(values), index=X.index, columns=self.feature_names_in_)


# The trees are small: a team of threads waits more than it works, ten times longer on a busy machine.
_one_thread = threadpool_limits.wrap(limits=1)


class _Blend:
    """Mean of the two fitted parts, before calibration."""

    @_one_thread
    def __init__(self, values: Floats, y: npt.NDArray[np.int_], seed: int) -> None:
        self.design = _Design(values)
        # Trees cannot bin a column without a value.
        self.known = ~np.isnan(values).all(axis=0)
        self.logistic = LogisticRegression(C=1.0, max_iter=1000).fit(self.design.of(values), y)
        self.trees = HistGradientBoostingClassifier(
            max_iter=100,
            learning_rate=0.06,
            max_leaf_nodes=12,
            min_samples_leaf=50,
            l2_regularization=5.0,
            early_stopping=False,
            random_state=seed,
        ).fit(values[:, self.known], y)

    @_one_thread
    def probability(self, values: Floats) -> Floats:
        linear = self.logistic.predict_proba(self.design.of(values))[:, 1]
        return np.asarray((linear + self.trees.predict_proba(values[:, self.known])[:, 1]) / 2)

    def contributions(self, values: Floats) -> Floats:
        features = values.shape[1]
        added = self.design.of(values) * self.logistic.coef_[0]
        by_feature = added[:, :features].copy()
        by_feature[:, self.design.sometimes_unknown] += added[:, features:]
        return by_feature


class _Design:
    """Inputs of the logistic part, 0 for the training median: one column per feature, then unknown flags."""

    def __init__(self, values: Floats) -> None:
        unknown = np.isnan(values)
        logs = _signed_log(values)
        # A feature nobody has stays at 0; quantiles of nothing would be NaN.
        logs[:, unknown.all(axis=0)] = 0.0
        self.low, self.median, self.high = np.nanquantile(logs, (CLIP_QUANTILES[0], 0.5, CLIP_QUANTILES[1]), axis=0)
        spread = np.nanstd(np.clip(logs, self.low, self.high), axis=0)
        self.spread = np.where(spread > 1e-12, spread, 1.0)
        self.sometimes_unknown = np.flatnonzero(unknown.any(axis=0) & ~unknown.all(axis=0))
        self.usually_unknown = unknown[:, self.sometimes_unknown].mean(axis=0) > 0.5

    def of(self, values: Floats) -> Floats:
        scaled = (np.clip(_signed_log(values), self.low, self.high) - self.median) / self.spread
        flags = np.isnan(values[:, self.sometimes_unknown]).astype(float) - self.usually_unknown
        return np.hstack([np.nan_to_num(scaled, nan=0.0), flags])


def _signed_log(values: Floats) -> Floats:
    return np.sign(values) * np.log1p(np.abs(values))


def _log_odds(p: Floats) -> Floats:
    return np.asarray(logit(np.clip(p, 1e-6, 1 - 1e-6)))


def _numbers(X: pd.DataFrame, names: list[str]) -> Floats:
    missing = [name for name in names if name not in X.columns]
    if missing:
        raise ValueError(f"missing feature column(s): {', '.join(missing)}")
    other = [n for n in names if not (pd.api.types.is_numeric_dtype(X[n]) or pd.api.types.is_bool_dtype(X[n]))]
    if other:
        found = ", ".join(f"{name} ({X[name].dtype})" for name in other)
        raise ValueError(f"feature columns must be numeric, found {found}")
    values = X[names].to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.isinf(values).any(axis=0)
    if infinite.any():
        found = ", ".join(np.array(names)[infinite])
        raise ValueError(f"feature columns must be finite or NaN, found infinity in {found}")
    return values


def _labels(y: npt.ArrayLike, groups: npt.ArrayLike, rows: int) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.intp]]:
    truth, customer = np.asarray(y), np.asarray(groups)
    if truth.shape != (rows,) or customer.shape != (rows,):
        raise ValueError(
            f"X has {rows} rows; y and groups must have shape ({rows},), found {truth.shape} and {customer.shape}"
        )
    found = sorted(pd.unique(pd.Series(truth)).tolist())
    if found != [0, 1]:
        raise ValueError(f"y must hold both 0 (stays) and 1 (lapses) and nothing else, found {found[:5]}")
    # numbers instead of ids: grouping by text costs more than a fit
    number, names = pd.factorize(pd.Series(customer))
    if len(names) < FOLDS:
        raise ValueError(f"at least {FOLDS} customers are needed to calibrate, found {len(names)}")
    return truth.astype(int), number
