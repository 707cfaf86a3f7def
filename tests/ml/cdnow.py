"""The CDNOW 1/10 sample as purchase days, and its histories at the published calibration end."""

from datetime import date
from pathlib import Path

import pandas as pd

CALIBRATION_END = date(1997, 9, 30)


def purchase_days() -> pd.DataFrame:
    """One row per customer and day: customer_id, day, spend (dollars)."""
    path = Path(__file__).parents[1] / "data" / "cdnow_sample.txt"
    raw = pd.read_csv(path, sep=r"\s+", names=["master_id", "customer_id", "day", "cds", "spend"], header=None)
    raw["day"] = pd.to_datetime(raw["day"].astype(str), format="%Y%m%d")
    return raw.groupby(["customer_id", "day"], as_index=False)["spend"].sum()


def histories() -> pd.DataFrame:
    """Per customer at CALIBRATION_END, in weeks; actual_spend and actual_days are the 39 weeks after it."""
    days = purchase_days()
    end = pd.Timestamp(CALIBRATION_END)
    seen, later = days[days["day"] <= end], days[days["day"] > end]
    by = seen.groupby("customer_id")
    first, last = by["day"].min(), by["day"].max()
    repeat = seen[seen["day"] > seen["customer_id"].map(first)].groupby("customer_id")["spend"].mean()
    return pd.DataFrame(
        {
            "frequency": by.size() - 1,
            "recency": (last - first).dt.days / 7,
            "T": (end - first).dt.days / 7,
            "monetary_value": repeat.reindex(first.index).fillna(0.0),
            "spend_per_day_all": by["spend"].mean(),
            "actual_spend": later.groupby("customer_id")["spend"].sum().reindex(first.index).fillna(0.0),
            "actual_days": later.groupby("customer_id").size().reindex(first.index).fillna(0),
        }
    )
