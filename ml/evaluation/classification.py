"""How good probabilities are: ranking, likelihood and calibration."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from ml.evaluation.intervals import Floats, Interval, SingleClassError, UndefinedFigureError, bootstrap, checked_values

CALIBRATION_BINS = 10


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


@dataclass(frozen=True)
class Decile:
    """A tenth of the customers by predicted value, the highest first.

    `predicted` and `actual` are means (rates for 0/1 outcomes); `lift` is actual over that of everybody and
    `captured` the share of the actual total in this decile and those before it.
    """

    number: int
    n: int
    predicted: float
    actual: float
    lift: float
    captured: float


def deciles(actual: npt.ArrayLike, predicted: npt.ArrayLike, groups: int = 10) -> list[Decile]:
    """Customers in up to `groups` groups of about equal size by `predicted`, which also works for money.

    Equal predictions share a group. Raises UndefinedFigureError (a ValueError) when the actual total is not
    positive, ValueError for values that are not finite.
    """
    truth, estimate, _ = checked_values(actual, predicted, None)
    place = _bins(-estimate, groups)
    total, overall = truth.sum(), truth.mean()
    if total <= 0:
        raise UndefinedFigureError(f"shares of the total need a positive one, found {total:g}")
    table, captured = [], 0.0
    for number, k in enumerate(np.unique(place), start=1):
        members = place == k
        captured += float(truth[members].sum())
        mean = float(truth[members].mean())
        table.append(
            Decile(number, int(members.sum()), float(estimate[members].mean()), mean, mean / overall, captured / total)
        )
    return table


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


def _dense_ranks(score: Floats) -> npt.NDArray[np.intp]:
    return np.unique(score, return_inverse=True)[1]


def _auc_of_ties(truth: Floats, tie: npt.NDArray[np.intp], w: Floats) -> float:
    positive = np.bincount(tie, weights=w * truth)
    negative = np.bincount(tie, weights=w) - positive
    pairs = positive.sum() * negative.sum()
    if pairs == 0:
        raise SingleClassError("y holds a single class: both lapsed and retained customers are needed")
    return float(positive @ (np.cumsum(negative) - negative / 2) / pairs)


def _bins(p: Floats, bins: int) -> npt.NDArray[np.intp]:
    if bins < 1:
        raise ValueError(f"bins must be at least 1, found {bins}")
    return ((rankdata(p, method="average") - 0.5) / len(p) * bins).astype(np.intp)


def _binary(y: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    truth, predicted, w = checked_values(y, score, weights)
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
