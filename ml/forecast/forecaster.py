"""One automatic forecaster of a customer base: BTYD models, and what rolling origins say of their error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ml.forecast.base import BtydMean, shifted_to
from ml.forecast.features import shape_features
from ml.forecast.learners import OffsetGLM, OffsetTrees
from ml.forecast.money import MoneyTrees, gamma_gamma, gamma_gamma_columns
from ml.forecast.origins import Trial, trials, windows
from ml.forecast.quantiles import HurdleQuantiles
from ml.forecast.simulation import from_distribution
from ml.orders import OrderLog

Floats = npt.NDArray[np.float64]

FEWEST_CUSTOMERS, FEWEST_REPEAT_BUYERS = 50, 20
# Below this many repeat buyers, in all and at an origin, a correction would be noise.
FEWEST_TO_LEARN, FEWEST_AT_ORIGIN = 200, 100
SHRINK_REPEAT_BUYERS = 400
TRAINING_ROWS = 400_000
FOLDS = 3
INTERVAL = (0.1, 0.9)
LEVEL_BELIEVED = 0.5
# Half of the base's total is kept: who is long gone may be more of the base than at the origins.
TOTAL_KEPT = 0.5
FEWEST_PAYING = 100

Learners = tuple[OffsetGLM, OffsetTrees]


class TooFewCustomers(ValueError):
    """The log says too little about its customers for any forecast to be honest."""


class CustomerBaseForecaster(BaseEstimator):
    """P(purchase), purchases and spend of every customer over one horizon, from an order log alone.

    The base is the mean of BG/NBD, MBG/NBD and Pareto/NBD (log of counts, logit of chances). At rolling
    origins inside the log, learners see how the base's *shape* erred (which customers it took for too
    good), not its total: ridge Poisson and logistic regressions and boosted trees, with the base as
    offset. They are believed the more, the more repeat buyers there are. The total moves half-way to what
    the origins showed; the level of the future cannot be known from the past. Money per purchase day is
    Gamma-Gamma on all orders with half a correction by trees. Medians and 80 % intervals are a hurdle
    for buying at all and quantiles of what active customers did at the origins.

    With few repeat buyers, or a log too short for an origin, it is the BTYD mean alone, and intervals
    come from its distribution (`learned_` is False); `reason_` says why.

    Learned: `base_`, `money_` (None without amounts), `learned_`, `reason_`, `n_customers_`,
    `n_repeat_buyers_`, `windows_` (origin day, horizon days).
    """

    def __init__(
        self, horizon_days: int, seed: int = 0, progress: Callable[[str, int, int], None] | None = None
    ) -> None:
        self.horizon_days = horizon_days
        self.seed = seed
        self.progress = progress

    def fit(self, log: OrderLog, end: int) -> Self:
        """Learn from rows up to the end of the day `end` (days since 1970-01-01); later rows are not looked at.

        Raises `TooFewCustomers` with fewer than 50 customers or 20 repeat buyers, ValueError for a horizon
        below a day or a log that begins after `end`.
        """
        if self.horizon_days < 1:
            raise ValueError(f"horizon_days must be at least 1, found {self.horizon_days}")
        if log.first_day > end:
            raise ValueError(f"the log begins on {_date(log.first_day)}, after the end {_date(end)}")
        seen = log.until(end)
        histories = seen.histories(end)
        repeat_buyers = int((histories["frequency"] > 0).sum())
        if len(histories) < FEWEST_CUSTOMERS or repeat_buyers < FEWEST_REPEAT_BUYERS:
            raise TooFewCustomers(
                f"not enough data: {len(histories)} customers, {repeat_buyers} of them with a second purchase day, "
                f"by {_date(end)}; at least {FEWEST_CUSTOMERS} customers and {FEWEST_REPEAT_BUYERS} with a second "
                "purchase day are needed. Take a longer log or a later calibration end."
            )
        self.n_customers_, self.n_repeat_buyers_ = len(histories), repeat_buyers
        self._tell("models of purchases", 0, 1)
        self.base_ = BtydMean().fit(histories)
        money = seen.spend is not None and bool((histories["spend_per_day_all"] > 0).any())
        self.money_ = gamma_gamma(histories) if money else None
        self.windows_ = windows(seen.first_day, end, self.horizon_days)
        self.learned_, self.reason_ = False, self._why_not(repeat_buyers)
        if self.reason_ is None:
            self._learn(seen)
        return self

    def predict(self, log: OrderLog, end: int) -> pd.DataFrame:
        """The forecast for the `horizon_days` after the day `end`, one row per customer seen by then.

        Totals are kept over the customers of `log`: give it the whole base, not a part. Index: customer ids.
        Columns: p_purchase (0..1), expected_purchases and median_purchases (purchase days), and, with amounts,
        expected_spend, median_spend, spend_low, spend_high (80 % interval) in the log's currency. Means and
        medians differ: judge a mean by its total and squared error, a median by its absolute error. Nothing
        is fitted again; rows after `end` are not looked at.
        """
        check_is_fitted(self, "base_")
        seen = log.until(end)
        histories = seen.histories(end)
        log_count, log_odds = self.base_.predict(histories, self.horizon_days / 7)
        value = None if self.money_ is None else self.money_.expected_value(gamma_gamma_columns(histories))
        if not self.learned_:
            return self._from_distribution(histories, np.exp(log_count), expit(log_odds), value)
        values = _inputs(shape_features(seen, end), log_count, log_odds, self.horizon_days)
        total, chances = np.exp(log_count).sum(), expit(log_odds).sum()
        log_count, log_odds = self._corrected(self.count_, self.chance_, values, log_count, log_odds)
        log_count += TOTAL_KEPT * (np.log(total) - np.log(np.exp(log_count).sum())) + self.level_
        log_odds += TOTAL_KEPT * shifted_to(chances, log_odds) + self.odds_level_
        expected, chance = _consistent(np.exp(log_count), expit(log_odds))
        if value is not None and self.money_trees_ is not None:
            value = value * self.money_trees_.correction(values)
        return self._from_quantiles(histories, expected, chance, value)

    def _why_not(self, repeat_buyers: int) -> str | None:
        if repeat_buyers < FEWEST_TO_LEARN:
            return f"only {repeat_buyers} customers bought on a second day; {FEWEST_TO_LEARN} are needed"
        if not self.windows_:
            return "the log is too short to try a forecast inside it"
        return None

    def _learn(self, seen: OrderLog) -> None:
        sample = seen.sample(TRAINING_ROWS // len(self.windows_), self.seed)
        done: list[Trial] = []
        for trial in trials(sample, self.windows_):
            done.append(trial)
            self._tell("trials at past origins", len(done), len(self.windows_))
        done = [t for t in done if (t.histories["frequency"] > 0).sum() >= FEWEST_AT_ORIGIN]
        if not done:
            self.reason_ = (
                "at no past origin were there enough repeat buyers, some of whom bought again and some did not"
            )
            return
        rows = _Rows.of(done)
        self.shrink_ = self.n_repeat_buyers_ / (self.n_repeat_buyers_ + SHRINK_REPEAT_BUYERS)
        self.level_ = _believed([t.level for t in done])
        self.odds_level_ = _believed([t.odds_level for t in done])

        expected, chance, value = np.empty(len(rows.purchases)), np.empty(len(rows.purchases)), rows.value
        fold = np.random.default_rng(self.seed).integers(0, FOLDS, rows.customer.max() + 1)[rows.customer]
        held_out_value = None if value is None else value.copy()
        for k in range(FOLDS):
            self._tell("learning what the models miss", k, FOLDS + 1)
            train, test = fold != k, fold == k
            count, chance_learners, trees = self._fit_learners(rows, train)
            log_count, log_odds = self._corrected(
                count, chance_learners, rows.inputs[test], rows.log_count[test], rows.log_odds[test]
            )
            expected[test], chance[test] = _consistent(np.exp(log_count), expit(log_odds))
            if held_out_value is not None and trees is not None:
                held_out_value[test] *= trees.correction(rows.inputs[test])
        self._tell("learning what the models miss", FOLDS, FOLDS + 1)
        self.count_, self.chance_, self.money_trees_ = self._fit_learners(rows, np.ones(len(fold), dtype=bool))

        active = rows.purchases > 0
        if_active = expected / chance
        self.count_quantiles_ = HurdleQuantiles().fit(if_active[active], rows.purchases[active], if_active[active])
        self.spend_quantiles_ = None
        if held_out_value is not None and rows.spend is not None and (rows.spend > 0).sum() >= FEWEST_PAYING:
            paid = rows.spend > 0
            self.spend_quantiles_ = HurdleQuantiles().fit(
                (if_active * held_out_value)[paid], rows.spend[paid], if_active[paid]
            )
        self.learned_ = True

    def _fit_learners(self, rows: _Rows, train: npt.NDArray[np.bool_]) -> tuple[Learners, Learners, MoneyTrees | None]:
        values = rows.inputs[train]
        bought = rows.purchases[train]
        count: Learners = (
            OffsetGLM("count").fit(values, bought, rows.log_count[train]),
            OffsetTrees("count", self.seed).fit(values, bought, rows.log_count[train]),
        )
        chance: Learners = (
            OffsetGLM("chance").fit(values, np.sign(bought), rows.log_odds[train]),
            OffsetTrees("chance", self.seed).fit(values, np.sign(bought), rows.log_odds[train]),
        )
        if rows.value is None or rows.spend is None:
            return count, chance, None
        paid = train & (rows.spend > 0) & (rows.value > 0)
        if paid.sum() < FEWEST_PAYING:
            return count, chance, None
        money = MoneyTrees(self.seed).fit(rows.inputs[paid], rows.value[paid], rows.spend[paid], rows.purchases[paid])
        return count, chance, money

    def _corrected(
        self, count: Learners, chance: Learners, values: Floats, log_count: Floats, log_odds: Floats
    ) -> tuple[Floats, Floats]:
        by_count = np.mean([learner.correction(values) for learner in count], axis=0)
        by_chance = np.mean([learner.correction(values) for learner in chance], axis=0)
        return log_count + self.shrink_ * by_count, log_odds + self.shrink_ * by_chance

    def _from_quantiles(
        self, histories: pd.DataFrame, expected: Floats, chance: Floats, value: Floats | None
    ) -> pd.DataFrame:
        if_active = expected / chance
        median = np.rint(self.count_quantiles_.predict(0.5, chance, if_active, if_active))
        columns = {"p_purchase": chance, "expected_purchases": expected, "median_purchases": median}
        if value is None:
            return pd.DataFrame(columns, index=histories.index)
        columns["expected_spend"] = expected * value
        if self.spend_quantiles_ is None:
            # Hardly anybody paid at the origins: the models' own distribution is all there is.
            columns |= {name: end for name, end in self._simulated(histories, expected).items() if "spend" in name}
        else:
            for name, level in (("median_spend", 0.5), ("spend_low", INTERVAL[0]), ("spend_high", INTERVAL[1])):
                columns[name] = self.spend_quantiles_.predict(level, chance, if_active * value, if_active)
        return pd.DataFrame(columns, index=histories.index)

    def _from_distribution(
        self, histories: pd.DataFrame, expected: Floats, chance: Floats, value: Floats | None
    ) -> pd.DataFrame:
        """What the BTYD and Gamma-Gamma models alone say."""
        expected, chance = _consistent(expected, chance)
        columns = {
            "p_purchase": chance,
            "expected_purchases": expected,
            **self._simulated(histories, expected),
        }
        if value is not None:
            columns["expected_spend"] = expected * value
        return pd.DataFrame(columns, index=histories.index)

    def _simulated(self, histories: pd.DataFrame, expected: Floats) -> dict[str, Floats]:
        weeks = self.horizon_days / 7
        money = None if self.money_ is None else (self.money_, gamma_gamma_columns(histories))
        return from_distribution(
            lambda rows, most: self.base_.purchase_distribution(rows, weeks, most),
            histories,
            expected,
            self.horizon_days,
            money,
            seed=self.seed,
        )

    def _tell(self, what: str, done: int, of: int) -> None:
        if self.progress is not None:
            self.progress(what, done, of)


@dataclass(frozen=True)
class _Rows:
    """All trials as one table: one row per trial and customer."""

    inputs: Floats
    customer: npt.NDArray[np.intp]
    log_count: Floats
    log_odds: Floats
    purchases: Floats
    spend: Floats | None
    value: Floats | None

    @classmethod
    def of(cls, done: list[Trial]) -> _Rows:
        customer, _ = pd.factorize(np.concatenate([t.histories.index.to_numpy() for t in done]))
        spend = [t.spend for t in done if t.spend is not None]
        money = bool(spend) and all((t.histories["spend_per_day_all"] > 0).any() for t in done)
        values = [gamma_gamma(t.histories).expected_value(gamma_gamma_columns(t.histories)) for t in done if money]
        return cls(
            np.vstack([_inputs(t.features, t.log_count, t.log_odds, t.horizon_days) for t in done]),
            customer,
            np.concatenate([t.log_count for t in done]),
            np.concatenate([t.log_odds for t in done]),
            np.concatenate([t.purchases for t in done]),
            np.concatenate(spend) if money else None,
            np.concatenate(values) if money else None,
        )


def _inputs(features: pd.DataFrame, log_count: Floats, log_odds: Floats, horizon_days: int) -> Floats:
    weeks = np.full(len(features), np.log(horizon_days / 7))
    return np.column_stack([features.to_numpy(dtype=np.float64), log_count - weeks, log_odds, weeks])


def _believed(levels: list[float]) -> float:
    """Half of what the origins showed of the level, and less the more they disagree among themselves."""
    mean, variance = float(np.mean(levels)), float(np.var(levels, ddof=1)) if len(levels) > 1 else np.inf
    return LEVEL_BELIEVED * mean * (mean**2 / (mean**2 + variance)) if mean else 0.0


def _consistent(expected: Floats, chance: Floats) -> tuple[Floats, Floats]:
    """Nobody can be likelier to buy than they are expected to buy times."""
    chance = np.clip(chance, 1e-9, 1 - 1e-9)
    return np.maximum(expected, chance), chance


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))
