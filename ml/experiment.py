"""Randomised arms, and what they can and do show about the effect of a contact."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t, ttest_ind_from_stats

# Below this Welch's interval of skewed spend is not to be trusted, whatever its width.
MINIMUM_ARM = 50


@dataclass(frozen=True)
class Effect:
    """Mean of the treated minus mean of the control, in the outcome's unit, with its 95 % interval.

    `detectable` is the true effect that arms of this size and spread would show with 80 % power: an
    interval around 0 with a large `detectable` is no proof of no effect.
    """

    value: float
    low: float
    high: float
    p_value: float
    n_treated: int
    n_control: int
    detectable: float


@dataclass(frozen=True)
class NotEnoughData:
    """The experiment cannot be read, and why."""

    reason: str


def uniform_hash(text: str) -> float:
    """A number in [0, 1) that is fixed for a text: the leading 53 bits of its SHA-256."""
    leading = int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big")
    return (leading >> 11) / 2**53


def assign(person_ids: Sequence[str], salt: str, share: float) -> npt.NDArray[np.bool_]:
    """True for the persons of the arm, about `share` of all; shape (n,).

    Depends on person and salt alone, so it is the same in any order, process or company of others, and a
    larger share keeps everyone of a smaller one. Raises ValueError for a share outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in 0..1, found {share}")
    return np.array([uniform_hash(f"{salt}:{person}") < share for person in person_ids], dtype=bool)


def break_even_effect(cost: Decimal, margin_per_order: Decimal) -> Decimal:
    """Extra orders per contacted customer at which a contact pays for itself (both in one currency).

    Raises ValueError for a negative cost or a margin that is not positive.
    """
    if cost < 0 or margin_per_order <= 0:
        raise ValueError(
            f"expected cost >= 0 and margin_per_order > 0, found cost {cost} and margin_per_order {margin_per_order}"
        )
    return cost / margin_per_order


def detectable_effect_proportion(
    base_rate: float, n_treated: int, n_control: int, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Smallest difference of two rates, as a share, that a two-sided test finds with the given power.

    Normal approximation with the variance at `base_rate` in both arms (Cohen 1988). Raises ValueError for
    a rate outside 0..1 (both excluded) or an empty arm.
    """
    if not 0 < base_rate < 1:
        raise ValueError(f"base_rate must lie between 0 and 1, found {base_rate}")
    return detectable_effect_mean(
        float(np.sqrt(base_rate * (1 - base_rate))), n_treated, n_control, alpha=alpha, power=power
    )


def detectable_effect_mean(
    sd: float, n_treated: int, n_control: int, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Smallest difference of two means, in the unit of `sd`, that a two-sided test finds with the given power.

    Normal approximation (Cohen 1988). Raises ValueError for a negative sd, an empty arm, or alpha or
    power outside 0..1.
    """
    if not (sd >= 0 and n_treated > 0 and n_control > 0):
        raise ValueError(
            f"expected sd >= 0 and both arms filled, found sd {sd}, {n_treated} treated, {n_control} control"
        )
    if not (0 < alpha < 1 and alpha < power < 1):
        raise ValueError(f"expected 0 < alpha < power < 1, found alpha {alpha} and power {power}")
    reach = norm.ppf(1 - alpha / 2) + norm.ppf(power)
    return float(reach * sd * np.sqrt(1 / n_treated + 1 / n_control))


@dataclass(frozen=True)
class Moments:
    """One outcome in one arm: how many people, their mean, and their variance (of a sample, so over n - 1)."""

    n: int
    mean: float
    variance: float


def difference_in_means(treated: npt.ArrayLike, control: npt.ArrayLike) -> Effect | NotEnoughData:
    """:func:`difference_of_moments` of one outcome per person in two arms: orders, money, or 0 and 1, shape (n,).

    Raises ValueError when an outcome is missing.
    """
    found = []
    for name, outcomes in (("treated", treated), ("control", control)):
        arm = np.asarray(outcomes, dtype=float)
        if not np.isfinite(arm).all():
            raise ValueError(f"{name}: {int((~np.isfinite(arm)).sum())} outcomes are missing or infinite")
        spread = float(arm.var(ddof=1)) if len(arm) > 1 else 0.0
        found.append(Moments(len(arm), float(arm.mean()) if len(arm) else 0.0, spread))
    return difference_of_moments(*found)


def difference_of_moments(treated: Moments, control: Moments) -> Effect | NotEnoughData:
    """Welch's unequal-variance comparison (Welch 1947) of one outcome in two randomised arms.

    An arm below MINIMUM_ARM, or outcomes that are all equal, give NotEnoughData.
    """
    for name, arm in (("treated", treated), ("control", control)):
        if arm.n < MINIMUM_ARM:
            return NotEnoughData(f"the {name} arm has {arm.n} people; at least {MINIMUM_ARM} are needed")
    if max(treated.variance, control.variance) == 0:
        return NotEnoughData("every outcome within an arm is the same, so chance cannot be measured")
    shares = treated.variance / treated.n, control.variance / control.n
    # Welch and Satterthwaite
    freedom = sum(shares) ** 2 / (shares[0] ** 2 / (treated.n - 1) + shares[1] ** 2 / (control.n - 1))
    difference = treated.mean - control.mean
    low, high = t.interval(0.95, freedom, loc=difference, scale=np.sqrt(sum(shares)))
    test = ttest_ind_from_stats(
        treated.mean, np.sqrt(treated.variance), treated.n,
        control.mean, np.sqrt(control.variance), control.n,
        equal_var=False,
    )  # fmt: skip
    pooled_sd = float(np.sqrt(sum(shares) / (1 / treated.n + 1 / control.n)))
    return Effect(
        value=difference,
        low=float(low),
        high=float(high),
        p_value=float(test.pvalue),
        n_treated=treated.n,
        n_control=control.n,
        detectable=detectable_effect_mean(pooled_sd, treated.n, control.n),
    )
