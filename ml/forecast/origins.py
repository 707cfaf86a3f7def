"""Rolling origins: days inside the calibration window from which the forecast is tried on what followed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.forecast.base import BtydMean, shifted_to
from ml.forecast.features import shape_features
from ml.orders import OrderLog

Floats = npt.NDArray[np.float64]

STEP_DAYS = 21
SHORTEST_HORIZON_DAYS = 28
PER_HORIZON = 5
# A BTYD model of fewer weeks knows neither rates nor leaving.
SHORTEST_HISTORY_DAYS = 70
HORIZON_SHARES = (1.0, 0.5, 0.25)
LARGEST_WINDOW_SHARE = 0.6


@dataclass(frozen=True)
class Trial:
    """The base forecast from one origin over one horizon, beside what happened; one row per customer.

    `log_count` and `log_odds` are the base's, moved so that totals are the observed ones; `level` and
    `odds_level` are by how much. `spend` is None without amounts.
    """

    origin: int
    horizon_days: int
    features: pd.DataFrame
    histories: pd.DataFrame
    log_count: Floats
    log_odds: Floats
    purchases: Floats
    spend: Floats | None
    level: float
    odds_level: float


def windows(first_day: int, end: int, horizon_days: int) -> list[tuple[int, int]]:
    """(origin, horizon in days) that fit between `first_day` and `end`, by origin; empty when none does.

    The horizon asked for, its half and its quarter, and the longest that leaves history before it.
    """
    length = end - first_day
    longest = min(horizon_days, int(length * LARGEST_WINDOW_SHARE), length - SHORTEST_HISTORY_DAYS)
    wanted = {longest} | {int(share * horizon_days) for share in HORIZON_SHARES}
    shortest = min(SHORTEST_HORIZON_DAYS, horizon_days)
    chosen = []
    for days in sorted(w for w in wanted if shortest <= w <= longest):
        origins = range(end - days, first_day + max(SHORTEST_HISTORY_DAYS, days // 2) - 1, -STEP_DAYS)
        chosen += [(origin, days) for origin in list(origins)[:PER_HORIZON]]
    return sorted(chosen)


def trials(log: OrderLog, chosen: list[tuple[int, int]]) -> Iterator[Trial]:
    """The base forecast of each window, fitted on rows up to its origin only; windows without a purchase are left."""
    known: tuple[int, OrderLog, pd.DataFrame, pd.DataFrame, BtydMean] | None = None
    for origin, days in chosen:
        if known is None or known[0] != origin:
            seen = log.until(origin)
            histories = seen.histories(origin)
            known = (origin, seen, histories, shape_features(seen, origin), BtydMean().fit(histories))
        _, _, histories, features, base = known
        actual = log.outcome(origin, origin + days)
        bought = actual["purchases"].to_numpy()
        buyers = int((bought > 0).sum())
        if not 0 < buyers < len(bought):
            continue
        log_count, log_odds = base.predict(histories, days / 7)
        level = float(np.log(bought.sum()) - np.log(np.exp(log_count).sum()))
        odds_level = shifted_to(buyers, log_odds)
        yield Trial(
            origin,
            days,
            features,
            histories,
            log_count + level,
            log_odds + odds_level,
            bought,
            actual["spend"].to_numpy() if "spend" in actual else None,
            level,
            odds_level,
        )
