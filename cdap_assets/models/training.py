"""What models learn from: features of closed snapshots with their labels, as frames, and where they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import ibis

from cdap_assets.features.customer_features import CUSTOMER_FEATURES, WINDOWS
from cdap_assets.features.labels import ACTIVE_DAYS, LAPSE_HORIZON, LAPSE_LABELS, VALUE_HORIZON, VALUE_LABELS
from resources.lake.session import Session
from resources.lake.table_snapshots import rows_of
from resources.registry.model_version import TableRead

if TYPE_CHECKING:
    import pandas as pd

FEATURES = (
    "frequency",
    "recency",
    "T",
    "days_since_last",
    "mean_gap",
    "overdue",
    "monetary_value",
    *(f"{name}_{days}" for name in ("purchase_days", "net") for days in WINDOWS),
    "touches_91",
    "responses_91",
    "responses",
)
TEST_SNAPSHOTS = 6
# every fourth snapshot, so that no two labels of a customer overlap, over eight months
TRAINING_SNAPSHOTS, TRAINING_STEP = 8, 4


class TrainingConfig(dg.Config):
    """What a training run may be told."""

    as_of: str | None = None
    """ISO date: use only labels that had closed by this snapshot date. Empty: all that have closed."""

    @property
    def cutoff(self) -> date | None:
        """``as_of`` as a date."""
        return date.fromisoformat(self.as_of) if self.as_of else None


class TooLittleHistory(ValueError):
    """Not enough closed snapshots to train on and to test out of time."""


@dataclass(frozen=True)
class LabelledFrame:
    """Rows with features and ``label``, the snapshots among them, and the states of the tables read."""

    rows: pd.DataFrame
    snapshots: tuple[date, ...]
    sources: Mapping[str, TableRead]
    card: tuple[tuple[date, int, int, float], ...]

    @property
    def test_snapshots(self) -> tuple[date, ...]:
        """The last closed snapshots, which a version is judged on."""
        return self.snapshots[-TEST_SNAPSHOTS:]

    @property
    def newest(self) -> pd.DataFrame:
        """The rows of the newest snapshot."""
        return self.rows[self.rows["snapshot_date"] == self.snapshots[-1]]


def as_floats(rows: pd.DataFrame, columns: Sequence[str] = FEATURES) -> pd.DataFrame:
    """The named columns as floats: money leaves decimal only here."""
    return rows[list(columns)].astype("float64")


def lapse_frame(session: Session, as_of: date | None) -> LabelledFrame:
    """Eligible customers of snapshots whose 28-day label had closed by ``as_of`` (``None``: by now).

    The first snapshots are left out, for whom 56 days of purchases were not observed. Raises
    :class:`TooLittleHistory`.
    """
    features, labels = session.read(CUSTOMER_FEATURES), session.read(LAPSE_LABELS)
    joined = features.join(labels, ["snapshot_date", "customer_id"])
    joined = joined.filter(_usable(joined, LAPSE_HORIZON, as_of))
    counts = joined.group_by("snapshot_date").aggregate(
        eligible=joined.eligible.cast("int64").sum(),
        excluded=(~joined.eligible).cast("int64").sum(),
        base=joined.lapsed.cast("float64").mean(),
    )
    rows = joined.filter(joined.eligible).select(
        "snapshot_date",
        "customer_id",
        **{name: joined[name].cast("float64") for name in FEATURES},
        label=joined.lapsed.cast("int64"),
    )
    card = [
        (row["snapshot_date"], row["eligible"], row["excluded"], row["base"] or 0.0)
        for row in counts.order_by("snapshot_date").to_pyarrow().to_pylist()
    ]
    return _frame(session, rows, card, "lapse", LAPSE_HORIZON, (CUSTOMER_FEATURES.name, LAPSE_LABELS.name))


def value_frame(session: Session, as_of: date | None) -> LabelledFrame:
    """Every customer of snapshots whose 91-day label had closed by ``as_of``; ``label`` is the spend.

    Raises :class:`TooLittleHistory`.
    """
    features, labels = session.read(CUSTOMER_FEATURES), session.read(VALUE_LABELS)
    spend = labels.select("snapshot_date", "customer_id", label=labels.net.cast("float64"))
    joined = features.join(spend, ["snapshot_date", "customer_id"])
    joined = joined.filter(_usable(joined, VALUE_HORIZON, as_of))
    counts = joined.group_by("snapshot_date").aggregate(eligible=joined.count(), base=joined.label.mean())
    rows = joined.select(
        "snapshot_date", "customer_id", "frequency", "recency", "T", "label", spend_per_day_all=joined.monetary_value
    )
    card = [
        (row["snapshot_date"], row["eligible"], 0, row["base"] or 0.0)
        for row in counts.order_by("snapshot_date").to_pyarrow().to_pylist()
    ]
    return _frame(session, rows, card, "value", VALUE_HORIZON, (CUSTOMER_FEATURES.name, VALUE_LABELS.name))


def customers_at(session: Session, snapshot: date) -> pd.DataFrame:
    """Features of every customer at one snapshot, with ``spend_per_day_all``."""
    features = session.read(CUSTOMER_FEATURES, {"snapshot_date": [snapshot]})
    rows = features.mutate(spend_per_day_all=features.monetary_value).order_by("customer_id")
    return rows.to_pandas()


def _usable(rows: ibis.Table, horizon: int, as_of: date | None) -> ibis.Value:
    first = rows.first_purchase.min().over()
    seen = rows.snapshot_date >= first + ibis.interval(days=ACTIVE_DAYS)
    if as_of is None:
        return seen
    return seen & (rows.snapshot_date <= ibis.literal(as_of - timedelta(days=horizon)))


def _frame(
    session: Session,
    rows: ibis.Table,
    card: list[tuple[date, int, int, float]],
    what: str,
    horizon: int,
    tables: tuple[str, ...],
) -> LabelledFrame:
    import pandas as pd

    snapshots = tuple(day for day, *_ in card)
    # a lapse model is tested by models of snapshots whose label had closed; BG/NBD learns from no label
    needed = horizon // 7 + TEST_SNAPSHOTS if what == "lapse" else 1
    if len(snapshots) < needed:
        raise TooLittleHistory(
            f"the {what} model needs {needed} weekly snapshots whose {horizon}-day label has closed, there are "
            f"{len(snapshots)}. Deliver more history, or wait; profiles and segments work meanwhile."
        )
    frame = rows.order_by(["snapshot_date", "customer_id"]).to_pandas()
    frame["snapshot_date"] = pd.to_datetime(frame["snapshot_date"]).dt.date
    return LabelledFrame(frame, snapshots, _states(session, tables), tuple(card))


def _states(session: Session, tables: tuple[str, ...]) -> dict[str, TableRead]:
    found = {}
    for name in tables:
        snapshot = session.snapshot_id(name)
        if snapshot is not None:
            found[name] = TableRead(snapshot, rows_of(session.tables, name, snapshot))
    return found
