"""Splits that a future cannot leak through: by time, and by customer."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

Rows = npt.NDArray[np.bool_]


def temporal_split(snapshots: Sequence[date], cutoff: date, horizon_days: int) -> tuple[Rows, Rows]:
    """Which rows may train and which test a model as of `cutoff`, shape (n,) each.

    A row trains when its label window [snapshot, snapshot + horizon) has closed by `cutoff`, and tests when
    its snapshot is `cutoff` or later; those between know part of the test's future and do neither.
    Raises ValueError when either side is empty.
    """
    days = pd.to_datetime(pd.Series(list(snapshots))).dt.date.to_numpy()
    train = np.array([day + timedelta(days=horizon_days) <= cutoff for day in days], dtype=bool)
    test = np.array([day >= cutoff for day in days], dtype=bool)
    if not train.any() or not test.any():
        side = "closed label before" if not train.any() else "snapshot at or after"
        raise ValueError(f"no row has a {side} {cutoff}; choose another cutoff or build more snapshots")
    return train, test


def rolling_origins(first: date, last: date, horizon_days: int, *, step_days: int, history_days: int) -> list[date]:
    """Origins with `history_days` before and a whole horizon after them within first..last, in order.

    Counted back from the end, every `step_days`; empty when none fits. Raises ValueError for a step or
    horizon below one day.
    """
    if step_days < 1 or horizon_days < 1:
        raise ValueError(f"step and horizon must be at least a day, found {step_days} and {horizon_days}")
    origins, origin = [], last - timedelta(days=horizon_days)
    while origin >= first + timedelta(days=history_days):
        origins.append(origin)
        origin -= timedelta(days=step_days)
    return origins[::-1]


def customer_folds(customers: npt.ArrayLike, folds: int, *, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Train and test rows, shape (n,) each, such that no customer is in both.

    On top of a temporal split it also holds out *who*; alone it says nothing about the future. Raises
    ValueError for fewer customers than folds.
    """
    member, names = pd.factorize(np.asarray(customers))
    if folds < 2 or len(names) < folds:
        raise ValueError(f"{len(names)} customers cannot be split into {folds} folds")
    fold = (np.random.default_rng(seed).permutation(len(names)) % folds)[member]
    for k in range(folds):
        yield fold != k, fold == k
