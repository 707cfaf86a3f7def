"""Buy-till-you-die models: how often a customer will buy again (BG/NBD) and how much each time (Gamma-Gamma)."""

from collections.abc import Callable
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.linalg import eigh_tridiagonal
from scipy.optimize import minimize
from scipy.special import expit, gammaln, psi
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

Floats = npt.NDArray[np.float64]

# A normal prior on each log-parameter: about the information one CDNOW customer carries about log r.
PRIOR_SD = 3.0
# No data set moves a scaled parameter this far; it keeps a line search from overflowing.
LOG_BOUND = 12.0
QUADRATURE_NODES = 64


class BetaGeometric(BaseEstimator):
    """BG/NBD: Poisson purchases with gamma rates, and a beta chance of leaving after each purchase.

    Fader, Hardie & Lee (2005), "Counting Your Customers" the Easy Way, Marketing Science 24(2).

    Assumes rate and leaving are independent, constant over time, and that one leaves only just after a
    purchase: a customer without a repeat purchase counts as alive. Inputs are arrays of shape (n,):
    `frequency` repeat purchase days, `recency` first to last purchase, `T` first purchase to cut-off,
    both in weeks (any other unit works if the horizon is in it too).

    Learned: `r_`, `alpha_` (rates; alpha in weeks), `a_`, `b_` (leaving), `log_likelihood_` without prior.
    """

    def fit(self, frequency: npt.ArrayLike, recency: npt.ArrayLike, T: npt.ArrayLike) -> Self:
        """Maximise the likelihood under a prior worth one customer.

        Raises ValueError when a row is impossible (negative, recency beyond T, a fractional frequency),
        RuntimeError when the optimiser finds no maximum.
        """
        x, t_x, age = _histories(frequency, recency, T)
        if len(x) == 0:
            raise ValueError("BG/NBD needs at least one customer, found none")
        rows = pd.DataFrame({"x": x, "t_x": t_x, "T": age}).value_counts(sort=False).reset_index()
        x, t_x, age, weight = rows.to_numpy(dtype=np.float64).T
        mean_age = float(np.average(age, weights=weight))
        scale = mean_age if mean_age > 0 else 1.0
        t_x, age = t_x / scale, age / scale

        log_parameters = _maximise(lambda theta: _bg_log_likelihood(theta, x, t_x, age, weight), 4)
        self.r_, alpha, self.a_, self.b_ = np.exp(log_parameters).tolist()
        self.alpha_ = alpha * scale
        scaled, _ = _bg_log_likelihood(log_parameters, x, t_x, age, weight)
        # The likelihood is a density of purchase times: one factor 1/scale for each purchase.
        self.log_likelihood_ = float(scaled - weight @ x * np.log(scale))
        return self

    def probability_alive(self, frequency: npt.ArrayLike, recency: npt.ArrayLike, T: npt.ArrayLike) -> Floats:
        """P(still a customer at T), shape (n,); 1 for a customer without a repeat purchase."""
        check_is_fitted(self, "r_")
        x, t_x, age = _histories(frequency, recency, T)
        return self._alive(x, t_x, age)

    def probability_any_purchase(
        self, horizon_weeks: float, frequency: npt.ArrayLike, recency: npt.ArrayLike, T: npt.ArrayLike
    ) -> Floats:
        """P(at least one purchase in the `horizon_weeks` after T), shape (n,), in closed form.

        Who is alive at T buys next after an exponential time, and leaves no sooner. Raises ValueError
        for a negative horizon.
        """
        check_is_fitted(self, "r_")
        x, t_x, age = _histories(frequency, recency, T)
        reach = _horizon(horizon_weeks) / (self.alpha_ + age)
        return self._alive(x, t_x, age) * -np.expm1(-(self.r_ + x) * np.log1p(reach))

    def expected_purchases(
        self, horizon_weeks: float, frequency: npt.ArrayLike, recency: npt.ArrayLike, T: npt.ArrayLike
    ) -> Floats:
        """Expected purchase days in the `horizon_weeks` after T, shape (n,).

        Equation 10 of the paper, as an integral over the chance of leaving: its closed form (a Gaussian
        hypergeometric function) is undefined at a = 1 and loses all digits for thousands of purchases.
        Raises ValueError for a negative horizon.
        """
        check_is_fitted(self, "r_")
        x, t_x, age = _histories(frequency, recency, T)
        reach = _horizon(horizon_weeks) / (self.alpha_ + age)
        if_alive = np.empty_like(x)
        for members in pd.Series(x).groupby(x).indices.values():
            count = x[members[0]]
            distinct, inverse = np.unique(reach[members], return_inverse=True)
            total = np.zeros_like(distinct)
            for p, mass in zip(*_beta_rule(self.a_, self.b_ + count), strict=True):
                total += mass * -np.expm1(-(self.r_ + count) * np.log1p(p * distinct)) / p
            if_alive[members] = total[inverse]
        return self._alive(x, t_x, age) * if_alive

    def _alive(self, x: Floats, t_x: Floats, age: Floats) -> Floats:
        repeat = np.maximum(x, 1)
        log_odds_gone = (
            np.log(self.a_)
            - np.log(self.b_ + repeat - 1)
            + (self.r_ + x) * np.log((self.alpha_ + age) / (self.alpha_ + t_x))
        )
        return np.where(x > 0, expit(-log_odds_gone), 1.0)


