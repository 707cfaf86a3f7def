"""Welch's comparison of two arms from their counts, means and variances: arithmetic that any engine computes.

The figures are those of :func:`ml.experiment.difference_in_means`, to a relative 1e-10, without the outcome of each
person. Values may be numbers or Ibis columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Arm:
    """One outcome in one arm: how many people, their mean, and their variance (of a sample, so over n - 1)."""

    n: Any
    mean: Any
    variance: Any

    @property
    def error(self) -> Any:
        """The square of the standard error of the mean."""
        return self.variance / self.n


def standard_error(treated: Arm, control: Arm) -> Any:
    """Of the difference in means of two arms, of which one varies."""
    return (treated.error + control.error) ** 0.5


def inverse_degrees(treated: Arm, control: Arm) -> Any:
    """One by the degrees of freedom of Welch (1947) and Satterthwaite (1946); one of the arms varies."""
    spread = treated.error**2 / (treated.n - 1.0) + control.error**2 / (control.n - 1.0)
    return spread / (treated.error + control.error) ** 2


def effect_figures(effect: Any, error: Any, inverse: Any) -> dict[str, Any]:
    """``effect``, ``low``, ``high`` and ``detectable`` of a difference in means, in the outcome's unit.

    ``error`` and ``inverse`` are its :func:`standard_error` and :func:`inverse_degrees`. ``low`` and ``high`` are the
    ends of its 95 % interval; ``detectable`` is the smallest true effect that these arms would show with 80 % power
    (normal approximation, Cohen 1988).
    """
    reach = student_quantile(inverse) * error
    detectable = (_normal(0.975) + _normal(0.8)) * error
    return {"effect": effect, "low": effect - reach, "high": effect + reach, "detectable": detectable}


def student_quantile(inverse: Any) -> Any:
    """The 0.975 quantile of Student's t by the ``inverse`` of its degrees of freedom.

    Fisher's expansion about the normal quantile (Abramowitz and Stegun 26.7.5, and one term more): from 49 degrees
    of freedom on, the fewest that arms of 50 have, it is off by less than 3e-11 of itself.
    """
    total: Any
    total, *others = reversed(_coefficients())
    for coefficient in others:
        total = total * inverse + coefficient
    return total


@cache
def _coefficients() -> tuple[float, ...]:
    z = _normal(0.975)
    return (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
        (27 * z**11 + 339 * z**9 + 930 * z**7 - 1782 * z**5 - 765 * z**3 + 17955 * z) / 368640,
    )


@cache
def _normal(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))
