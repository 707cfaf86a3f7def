"""Customer lifetime value over a horizon: expected purchase days times expected money per day."""

from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ml.btyd import BetaGeometric, GammaGamma

# Below a week of history a weekly rate is one purchase blown up.
SHORTEST_HISTORY_WEEKS = 1.0


class LifetimeValue(BaseEstimator):
    """Undiscounted spend per customer from BG/NBD (how often) and Gamma-Gamma (how much).

    Reads columns frequency (repeat purchase days), recency, T (weeks) and spend_per_day_all, the mean
    spend of *all* purchase days, the first included: it ranks customers better than the mean of repeat
    days, and is there for everybody. A customer whose refunds outweigh purchases counts as spending 0.
    Its gain over past spend is the level, not the order: on the CDNOW sample both rank equally well.
    The future's general level cannot be known from the past, so bias belongs in every report.

    Learned: `purchases_` (BetaGeometric), `value_` (GammaGamma).
    """

    def fit(self, X: pd.DataFrame) -> Self:
        """Learn from one row per customer. Raises ValueError as BetaGeometric, GammaGamma, or by column name."""
        histories, money = _histories(X)
        self.purchases_ = BetaGeometric().fit(histories)
        self.value_ = GammaGamma().fit(money)
        return self

    def predict(self, X: pd.DataFrame, horizon_days: int) -> pd.DataFrame:
        """What to expect in the `horizon_days` after the cut-off, index of X.

        Columns: expected_purchases (days with a purchase), expected_value (money per such day),
        expected_spend (their product), probability_any_purchase. Raises ValueError naming a missing column.
        """
        check_is_fitted(self, "purchases_")
        histories, money = _histories(X)
        weeks = horizon_days / 7
        purchases = self.purchases_.expected_purchases(histories, weeks)
        value = self.value_.expected_value(money)
        return pd.DataFrame(
            {
                "expected_purchases": purchases,
                "expected_value": value,
                "expected_spend": purchases * value,
                "probability_any_purchase": self.purchases_.probability_any_purchase(histories, weeks),
            },
            index=X.index,
        )


def past_weekly_spend(X: pd.DataFrame, horizon_days: int) -> npt.NDArray[np.float64]:
    """The naive prediction, shape (n,): own past spend per week of history, times the horizon's weeks."""
    frequency, _, T, spend = _columns(X)
    weekly = (frequency + 1) * spend / np.maximum(T, SHORTEST_HISTORY_WEEKS)
    return np.asarray(weekly * horizon_days / 7)


def _histories(X: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    frequency, recency, T, spend = _columns(X)
    return (
        pd.DataFrame({"frequency": frequency, "recency": recency, "T": T}, index=X.index),
        pd.DataFrame({"frequency": frequency + 1, "monetary_value": spend}, index=X.index),
    )


def _columns(X: pd.DataFrame) -> tuple[npt.NDArray[np.float64], ...]:
    names = ("frequency", "recency", "T", "spend_per_day_all")
    missing = [name for name in names if name not in X.columns]
    if missing:
        raise ValueError(f"missing column(s): {', '.join(missing)}")
    frequency, recency, T, spend = (X[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in names)
    return frequency, recency, T, np.maximum(spend, 0.0)
