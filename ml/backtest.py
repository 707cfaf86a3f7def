"""How well a forecast would have worked: made at a past day, beside what happened, BG/NBD and going on as before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml import evaluation
from ml.btyd import BetaGeometric
from ml.evaluation import Decile, Interval, Metric
from ml.forecast import CustomerBaseForecaster
from ml.forecast.baselines import as_before, bg_nbd
from ml.orders import OrderLog

Floats = npt.NDArray[np.float64]
Tell = Callable[[str, int, int], None]

RESAMPLES = 200
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Measure:
    """One figure of the forecast with its 95 % interval by customer, beside the others'.

    `gain` is BG/NBD's figure minus the forecast's (or the reverse where higher is better) on the same draws of
    customers: above 0 the forecast is better. `better` says which way a figure is good ("zero": near zero,
    "level": near the stated level). None where a figure is not defined.
    """

    name: str
    key: str
    meaning: str
    better: Literal["higher", "lower", "zero", "level"]
    forecast: Interval
    bg_nbd: Interval | None
    as_before: Interval | None
    gain: Interval | None

    @property
    def verdict(self) -> Literal["better", "worse", "no difference", ""]:
        """The forecast beside BG/NBD, on the same draws of customers; empty where neither way is better."""
        if self.gain is None:
            return ""
        return "better" if self.gain.low > 0 else "worse" if self.gain.high < 0 else "no difference"


@dataclass(frozen=True)
class Week:
    """Purchase days of all customers seen by the calibration end, in one week that ends on `last_day`.

    `forecast` and `bg_nbd` are expected ones, None in the calibration window.
    """

    last_day: np.datetime64
    purchases: int
    forecast: float | None
    bg_nbd: float | None


@dataclass(frozen=True)
class Backtest:
    """A forecast scored on what happened after it, all by customers seen by the calibration end."""

    customers: int
    buyers: int
    measures: tuple[Measure, ...]
    reliability: tuple[tuple[float, float, int], ...]
    purchase_deciles: tuple[Decile, ...]
    spend_deciles: tuple[Decile, ...]
    weeks: tuple[Week, ...]

    def measure(self, key: str) -> Measure | None:
        """The measure of that key, if it was taken."""
        return next((m for m in self.measures if m.key == key), None)


def backtest(
    forecaster: CustomerBaseForecaster,
    forecast: pd.DataFrame,
    log: OrderLog,
    end: int,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    tell: Tell | None = None,
) -> Backtest:
    """Score `forecast`, made at the end of the day `end`, on the rest of `log`.

    Raises SingleClassError (a ValueError) when all or none of the customers bought afterwards.
    """
    horizon = forecaster.horizon_days
    actual = log.outcome(end, end + horizon)
    reference, textbook = bg_nbd(log, end, horizon, seed=seed)
    naive = as_before(log, end, horizon)
    taken = _measures(forecast, textbook, naive, actual, seed, resamples, tell)
    bought = actual["purchases"].to_numpy()
    return Backtest(
        customers=len(actual),
        buyers=int((bought > 0).sum()),
        measures=tuple(taken),
        reliability=tuple(evaluation.reliability(np.sign(bought), forecast["p_purchase"].to_numpy(), CALIBRATION_BINS)),
        purchase_deciles=tuple(evaluation.deciles(bought, forecast["expected_purchases"].to_numpy())),
        spend_deciles=tuple(evaluation.deciles(actual["spend"].to_numpy(), forecast["expected_spend"].to_numpy()))
        if "expected_spend" in forecast and actual["spend"].sum() > 0
        else (),
        weeks=tuple(_weeks(forecaster, forecast, reference, log, end)),
    )


def _measures(
    forecast: pd.DataFrame,
    textbook: pd.DataFrame,
    naive: pd.DataFrame,
    actual: pd.DataFrame,
    seed: int,
    resamples: int,
    tell: Tell | None,
) -> list[Measure]:
    bought = actual["purchases"].to_numpy()
    any_purchase = np.sign(bought)
    customers = np.arange(len(bought))
    spend = actual["spend"].to_numpy() if "expected_spend" in forecast else np.zeros_like(bought)
    taken = []

    def interval(metric: Metric, truth: Floats, prediction: Floats) -> Interval:
        return evaluation.bootstrap(metric, truth, prediction, customers, seed=seed, resamples=resamples)

    plan = [row for row in PLAN if row.columns[0] in forecast]
    for done, row in enumerate(plan):
        if tell is not None:
            tell("scoring, with intervals", done, len(plan))
        truth = bought if "purchases" in row.columns[0] else any_purchase if "p_" in row.columns[0] else spend
        ours, theirs, before = (_columns(frame, row.columns) for frame in (forecast, textbook, naive))
        if ours is None:
            continue
        gain = None
        try:
            if theirs is not None and row.better in ("higher", "lower"):
                better, worse = (ours, theirs) if row.better == "higher" else (theirs, ours)
                gain = evaluation.paired_difference(
                    row.metric, truth, better, worse, customers, seed=seed, resamples=resamples
                )
            taken.append(
                Measure(
                    row.name,
                    row.key,
                    row.meaning,
                    row.better,
                    interval(row.metric, truth, ours),
                    None if theirs is None else interval(row.metric, truth, theirs),
                    None if before is None else interval(row.metric, truth, before),
                    gain,
                )
            )
        except evaluation.UndefinedFigureError:
            # A holdout with hardly any money has no Gini; the other figures still say something.
            continue
    return taken


@dataclass(frozen=True)
class _Row:
    name: str
    key: str
    meaning: str
    better: Literal["higher", "lower", "zero", "level"]
    columns: tuple[str, ...]
    metric: Metric


PLAN = (
    _Row("AUC", "auc", "chance that a customer who bought was ranked above one who did not", "higher",
         ("p_purchase",), evaluation.auc),
    _Row("Log loss", "log_loss", "how surprised the probabilities were by who bought", "lower",
         ("p_purchase",), evaluation.log_loss),
    _Row("Calibration error", "ece", "mean gap between predicted and observed share of buyers, 0 to 1", "lower",
         ("p_purchase",), evaluation.expected_calibration_error),
    _Row("Purchases: deviance", "deviance", "Poisson deviance of the expected purchase days", "lower",
         ("expected_purchases",), evaluation.poisson_deviance),
    _Row("Purchases: RMSE", "rmse", "root mean squared error of the expected purchase days", "lower",
         ("expected_purchases",), evaluation.root_mean_squared_error),
    _Row("Purchases: MAE of the median", "median_mae", "mean absolute error of the median purchase days", "lower",
         ("median_purchases",), evaluation.mean_absolute_error),
    _Row("Purchases: bias", "bias", "percent by which the total was too high or too low", "zero",
         ("expected_purchases",), evaluation.bias_percent),
    _Row("Spend: Gini", "spend_gini", "how well spend was ranked: 1 is perfect, 0 is random", "higher",
         ("expected_spend",), evaluation.gini),
    _Row("Spend: MAE", "spend_mae", "mean absolute error of the expected spend", "lower",
         ("expected_spend",), evaluation.mean_absolute_error),
    _Row("Spend: bias", "spend_bias", "percent by which total spend was too high or too low", "zero",
         ("expected_spend",), evaluation.bias_percent),
    _Row("Spend: interval score", "interval_score", "width of the 80 % intervals plus what they missed", "lower",
         ("spend_low", "spend_high"), evaluation.interval_score),
    _Row("Spend: coverage", "coverage", "share of customers whose spend lay in their 80 % interval; 0.8 is asked",
         "level", ("spend_low", "spend_high"), evaluation.coverage),
)  # fmt: skip


def _columns(frame: pd.DataFrame, names: tuple[str, ...]) -> Floats | None:
    if any(name not in frame for name in names):
        return None
    values = frame[list(names)].to_numpy(dtype=np.float64)
    return values if len(names) > 1 else values[:, 0]


def _weeks(
    forecaster: CustomerBaseForecaster, forecast: pd.DataFrame, reference: BetaGeometric, log: OrderLog, end: int
) -> list[Week]:
    """Weeks counted from `end` both ways; the first and the last may be shorter than seven days.

    The forecast's course over the weeks is that of its BTYD models, at the forecast's total.
    """
    seen = log.first_purchase[log.code] <= end
    day = log.day[seen]
    histories = log.until(end).histories(end)
    weeks = [
        Week(np.datetime64(stop, "D"), int(((day > stop - 7) & (day <= stop)).sum()), None, None)
        for stop in range(end - (end - log.first_day) // 7 * 7, end + 1, 7)
    ]
    horizon = forecaster.horizon_days
    stops = [*range(7, horizon, 7), horizon]
    course = [float(np.exp(forecaster.base_.predict(histories, days / 7)[0]).sum()) for days in stops]
    scale = float(forecast["expected_purchases"].sum()) / course[-1]
    textbook = [float(reference.expected_purchases(histories, days / 7).sum()) for days in stops]
    start, so_far, textbook_so_far = 0, 0.0, 0.0
    for days, total, textbook_total in zip(stops, course, textbook, strict=True):
        inside = (day > end + start) & (day <= end + days)
        weeks.append(
            Week(
                np.datetime64(end + days, "D"),
                int(inside.sum()),
                scale * (total - so_far),
                textbook_total - textbook_so_far,
            )
        )
        start, so_far, textbook_so_far = days, total, textbook_total
    return weeks
