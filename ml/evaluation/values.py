"""How good expected counts and money are: error, bias and ranking."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import mean_poisson_deviance

from ml.evaluation.intervals import Floats, UndefinedFigureError, checked_values


def mean_absolute_error(actual: npt.ArrayLike, predicted: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Mean of |predicted - actual|, in their unit."""
    truth, estimate, w = checked_values(actual, predicted, weights)
    return float(np.average(np.abs(estimate - truth), weights=w))


def root_mean_squared_error(
    actual: npt.ArrayLike, predicted: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """Root of the mean of (predicted - actual) squared, in their unit."""
    truth, estimate, w = checked_values(actual, predicted, weights)
    return float(np.sqrt(np.average((estimate - truth) ** 2, weights=w)))


def bias_percent(actual: npt.ArrayLike, predicted: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Total predicted over total actual, minus one, in percent; above 0 is too high.

    Raises UndefinedFigureError (a ValueError) when the actual total is not positive.
    """
    truth, estimate, w = checked_values(actual, predicted, weights)
    total = float(w @ truth)
    if total <= 0:
        raise UndefinedFigureError(f"bias in percent needs a positive actual total, found {total:g}")
    return 100 * (float(w @ estimate) / total - 1)


def poisson_deviance(actual: npt.ArrayLike, predicted: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Mean Poisson deviance of expected counts above 0; 0 is perfect, and the mean minimises it.

    Raises ValueError for a predicted count that is not above 0.
    """
    truth, estimate, w = checked_values(actual, predicted, weights)
    return float(mean_poisson_deviance(truth, estimate, sample_weight=w))


def interval_score(
    actual: npt.ArrayLike, bounds: npt.ArrayLike, weights: npt.ArrayLike | None = None, *, level: float = 0.8
) -> float:
    """Mean width of the intervals plus 2 / (1 - level) times what lies outside; in the unit of the value.

    Gneiting & Raftery (2007), Journal of the American Statistical Association 102. `bounds` has shape
    (n, 2): low, high. Raises ValueError where low is above high.
    """
    truth, low, high, w = _bounded(actual, bounds, weights)
    outside = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    return float(np.average(high - low + 2 / (1 - level) * outside, weights=w))


def coverage(actual: npt.ArrayLike, bounds: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Share of values within their (low, high), ends included; 0 to 1. Raises as `interval_score`."""
    truth, low, high, w = _bounded(actual, bounds, weights)
    return float(np.average((truth >= low) & (truth <= high), weights=w))


def gini(actual: npt.ArrayLike, predicted: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Ranking of values: concentration of `actual` ordered by `predicted`, over that of the perfect order.

    1 is the perfect order, 0 a random one; equal predictions share their values evenly.
    Raises UndefinedFigureError (a ValueError) when the actual total is not positive or all values are equal.
    """
    truth, estimate, w = checked_values(actual, predicted, weights)
    if w @ truth <= 0:
        raise UndefinedFigureError(f"the Gini needs a positive actual total, found {float(w @ truth):g}")
    best = _concentration(truth, truth, w)
    if best < 1e-12:
        raise UndefinedFigureError("the Gini needs values that differ; all actual values are equal")
    return _concentration(truth, estimate, w) / best


def _bounded(
    actual: npt.ArrayLike, bounds: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[Floats, Floats, Floats, Floats]:
    low, high = np.asarray(bounds, dtype=float).T
    truth, low, w = checked_values(actual, low, weights)
    _, high, _ = checked_values(actual, high, weights)
    if (low > high).any():
        raise ValueError(f"the low end is above the high one in {int((low > high).sum())} rows")
    return truth, low, high, w


def _concentration(truth: Floats, order_by: Floats, w: Floats) -> float:
    _, tie = np.unique(order_by, return_inverse=True)
    people = np.bincount(tie, weights=w) / w.sum()
    value = np.bincount(tie, weights=w * truth) / (w @ truth)
    lorenz = np.cumsum(value)
    return float(1 - people @ (2 * lorenz - value))
