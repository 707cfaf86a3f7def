"""The forecast to start from: the mean of three BTYD models, whose assumptions err in different directions."""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, logit

from ml.btyd import BetaGeometric, Histories, ModifiedBetaGeometric, ParetoNBD
from ml.btyd.histories import Floats

SMALLEST = 1e-9
LARGEST_SHIFT = 40.0
# More customers say nothing new about four parameters.
FIT_CUSTOMERS = 200_000


class BtydMean:
    """Mean of log expected purchases and of logit P(any purchase) of BG/NBD, MBG/NBD and Pareto/NBD."""

    def fit(self, histories: pd.DataFrame) -> Self:
        """Fit the three on columns frequency, recency and T (weeks)."""
        merged = Histories.of(histories)
        if merged.customers > FIT_CUSTOMERS:
            merged = Histories.of(histories.sample(FIT_CUSTOMERS, random_state=0))
        self.models_ = tuple(
            model.fit_merged(merged) for model in (BetaGeometric(), ModifiedBetaGeometric(), ParetoNBD())
        )
        return self

    def predict(self, histories: pd.DataFrame, weeks: float) -> tuple[Floats, Floats]:
        """Log expected purchases and logit P(any purchase) in the `weeks` after T, each of shape (n,)."""
        counts = [np.log(np.maximum(m.expected_purchases(histories, weeks), SMALLEST)) for m in self.models_]
        chances = [m.probability_any_purchase(histories, weeks) for m in self.models_]
        odds = [logit(np.clip(p, SMALLEST, 1 - 1e-7)) for p in chances]
        return np.mean(counts, axis=0), np.mean(odds, axis=0)

    def purchase_distribution(self, histories: pd.DataFrame, weeks: float, most: int) -> Floats:
        """Mean P(exactly k purchases) of the three, shape (n, most + 1)."""
        return np.mean([m.purchase_distribution(histories, weeks, most) for m in self.models_], axis=0)


def shifted_to(total: float, log_odds: Floats) -> float:
    """What to add to every log-odds so that the probabilities sum to `total`, 0 < total < n."""
    return float(brentq(lambda shift: expit(log_odds + shift).sum() - total, -LARGEST_SHIFT, LARGEST_SHIFT))
