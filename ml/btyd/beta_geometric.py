"""BG/NBD and MBG/NBD: a chance of leaving after each purchase."""

from typing import ClassVar

import numpy as np
from scipy.special import betainc, betaln, expit, gammaln, psi

from ml.btyd.estimator import PurchaseModel
from ml.btyd.histories import Floats, Histories, distinct_counts
from ml.btyd.maximum import Likelihood
from ml.btyd.quadrature import beta_rule


class BetaGeometric(PurchaseModel):
    """BG/NBD: Poisson purchases with gamma rates, and a beta chance of leaving after each repeat purchase.

    Fader, Hardie & Lee (2005), "Counting Your Customers" the Easy Way, Marketing Science 24(2).

    Assumes rate and leaving are independent, constant over time, and that one leaves only just after a
    repeat purchase: a customer without one counts as alive.

    Learned: `r_`, `alpha_` (rates; alpha in weeks), `a_`, `b_` (leaving); see `PurchaseModel` for the rest.
    """

    names = ("r", "alpha", "a", "b")
    times = ("alpha",)
    first_purchase_counts: ClassVar[int] = 0
    """1 when one may leave after the first purchase too."""

    r_: float
    alpha_: float
    a_: float
    b_: float

    def _likelihood(self, of: Histories) -> Likelihood:
        """Equation 6 of the paper, with n = x chances to leave (x + 1 for MBG/NBD)."""
        x, t_x, age, weight = of.x, of.t_x, of.age, of.weight
        counts, place = distinct_counts(x)
        chances = counts + self.first_purchase_counts
        customers = np.bincount(place, weights=weight)
        at_last = np.maximum(chances, 1) - 1
        may_leave = chances[place] > 0

        def log_likelihood(theta: Floats) -> tuple[float, Floats]:
            r, alpha, a, b = np.exp(theta)
            rate = (r + counts)[place]
            log_t, log_age = np.log(alpha + t_x), np.log(alpha + age)
            # log odds of having left just after the last purchase, against being alive
            odds = np.where(may_leave, (np.log(a) - np.log(b + at_last))[place] + rate * (log_age - log_t), -np.inf)
            # log(1 + e^odds) and the chance of having left from one exponential, which cannot overflow
            tail = np.exp(-np.abs(odds))
            gone = np.where(odds > 0, 1.0, tail) / (1 + tail)
            log_either = np.log1p(tail) + np.maximum(odds, 0)
            by_count = (
                gammaln(r + counts) - gammaln(r) + r * np.log(alpha) + betaln(a, b + chances) - betaln(a, b)
            )  # fmt: skip
            value = customers @ by_count + weight @ (log_either - rate * log_age)
            log_mean = log_age - gone * (log_age - log_t)
            stay = psi(a + b) - psi(a + b + chances)
            gone_by_count = np.bincount(place, weights=weight * gone)
            by_r = customers @ (psi(r + counts) - psi(r) + np.log(alpha)) - weight @ log_mean
            by_alpha = (
                customers.sum() * r / alpha - (weight * rate) @ ((1 - gone) / (alpha + age) + gone / (alpha + t_x))
            )  # fmt: skip
            by_a = customers @ stay + gone_by_count.sum() / a
            by_b = customers @ (stay + psi(b + chances) - psi(b)) - gone_by_count @ (1 / (b + at_last))
            return float(value), np.array([by_r * r, by_alpha * alpha, by_a * a, by_b * b])

        return log_likelihood

    def _alive(self, of: Histories) -> Floats:
        chances = of.x + self.first_purchase_counts
        odds_gone = (
            np.log(self.a_)
            - np.log(self.b_ + np.maximum(chances, 1) - 1)
            + (self.r_ + of.x) * (np.log(self.alpha_ + of.age) - np.log(self.alpha_ + of.t_x))
        )
        return np.where(chances > 0, expit(-odds_gone), 1.0)

    def _any_if_alive(self, of: Histories, horizon: float) -> Floats:
        # Who is alive at T buys next after an exponential time, and leaves no sooner.
        return -np.expm1(-(self.r_ + of.x) * np.log1p(horizon / (self.alpha_ + of.age)))

    def _expected_if_alive(self, of: Histories, horizon: float) -> Floats:
        """Equation 10 of the paper, as an integral over the chance of leaving.

        Its closed form (a Gaussian hypergeometric function) is undefined at a = 1 and loses all digits for
        thousands of purchases.
        """
        reach = horizon / (self.alpha_ + of.age)
        expected = np.empty_like(of.x)
        counts, place = distinct_counts(of.x)
        order = np.argsort(place, kind="stable")
        for count, members in zip(counts, np.split(order, np.cumsum(np.bincount(place))[:-1]), strict=True):
            distinct, inverse = np.unique(reach[members], return_inverse=True)
            p, mass = beta_rule(self.a_, self.b_ + count + self.first_purchase_counts)
            bought = -np.expm1(-(self.r_ + count) * np.log1p(np.outer(distinct, p)))
            expected[members] = (bought @ (mass / p))[inverse]
        return expected

    def _distribution_if_alive(self, of: Histories, horizon: float, most: int) -> Floats:
        """Equation 8 of the paper, with the parameters that a history has moved."""
        rate, leave, stay = self.r_ + of.x, self.a_, self.b_ + of.x + self.first_purchase_counts
        share = horizon / (self.alpha_ + of.age + horizon)
        mass = np.empty((len(of.x), most + 1))
        log_never_left, log_pmf = np.zeros_like(of.x), rate * np.log1p(-share)
        with np.errstate(divide="ignore"):
            log_share = np.log(share)
        for k in range(most + 1):
            mass[:, k] = np.exp(log_never_left + log_pmf)
            if k:
                left_here = np.exp(betaln(leave + 1, stay + k - 1) - betaln(leave, stay))
                mass[:, k] += left_here * betainc(k, rate, share)
            log_never_left = log_never_left + np.log(stay + k) - np.log(leave + stay + k)
            log_pmf = log_pmf + np.log(rate + k) - np.log(k + 1) + log_share
        return mass


class ModifiedBetaGeometric(BetaGeometric):
    """MBG/NBD: as BG/NBD, but one may leave after the first purchase as well.

    Batislam, Denizel & Filiztekin (2007), International Journal of Research in Marketing 24(3);
    Hoppe & Wagner (2007), Marketing ZFP 29(2). A customer without a repeat purchase may be gone.

    Learned: as `BetaGeometric`.
    """

    first_purchase_counts = 1
