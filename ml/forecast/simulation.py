"""Medians and intervals from the models' own distributions: exact for purchases, simulated for money."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.btyd import GammaGamma

Floats = npt.NDArray[np.float64]
Distribution = Callable[[pd.DataFrame, int], Floats]

DRAWS = 400
# Customers at a time: their distributions are a table of this many rows.
CHUNK = 20_000
LEVELS = (0.1, 0.5, 0.9)


def from_distribution(
    distribution: Distribution,
    histories: pd.DataFrame,
    expected: Floats,
    horizon_days: int,
    money: tuple[GammaGamma, pd.DataFrame] | None,
    *,
    seed: int,
) -> dict[str, Floats]:
    """median_purchases and, with `money`, median_spend, spend_low and spend_high (80 %), shape (n,) each.

    `distribution(rows, most)` gives P(0..most purchases) of rows of `histories`; `money` is a fitted
    Gamma-Gamma and its columns, one row per row of `histories`.
    """
    rng = np.random.default_rng(seed)
    columns = {"median_purchases": np.empty(len(expected))}
    if money is not None:
        columns |= {name: np.empty(len(expected)) for name in ("spend_low", "median_spend", "spend_high")}
    # Customers of like expectation together, so that few need a wide table.
    order = np.argsort(expected, kind="stable")
    for start in range(0, len(order), CHUNK):
        part = order[start : start + CHUNK]
        most = int(min(horizon_days, max(20.0, 6 * expected[part].max())))
        cumulative = np.cumsum(distribution(histories.iloc[part], most), axis=1)
        columns["median_purchases"][part] = (cumulative < 0.5).sum(axis=1)
        if money is None:
            continue
        value, past = money[0], money[1].iloc[part]
        draws = np.empty((len(part), DRAWS))
        for k in range(DRAWS):
            drawn = (cumulative < rng.random((len(part), 1))).sum(axis=1)
            bought = np.minimum(drawn, horizon_days).astype(np.float64)
            draws[:, k] = value.sample_value(past, bought, rng)
        low, middle, high = np.quantile(draws, LEVELS, axis=1)
        columns["spend_low"][part], columns["median_spend"][part], columns["spend_high"][part] = low, middle, high
    return columns
