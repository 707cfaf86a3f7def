"""Smooth curves in each number and an effect per level: the inputs of the linear models."""

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import SplineTransformer

Floats = npt.NDArray[np.float64]

# Without the clip one extreme customer moves everybody's coefficient.
CLIP_QUANTILES = (0.002, 0.998)
KNOTS = 5


class SplineDesign:
    """A matrix of numbers and category codes as inputs of a linear model, 0 for the typical customer.

    A number becomes sign(x) log(1 + |x|), clipped to the training .2-99.8 % quantiles, in a cubic B-spline
    basis with knots at the quintiles (Eilers & Marx 1996); of fewer than four distinct knots it stays a
    line. A code becomes one column per level. Unknown values are a signal of their own: a flag or a level.
    A code not seen in training counts as the average of the levels. Every column is divided by its
    standard deviation, so that one ridge penalty suits all.

    Typical is the training median, and for a code the most frequent level. `owner` (columns,) is the
    place of the feature that each column belongs to.
    """

    def __init__(self, values: Floats, categorical: npt.NDArray[np.bool_]) -> None:
        self._parts = [
            _Levels(column) if is_code else _Curve(column)
            for column, is_code in zip(values.T, categorical, strict=True)
        ]
        self.owner = np.repeat(np.arange(len(self._parts)), [part.width for part in self._parts])

    def of(self, values: Floats) -> Floats:
        """The inputs for rows of values, shape (n, columns)."""
        return np.hstack([part.of(column) for part, column in zip(self._parts, values.T, strict=True)])

    def by_feature(self, added: Floats) -> Floats:
        """What each column adds, (n, columns), summed to what each feature adds, (n, features)."""
        features = np.zeros((len(added), len(self._parts)))
        for place in range(len(self._parts)):
            features[:, place] = added[:, self.owner == place].sum(axis=1)
        return features


class _Curve:
    """One number: a spline or a line, and a flag where it is unknown for some."""

    def __init__(self, column: Floats) -> None:
        unknown = np.isnan(column)
        logs = _signed_log(column[~unknown]) if not unknown.all() else np.zeros(1)
        self._low, self._typical, self._high = np.quantile(logs, (CLIP_QUANTILES[0], 0.5, CLIP_QUANTILES[1]))
        knots = np.unique(np.quantile(np.clip(logs, self._low, self._high), np.linspace(0, 1, KNOTS)))
        self._basis = None
        if len(knots) >= 4:
            self._basis = SplineTransformer(knots=knots[:, None], include_bias=False, extrapolation="constant")
            self._basis.fit(knots[:, None])
        self._flagged = bool(unknown.any() and not unknown.all())
        self._usual_flag = float(unknown.mean() > 0.5)
        self._origin = self._curve(np.array([self._typical]))
        self._spread = _spread(self._curve(np.clip(logs, self._low, self._high)))
        self.width = self._origin.shape[1] + self._flagged

    def of(self, column: Floats) -> Floats:
        unknown = np.isnan(column)
        logs = np.clip(_signed_log(np.where(unknown, 0.0, column)), self._low, self._high)
        curve = (self._curve(np.where(unknown, self._typical, logs)) - self._origin) / self._spread
        return np.column_stack([curve, unknown - self._usual_flag]) if self._flagged else curve

    def _curve(self, logs: Floats) -> Floats:
        return logs[:, None] if self._basis is None else np.asarray(self._basis.transform(logs[:, None]))


class _Levels:
    """One category: a column per level, a missing value being one when training had some."""

    def __init__(self, column: Floats) -> None:
        known = column[~np.isnan(column)]
        self._levels = int(known.max()) + 1 if len(known) else 0
        self._missing_is_a_level = bool(np.isnan(column).any())
        self.width = self._levels + self._missing_is_a_level
        shares = np.bincount(self._codes(column), minlength=self.width) / max(len(column), 1)
        self._average = shares
        self._origin = (np.arange(self.width) == shares.argmax()).astype(float)
        self._spread = np.where(shares * (1 - shares) > 0, np.sqrt(shares * (1 - shares)), 1.0)

    def of(self, column: Floats) -> Floats:
        rows = np.vstack([np.eye(self.width), self._average])
        return np.asarray((rows[self._codes(column)] - self._origin) / self._spread)

    def _codes(self, column: Floats) -> npt.NDArray[np.intp]:
        # the code after the last known level is the missing level, or else the average
        return np.where(np.isnan(column), self._levels, column).astype(np.intp)


def _signed_log(values: Floats) -> Floats:
    return np.sign(values) * np.log1p(np.abs(values))


def _spread(columns: Floats) -> Floats:
    spread = columns.std(axis=0)
    return np.where(spread > 1e-12, spread, 1.0)
