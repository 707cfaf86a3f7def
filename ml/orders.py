"""An order log as purchase days: what a customer bought by a day, and what they bought after it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class OrderLog:
    """Purchase days in order of customer and day; several orders of one customer on one day are one.

    `customers` are the ids, `code` the place of each row's customer among them, `day` days since
    1970-01-01, `spend` money per purchase day (None when unknown) and `lines` input rows per day.
    """

    customers: pd.Index
    code: npt.NDArray[np.intp]
    day: Integers
    spend: Floats | None
    lines: Floats

    @classmethod
    def of(cls, customer: pd.Series, day: pd.Series, amount: pd.Series | None = None) -> OrderLog:
        """From one row per order or order line: ids, local days (datetime64) and amounts in one currency.

        Raises ValueError when a value is missing or no row is there.
        """
        columns = {"customer": customer, "day": day} | ({} if amount is None else {"amount": amount})
        rows = pd.DataFrame({name: column.reset_index(drop=True) for name, column in columns.items()})
        if rows.empty:
            raise ValueError("the order log holds no row")
        unknown = rows.columns[rows.isna().any()].tolist()
        if unknown:
            raise ValueError(f"the order log has rows without {', '.join(unknown)}")
        days = rows["day"].to_numpy().astype("datetime64[D]").astype(np.int64)
        code, customers = pd.factorize(rows["customer"], sort=True)
        span = days.max() - days.min() + 1
        key = code.astype(np.int64) * span + (days - days.min())
        place, keys = pd.factorize(key, sort=True)
        lines = np.bincount(place).astype(np.float64)
        spend = None
        if amount is not None:
            spend = np.bincount(place, weights=rows["amount"].to_numpy(dtype=np.float64)).astype(np.float64)
        keys = np.asarray(keys)
        ids = pd.Index(customers, name="customer_id")
        return cls(ids, (keys // span).astype(np.intp), keys % span + days.min(), spend, lines)

    @property
    def first_day(self) -> int:
        """The first purchase day in the log."""
        return int(self.day.min())

    @property
    def last_day(self) -> int:
        """The last purchase day in the log."""
        return int(self.day.max())

    @cached_property
    def first_purchase(self) -> Integers:
        """The first purchase day of each customer, shape (customers,)."""
        starts = np.searchsorted(self.code, np.arange(len(self.customers)))
        return self.day[starts]

    def until(self, end: int) -> OrderLog:
        """The log as it was known at the end of the day `end`: later rows and customers are gone."""
        return self._of(np.flatnonzero(self.first_purchase <= end), self.day <= end)

    def sample(self, customers: int, seed: int = 0) -> OrderLog:
        """The rows of `customers` customers drawn at random; the log itself when it has no more."""
        if len(self.customers) <= customers:
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(len(self.customers), customers, replace=False))
        return self._of(chosen, np.isin(self.code, chosen))

    def _of(self, customers: npt.NDArray[np.intp], kept: npt.NDArray[np.bool_]) -> OrderLog:
        """The rows `kept`, all of which are of the `customers`, who are numbered anew."""
        place = np.full(len(self.customers), -1, dtype=np.intp)
        place[customers] = np.arange(len(customers))
        return OrderLog(
            self.customers[customers],
            place[self.code[kept]],
            self.day[kept],
            None if self.spend is None else self.spend[kept],
            self.lines[kept],
        )

    def histories(self, end: int) -> pd.DataFrame:
        """Per customer at the end of the day `end`: frequency, recency, T (weeks), and spend_per_day_all if known.

        For a log that `until(end)` gave. `spend_per_day_all` is the mean over *all* purchase days, 0 when
        refunds outweigh purchases.
        """
        count = np.bincount(self.code, minlength=len(self.customers))
        last = self.day[np.cumsum(count) - 1]
        frame = pd.DataFrame(
            {
                "frequency": count - 1.0,
                "recency": (last - self.first_purchase) / 7,
                "T": (end - self.first_purchase) / 7,
            },
            index=self.customers,
        )
        if self.spend is not None:
            total = np.bincount(self.code, weights=self.spend, minlength=len(count))
            frame["spend_per_day_all"] = np.maximum(total / count, 0.0)
        return frame

    def outcome(self, start: int, end: int) -> pd.DataFrame:
        """What each customer seen by `start` did in the days start + 1 .. end: purchases (days) and spend."""
        window = (self.day > start) & (self.day <= end)
        seen = self.first_purchase <= start
        code = self.code[window]
        frame = pd.DataFrame(
            {"purchases": np.bincount(code, minlength=len(self.customers)).astype(np.float64)}, index=self.customers
        )
        if self.spend is not None:
            frame["spend"] = np.bincount(code, weights=self.spend[window], minlength=len(self.customers))
        return frame[seen]
