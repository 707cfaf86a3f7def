"""What a forecast has to beat: BG/NBD with Gamma-Gamma as the textbook has them, and going on as before."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.btyd import BetaGeometric, GammaGamma
from ml.forecast.base import SMALLEST
from ml.forecast.simulation import from_distribution
from ml.lifetime import SHORTEST_HISTORY_WEEKS, past_weekly_spend
from ml.orders import OrderLog

Floats = npt.NDArray[np.float64]


def bg_nbd(log: OrderLog, end: int, horizon_days: int, *, seed: int = 0) -> tuple[BetaGeometric, pd.DataFrame]:
    """BG/NBD and, with amounts, Gamma-Gamma on repeat days; columns as `CustomerBaseForecaster.predict`.

    Medians and 80 % intervals come from the models' own distributions (by simulation for money).
    """
    seen = log.until(end)
    histories = seen.histories(end)
    weeks = horizon_days / 7
    model = BetaGeometric().fit(histories)
    expected = np.maximum(model.expected_purchases(histories, weeks), SMALLEST)
    repeat = _repeat_days(seen, histories)
    money = None if repeat is None else (GammaGamma().fit(repeat), repeat)
    columns = {
        "p_purchase": model.probability_any_purchase(histories, weeks),
        "expected_purchases": expected,
        **from_distribution(
            lambda rows, most: model.purchase_distribution(rows, weeks, most),
            histories,
            expected,
            horizon_days,
            money,
            seed=seed,
        ),
    }
    if money is not None:
        columns["expected_spend"] = expected * money[0].expected_value(money[1])
    return model, pd.DataFrame(columns, index=histories.index)


def as_before(log: OrderLog, end: int, horizon_days: int) -> pd.DataFrame:
    """Everybody goes on at their own past pace; p_purchase, expected_purchases and, with amounts, expected_spend."""
    histories = log.until(end).histories(end)
    weeks = np.maximum(histories["T"].to_numpy(), SHORTEST_HISTORY_WEEKS)
    expected = (histories["frequency"].to_numpy() + 1) / weeks * horizon_days / 7
    columns = {"p_purchase": -np.expm1(-expected), "expected_purchases": expected}
    if "spend_per_day_all" in histories:
        columns["expected_spend"] = past_weekly_spend(histories, horizon_days)
    return pd.DataFrame(columns, index=histories.index)


def _repeat_days(seen: OrderLog, histories: pd.DataFrame) -> pd.DataFrame | None:
    """frequency and monetary_value of repeat days only; None when no repeat day has money."""
    if seen.spend is None:
        return None
    repeat = seen.day > seen.first_purchase[seen.code]
    total = np.bincount(seen.code[repeat], weights=seen.spend[repeat], minlength=len(histories))
    mean = np.maximum(total / np.maximum(histories["frequency"], 1), 0.0)
    if not (mean > 0).any():
        return None
    return pd.DataFrame({"frequency": histories["frequency"], "monetary_value": mean}, index=histories.index)
