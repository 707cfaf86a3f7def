"""How good a ranking by uplift is, and what a policy of contacting would have changed."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ml.evaluation.intervals import Floats, Interval, SingleClassError, bootstrap, checked_values

PER_CUSTOMERS = 1000


@dataclass(frozen=True)
class Selection:
    """Which ranking to use, and the uplift ranking's Qini minus the response ranking's with its interval."""

    chosen: Literal["uplift", "response"]
    advantage: Interval


def qini_curve(
    y: npt.ArrayLike,
    treatment: npt.ArrayLike,
    score: npt.ArrayLike,
    *,
    propensity: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
) -> tuple[Floats, Floats]:
    """Share of customers contacted, highest score first, and the extra outcomes per treated customer it gives.

    Radcliffe (2007), Using control groups to target on predicted lift: treated outcomes so far minus
    control outcomes so far scaled to the treated, over all treated. Both arrays start at 0; equal scores
    come in together. `propensity` is each row's chance to be treated, where it is not the same for all.
    Raises ValueError for unusable input, SingleClassError (a ValueError) for one arm only.
    """
    truth, scores, w = _checked_outcome(y, score, weights)
    treated, by_chance = _arms(treatment, propensity, len(truth))
    return _curve(truth, treated, _places(scores), w, by_chance)


def qini(
    y: npt.ArrayLike,
    treatment: npt.ArrayLike,
    score: npt.ArrayLike,
    *,
    propensity: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
) -> float:
    """Area between the Qini curve and the line to its end, over that area of the perfect ranking; at most 1.

    The perfect ranking has the treated with y = 1 first and the untreated with y = 1 last (Radcliffe's
    optimum with negative effects), so figures look small: .03-.06 is a useful ranking. 0 is a random
    one. y of 0 and 1. Raises as `qini_curve`, and SingleClassError when an arm holds a single outcome.
    """
    truth, scores, w = _checked_outcome(y, score, weights)
    treated, by_chance = _arms(treatment, propensity, len(truth))
    return _qini(truth, treated, _places(scores), w, by_chance)


def qini_interval(
    y: npt.ArrayLike,
    treatment: npt.ArrayLike,
    score: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    seed: int,
    propensity: npt.ArrayLike | None = None,
    resamples: int = 500,
) -> Interval:
    """Qini with its interval by customer. `score` has shape (n,), or (n, repeats): the mean over repeats."""
    truth, treated, by_chance, places = _ranked(y, treatment, propensity, score)

    def metric(truth: Floats, _: Floats, w: Floats) -> float:
        return float(np.mean([_qini(truth, treated, place, w, by_chance) for place in places]))

    return bootstrap(metric, truth, truth, groups, seed=seed, resamples=resamples)


def paired_qini_lift(
    y: npt.ArrayLike,
    treatment: npt.ArrayLike,
    score: npt.ArrayLike,
    baseline: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    seed: int,
    propensity: npt.ArrayLike | None = None,
    resamples: int = 500,
) -> Interval:
    """Qini of `score` minus Qini of `baseline` on the same draws of customers; both (n,) or (n, repeats)."""
    truth, treated, by_chance, ours = _ranked(y, treatment, propensity, score)
    theirs = _ranked(y, treatment, propensity, baseline)[3]

    def lift(truth: Floats, _: Floats, w: Floats) -> float:
        mine, other = (
            np.mean([_qini(truth, treated, place, w, by_chance) for place in places]) for places in (ours, theirs)
        )
        return float(mine - other)

    return bootstrap(lift, truth, truth, groups, seed=seed, resamples=resamples)


def select_ranking(
    y: npt.ArrayLike,
    treatment: npt.ArrayLike,
    uplift: npt.ArrayLike,
    response: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    seed: int,
    propensity: npt.ArrayLike | None = None,
    resamples: int = 500,
) -> Selection:
    """The uplift ranking only where its Qini beats the response ranking's by more than noise, on held-out scores.

    More than noise: the paired 95 % interval lies above 0. Otherwise the response ranking, which needs
    one model of one arm and is steadier. Scores have shape (n,) or (n, repeats).
    """
    advantage = paired_qini_lift(
        y, treatment, uplift, response, groups, seed=seed, propensity=propensity, resamples=resamples
    )
    return Selection("uplift" if advantage.low > 0 else "response", advantage)


def uplift_at_k(
    y: npt.ArrayLike,
    treatment: npt.ArrayLike,
    score: npt.ArrayLike,
    k: float,
    *,
    propensity: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
) -> float:
    """Mean outcome of the treated minus that of the untreated among the share `k` (0..1] with the highest scores.

    In the outcome's unit. Of equal scores at the border each counts in part. Raises ValueError for k
    outside 0..1 and SingleClassError (a ValueError) when the share holds one arm only.
    """
    if not 0 < k <= 1:
        raise ValueError(f"k must be a share above 0 and at most 1, found {k}")
    truth, scores, w = checked_values(y, score, weights)
    treated, by_chance = _arms(treatment, propensity, len(truth))
    place = _places(scores)
    size = np.bincount(place, weights=w)
    before = np.cumsum(size) - size
    counted = np.clip((k * w.sum() - before) / np.where(size > 0, size, 1.0), 0, 1)[place] * w * by_chance
    sums = [float((counted * treated).sum()), float((counted * (1 - treated)).sum())]
    if min(sums) <= 0:
        raise SingleClassError(f"the top {k:.0%} holds one arm only: both treated and untreated are needed")
    return float((counted * treated) @ truth / sums[0] - (counted * (1 - treated)) @ truth / sums[1])


def doubly_robust_outcomes(
    y: npt.ArrayLike, action: npt.ArrayLike, propensity: npt.ArrayLike, predicted: npt.ArrayLike
) -> Floats:
    """What each customer's outcome would be under each action, up to noise of mean 0; shape (n, actions).

    Robins, Rotnitzky & Zhao (1994): the prediction, and for the action really taken the prediction's error
    over the chance of that action. `action` (n,) counts from 0, no contact; `propensity` and `predicted`
    have shape (n, actions). Unbiased for any prediction made without the row's own outcome, when the
    chances are known. Raises ValueError for shapes, an action without a column, or a chance not above 0.
    """
    truth = np.asarray(y, dtype=float)
    taken = np.asarray(action)
    chance, expected = np.asarray(propensity, dtype=float), np.asarray(predicted, dtype=float)
    if expected.ndim != 2 or chance.shape != expected.shape or not (truth.shape == taken.shape == (len(expected),)):
        raise ValueError(
            f"y and action must have shape (n,), propensity and predicted (n, actions); found {truth.shape}, "
            f"{taken.shape}, {chance.shape}, {expected.shape}"
        )
    if not np.isin(taken, np.arange(expected.shape[1])).all():
        raise ValueError(f"actions must be 0..{expected.shape[1] - 1}, found {np.unique(taken)[:5].tolist()}")
    taken = taken.astype(np.intp)
    rows = np.arange(len(truth))
    if not (chance[rows, taken] > 0).all():
        raise ValueError("every action that was taken must have had a chance above 0")
    outcomes = expected.copy()
    outcomes[rows, taken] += (truth - expected[rows, taken]) / chance[rows, taken]
    return outcomes


def policy_gain(
    outcomes: Floats, policy: npt.ArrayLike, groups: npt.ArrayLike, *, seed: int, resamples: int = 500
) -> Interval:
    """Extra outcomes per 1,000 customers of the whole population under a policy rather than no contact at all.

    `outcomes` are those of `doubly_robust_outcomes` (n, actions). `policy` is the action of each row (n,), 0
    for no contact, or the chance of each action (n, actions); it must not use the row's own outcome.
    """
    nobody = np.zeros(len(outcomes), dtype=int)
    return paired_policy_gain(outcomes, policy, nobody, groups, seed=seed, resamples=resamples)


def paired_policy_gain(
    outcomes: Floats,
    policy: npt.ArrayLike,
    other: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    seed: int,
    resamples: int = 500,
) -> Interval:
    """Extra outcomes per 1,000 customers of the whole population under one policy rather than another."""
    gain = _under(outcomes, policy) - _under(outcomes, other)

    def metric(gain: Floats, _: Floats, w: Floats) -> float:
        return PER_CUSTOMERS * float(np.average(gain, weights=w))

    return bootstrap(metric, gain, gain, groups, seed=seed, resamples=resamples)


def _under(outcomes: Floats, policy: npt.ArrayLike) -> Floats:
    chosen = np.asarray(policy)
    if chosen.shape == outcomes.shape:
        if not np.allclose(chosen.sum(axis=1), 1) or (chosen < 0).any():
            raise ValueError("the chances of a row's actions must be at least 0 and add up to 1")
        return np.asarray((outcomes * chosen).sum(axis=1))
    if chosen.shape != (len(outcomes),) or not np.isin(chosen, np.arange(outcomes.shape[1])).all():
        raise ValueError(f"policy must hold {len(outcomes)} actions of 0..{outcomes.shape[1] - 1}, or their chances")
    return np.asarray(outcomes[np.arange(len(outcomes)), chosen.astype(np.intp)])


def highest(score: npt.ArrayLike, share: float) -> npt.NDArray[np.bool_]:
    """True for the share of rows with the highest scores, shape (n,); earlier rows first among equals."""
    scores = np.asarray(score, dtype=float)
    chosen = np.zeros(len(scores), dtype=bool)
    chosen[np.argsort(-scores, kind="stable")[: round(share * len(scores))]] = True
    return chosen


def _qini(truth: Floats, treated: Floats, place: npt.NDArray[np.intp], w: Floats, by_chance: Floats) -> float:
    share, extra = _curve(truth, treated, place, w, by_chance)
    rate = {arm: float(np.average(truth, weights=w * by_chance * (treated == arm))) for arm in (1, 0)}
    if min(rate.values()) == 0 or max(rate.values()) == 1:
        raise SingleClassError("an arm holds a single outcome: the Qini needs both in both arms")
    first, last = (float(np.average(truth * (treated == arm), weights=w)) for arm in (1, 0))
    perfect = np.trapezoid([0.0, rate[1], rate[1], extra[-1]], [0.0, first, 1 - last, 1.0])
    return float((np.trapezoid(extra, share) - extra[-1] / 2) / (perfect - extra[-1] / 2))


def _curve(
    truth: Floats, treated: Floats, place: npt.NDArray[np.intp], w: Floats, by_chance: Floats
) -> tuple[Floats, Floats]:
    def so_far(amount: Floats) -> Floats:
        return np.concatenate([[0.0], np.cumsum(np.bincount(place, weights=amount))])

    on, off = w * by_chance * treated, w * by_chance * (1 - treated)
    contacted, n_on, n_off = so_far(w), so_far(on), so_far(off)
    if n_on[-1] == 0 or n_off[-1] == 0:
        raise SingleClassError("one arm is empty: both treated and untreated customers are needed")
    scale = np.divide(n_on, n_off, out=np.zeros_like(n_on), where=n_off > 0)
    return contacted / contacted[-1], (so_far(on * truth) - so_far(off * truth) * scale) / n_on[-1]


def _ranked(
    y: npt.ArrayLike, treatment: npt.ArrayLike, propensity: npt.ArrayLike | None, score: npt.ArrayLike
) -> tuple[Floats, Floats, Floats, list[npt.NDArray[np.intp]]]:
    columns = np.asarray(score, dtype=float)
    columns = columns[:, None] if columns.ndim == 1 else columns
    checked = [_checked_outcome(y, column, None) for column in columns.T]
    truth = checked[0][0]
    treated, by_chance = _arms(treatment, propensity, len(truth))
    return truth, treated, by_chance, [_places(scores) for _, scores, _ in checked]


def _places(score: Floats) -> npt.NDArray[np.intp]:
    # highest first; equal scores share a place
    return np.unique(-score, return_inverse=True)[1]


def _checked_outcome(
    y: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    truth, scores, w = checked_values(y, score, weights)
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("y must hold 0 and 1 only")
    return truth, scores, w


def _arms(treatment: npt.ArrayLike, propensity: npt.ArrayLike | None, rows: int) -> tuple[Floats, Floats]:
    """Treated as 0 and 1, and one over the chance of the arm that the row is in."""
    treated = np.asarray(treatment, dtype=float)
    if treated.shape != (rows,) or not np.isin(treated, (0, 1)).all():
        raise ValueError(f"treatment must hold {rows} values of 0 and 1")
    if propensity is None:
        return treated, np.ones(rows)
    chance = np.broadcast_to(np.asarray(propensity, dtype=float), (rows,))
    if not ((chance > 0) & (chance < 1)).all():
        raise ValueError("propensities must lie between 0 and 1, both excluded")
    return treated, 1 / np.where(treated == 1, chance, 1 - chance)
