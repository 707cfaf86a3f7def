"""Gamma-Gamma: how much a customer spends on a purchase day."""

from typing import Self

import numpy as np
import pandas as pd
from scipy.special import gammaln, psi
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ml.btyd.estimator import PRIOR_SD
from ml.btyd.histories import Floats, distinct_counts
from ml.btyd.maximum import Likelihood, information, maximise, standard_errors

NAMES = ("p", "q", "v")


class GammaGamma(BaseEstimator):
    """Gamma-Gamma: a customer's mean money per purchase day, shrunk to the population's.

    Fader & Hardie (2013), The Gamma-Gamma Model of Monetary Value, brucehardie.com/notes/025.

    Assumes money per purchase is gamma around the customer's own mean, that this mean does not depend
    on how often one buys, and that the population's mean exists (q > 1). Every method takes a DataFrame
    with columns `frequency`, the number of purchase days behind each mean, and `monetary_value`, that
    mean in one currency. Which days those are (repeat days only, or all) is the caller's choice.

    Learned: `p_`, `q_`, `v_` (currency), `parameters_` and `standard_errors_` (pandas Series by name),
    `log_likelihood_` without prior, and `n_customers_` used. `prior_sd` as in `PurchaseModel`.
    """

    def __init__(self, prior_sd: float = PRIOR_SD) -> None:
        self.prior_sd = prior_sd

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn from customers with a purchase and a positive mean; a gamma has no mass at zero.

        `y` is there for scikit-learn only. Raises ValueError when no such customer is there, a column is
        missing or values are not finite, RuntimeError when the optimiser finds no maximum.
        """
        x, m = _money(X)
        used = (x > 0) & (m > 0)
        x, m = x[used], m[used]
        if len(x) == 0:
            raise ValueError("Gamma-Gamma needs a customer with frequency > 0 and monetary_value > 0")
        scale = float(m.mean())
        likelihood = _likelihood(x, m / scale)
        theta = maximise(likelihood, np.zeros(3), self.prior_sd)
        p, above_one, v = np.exp(theta)
        self.p_, self.q_, self.v_ = float(p), float(1 + above_one), float(v * scale)
        self.parameters_ = pd.Series([self.p_, self.q_, self.v_], index=list(NAMES))
        value, curvature = information(likelihood, theta, self.prior_sd)
        errors = standard_errors(curvature)
        self.standard_errors_ = pd.Series(errors * [p, above_one, v * scale], index=list(NAMES))
        self.log_likelihood_ = value - len(x) * float(np.log(scale))
        self.n_customers_ = len(x)
        return self

    def expected_value(self, X: pd.DataFrame) -> Floats:
        """Expected money per future purchase day, shape (n,), in the currency of the fit.

        A customer with frequency 0 gets the population's mean; their monetary_value may be NaN.
        """
        check_is_fitted(self, "p_")
        x, m = _money(X)
        return np.asarray(self.p_ * (self.v_ + x * m) / (self.p_ * x + self.q_ - 1))

    def sample_value(self, X: pd.DataFrame, purchases: Floats, rng: np.random.Generator) -> Floats:
        """One draw of the money of `purchases` further purchase days per row, shape (n,).

        First the customer's own rate given their past, then the money given that rate.
        """
        check_is_fitted(self, "p_")
        x, m = _money(X)
        rate = rng.gamma(self.p_ * x + self.q_, 1 / (self.v_ + x * m))
        shape = self.p_ * purchases
        return np.where(purchases > 0, rng.gamma(np.maximum(shape, 1e-12)) / rate, 0.0)


def _likelihood(x: Floats, m: Floats) -> Likelihood:
    counts, place = distinct_counts(x)
    customers = np.bincount(place).astype(np.float64)
    log_x, log_m = np.log(x), np.log(m)

    def log_likelihood(theta: Floats) -> tuple[float, Floats]:
        """Equation 1a of the note and its gradient in log(p, q - 1, v)."""
        p, above_one, v = np.exp(theta)
        q = 1 + above_one
        px, total = p * x, v + x * m
        log_total = np.log(total)
        by_count = gammaln(p * counts + q) - gammaln(p * counts) - gammaln(q) + q * np.log(v)
        value = customers @ by_count + (px @ log_x + (px - 1) @ log_m - (px + q) @ log_total)
        shape = psi(p * counts + q)
        by_p = customers @ (counts * (shape - psi(p * counts))) + x @ (log_x + log_m - log_total)
        by_q = customers @ (shape - psi(q) + np.log(v)) - log_total.sum()
        by_v = len(x) * q / v - ((px + q) / total).sum()
        return float(value), np.array([by_p * p, by_q * above_one, by_v * v])

    return log_likelihood


def _money(X: pd.DataFrame) -> tuple[Floats, Floats]:
    missing = [name for name in ("frequency", "monetary_value") if name not in X.columns]
    if missing:
        raise ValueError(f"missing column(s): {', '.join(missing)}")
    x, m = (X[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("frequency", "monetary_value"))
    bad = ~np.isfinite(x) | (x < 0) | ((x > 0) & ~(np.isfinite(m) & (m >= 0)))
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise ValueError(
            "frequency must be >= 0 and monetary_value a finite amount >= 0 where frequency > 0; "
            f"row {X.index[i]} has frequency {x[i]:g}, monetary_value {m[i]:g} ({int(bad.sum())} such rows)"
        )
    return x, np.where(x > 0, m, 0.0)
