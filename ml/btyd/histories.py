"""Purchase histories as BTYD models read them: checked, with customers of equal history merged into one row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

COLUMNS = ("frequency", "recency", "T")
# Grids of time on which equal histories are found by one integer key: days or hours, in weeks.
GRIDS = (7.0, 168.0)


@dataclass(frozen=True)
class Histories:
    """Distinct histories, how many customers share each, and which one each customer has.

    `x` repeat purchase days, `t_x` first to last purchase and `age` first purchase to cut-off (both in
    weeks, or any one unit), `weight` customers, all of shape (distinct,); `member` of shape (customers,).
    """

    x: Floats
    t_x: Floats
    age: Floats
    weight: Floats
    member: Indices

    @classmethod
    def of(cls, X: pd.DataFrame) -> Histories:
        """Merge the rows of a frame with columns frequency, recency and T.

        Raises ValueError naming a missing column, or the first impossible row (label and values): a
        frequency that is no whole number >= 0, T below 0, recency outside 0..T, a recency of 0 with a
        repeat purchase or above 0 without one, or a value that is not finite.
        """
        missing = [name for name in COLUMNS if name not in X.columns]
        if missing:
            raise ValueError(f"missing column(s): {', '.join(missing)}")
        x, t_x, age = (X[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in COLUMNS)
        _refuse_impossible(X.index, x, t_x, age)
        first, member, weight = _merge(x, t_x, age)
        return cls(x[first], t_x[first], age[first], weight, member)

    @property
    def customers(self) -> int:
        """How many customers there are."""
        return len(self.member)

    def sample(self, customers: int, seed: int = 0) -> Histories:
        """As if only about `customers` of them, drawn at random, had been observed; `member` is empty."""
        rng = np.random.default_rng(seed)
        drawn = rng.binomial(self.weight.astype(np.int64), min(1.0, customers / self.customers)).astype(np.float64)
        kept = drawn > 0
        none = np.empty(0, dtype=np.intp)
        return Histories(self.x[kept], self.t_x[kept], self.age[kept], drawn[kept], none)


def distinct_counts(x: Floats) -> tuple[Floats, Indices]:
    """The distinct counts in order, and the place of each row's: a special function is due once per count."""
    codes, counts = pd.factorize(x, sort=True)
    return np.asarray(counts), codes


def _merge(x: Floats, t_x: Floats, age: Floats) -> tuple[Indices, Indices, Floats]:
    for per_week in GRIDS:
        days, ages = np.rint(t_x * per_week), np.rint(age * per_week)
        width = ages.max(initial=0.0) + 1
        fits = (x.max(initial=0.0) + 1) * width * width < 2.0**62
        on_grid = np.abs(t_x * per_week - days).max(initial=0.0) + np.abs(age * per_week - ages).max(initial=0.0) < 1e-6
        if fits and on_grid:
            key = ((x * width).astype(np.int64) + days.astype(np.int64)) * int(width) + ages.astype(np.int64)
            break
    else:
        key = pd.DataFrame({"x": x, "t_x": t_x, "age": age}).groupby(["x", "t_x", "age"]).ngroup().to_numpy()
    member, distinct = pd.factorize(key)
    first = np.empty(len(distinct), dtype=np.intp)
    first[member[::-1]] = np.arange(len(member))[::-1]
    return first, member, np.bincount(member, minlength=len(distinct)).astype(np.float64)


def _refuse_impossible(labels: pd.Index, x: Floats, t_x: Floats, age: Floats) -> None:
    impossible = {
        "frequency must be a whole number >= 0": (x < 0) | (x != np.floor(x)) | ~np.isfinite(x),
        "T must be finite and >= 0": (age < 0) | ~np.isfinite(age),
        "recency must lie between 0 and T": ~((t_x >= 0) & (t_x <= age)),
        "recency must be 0 without a repeat purchase and above 0 with one": (x > 0) != (t_x > 0),
    }
    for rule, rows in impossible.items():
        if rows.any():
            i = int(np.flatnonzero(rows)[0])
            raise ValueError(
                f"{rule}; row {labels[i]} has frequency {x[i]:g}, recency {t_x[i]:g}, T {age[i]:g} "
                f"({int(rows.sum())} such rows)"
            )


def checked_horizon(weeks: float) -> float:
    """The horizon as a float. Raises ValueError when it is negative or not finite."""
    if not (np.isfinite(weeks) and weeks >= 0):
        raise ValueError(f"horizon_weeks must be finite and >= 0, found {weeks}")
    return float(weeks)
