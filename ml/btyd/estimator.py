"""What BG/NBD, MBG/NBD and Pareto/NBD share: fitting on merged histories, and predicting on them."""

from abc import abstractmethod
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ml.btyd.histories import Floats, Histories, checked_horizon
from ml.btyd.maximum import Likelihood, information, maximise, standard_errors

# The full fit starts where this many customers lead, with their curvature.
PILOT_CUSTOMERS = 20_000
# About the information that one CDNOW customer carries about log r.
PRIOR_SD = 3.0


class PurchaseModel(BaseEstimator):
    """A model of purchase days over `frequency`, `recency` and `T`, scikit-learn style.

    Every method takes a DataFrame with columns frequency (repeat purchase days), recency (first to last
    purchase day) and T (first purchase day to cut-off), both in weeks; any other unit works if the
    horizon is in it too. Customers with equal histories are merged, in fitting and in predicting.

    Learned: one attribute per parameter, `parameters_` and `standard_errors_` (pandas Series by name;
    observed information under the prior), `log_likelihood_` (without prior), `n_customers_`.

    `prior_sd` is the standard deviation of the normal prior on the logarithm of each parameter, with time
    in units of the mean T; it keeps a parameter finite that the data say nothing about. With infinity the
    estimate is plain maximum likelihood.
    """

    names: ClassVar[tuple[str, ...]]
    """The parameters in order."""
    times: ClassVar[tuple[str, ...]]
    """Those that are measured in weeks."""

    def __init__(self, prior_sd: float = PRIOR_SD) -> None:
        self.prior_sd = prior_sd

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Maximise the likelihood under a prior worth one customer; `y` is there for scikit-learn only.

        Raises ValueError as `Histories.of`, or without a customer; RuntimeError when no maximum is found.
        """
        return self.fit_merged(Histories.of(X))

    def fit_merged(self, histories: Histories) -> Self:
        """As `fit`, on histories that are merged already."""
        if len(histories.x) == 0:
            raise ValueError(f"{type(self).__name__} needs at least one customer, found none")
        mean_age = float(np.average(histories.age, weights=histories.weight))
        # Time in units of the mean T: every parameter is then of order one.
        scale = mean_age if mean_age > 0 else 1.0
        start, curvature = np.zeros(len(self.names)), None
        if histories.customers > 2 * PILOT_CUSTOMERS:
            pilot = self._likelihood(_scaled(histories.sample(PILOT_CUSTOMERS), scale))
            start = maximise(pilot, start, self.prior_sd)
            curvature = information(pilot, start, self.prior_sd)[1] * (histories.customers / PILOT_CUSTOMERS)
        likelihood = self._likelihood(_scaled(histories, scale))
        theta = maximise(likelihood, start, self.prior_sd, curvature)
        units = np.array([scale if name in self.times else 1.0 for name in self.names])
        self.parameters_ = pd.Series(np.exp(theta) * units, index=list(self.names))
        for name, value in self.parameters_.items():
            setattr(self, f"{name}_", float(value))
        value, curvature = information(likelihood, theta, self.prior_sd)
        self.standard_errors_ = self.parameters_ * standard_errors(curvature)
        # The likelihood is a density of purchase times: one factor 1/scale for each purchase.
        self.log_likelihood_ = value - float(histories.weight @ histories.x) * float(np.log(scale))
        self.n_customers_ = histories.customers
        return self

    def score(self, X: pd.DataFrame, y: object = None) -> float:
        """Mean log likelihood of the customers in X, in nats; higher is better."""
        check_is_fitted(self, "parameters_")
        merged = Histories.of(X)
        value, _ = self._likelihood(merged)(np.log(self.parameters_.to_numpy()))
        return value / merged.customers

    def probability_alive(self, X: pd.DataFrame) -> Floats:
        """P(still a customer at T), shape (n,)."""
        merged = self._fitted(X)
        return self._alive(merged)[merged.member]

    def probability_any_purchase(self, X: pd.DataFrame, horizon_weeks: float) -> Floats:
        """P(at least one purchase day in the `horizon_weeks` after T), shape (n,). ValueError if negative."""
        merged = self._fitted(X)
        horizon = checked_horizon(horizon_weeks)
        return (self._alive(merged) * self._any_if_alive(merged, horizon))[merged.member]

    def expected_purchases(self, X: pd.DataFrame, horizon_weeks: float) -> Floats:
        """Expected purchase days in the `horizon_weeks` after T, shape (n,). ValueError if negative."""
        merged = self._fitted(X)
        horizon = checked_horizon(horizon_weeks)
        return (self._alive(merged) * self._expected_if_alive(merged, horizon))[merged.member]

    def purchase_distribution(self, X: pd.DataFrame, horizon_weeks: float, most: int) -> Floats:
        """P(exactly k purchase days in the `horizon_weeks` after T) for k = 0..most, shape (n, most + 1).

        Rows sum to P(at most `most`). Raises ValueError for a negative horizon or `most`.
        """
        merged = self._fitted(X)
        if most < 0:
            raise ValueError(f"most must be >= 0, found {most}")
        mass = self._alive(merged)[:, None] * self._distribution_if_alive(merged, checked_horizon(horizon_weeks), most)
        mass[:, 0] += 1 - self._alive(merged)
        return mass[merged.member]

    def _fitted(self, X: pd.DataFrame) -> Histories:
        check_is_fitted(self, "parameters_")
        return Histories.of(X)

    @abstractmethod
    def _likelihood(self, of: Histories) -> Likelihood:
        """The log likelihood of the log-parameters, with its gradient."""

    @abstractmethod
    def _alive(self, of: Histories) -> Floats: ...

    @abstractmethod
    def _any_if_alive(self, of: Histories, horizon: float) -> Floats: ...

    @abstractmethod
    def _expected_if_alive(self, of: Histories, horizon: float) -> Floats: ...

    @abstractmethod
    def _distribution_if_alive(self, of: Histories, horizon: float, most: int) -> Floats: ...


def _scaled(of: Histories, scale: float) -> Histories:
    return Histories(of.x, of.t_x / scale, of.age / scale, of.weight, of.member)
