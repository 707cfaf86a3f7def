"""Pareto/NBD: customers who leave at any time, bought lately or not."""

import numpy as np
from scipy.special import gammaln, psi

from ml.btyd.estimator import PurchaseModel
from ml.btyd.histories import Floats, Histories, distinct_counts
from ml.btyd.maximum import Likelihood
from ml.btyd.quadrature import decay_rule

# Rows whose quadrature fits the processor's cache.
CHUNK = 4096
DISTRIBUTION_NODES = 64


class ParetoNBD(PurchaseModel):
    """Pareto/NBD: Poisson purchases with gamma rates, and exponential lifetimes with gamma rates.

    Schmittlein, Morrison & Colombo (1987), Management Science 33(1); likelihood as in Fader & Hardie
    (2005), brucehardie.com/notes/009. The integral over the moment of leaving is done by quadrature with
    its exact gradient, where the hypergeometric form has none and overflows.

    Where hardly anybody leaves, only the ratio s / beta is known: compare predictions, not parameters.

    Learned: `r_`, `alpha_` (purchase rates), `s_`, `beta_` (leaving); alpha and beta in weeks.
    """

    names = ("r", "alpha", "s", "beta")
    times = ("alpha", "beta")

    r_: float
    alpha_: float
    s_: float
    beta_: float

    def _likelihood(self, of: Histories) -> Likelihood:
        counts, place = distinct_counts(of.x)
        customers = np.bincount(place, weights=of.weight)
        chunks = [slice(start, start + CHUNK) for start in range(0, len(of.x), CHUNK)]

        def log_likelihood(theta: Floats) -> tuple[float, Floats]:
            r, alpha, s, beta = np.exp(theta)
            value = customers @ (gammaln(r + counts) - gammaln(r) + r * np.log(alpha) + s * np.log(beta))
            total = customers.sum()
            gradient = np.array(
                [
                    customers @ (psi(r + counts) - psi(r)) + total * np.log(alpha),
                    total * r / alpha,
                    total * np.log(beta),
                    total * s / beta,
                ]
            )
            for part in chunks:
                rows, by_rows = _either(theta, of.x[part], of.t_x[part], of.age[part])
                value += of.weight[part] @ rows
                gradient += of.weight[part] @ by_rows
            return float(value), gradient * np.exp(theta)

        return log_likelihood

    def _alive(self, of: Histories) -> Floats:
        rate, window = self.r_ + of.x, of.age - of.t_x
        a, b = self.alpha_ + of.t_x, self.beta_ + of.t_x
        left = _leaving(rate, a, self.s_, b, window)
        survived = np.exp(-rate * np.log1p(window / a) - self.s_ * np.log1p(window / b))
        return survived / (survived + left)

    def _any_if_alive(self, of: Histories, horizon: float) -> Floats:
        rate, a, b = self.r_ + of.x, self.alpha_ + of.age, self.beta_ + of.age
        # The first purchase falls at t if the customer is there at t: the mirror image of leaving at t.
        return np.minimum(_leaving(self.s_, b, rate, a, np.full_like(a, horizon)), 1.0)

    def _expected_if_alive(self, of: Histories, horizon: float) -> Floats:
        """Equation 41 of the note, with its limit at s = 1."""
        b = self.beta_ + of.age
        log_growth, above_one = np.log1p(horizon / b), self.s_ - 1
        stay = log_growth if above_one == 0 else -np.expm1(-above_one * log_growth) / above_one
        return (self.r_ + of.x) / (self.alpha_ + of.age) * b * stay

    def _distribution_if_alive(self, of: Histories, horizon: float, most: int) -> Floats:
        rate, a, b = self.r_ + of.x, self.alpha_ + of.age, self.beta_ + of.age
        window = np.full_like(a, horizon)
        time, mass = decay_rule((rate + 1) / a + (self.s_ + 1) / b, window, DISTRIBUTION_NODES)
        leaving = mass * self.s_ / b[:, None] * np.exp(-(self.s_ + 1) * np.log1p(time / b[:, None]))
        moments = np.column_stack([time, window])
        weight = np.column_stack([leaving, np.exp(-self.s_ * np.log1p(window / b))])
        with np.errstate(divide="ignore"):
            log_share = np.log(moments) - np.log(moments + a[:, None])
        log_pmf = -rate[:, None] * np.log1p(moments / a[:, None])
        masses = np.empty((len(a), most + 1))
        for k in range(most + 1):
            masses[:, k] = (weight * np.exp(log_pmf)).sum(axis=1)
            log_pmf = log_pmf + np.log(rate + k)[:, None] - np.log(k + 1) + log_share
        return masses


def _leaving(rate: Floats | float, a: Floats, s: Floats | float, b: Floats, window: Floats) -> Floats:
    """The integral over t in 0..window of s/b (1 + t/b)^-(s+1) (1 + t/a)^-rate, shape (n,)."""
    total = np.empty_like(a)
    rate, s = np.broadcast_to(rate, a.shape), np.broadcast_to(s, a.shape)
    for start in range(0, len(a), CHUNK):
        part = slice(start, start + CHUNK)
        time, mass = decay_rule((rate[part] + 1) / a[part] + (s[part] + 1) / b[part], window[part])
        power = rate[part, None] * np.log1p(time / a[part, None]) + (s[part, None] + 1) * np.log1p(time / b[part, None])
        total[part] = s[part] / b[part] * (mass * np.exp(-power)).sum(axis=1)
    return total


def _either(theta: Floats, x: Floats, t_x: Floats, age: Floats) -> tuple[Floats, Floats]:
    """Log of (alive at T) plus (left between t_x and T), and its gradient in (r, alpha, s, beta), (n, 4).

    Without the factors of x, alpha and beta alone.
    """
    r, alpha, s, beta = np.exp(theta)
    rate, window, a, b = r + x, age - t_x, alpha + t_x, beta + t_x
    time, mass = decay_rule((rate + 1) / a + (s + 1) / b, window)
    log_a, log_b = np.log1p(time / a[:, None]), np.log1p(time / b[:, None])
    left = mass * np.exp(-rate[:, None] * log_a - (s + 1) * log_b) * (s / b)[:, None]
    end_a, end_b = np.log1p(window / a), np.log1p(window / b)
    alive = np.exp(-rate * end_a - s * end_b)
    total = alive + left.sum(axis=1)
    # Each term is exp(-rate log(alpha + t) - s log(beta + t)); for leaving, times s / (beta + t).
    share, gone = alive / total, left / total[:, None]
    inverse_a, inverse_b = 1 / (a[:, None] + time), 1 / (b[:, None] + time)
    left_share = gone.sum(axis=1)
    by_r = -np.log(a) - share * end_a - (gone * log_a).sum(axis=1)
    by_alpha = -rate * (share / (alpha + age) + (gone * inverse_a).sum(axis=1))
    by_s = -np.log(b) - share * end_b - (gone * log_b).sum(axis=1) + left_share / s
    by_beta = -s * share / (beta + age) - (s + 1) * (gone * inverse_b).sum(axis=1)
    value = np.log(total) - rate * np.log(a) - s * np.log(b)
    return value, np.column_stack([by_r, by_alpha, by_s, by_beta])
