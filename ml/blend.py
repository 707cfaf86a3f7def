"""The mean of a spline logistic regression and boosted trees, and its calibration."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from ml.spline import SplineDesign

Floats = npt.NDArray[np.float64]
Truth = npt.NDArray[np.int_]
Split = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]

PENALTY = 0.01  # inverse ridge strength of standardised spline columns
# A curve of a hundred coefficients learns nothing from more, and its inputs are six times the features.
MOST_LOGISTIC_ROWS = 100_000
BATCH = 50_000

# The trees are small: a team of threads waits more than it works, ten times longer on a busy machine.
_one_thread = threadpool_limits.wrap(limits=1)


class Blend:
    """Mean of two fitted parts, of values (n, features) with codes where `categorical`, and y of 0 and 1.

    `logistic` reads the curves of `design`, `trees` (a HistGradientBoostingClassifier) the values of the
    columns `known` as they are. NaN is a value of its own to both.
    """

    @_one_thread
    def __init__(self, values: Floats, categorical: npt.NDArray[np.bool_], y: Truth, seed: int) -> None:
        self.design = SplineDesign(values, categorical)
        chosen = np.arange(len(y))
        if len(y) > MOST_LOGISTIC_ROWS:
            chosen = np.random.default_rng(seed).choice(len(y), MOST_LOGISTIC_ROWS, replace=False)
        self.logistic = LogisticRegression(C=PENALTY, max_iter=1000).fit(self.design.of(values[chosen]), y[chosen])
        # Trees cannot bin a column without a value.
        self.known = ~np.isnan(values).all(axis=0)
        self.trees = HistGradientBoostingClassifier(
            max_iter=100,
            learning_rate=0.06,
            max_leaf_nodes=12,
            min_samples_leaf=50,
            l2_regularization=5.0,
            early_stopping=False,
            categorical_features=categorical[self.known],
            random_state=seed,
        ).fit(values[:, self.known], y)

    @_one_thread
    def probability(self, values: Floats) -> Floats:
        """P(y = 1) before calibration, shape (n,)."""
        linear = [
            self.logistic.predict_proba(self.design.of(values[start : start + BATCH]))[:, 1]
            for start in range(0, len(values), BATCH)
        ]
        if not linear:
            return np.empty(0)
        return np.asarray((np.concatenate(linear) + self.trees.predict_proba(values[:, self.known])[:, 1]) / 2)

    def contributions(self, values: Floats) -> Floats:
        """Log-odds that each feature adds in the logistic part, relative to the typical customer; (n, features)."""
        return self.design.by_feature(self.design.of(values) * self.logistic.coef_[0])


class CalibratedBlend:
    """A blend of all rows whose probability passes a sigmoid learned on held-out predictions (Platt 1999).

    `splits` are (train, test) rows that hold every row out once. Raises ValueError when a training part
    holds a single class. Learned: `blend`, `sigmoid` (intercept, slope).
    """

    def __init__(
        self, values: Floats, categorical: npt.NDArray[np.bool_], y: Truth, splits: Iterable[Split], seed: int
    ) -> None:
        held_out = np.empty(len(y))
        for train, test in splits:
            if len(np.unique(y[train])) < 2:
                raise ValueError(
                    "all customers of one class fall into one of the folds: more customers of both classes "
                    "are needed to calibrate"
                )
            held_out[test] = Blend(values[train], categorical, y[train], seed).probability(values[test])
        sigmoid = LogisticRegression(C=1e6).fit(_log_odds(held_out)[:, None], y)
        self.sigmoid = (float(sigmoid.intercept_[0]), float(sigmoid.coef_[0, 0]))
        self.blend = Blend(values, categorical, y, seed)

    def probability(self, values: Floats) -> Floats:
        """P(y = 1), shape (n,)."""
        intercept, slope = self.sigmoid
        return np.asarray(expit(intercept + slope * _log_odds(self.blend.probability(values))))


def _log_odds(p: Floats) -> Floats:
    return np.asarray(logit(np.clip(p, 1e-6, 1 - 1e-6)))
