"""Drift: how far the customers of now are from those a model learned from, by a record that keeps no customer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

Floats = npt.NDArray[np.float64]

BINS = 10
SHIFTED, FAR = 0.1, 0.25  # Siddiqi (2006): a shift to look into, and one that calls for a new model
CHANCE = 0.001  # how seldom two samples of one population may pass for a shift
PRIOR = 0.5  # customers added to every bin, so that an empty one has a logarithm


@dataclass(frozen=True)
class Drift:
    """One column's population stability index, and what chance alone would hardly exceed at these sizes."""

    column: str
    psi: float
    chance: float
    n: int

    @property
    def shifted(self) -> bool:
        """Above .1 and beyond chance."""
        return self.psi > max(SHIFTED, self.chance)

    @property
    def far(self) -> bool:
        """Above .25 and beyond chance."""
        return self.psi > max(FAR, self.chance)


@dataclass(frozen=True)
class Reference:
    """How each column was spread in a sample: edges of up to ten quantile bins and the counts in them.

    The last count of a column is of its missing values. A model's record keeps this instead of rows::

        text = Reference.of({"recency": rows["recency"], "lapse_probability": scores}).to_json()
        Reference.from_json(text).drift({"recency": newer["recency"]})  # the furthest first
    """

    edges: Mapping[str, tuple[float, ...]]
    counts: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, columns: Mapping[str, npt.ArrayLike], bins: int = BINS) -> Self:
        """The spread of named columns, arrays or a DataFrame; their lengths may differ, NaN is missing.

        Raises ValueError naming a column that is empty, infinite or not one-dimensional.
        """
        if bins < 2:
            raise ValueError(f"bins must be at least 2, found {bins}")
        values = {str(name): _values(str(name), column) for name, column in columns.items()}
        edges = {name: _edges(column, bins) for name, column in values.items()}
        return cls(
            {name: tuple(cuts.tolist()) for name, cuts in edges.items()},
            {name: tuple(_counts(values[name], cuts).tolist()) for name, cuts in edges.items()},
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it can speak of."""
        return tuple(self.edges)

    def drift(self, columns: Mapping[str, npt.ArrayLike]) -> list[Drift]:
        """The drift of each column given, the largest first.

        Raises ValueError naming a column that the reference does not hold, or as :meth:`of`.
        """
        return self.drift_of(self.counted(columns))

    def counted(self, columns: Mapping[str, npt.ArrayLike]) -> dict[str, npt.NDArray[np.int_]]:
        """How many of the columns' values fall into each bin, in the order of :attr:`counts`.

        Counts of parts add up, so that a large table can be read in batches. Raises ValueError as :meth:`drift`.
        """
        unknown = [str(name) for name in columns if name not in self.edges]
        if unknown:
            raise ValueError(f"the reference holds no column {', '.join(unknown)}, only {', '.join(self.edges)}")
        return {
            str(name): _counts(_values(str(name), column), np.array(self.edges[name]))
            for name, column in columns.items()
        }

    def drift_of(self, counted: Mapping[str, npt.NDArray[np.int_]]) -> list[Drift]:
        """The drift of columns whose values are counted already, the largest first."""
        found = []
        for name, after in counted.items():
            before = np.array(self.counts[name])
            found.append(Drift(name, _stability(before, after), _chance(before, after), int(after.sum())))
        return sorted(found, key=lambda one: -one.psi)

    def to_json(self) -> str:
        """As text: edges and counts per column."""
        return json.dumps({name: {"edges": self.edges[name], "counts": self.counts[name]} for name in self.edges})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What :meth:`to_json` wrote. Raises ValueError for other text."""
        try:
            told = {
                name: (_floats(column["edges"]), _ints(column["counts"])) for name, column in json.loads(text).items()
            }
        except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"this is no reference of columns with edges and counts: {error}") from error
        wrong = [name for name, (edges, counts) in told.items() if len(counts) != len(edges) + 2]
        if wrong:
            raise ValueError(f"the reference's counts do not fit its edges in column(s) {', '.join(wrong)}")
        return cls({name: pair[0] for name, pair in told.items()}, {name: pair[1] for name, pair in told.items()})


def population_stability_index(expected: npt.ArrayLike, actual: npt.ArrayLike, bins: int = BINS) -> float:
    """Sum over bins of (q - p) ln(q / p), p the share of `expected`, q that of `actual`; both (n,), 0 and up.

    Siddiqi (2006), Credit Risk Scorecards: below .1 no shift, above .25 a large one. Bins are quantiles of
    `expected`, missing values (NaN) have their own, and each bin has half a customer added, so that an
    empty one is finite. By chance alone it is about (bins - 1)(1/n + 1/m). Raises ValueError as `Reference.of`.
    """
    return Reference.of({"value": expected}, bins).drift({"value": actual})[0].psi


def _values(name: str, column: npt.ArrayLike) -> Floats:
    values = np.asarray(column, dtype=float)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"column {name!r} must be one-dimensional and not empty, found shape {values.shape}")
    if np.isinf(values).any():
        raise ValueError(f"column {name!r} must be finite or NaN, found infinity")
    return values


def _edges(values: Floats, bins: int) -> Floats:
    known = values[~np.isnan(values)]
    if not len(known):
        return np.array([])
    if known.min() == known.max():
        # a constant has no quantiles; whatever leaves it, on either side, has left
        return np.array([np.nextafter(known[0], -np.inf), known[0]])
    # values that occur are the cuts, so that counts like 0 and 1 stay apart
    cuts = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf"))
    below = cuts[cuts < known.max()]
    return below if len(below) else np.array([known[known < known.max()].max()])


def _counts(values: Floats, edges: Floats) -> npt.NDArray[np.int_]:
    known = values[~np.isnan(values)]
    inside = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1)
    return np.append(inside, len(values) - len(known))


def _stability(before: npt.NDArray[np.int_], after: npt.NDArray[np.int_]) -> float:
    p, q = ((counts + PRIOR) / (counts + PRIOR).sum() for counts in (before, after))
    return float(((q - p) * np.log(q / p)).sum())


def _chance(before: npt.NDArray[np.int_], after: npt.NDArray[np.int_]) -> float:
    """The index is (1/n + 1/m) times a chi-squared of the occupied bins less one (Yurdakul 2018)."""
    occupied = max(int(((before + after) > 0).sum()), 2)
    return float(chi2.isf(CHANCE, occupied - 1) * (1 / before.sum() + 1 / after.sum()))


def _floats(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _ints(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
