"""Whether a model is right on average within each kind of customer, and not only over all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t

Floats = npt.NDArray[np.float64]
FEWEST_CUSTOMERS = 30


@dataclass(frozen=True)
class SegmentGap:
    """Predicted less observed mean of one segment, with an interval that holds for all segments together.

    `low` and `high` bound the gap with 95 % confidence for every segment of the call at once (Bonferroni 1936),
    by the standard error clustered by customer. Figures are in the label's unit.
    """

    kind: str
    segment: str
    rows: int
    customers: int
    predicted: float
    observed: float
    low: float
    high: float

    @property
    def gap(self) -> float:
        """Predicted less observed; above 0 the model promises too much."""
        return self.predicted - self.observed

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval of the gap leaves out 0."""
        return self.low > 0 or self.high < 0

    def badly_off(self, bar: float) -> bool:
        """Whether the gap exceeds `bar`, in the label's unit, and is beyond noise."""
        return abs(self.gap) > bar and self.beyond_noise


def bands(values: npt.ArrayLike, edges: Sequence[float], unit: str) -> pd.Series:
    """Each value's band, such as "2 to 5 days", as an ordered category: `edges` are the inner borders, in order.

    A value on a border belongs to the band above it; an unknown one is "unknown". Raises ValueError for edges that
    do not rise.
    """
    if list(edges) != sorted(set(edges)) or not len(edges):
        raise ValueError(f"edges must rise, found {list(edges)}")
    known = np.asarray(values, dtype=float)
    names = [f"below {edges[0]:g} {unit}"]
    names += [f"{low:g} to {high:g} {unit}" for low, high in pairwise(edges)]
    names += [f"{edges[-1]:g} {unit} and more"]
    place = np.searchsorted(np.asarray(edges, dtype=float), known, side="right")
    # NaN sorts above every border
    codes = np.where(np.isnan(known), len(names), np.minimum(place, len(edges)))
    return pd.Series(pd.Categorical.from_codes(codes, [*names, "unknown"], ordered=True))


def segment_gaps(
    observed: npt.ArrayLike,
    predicted: npt.ArrayLike,
    customers: npt.ArrayLike,
    segments: Mapping[str, pd.Series],
) -> tuple[SegmentGap, ...]:
    """The gap of every segment with at least 30 customers, in the order of each kind's categories.

    `observed`, `predicted` and `customers` have shape (n,); `segments` gives a category per row (n,) for each kind of
    segment, such as `bands` does. Raises ValueError when a length differs.
    """
    truth, estimate = np.asarray(observed, dtype=float), np.asarray(predicted, dtype=float)
    who = pd.factorize(pd.Series(np.asarray(customers)))[0]
    places: list[tuple[str, str, npt.NDArray[np.bool_]]] = []
    for kind, names in segments.items():
        named = names.astype("category")
        if not len(named) == len(truth) == len(estimate) == len(who):
            raise ValueError(f"segment {kind!r} has {len(named)} rows, expected {len(truth)}")
        for name in named.cat.categories:
            inside = (named == name).to_numpy()
            if len(np.unique(who[inside])) >= FEWEST_CUSTOMERS:
                places.append((kind, str(name), inside))
    tail = 0.025 / max(len(places), 1)
    return tuple(_gap(kind, name, truth[inside], estimate[inside], who[inside], tail) for kind, name, inside in places)


def _gap(kind: str, name: str, truth: Floats, estimate: Floats, who: npt.NDArray[np.intp], tail: float) -> SegmentGap:
    difference = estimate - truth
    gap = float(difference.mean())
    members, place = np.unique(who, return_inverse=True)
    # a customer's snapshots are not independent: they are summed before they are squared (Liang & Zeger 1986)
    sums = np.bincount(place, weights=difference - gap)
    error = float(np.sqrt(len(members) / (len(members) - 1) * (sums**2).sum()) / len(difference))
    reach = float(t.isf(tail, len(members) - 1)) * error
    return SegmentGap(
        kind,
        name,
        len(difference),
        len(members),
        float(estimate.mean()),
        float(truth.mean()),
        gap - reach,
        gap + reach,
    )
