"""How good predictions are, with intervals that respect that one customer appears in several snapshots."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]
Metric = Callable[[Floats, Floats, Floats], float]  # truth, prediction, weights

CALIBRATION_BINS = 10
# Draws without one of the two classes say nothing; beyond this share the interval would mislead.
MAX_EMPTY_DRAWS = 0.1


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval, in the unit of the figure."""

    value: float
    low: float
    high: float


class SingleClassError(ValueError):
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
    An Introduction to the Bootstrap. Raises what the metric raises on the full data, and ValueError
    when more than a tenth of the draws hold a single class.
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
        except SingleClassError:
            continue
    if len(draws) < (1 - MAX_EMPTY_DRAWS) * resamples:
        raise ValueError(
            f"too few customers of one class for an interval: {resamples - len(draws)} of {resamples} "
            "bootstrap draws held a single class"
        )
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def auc(y: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Chance that a positive has a higher score than a negative, ties counting half; 0 to 1.

    Raises SingleClassError (a ValueError) when the weighted y holds one class only.
    """
    truth, predicted, w = _binary(y, score, weights)
    return _auc_of_ties(truth, _dense_ranks(predicted), w)


def auc_interval(
    y: npt.ArrayLike, score: npt.ArrayLike, groups: npt.ArrayLike, *, seed: int, resamples: int = 500
) -> Interval:
    """AUC with its interval by customer; as `bootstrap(auc, ...)`, but ranks the scores only once.

    Raises SingleClassError (a ValueError) for a y of one class.
    """
    truth, predicted, _ = _binary(y, score, None)
    ranks = _dense_ranks(predicted)

    def metric(truth: Floats, _: Floats, weights: Floats) -> float:
        return _auc_of_ties(truth, ranks, weights)

    return bootstrap(metric, truth, predicted, groups, seed=seed, resamples=resamples)


def log_loss(y: npt.ArrayLike, p: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Mean negative log-likelihood in nats, p kept off 0 and 1 by 1e-12.

    Raises SingleClassError (a ValueError) when the weighted y holds one class only.
    """
    truth, predicted, w = _binary(y, _probability(p), weights)
    safe = np.clip(predicted, 1e-12, 1 - 1e-12)
    return float(np.average(-np.where(truth == 1, np.log(safe), np.log1p(-safe)), weights=w))


def expected_calibration_error(y: npt.ArrayLike, p: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Mean absolute gap between predicted and observed rate over ten bins of equal size, 0 to 1.

    Naeini, Cooper & Hauskrecht (2015), with bins by rank; equal p share a bin. Raises SingleClassError
    (a ValueError) when the weighted y holds one class only.
    """
    truth, predicted, w = _binary(y, _probability(p), weights)
    place = _bins(predicted, CALIBRATION_BINS)
    return float(np.abs(np.bincount(place, weights=w * (predicted - truth))).sum() / w.sum())


def reliability(y: npt.ArrayLike, p: npt.ArrayLike, bins: int) -> list[tuple[float, float, int]]:
    """(mean predicted, observed rate, n) for up to `bins` bins of about equal size, in order of p.

    Raises SingleClassError (a ValueError) when y holds one class only.
    """
    truth, predicted, _ = _binary(y, _probability(p), None)
    place = _bins(predicted, bins)
    return [
        (float(predicted[place == k].mean()), float(truth[place == k].mean()), int((place == k).sum()))
        for k in np.unique(place)
    ]


def paired_auc_lift(
    y: npt.ArrayLike,
    score: npt.ArrayLike,
    baseline: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    seed: int,
    resamples: int = 500,
) -> Interval:
    """AUC of `score` minus AUC of `baseline` on the same draws of customers.

    Raises SingleClassError (a ValueError) for a y of one class.
    """
    truth, predicted, _ = _binary(y, score, None)
    ours, theirs = _dense_ranks(predicted), _dense_ranks(_binary(y, baseline, None)[1])

    def lift(truth: Floats, _: Floats, weights: Floats) -> float:
        return _auc_of_ties(truth, ours, weights) - _auc_of_ties(truth, theirs, weights)

    return bootstrap(lift, truth, predicted, groups, seed=seed, resamples=resamples)


def mean_absolute_error(actual: npt.ArrayLike, predicted: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Mean of |predicted - actual|, in their unit."""
    truth, estimate, w = _values(actual, predicted, weights)
    return float(np.average(np.abs(estimate - truth), weights=w))


def root_mean_squared_error(
    actual: npt.ArrayLike, predicted: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """Root of the mean of (predicted - actual) squared, in their unit."""
    truth, estimate, w = _values(actual, predicted, weights)
    return float(np.sqrt(np.average((estimate - truth) ** 2, weights=w)))


def bias_percent(actual: npt.ArrayLike, predicted: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Total predicted over total actual, minus one, in percent; above 0 is too high.

    Raises ValueError when the actual total is not positive.
    """
    truth, estimate, w = _values(actual, predicted, weights)
    total = float(w @ truth)
    if total <= 0:
        raise ValueError(f"bias in percent needs a positive actual total, found {total:g}")
    return 100 * (float(w @ estimate) / total - 1)


def gini(actual: npt.ArrayLike, predicted: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Ranking of values: concentration of `actual` ordered by `predicted`, over that of the perfect order.

    1 is the perfect order, 0 a random one; equal predictions share their values evenly.
    Raises ValueError when the actual total is not positive or all values are equal.
    """
    truth, estimate, w = _values(actual, predicted, weights)
    if w @ truth <= 0:
        raise ValueError(f"the Gini needs a positive actual total, found {float(w @ truth):g}")
    best = _concentration(truth, truth, w)
    if best < 1e-12:
        raise ValueError("the Gini needs values that differ; all actual values are equal")
    return _concentration(truth, estimate, w) / best


def _dense_ranks(score: Floats) -> npt.NDArray[np.intp]:
    return np.unique(score, return_inverse=True)[1]


def _auc_of_ties(truth: Floats, tie: npt.NDArray[np.intp], w: Floats) -> float:
    positive = np.bincount(tie, weights=w * truth)
    negative = np.bincount(tie, weights=w) - positive
    pairs = positive.sum() * negative.sum()
    if pairs == 0:
        raise SingleClassError("y holds a single class: both lapsed and retained customers are needed")
    return float(positive @ (np.cumsum(negative) - negative / 2) / pairs)


def _concentration(truth: Floats, order_by: Floats, w: Floats) -> float:
    _, tie = np.unique(order_by, return_inverse=True)
    people = np.bincount(tie, weights=w) / w.sum()
    value = np.bincount(tie, weights=w * truth) / (w @ truth)
    lorenz = np.cumsum(value)
    return float(1 - people @ (2 * lorenz - value))


def _bins(p: Floats, bins: int) -> npt.NDArray[np.intp]:
    if bins < 1:
        raise ValueError(f"bins must be at least 1, found {bins}")
    return ((rankdata(p, method="average") - 0.5) / len(p) * bins).astype(np.intp)


def _binary(y: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    truth, predicted, w = _values(y, score, weights)
    if not ((truth == 0) | (truth == 1)).all():
        raise ValueError("y must hold 0 and 1 only")
    positive = float(w @ truth)
    if positive == 0 or positive == w.sum():
        raise SingleClassError(
            f"y holds a single class ({int(positive > 0)} in all {len(truth)} rows): both lapsed and "
            "retained customers are needed"
        )
    return truth, predicted, w


def _probability(p: npt.ArrayLike) -> Floats:
    value = np.asarray(p, dtype=float)
    if ((value < 0) | (value > 1)).any():
        raise ValueError(f"probabilities must lie in 0..1, found {value.min():g} to {value.max():g}")
    return value


def _values(
    actual: npt.ArrayLike, predicted: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
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
