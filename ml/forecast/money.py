"""Money per purchase day: Gamma-Gamma on all orders, then half of what trees see beyond it."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from ml.btyd import GammaGamma
from ml.forecast.base import FIT_CUSTOMERS
from ml.forecast.learners import Bins

Floats = npt.NDArray[np.float64]

# A correction is believed half: the money of the future regresses further than the trees can see.
BELIEVED = 0.5
LARGEST_RATIO = 20.0


def gamma_gamma_columns(histories: pd.DataFrame) -> pd.DataFrame:
    """frequency and monetary_value of *all* purchase days, the first included: it is there for everybody."""
    return pd.DataFrame(
        {"frequency": histories["frequency"] + 1, "monetary_value": histories["spend_per_day_all"]},
        index=histories.index,
    )


def gamma_gamma(histories: pd.DataFrame) -> GammaGamma:
    """Gamma-Gamma of the customers in `histories` (columns frequency and spend_per_day_all)."""
    columns = gamma_gamma_columns(histories)
    if len(columns) > FIT_CUSTOMERS:
        columns = columns.sample(FIT_CUSTOMERS, random_state=0)
    return GammaGamma().fit(columns)


class MoneyTrees:
    """Boosted trees on actual over expected money per purchase day, normalised so that only the shape is learned."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @threadpool_limits.wrap(limits=1)
    def fit(self, values: Floats, expected: Floats, spend: Floats, purchases: Floats) -> Self:
        """Learn from customers who bought, shape (n,) each; `expected` is money per purchase day."""
        ratio = np.clip(spend / purchases / expected, 1 / LARGEST_RATIO, LARGEST_RATIO)
        ratio *= purchases.sum() / (ratio @ purchases)
        self.bins_ = Bins().fit(values)
        self.trees_ = HistGradientBoostingRegressor(
            loss="gamma",
            max_iter=80,
            learning_rate=0.05,
            max_leaf_nodes=8,
            min_samples_leaf=100,
            l2_regularization=10.0,
            early_stopping=False,
            random_state=self.seed,
        ).fit(self.bins_.transform(values), ratio, sample_weight=np.sqrt(purchases))
        return self

    @threadpool_limits.wrap(limits=1)
    def correction(self, values: Floats) -> Floats:
        """What to multiply the expected money per purchase day with, shape (n,)."""
        return np.asarray(self.trees_.predict(self.bins_.transform(values)) ** BELIEVED)
