"""Learners of the shape of a forecast's error: the forecast is an exact offset, never learned anew."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float64]

CLIP_QUANTILES = (0.002, 0.998)
LARGEST_LOG_COUNT = 30.0
RIDGE = 20.0  # customers that say: no correction
BOOSTING_ROUNDS, TREES_PER_ROUND = 3, 40
TREE_BINS = 64

_one_thread = threadpool_limits.wrap(limits=1)


class Design:
    """Inputs of a linear learner: clipped to the training .2-99.8 % range, standardised, with unknown flags.

    Without the clip one extreme customer moves everybody's coefficient. Squares let a straight line bend.
    """

    def fit(self, values: Floats) -> Self:
        """Learn range, mean and spread of each column, shape (n, columns); NaN is unknown."""
        # A column that nobody has a value of stays at 0; quantiles of nothing would be NaN.
        values = np.where(np.isnan(values).all(axis=0), 0.0, values)
        self.low_, self.high_ = np.nanquantile(values, CLIP_QUANTILES, axis=0)
        clipped = np.clip(values, self.low_, self.high_)
        self.mean_ = np.nanmean(clipped, axis=0)
        spread = np.nanstd(clipped, axis=0)
        self.spread_ = np.where(spread > 1e-9, spread, 1.0)
        unknown = np.isnan(values)
        _, first = np.unique(unknown, axis=1, return_index=True)
        self.flags_ = [int(column) for column in first if 0 < unknown[:, column].sum() < len(values)]
        return self

    def transform(self, values: Floats) -> Floats:
        """One, then columns, squares and flags, shape (n, 1 + 2 columns + flags)."""
        scaled = np.nan_to_num((np.clip(values, self.low_, self.high_) - self.mean_) / self.spread_, nan=0.0)
        flags = np.isnan(values[:, self.flags_]).astype(np.float64)
        return np.hstack([np.ones((len(values), 1)), scaled, scaled**2 - 1, flags])


class Bins:
    """Columns as places among their quantiles, once for all trees: boosting sorts weighted values at every fit."""

    def fit(self, values: Floats) -> Self:
        """Learn the quantiles of each column, shape (n, columns); NaN stays NaN."""
        levels = np.linspace(0, 1, TREE_BINS + 1)[1:-1]
        # A column that nobody has a value of tells nothing apart, and trees cannot bin it.
        self.known_ = np.flatnonzero(~np.isnan(values).all(axis=0))
        self.edges_ = [np.unique(np.nanquantile(column, levels)) for column in values[:, self.known_].T]
        return self

    def transform(self, values: Floats) -> Floats:
        """Places 0..bins - 1, shape (n, columns with a value in the fit)."""
        values = values[:, self.known_]
        places = [np.searchsorted(edges, column, "left") for edges, column in zip(self.edges_, values.T, strict=True)]
        return np.where(np.isnan(values), np.nan, np.column_stack(places))


class OffsetGLM:
    """Ridge regression on top of an offset: Poisson with log link (`kind` "count") or logistic ("chance")."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def fit(self, values: Floats, y: Floats, offset: Floats) -> Self:
        """Maximise the penalised likelihood; all of shape (n,) beside `values` (n, columns)."""
        self.design_ = Design().fit(values)
        X = self.design_.transform(values)
        penalty = np.full(X.shape[1], RIDGE)
        penalty[0] = 0.0

        def loss(beta: Floats) -> tuple[float, Floats]:
            eta = np.minimum(offset + X @ beta, LARGEST_LOG_COUNT)
            mean, partition = (np.exp(eta), np.exp(eta)) if self.kind == "count" else (expit(eta), np.logaddexp(0, eta))
            value = (partition - y * eta).sum() + penalty @ beta**2 / 2
            return float(value) / len(y), (X.T @ (mean - y) + penalty * beta) / len(y)

        def curvature(beta: Floats) -> Floats:
            eta = np.minimum(offset + X @ beta, LARGEST_LOG_COUNT)
            variance = np.exp(eta) if self.kind == "count" else expit(eta) * expit(-eta)
            return np.asarray((X.T * variance) @ X + np.diag(penalty)) / len(y)

        found = minimize(
            loss, np.zeros(X.shape[1]), jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-6}
        )
        self.coef_ = found.x
        return self

    def correction(self, values: Floats) -> Floats:
        """What to add to the offset, shape (n,)."""
        return np.asarray(self.design_.transform(values) @ self.coef_)


class OffsetTrees:
    """Boosted trees on top of an offset, Poisson ("count") or logistic ("chance").

    Counts: trees on y / base weighted by base are exactly Poisson trees with an offset. Chances: Newton
    rounds (LogitBoost; Friedman, Hastie & Tibshirani 2000, Annals of Statistics 28(2)) on the residual.
    """

    def __init__(self, kind: str, seed: int = 0) -> None:
        self.kind, self.seed = kind, seed

    @_one_thread
    def fit(self, values: Floats, y: Floats, offset: Floats) -> Self:
        """As `OffsetGLM.fit`."""
        self.bins_ = Bins().fit(values)
        values = self.bins_.transform(values)
        if self.kind == "count":
            base = np.exp(offset)
            trees = self._trees("poisson", BOOSTING_ROUNDS * TREES_PER_ROUND).fit(values, y / base, sample_weight=base)
            self.trees_ = [trees]
            return self
        self.trees_ = []
        log_odds = offset.copy()
        for _ in range(BOOSTING_ROUNDS):
            p = np.clip(expit(log_odds), 1e-4, 1 - 1e-4)
            curvature = p * (1 - p)
            step = (y - p) / curvature
            trees = self._trees("squared_error", TREES_PER_ROUND).fit(values, step, sample_weight=curvature)
            log_odds = log_odds + trees.predict(values)
            self.trees_.append(trees)
        return self

    @_one_thread
    def correction(self, values: Floats) -> Floats:
        """What to add to the offset, shape (n,)."""
        values = self.bins_.transform(values)
        if self.kind == "count":
            return np.asarray(np.log(self.trees_[0].predict(values)))
        return np.asarray(sum(trees.predict(values) for trees in self.trees_))

    def _trees(self, loss: str, rounds: int) -> HistGradientBoostingRegressor:
        return HistGradientBoostingRegressor(
            loss=loss,
            max_iter=rounds,
            learning_rate=0.05,
            max_leaf_nodes=12,
            min_samples_leaf=100,
            l2_regularization=10.0,
            early_stopping=False,
            random_state=self.seed,
        )
