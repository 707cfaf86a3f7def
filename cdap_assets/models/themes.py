"""Why a customer's lapse risk is high, in plain sentences: features that say one thing give one reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan

from cdap_assets.features.customer_features import WINDOWS
from ml.explain import Theme


def _overdue(customer: Mapping[str, float]) -> str:
    since, gap = customer["days_since_last"], customer["mean_gap"]
    if isnan(gap):
        return f"No purchase for {_days(since)}"
    if since < gap:
        # not late: what raises the risk is how seldom they buy
        return f"Usually buys only every {_days(gap)}, last {_days(since)} ago"
    return f"No purchase for {_days(since)}; usually every {_days(gap)}"


def _rhythm(customer: Mapping[str, float]) -> str:
    return f"{_purchases(customer['purchase_days_91'])} in the last 13 weeks"


def _spend(customer: Mapping[str, float]) -> str:
    recent, before = customer["net_28"], customer["net_91"] / 91 * 28
    if before > 0 and recent < before:
        return f"Spent {1 - recent / before:.0%} less in the last 4 weeks than in the 13 weeks' average"
    return f"Spends {customer['monetary_value']:,.2f} per purchase day"


def _history(customer: Mapping[str, float]) -> str:
    return f"{_purchases(customer['frequency'] + 1)} in {customer['T']:.0f} weeks"


def _campaigns(customer: Mapping[str, float]) -> str:
    if customer["responses"] == 0:
        return "Never used a coupon or answered a campaign"
    return "No answer to a campaign in the last 13 weeks"


def _days(days: float) -> str:
    return "1 day" if round(days) == 1 else f"{days:.0f} days"


def _purchases(count: float) -> str:
    return "1 purchase day" if count == 1 else f"{count:.0f} purchase days"


THEMES = (
    Theme("overdue", ("days_since_last", "mean_gap", "overdue"), _overdue),
    Theme("rhythm", tuple(f"purchase_days_{days}" for days in WINDOWS), _rhythm),
    Theme("spend", ("monetary_value", *(f"net_{days}" for days in WINDOWS)), _spend),
    Theme("short history", ("frequency", "recency", "T"), _history),
    Theme("campaigns", ("touches_91", "responses_91", "responses"), _campaigns),
)


def themes_of(features: Sequence[str]) -> tuple[Theme, ...]:
    """The themes that a model with these features can speak of."""
    spoken = (replace(theme, features=tuple(name for name in theme.features if name in features)) for theme in THEMES)
    return tuple(theme for theme in spoken if theme.features)
