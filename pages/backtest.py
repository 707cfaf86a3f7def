"""The page that tells a newcomer how well forecasts would have worked on their customers."""

from dataclasses import dataclass
from datetime import date

import pandas as pd

from ml.backtest import Backtest, Measure
from ml.forecast import CustomerBaseForecaster
from pages import charts
from pages.formats import number
from pages.page import render

# A total off by more than this is told as such, whatever its interval.
LEVEL_OFF_PERCENT = 10
CALIBRATED = 0.02
COVERAGE_OFF = 0.05


@dataclass(frozen=True)
class Advice:
    """One plain statement of what to trust: `good` True, False, or None for what is only to be known."""

    good: bool | None
    about: str
    words: str


def backtest_page(
    *,
    name: str,
    calibration_end: date,
    holdout_end: date,
    first_day: date,
    forecaster: CustomerBaseForecaster,
    forecast: pd.DataFrame,
    result: Backtest | None,
    unscored: str | None,
    returns: int,
) -> str:
    """One self-contained HTML file. `result` is None, and `unscored` says why, when there was nothing to score on."""
    weeks = result.weeks if result else ()
    return render(
        "backtest.html",
        name=name,
        calibration_end=calibration_end,
        holdout_end=holdout_end,
        first_day=first_day,
        customers=len(forecast),
        repeat_buyers=forecaster.n_repeat_buyers_,
        fallback=None if forecaster.learned_ else forecaster.reason_,
        money="expected_spend" in forecast,
        expected_buyers=float(forecast["p_purchase"].sum()),
        expected_purchases=float(forecast["expected_purchases"].sum()),
        expected_spend=float(forecast["expected_spend"].sum()) if "expected_spend" in forecast else None,
        result=result,
        unscored=unscored,
        returns=returns,
        advice=advice(result) if result else [],
        tracking_chart=charts.tracking(
            [(pd.Timestamp(w.last_day).date(), w.purchases, w.forecast, w.bg_nbd) for w in weeks]
        )
        if weeks
        else None,
        reliability_chart=charts.reliability(list(result.reliability), unit="share") if result else None,
        gains_chart=charts.gains(result.purchase_deciles, found_of="purchases") if result else None,
        spend_gains_chart=charts.gains(result.spend_deciles, found_of="spend")
        if result and result.spend_deciles
        else None,
    )


def advice(result: Backtest) -> list[Advice]:
    """What to trust and what not, from the figures alone."""
    told = [_ranking(result, "auc", "who will buy", "ranked customers by their chance to buy")]
    ece = result.measure("ece")
    if ece is not None:
        good = ece.forecast.value <= CALIBRATED
        told.append(
            Advice(
                good,
                "Chances to buy",
                f"off by {number(ece.forecast.value * 100, 1)} points in the mean. "
                + ("Read 30 % as 30 in 100." if good else "Use them to rank; do not multiply them with money."),
            )
        )
    told += [_level(result.measure(key), what) for key, what in (("bias", "purchases"), ("spend_bias", "spend"))]
    told.append(_ranking(result, "spend_gini", "what they will spend", "ranked customers by spend"))
    told.append(_coverage(result.measure("coverage")))
    told.append(
        Advice(
            None,
            "One customer",
            "A mean is right in total and wrong for each: most customers buy less than their mean, a few buy much "
            "more. Use the median for a typical outcome, the mean for totals.",
        )
    )
    told.append(
        Advice(
            None,
            "The future's level",
            "No log tells of a season, a price or a competitor to come. If the coming weeks differ from the past "
            "ones, everybody's figures move together, and no interval here contains that.",
        )
    )
    return [item for item in told if item is not None]


def _ranking(result: Backtest, key: str, about: str, did: str) -> Advice | None:
    measure = result.measure(key)
    if measure is None:
        return None
    beside = {
        "better": f"It {did} better than BG/NBD, by more than chance.",
        "worse": f"BG/NBD {did} better, by more than chance: prefer it here.",
        "no difference": "BG/NBD does as well: the difference is within chance.",
        "": "",
    }[measure.verdict]
    top = result.purchase_deciles[0] if key == "auc" else result.spend_deciles[0]
    found = f"The best tenth held {number(top.captured * 100, 0)} % of all {'purchases' if key == 'auc' else 'spend'}."
    nothing = measure.forecast.low <= (0.5 if key == "auc" else 0.0)
    words = "No better than drawing lots." if nothing else f"{found} {beside}"
    return Advice(not nothing and measure.verdict != "worse", about.capitalize(), words)


def _level(measure: Measure | None, what: str) -> Advice | None:
    if measure is None:
        return None
    off = measure.forecast.value
    good = abs(off) <= LEVEL_OFF_PERCENT
    side = "too high" if off > 0 else "too low"
    words = f"The total was {number(abs(off), 0)} % {side}. " + (
        "Good enough for a budget." if good else "Do not budget by the total; the order of customers is not touched."
    )
    return Advice(good, f"Total {what}", words)


def _coverage(measure: Measure | None) -> Advice | None:
    if measure is None:
        return None
    covered = measure.forecast.value
    good = abs(covered - 0.8) <= COVERAGE_OFF
    if good:
        words = "as they promise."
    elif covered > 0.8:
        words = "more than they promise: they are wide."
    else:
        words = "less than they promise: they are too narrow, outcomes were more extreme."
    return Advice(
        good or covered > 0.8,
        "80 % intervals of spend",
        f"They held {number(covered * 100, 0)} % of customers, {words}",
    )
