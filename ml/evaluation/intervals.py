"""Bootstrap intervals by customer: one customer appears in several snapshots, and must be drawn as one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Metric = Callable[[Floats, Floats, Floats], float]  # truth, prediction, weights

# Draws without one of the two classes say nothing; beyond this share the interval would mislead.
MAX_EMPTY_DRAWS = 0.1


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval, in the unit of the figure."""

    value: float
    low: float
    high: float


class UndefinedFigureError(ValueError):
    """The figure is not defined on these values, or on too many draws of their customers."""


class SingleClassError(UndefinedFigureError):
    """The labels hold one class only, so that the figure is undefined."""


def bootstrap(
    metric: Metric,
    y: npt.ArrayLike,
    prediction: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    seed: int,
    resamples: int = 500,
) -> Interval:
    """Percentile interval of `metric(y, prediction, weights)` by resampling groups (customers) with return.

    `y` and `groups` have shape (n,), `prediction` shape (n,) or (n, columns). Efron & Tibshirani (1993),
    An Introduction to the Bootstrap. Raises what the metric raises on the full data, and
    UndefinedFigureError when the figure is undefined in more than a tenth of the draws.
    """
    truth, predicted = np.asarray(y, dtype=float), np.asarray(prediction, dtype=float)
    value = metric(truth, predicted, np.ones(len(truth)))
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(member) != len(truth):
        raise ValueError(f"y has {len(truth)} rows and groups {len(member)}")
    rng = np.random.default_rng(seed)
    chances = np.full(len(names), 1 / len(names))
    draws: list[float] = []
    for _ in range(resamples):
        times_drawn = rng.multinomial(len(names), chances)
        try:
            draws.append(metric(truth, predicted, times_drawn[member].astype(float)))
        except UndefinedFigureError:
            continue
    if len(draws) < (1 - MAX_EMPTY_DRAWS) * resamples:
        raise UndefinedFigureError(
            f"too few customers of one class for an interval: {resamples - len(draws)} of {resamples} "
            "bootstrap draws held a single class, or nothing above 0"
        )
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def paired_difference(
    metric: Metric,
    y: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    seed: int,
    resamples: int = 500,
) -> Interval:
    """The metric of `first` less that of `second` on the same draws of groups; arguments as of `bootstrap`."""
    both = np.stack([np.asarray(first, dtype=float), np.asarray(second, dtype=float)], axis=1)

    def difference(truth: Floats, predictions: Floats, weights: Floats) -> float:
        return metric(truth, predictions[:, 0], weights) - metric(truth, predictions[:, 1], weights)

    return bootstrap(difference, y, both, groups, seed=seed, resamples=resamples)


def checked_values(
    actual: npt.ArrayLike, predicted: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    """Both as floats, with weights of 1 where none are given. Raises ValueError for other shapes, NaN, infinity."""
    truth, estimate = np.asarray(actual, dtype=float), np.asarray(predicted, dtype=float)
    if truth.ndim != 1 or truth.shape != estimate.shape or len(truth) == 0:
        raise ValueError(
            f"actual and predicted must be one-dimensional, not empty and of one length, "
            f"found shapes {truth.shape} and {estimate.shape}"
        )
    if not (np.isfinite(truth).all() and np.isfinite(estimate).all()):
        raise ValueError("actual and predicted values must be finite, found NaN or infinity")
    w = np.ones_like(truth) if weights is None else np.asarray(weights, dtype=float)
    return truth, estimate, w
