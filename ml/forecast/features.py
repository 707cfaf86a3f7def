"""What a customer's order log says beyond frequency, recency and T, free of the units of the shop."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.orders import OrderLog

Floats = npt.NDArray[np.float64]

HALF_LIVES_WEEKS = (2, 4, 8, 16, 32)


def shape_features(log: OrderLog, end: int) -> pd.DataFrame:
    """One row per customer of a log known until the day `end`; NaN where a customer has no such value.

    Counts and times are in logs (weeks), gaps relative to the customer's own, money relative to the
    customer's or the base's mean.
    """
    n = len(log.customers)
    count = np.bincount(log.code, minlength=n)
    stop = np.cumsum(count)
    start = stop - count
    first, last = log.day[start], log.day[stop - 1]
    since, age = (end - last) / 7, (end - first) / 7
    repeats = count - 1.0
    several = repeats > 0

    gap = np.diff(log.day, prepend=log.day[0]) / 7.0
    gap[start] = 0.0
    longest = np.maximum.reduceat(gap, start)
    mean_gap = np.where(several, (last - first) / 7 / np.maximum(repeats, 1), np.nan)
    recent = np.minimum(repeats, 3).astype(np.intp)
    last_gaps = np.where(several, (last - log.day[stop - 1 - recent]) / 7 / np.maximum(recent, 1), np.nan)
    squares = np.bincount(log.code, weights=gap**2, minlength=n)
    variance = np.maximum(squares / np.maximum(repeats, 1) - mean_gap**2, 0.0)

    columns: dict[str, Floats] = {
        "log_frequency": np.log1p(repeats),
        "log_T": np.log1p(age),
        "log_since_last": np.log1p(since),
        "recency_share": (last - first) / 7 / np.maximum(age, 1 / 7),
        "since_over_mean_gap": np.log1p(since / mean_gap),
        "since_over_longest_gap": np.log1p(since / np.where(several, longest, np.nan)),
        "since_over_last_gaps": np.log1p(since / last_gaps),
        "last_gaps_over_mean_gap": np.log(last_gaps / mean_gap),
        "gap_variation": np.where(repeats > 1, np.sqrt(variance) / mean_gap, np.nan),
        "log_lines_per_day": np.log(np.bincount(log.code, weights=log.lines, minlength=n) / count),
    }
    weeks_ago = (end - log.day) / 7
    for half_life in HALF_LIVES_WEEKS:
        decayed = np.bincount(log.code, weights=0.5 ** (weeks_ago / half_life), minlength=n)
        columns[f"decayed_{half_life}"] = np.log(decayed + 1e-3)
    if log.spend is not None:
        spend = np.maximum(log.spend, 0.0)
        mean = np.bincount(log.code, weights=spend, minlength=n) / count
        typical = spend.mean() or 1.0
        columns["log_order_value"] = np.log((mean + typical / 100) / typical)
        columns["last_order_over_mean"] = np.log((spend[stop - 1] + typical / 100) / (mean + typical / 100))
    return pd.DataFrame(columns, index=log.customers)
