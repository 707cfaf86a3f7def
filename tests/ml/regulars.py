"""Simulated regulars whose risk to lapse is known."""

import numpy as np
import pandas as pd


def true_log_odds(X: pd.DataFrame) -> pd.Series:
    recency, frequency = np.log1p(X["recency"]), np.log1p(X["frequency"])
    return -2 + 1.2 * (recency - 2.5) - 0.9 * (frequency - 2) + 0.8 * X["gap"].isna()


def shop(customers: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Three snapshots per customer; recency raises the risk, frequency lowers it, noise does nothing."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(customers), 3)
    n = len(groups)
    recency, frequency = rng.gamma(2, 8, n), rng.poisson(8, n).astype(float)
    gap = np.where(rng.random(n) < 0.2, np.nan, rng.gamma(4, 2, n))
    X = pd.DataFrame({"recency": recency, "recency_weeks": recency / 7, "frequency": frequency, "gap": gap})
    y = (rng.random(n) < 1 / (1 + np.exp(-true_log_odds(X)))).astype(int)
    return X.assign(noise=rng.normal(size=n)), y, groups
