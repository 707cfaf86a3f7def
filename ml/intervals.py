"""Intervals around scores, learned from what happened to customers whom the model had scored out of time."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.base import BaseEstimator
from sklearn.isotonic import isotonic_regression
from sklearn.utils.validation import check_is_fitted

from ml.evaluation.intervals import checked_values

Floats = npt.NDArray[np.float64]

FEWEST_OUTCOMES = 100
PROBABILITY_BINS, FEWEST_IN_A_RATE = 10, 30
ALMOST = 1e-9  # kept off 0 and 1, whose log-odds are infinite
SPEND_BINS, FEWEST_IN_A_QUANTILE = 20, 50


class TooFewOutcomes(ValueError):
    """Not enough out-of-time outcomes to learn an interval from; the score then goes without one."""


class OutOfTimeIntervals(BaseEstimator):
    """Low and high per score, by customers with similar out-of-time scores. ``level`` is .8 for 80 %.

    ``kind="probability"``: the interval of the observed *rate* among customers scored alike: bins of equal size,
    pooled where the rate does not rise with the score, Wilson's interval (1927) on each, interpolated in log-odds
    between their mean scores; beyond the last it keeps its distance from the score, in log-odds. It tells how well
    the rate is known, not whether one person will lapse, who either does or does not; and it need not hold the
    score itself: where it does not, the model was off there.

    ``kind="spend"``: what a *single customer* spends lies above high with chance (1 - level) / 2, and below low
    with at most that: empirical quantiles of the actual value in bins of equal size, at the split-conformal ranks
    of Lei et al. (2018), interpolated between the bins' median scores and proportional to the score above the
    last. Low is 0 wherever more than (1 - level) / 2 of such customers bought nothing; the interval then holds
    more than ``level`` of them. The expected value can lie above high: one big spender in twenty lifts a mean
    and no quantile.

    Both rise with the score, and assume that the days to come resemble the days tested.
    Learned: ``score_``, ``low_``, ``high_``, one entry per bin in order of the score, and ``n_outcomes_``.
    """

    def __init__(self, kind: Literal["probability", "spend"], level: float = 0.8) -> None:
        self.kind = kind
        self.level = level

    def fit(self, predicted: npt.ArrayLike, actual: npt.ArrayLike, customers: npt.ArrayLike | None = None) -> Self:
        """Learn from scores and outcomes, both (n,): 0 and 1 for a probability, money or counts for spend.

        ``customers`` (n,) names whose each row is. A customer tested on several snapshots counts once in the size
        of a rate's sample, since overlapping label windows tell of one lapse several times.
        Raises :class:`TooFewOutcomes`, and ValueError for other shapes, NaN, infinity, or an unknown kind or level.
        """
        if self.kind not in ("probability", "spend"):
            raise ValueError(f"kind must be 'probability' or 'spend', found {self.kind!r}")
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie between 0 and 1, found {self.level:g}")
        truth, score, _ = checked_values(actual, predicted, None)
        who = np.arange(len(truth)) if customers is None else np.unique(np.asarray(customers), return_inverse=True)[1]
        if who.shape != truth.shape:
            raise ValueError(f"customers must have shape {truth.shape}, found {who.shape}")
        people = len(np.unique(who))
        if people < FEWEST_OUTCOMES:
            raise TooFewOutcomes(
                f"{people} customers with a known outcome are too few for an interval of {self.kind}: "
                f"at least {FEWEST_OUTCOMES} are needed"
            )
        if self.kind == "probability":
            self.score_, self.low_, self.high_ = _rates(score, truth, who, self.level)
        else:
            self.score_, self.low_, self.high_ = _quantiles(score, truth, people, self.level)
        self.n_outcomes_ = len(truth)
        return self

    def interval(self, predicted: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Low and high of each score, both (n,), in the unit of the outcome; NaN for a score that is NaN."""
        check_is_fitted(self, "score_")
        score = np.asarray(predicted, dtype=float)
        if self.kind == "probability":
            low, high = (
                expit(_parallel(_logit(score), _logit(self.score_), _logit(b))) for b in (self.low_, self.high_)
            )
        else:
            beyond = np.maximum(score / self.score_[-1], 1.0) if self.score_[-1] > 0 else 1.0
            low, high = (np.interp(score, self.score_, bound) * beyond for bound in (self.low_, self.high_))
        return low, high


def _parallel(at: Floats, points: Floats, values: Floats) -> Floats:
    """Linear between the points; outside of them with slope 1 from the nearest."""
    return np.interp(at, points, values) + at - np.clip(at, points[0], points[-1])


def _logit(p: Floats) -> Floats:
    return np.asarray(logit(np.clip(p, ALMOST, 1 - ALMOST)))


def _rates(score: Floats, truth: Floats, who: npt.NDArray[np.intp], level: float) -> tuple[Floats, Floats, Floats]:
    if not ((truth == 0) | (truth == 1)).all():
        raise ValueError("outcomes of a probability must be 0 or 1")
    place = _bins(score, min(PROBABILITY_BINS, len(np.unique(who)) // FEWEST_IN_A_RATE))
    size = np.bincount(place).astype(float)
    rate, mean = np.bincount(place, truth) / size, np.bincount(place, score) / size
    pooled = isotonic_regression(rate, sample_weight=size)
    block = np.unique(pooled, return_inverse=True)[1][place]
    people = np.array([len(np.unique(who[block == k])) for k in range(block.max() + 1)], dtype=float)
    low, high = _wilson(np.bincount(block, truth) / np.bincount(block), people, level)
    of_bin = np.unique(pooled, return_inverse=True)[1]
    return mean, _rising_low(low[of_bin]), np.maximum.accumulate(high[of_bin])


def _wilson(rate: Floats, n: Floats, level: float) -> tuple[Floats, Floats]:
    z = norm.ppf((1 + level) / 2)
    middle = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    # rounding must not leave 0..1
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


def _quantiles(score: Floats, truth: Floats, people: int, level: float) -> tuple[Floats, Floats, Floats]:
    place = _bins(score, min(SPEND_BINS, people // FEWEST_IN_A_QUANTILE))
    middle, low, high = [], [], []
    for k in range(place.max() + 1):
        values = np.sort(truth[place == k])
        n, tail = len(values), (1 - level) / 2
        # the conformal ranks: a new customer lies outside them with chance at most `tail` on each side
        below, above = int(np.floor((n + 1) * tail)), int(np.ceil((n + 1) * (1 - tail)))
        low.append(values[max(below, 1) - 1])
        high.append(values[min(above, n) - 1])
        middle.append(np.median(score[place == k]))
    return np.array(middle), _rising_low(np.array(low)), np.maximum.accumulate(np.array(high))


def _rising_low(low: Floats) -> Floats:
    """The bound made to rise by lowering it: an interval may only get wider."""
    return np.minimum.accumulate(low[::-1])[::-1]


def _bins(score: Floats, bins: int) -> npt.NDArray[np.intp]:
    """The place of each score in up to ``bins`` bins of about equal size, numbered without a gap; ties share one."""
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.unique(np.searchsorted(edges, score, side="left"), return_inverse=True)[1]
