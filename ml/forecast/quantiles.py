"""Medians and intervals: a hurdle for buying at all, then what active customers did beside what was expected."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEVELS = np.linspace(0.005, 0.995, 100)
ACTIVE_PER_BIN, MOST_BINS = 150, 15


class HurdleQuantiles:
    """Quantiles of a value that is 0 with P = 1 - `chance`, and else about `expected`.

    `expected` is what is expected of a customer if active. Learned from active customers of past origins:
    quantiles of log(actual / expected) in bins of `by`, interpolated between the bins' middles.
    """

    def fit(self, expected: Floats, actual: Floats, by: Floats) -> Self:
        """Learn from customers with an actual value above 0, shape (n,) each. ValueError without one."""
        if len(actual) == 0 or (actual <= 0).any() or (expected <= 0).any():
            raise ValueError("quantiles are learned from customers with expected and actual values above 0")
        bins = int(np.clip(len(actual) // ACTIVE_PER_BIN, 1, MOST_BINS))
        residual, order = np.log(actual / expected), np.argsort(by, kind="stable")
        parts = np.array_split(order, bins)
        self.middle_ = np.array([np.median(np.log(by[part])) for part in parts])
        self.residual_ = np.array([np.quantile(residual[part], LEVELS) for part in parts])
        return self

    def predict(self, level: float, chance: Floats, expected: Floats, by: Floats) -> Floats:
        """The `level` quantile (0..1), shape (n,): 0 where not buying is likelier than `level`."""
        inside = np.clip((level - (1 - chance)) / np.maximum(chance, 1e-12), 0.0, 1.0)
        place = np.interp(np.log(np.maximum(by, 1e-12)), self.middle_, np.arange(len(self.middle_)))
        lower = np.minimum(place.astype(np.intp), len(self.middle_) - 1)
        upper, share = np.minimum(lower + 1, len(self.middle_) - 1), place - lower
        residual = (1 - share) * self._at(lower, inside) + share * self._at(upper, inside)
        return np.where(level <= 1 - chance, 0.0, expected * np.exp(residual))

    def _at(self, bins: npt.NDArray[np.intp], level: Floats) -> Floats:
        place = np.clip((level - LEVELS[0]) / (LEVELS[1] - LEVELS[0]), 0, len(LEVELS) - 1)
        lower = np.minimum(place.astype(np.intp), len(LEVELS) - 2)
        share = place - lower
        table = self.residual_
        return np.asarray((1 - share) * table[bins, lower] + share * table[bins, lower + 1])