class GammaGamma(BaseEstimator):
    """Gamma-Gamma: a customer's mean money per purchase day, shrunk to the population's.

    Fader & Hardie (2013), The Gamma-Gamma Model of Monetary Value, brucehardie.com/notes/025.

    Assumes money per purchase is gamma around the customer's own mean, that this mean does not depend
    on how often one buys, and that the population's mean exists (q > 1). `frequency` is the number of
    purchase days behind each mean and `monetary_value` that mean, in one currency.

    Learned: `p_`, `q_`, `v_` (currency), `log_likelihood_` without prior, and `n_customers_` used.
    """

    def fit(self, frequency: npt.ArrayLike, monetary_value: npt.ArrayLike) -> Self:
        """Learn from customers with a purchase and a positive mean; a gamma has no mass at zero.

        Raises ValueError when no such customer is there or values are not finite, RuntimeError when the
        optimiser finds no maximum.
        """
        x, m = _money(frequency, monetary_value)
        used = (x > 0) & (m > 0)
        x, m = x[used], m[used]
        if len(x) == 0:
            raise ValueError("Gamma-Gamma needs a customer with frequency > 0 and monetary_value > 0")
        scale = float(m.mean())
        theta = _maximise(lambda at: _gg_log_likelihood(at, x, m / scale), 3)
        self.p_, above_one, v = np.exp(theta).tolist()
        self.q_ = 1.0 + above_one
        self.v_ = v * scale
        scaled, _ = _gg_log_likelihood(theta, x, m / scale)
        self.log_likelihood_ = float(scaled - len(x) * np.log(scale))
        self.n_customers_ = len(x)
        return self

    def expected_value(self, frequency: npt.ArrayLike, monetary_value: npt.ArrayLike) -> Floats:
        """Expected money per future purchase day, shape (n,), in the currency of the fit.

        A customer with frequency 0 gets the population's mean; their monetary_value may be NaN.
        """
        check_is_fitted(self, "p_")
        x, m = _money(frequency, monetary_value)
        return self.p_ * (self.v_ + x * m) / (self.p_ * x + self.q_ - 1)


def _bg_log_likelihood(theta: Floats, x: Floats, t_x: Floats, age: Floats, weight: Floats) -> tuple[float, Floats]:
    """Log-likelihood (equation 6 of the paper) and its gradient in log(r, alpha, a, b)."""
    r, alpha, a, b = np.exp(theta)
    log_alive = -(r + x) * np.log(alpha + age)
    repeat = np.maximum(x, 1)
    log_gone = np.where(x > 0, np.log(a) - np.log(b + repeat - 1) - (r + x) * np.log(alpha + t_x), -np.inf)
    log_either = np.logaddexp(log_alive, log_gone)
    gone = np.exp(log_gone - log_either)
    each = (
        gammaln(r + x) - gammaln(r) + r * np.log(alpha)
        + gammaln(a + b) - gammaln(b) + gammaln(b + x) - gammaln(a + b + x) + log_either
    )  # fmt: skip
    stay = psi(a + b) - psi(a + b + x)
    by_r = psi(r + x) - psi(r) + np.log(alpha) - (1 - gone) * np.log(alpha + age) - gone * np.log(alpha + t_x)
    by_alpha = r / alpha - (r + x) * ((1 - gone) / (alpha + age) + gone / (alpha + t_x))
    by_a = stay + gone / a
    by_b = stay + psi(b + x) - psi(b) - gone / (b + repeat - 1)
    gradient = np.array([weight @ by_r * r, weight @ by_alpha * alpha, weight @ by_a * a, weight @ by_b * b])
    return float(weight @ each), gradient


def _gg_log_likelihood(theta: Floats, x: Floats, m: Floats) -> tuple[float, Floats]:
    """Log-likelihood (equation 1a of the note) and its gradient in log(p, q - 1, v)."""
    p, above_one, v = np.exp(theta)
    q = 1 + above_one
    px, total = p * x, v + x * m
    each = (
        gammaln(px + q) - gammaln(px) - gammaln(q) + q * np.log(v)
        + px * np.log(x) + (px - 1) * np.log(m) - (px + q) * np.log(total)
    )  # fmt: skip
    by_p = x * (psi(px + q) - psi(px) + np.log(x) + np.log(m) - np.log(total))
    by_q = psi(px + q) - psi(q) + np.log(v) - np.log(total)
    by_v = q / v - (px + q) / total
    return float(each.sum()), np.array([by_p.sum() * p, by_q.sum() * above_one, by_v.sum() * v])


