"""What came true of scores: predicted against realised outcomes of one snapshot, one row per customer.

With a row per customer nothing is clustered, so the 95 % intervals are in closed form (means, the delta method for a
ratio, DeLong's for the AUC) and take a second for a million customers, where resampling takes minutes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

from ml.evaluation.intervals import Floats, Interval, SingleClassError, checked_values

FEWEST = 10  # of either class, or customers who spent: below, a normal interval means nothing
Z = float(norm.ppf(0.975))


@dataclass(frozen=True)
class RealisedLapse:
    """How lapse probabilities of a snapshot came true; intervals are 95 % by customer.

    `gap` is the mean probability minus the observed rate, calibration in the large: above 0, fewer lapsed than said.
    """

    n: int
    lapses: int
    gap: Interval
    auc: Interval
    log_loss: Interval


@dataclass(frozen=True)
class RealisedSpend:
    """How expected spend of a snapshot came true: percent of the total, and money per customer; 95 % by customer."""

    n: int
    bias_percent: Interval
    mae: Interval


def realised_lapse(lapsed: npt.ArrayLike, probability: npt.ArrayLike) -> RealisedLapse:
    """Compare lapses (0 or 1, shape (n,)) with what was predicted, a row per customer.

    Raises SingleClassError (a ValueError) when fewer than ten lapsed or stayed, ValueError for other labels, shapes
    or NaN.
    """
    truth, said, _ = checked_values(lapsed, probability, None)
    if not ((truth == 0) | (truth == 1)).all():
        raise ValueError("lapsed must hold 0 and 1 only")
    lapses = int(truth.sum())
    if min(lapses, len(truth) - lapses) < FEWEST:
        raise SingleClassError(
            f"{lapses} of {len(truth)} customers lapsed; at least {FEWEST} must lapse and stay to compare"
        )
    safe = np.clip(said, 1e-12, 1 - 1e-12)
    return RealisedLapse(
        n=len(truth),
        lapses=lapses,
        gap=_mean(said - truth),
        auc=_auc(truth == 1, said),
        log_loss=_mean(-np.where(truth == 1, np.log(safe), np.log1p(-safe))),
    )


def realised_spend(actual: npt.ArrayLike, expected: npt.ArrayLike) -> RealisedSpend:
    """Compare spend (n,) with what was expected, a row per customer.

    Raises ValueError when fewer than ten spent or the total is not positive, and for other shapes or NaN.
    """
    truth, said, _ = checked_values(actual, expected, None)
    spenders, total = int((truth > 0).sum()), float(truth.sum())
    if spenders < FEWEST or total <= 0:
        raise ValueError(f"{spenders} of {len(truth)} customers spent, {total:g} in all: too little to compare with")
    ratio = float(said.sum()) / total
    around = _mean((said - ratio * truth) / truth.mean())
    bias = 100 * (ratio - 1)
    return RealisedSpend(
        n=len(truth),
        bias_percent=Interval(bias, bias + 100 * around.low, bias + 100 * around.high),
        mae=_mean(np.abs(said - truth)),
    )


def _mean(values: Floats) -> Interval:
    mean, half = float(values.mean()), Z * float(values.std(ddof=1)) / len(values) ** 0.5
    return Interval(mean, mean - half, mean + half)


def _auc(positive: npt.NDArray[np.bool_], score: Floats) -> Interval:
    """The AUC with the interval of DeLong, DeLong & Clarke-Pearson (1988), by ranks as in Sun & Xu (2014)."""
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(score)
    above = (ranks[positive] - rankdata(score[positive])) / n
    below = 1 - (ranks[~positive] - rankdata(score[~positive])) / m
    auc = float(above.mean())
    half = Z * float(above.var(ddof=1) / m + below.var(ddof=1) / n) ** 0.5
    return Interval(auc, max(auc - half, 0.0), min(auc + half, 1.0))
