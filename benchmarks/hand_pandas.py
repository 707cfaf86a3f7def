"""customer_features as somebody would write it by hand in pandas, on the files of the same tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from benchmarks.task import WINDOWS, Task


def from_customer_days(task: Task, folder: Path) -> None:
    """Features a snapshot at a time; money as floats, which pandas has no decimals for."""
    days = _frame(
        task.files["customer_days"],
        ["key_space", "customer_key", "local_date", "orders", "net", "currency", "known_at", "superseded_at"],
    )
    xref = _frame(task.files["customer_xref"], ["key_space", "customer_key", "customer_id", "valid_from", "valid_to"])
    folder.mkdir(parents=True)
    for day, cutoff in task.cutoffs.items():
        features = _pandas_snapshot(days, xref, pd.Timestamp(day), pd.Timestamp(cutoff))
        features.to_parquet(folder / f"{day}.parquet", compression="zstd", index=False)


def _frame(files: Sequence[str], columns: list[str]) -> pd.DataFrame:
    table = pq.read_table(list(files), columns=columns, partitioning=None)
    if "net" in columns:
        table = table.set_column(table.column_names.index("net"), "net", table["net"].cast("float64"))
    return table.to_pandas(date_as_object=False)


def _pandas_snapshot(days: pd.DataFrame, xref: pd.DataFrame, day: pd.Timestamp, cutoff: pd.Timestamp) -> pd.DataFrame:
    seen = days[
        (days.local_date < day)
        & (days.known_at <= cutoff)
        & (days.superseded_at.isna() | (days.superseded_at > cutoff))
    ]
    held = xref[
        (xref.valid_from.isna() | (xref.valid_from <= cutoff)) & (xref.valid_to.isna() | (xref.valid_to > cutoff))
    ]
    seen = seen.merge(held[["key_space", "customer_key", "customer_id"]], on=["key_space", "customer_key"])
    seen = seen.groupby(["customer_id", "local_date"], sort=False, as_index=False).agg(
        orders=("orders", "sum"), net=("net", "sum"), currency=("currency", "min"), other_currency=("currency", "max")
    )
    bought = seen[seen.orders > 0]
    by_customer = bought.groupby("customer_id", sort=False).local_date
    out = by_customer.agg(first_purchase="min", last_purchase="max", purchase_days="size")
    everything = seen.groupby("customer_id", sort=False)
    out["net"] = everything.net.sum()
    out["currency"] = everything.currency.min()
    out["currencies"] = np.where(out.currency == everything.other_currency.max().reindex(out.index), 1, 2)
    repeats = seen[seen.local_date > seen.customer_id.map(out.first_purchase)]
    repeat_net = repeats.groupby("customer_id", sort=False).net.sum()
    out["frequency"] = out.purchase_days - 1
    repeated = out.frequency.where(out.frequency > 0)
    span = (out.last_purchase - out.first_purchase).dt.days
    out["recency"] = span / 7
    out["T"] = (day - out.first_purchase).dt.days / 7
    out["days_since_last"] = (day - out.last_purchase).dt.days
    out["mean_gap"] = span / repeated
    out["overdue"] = out.days_since_last / out.mean_gap
    out["monetary_value"] = out.net / out.purchase_days
    out["repeat_value"] = repeat_net / repeated
    for window in WINDOWS:
        inside = seen[seen.local_date >= day - pd.Timedelta(days=window)]
        recent = inside.assign(bought=inside.orders > 0).groupby("customer_id", sort=False)
        sums = recent[["bought", "orders", "net"]].sum().reindex(out.index, fill_value=0)
        out[[f"purchase_days_{window}", f"orders_{window}", f"net_{window}"]] = sums.to_numpy(dtype=float)
    out["snapshot_date"] = day.date()
    for column in ("first_purchase", "last_purchase"):
        out[column] = out[column].dt.date
    return out.reset_index()