def _maximise(likelihood: Callable[[Floats], tuple[float, Floats]], parameters: int) -> Floats:
    """Log-parameters at the maximum of likelihood times prior."""

    def loss(theta: Floats) -> tuple[float, Floats]:
        value, gradient = likelihood(theta)
        return -value + float(theta @ theta) / (2 * PRIOR_SD**2), -gradient + theta / PRIOR_SD**2

    found = minimize(
        loss,
        np.zeros(parameters),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-LOG_BOUND, LOG_BOUND)] * parameters,
        options={"maxiter": 2000, "maxfun": 5000, "ftol": 1e-13, "gtol": 1e-5},
    )
    # Status 2 is a line search at the limit of floating point: the point is as good as it gets.
    if found.status == 1 or not np.isfinite(found.fun):
        raise RuntimeError(f"no maximum of the likelihood found: {found.message}")
    return np.asarray(found.x, dtype=float)


def _beta_rule(a: float, b: float) -> tuple[Floats, Floats]:
    """Nodes in (0, 1) and masses summing to 1 of the Gauss-Jacobi rule for a Beta(a, b) variable.

    Golub & Welsch (1969) on the normalised weight, which stays finite where the plain one underflows.
    """
    n = np.arange(1, QUADRATURE_NODES, dtype=float)
    s = 2 * n + a + b - 2
    diagonal = np.empty(QUADRATURE_NODES)
    diagonal[0] = (a - b) / (a + b)
    diagonal[1:] = (a - b) * (a + b - 2) / (s * (s + 2))
    # The first off-diagonal term is the one where the general form is 0/0 at a + b = 1.
    square = np.empty(QUADRATURE_NODES - 1)
    square[0] = 4 * a * b / ((a + b) ** 2 * (a + b + 1))
    k, s_k = n[1:], s[1:]
    square[1:] = 4 * k * (k + a - 1) * (k + b - 1) * (k + a + b - 2) / (s_k**2 * (s_k + 1) * (s_k - 1))
    nodes, vectors = eigh_tridiagonal(diagonal, np.sqrt(square))
    tiny = np.finfo(float).tiny
    return np.clip((1 + nodes) / 2, tiny, 1.0), vectors[0] ** 2


def _histories(frequency: npt.ArrayLike, recency: npt.ArrayLike, T: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    x, t_x, age = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (frequency, recency, T))
    if not (x.ndim == 1 and x.shape == t_x.shape == age.shape):
        raise ValueError(
            "frequency, recency and T must be one-dimensional and of one length, "
            f"found shapes {x.shape}, {t_x.shape} and {age.shape}"
        )
    impossible = {
        "frequency must be a whole number >= 0": (x < 0) | (x != np.floor(x)) | ~np.isfinite(x),
        "T must be finite and >= 0": (age < 0) | ~np.isfinite(age),
        "recency must lie between 0 and T": ~((t_x >= 0) & (t_x <= age)),
        "recency must be 0 without a repeat purchase and above 0 with one": (x > 0) != (t_x > 0),
    }
    for rule, rows in impossible.items():
        if rows.any():
            i = int(np.flatnonzero(rows)[0])
            raise ValueError(
                f"{rule}; row {i} has frequency {x[i]:g}, recency {t_x[i]:g}, T {age[i]:g} "
                f"({int(rows.sum())} such rows)"
            )
    return x, t_x, age


def _money(frequency: npt.ArrayLike, monetary_value: npt.ArrayLike) -> tuple[Floats, Floats]:
    x, m = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (frequency, monetary_value))
    if not (x.ndim == 1 and x.shape == m.shape):
        raise ValueError(f"frequency and monetary_value differ in shape: {x.shape} and {m.shape}")
    bad = ~np.isfinite(x) | (x < 0) | ((x > 0) & ~(np.isfinite(m) & (m >= 0)))
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise ValueError(
            "frequency must be >= 0 and monetary_value a finite amount >= 0 where frequency > 0; "
            f"row {i} has frequency {x[i]:g}, monetary_value {m[i]:g} ({int(bad.sum())} such rows)"
        )
    return x, np.where(x > 0, m, 0.0)


def _horizon(weeks: float) -> float:
    if not (np.isfinite(weeks) and weeks >= 0):
        raise ValueError(f"horizon_weeks must be finite and >= 0, found {weeks}")
    return float(weeks)
