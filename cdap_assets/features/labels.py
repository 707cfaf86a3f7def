"""Labels: what customers did after a snapshot, by event time alone, and only once the window has closed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
from ibis import _

from cdap_assets.features.customer_features import SNAPSHOT_DATE, days_at
from cdap_assets.identity.customer_xref import CUSTOMER_ID, resolve
from cdap_assets.table_assets.table_asset import TableAsset
from resources.iceberg.table import MONEY, Column, TableSpec

if TYPE_CHECKING:
    import ibis.expr.types as ir

ACTIVE_DAYS = 56  # bought within so many days before the cut-off: a regular whose lapse can be seen
CLOSED = "ends of closed order sources"
LAPSE_HORIZON = 28  # days without a purchase after the cut-off that count as a lapse
VALUE_HORIZON = 91  # days of purchases that lifetime value is judged by

LAPSE_LABELS = TableSpec(
    "lapse_labels",
    (
        SNAPSHOT_DATE,
        CUSTOMER_ID,
        Column("eligible", "boolean", f"bought in the {ACTIVE_DAYS} days before the cut-off", nullable=False),
        Column("lapsed", "boolean", f"eligible and bought nothing in the {LAPSE_HORIZON} days after it"),
    ),
    key=("snapshot_date", "customer_id"),
    partition_by=("snapshot_date",),
    description=(
        f"Lapse of regulars: bought in the last {ACTIVE_DAYS} local days, nothing in the next {LAPSE_HORIZON}. "
        "Customers who are not eligible have no label. A snapshot whose window has not closed has no rows."
    ),
)

VALUE_LABELS = TableSpec(
    "value_labels",
    (
        SNAPSHOT_DATE,
        CUSTOMER_ID,
        Column("purchase_days", "int64", f"in the {VALUE_HORIZON} days after the cut-off", nullable=False),
        Column(
            "net", MONEY, f"received in the {VALUE_HORIZON} days after the cut-off", nullable=False, unit="currency"
        ),
    ),
    key=("snapshot_date", "customer_id"),
    partition_by=("snapshot_date",),
    description=(
        f"Purchase days and spend in the {VALUE_HORIZON} days after a snapshot, for every customer known then. "
        "A snapshot whose window has not closed has no rows."
    ),
)


def label_assets(ends: Mapping[str, date | None]) -> tuple[TableAsset, TableAsset]:
    """The label tables; ``ends`` gives the last day of each order source's data, ``None`` for a live one."""

    def lapse_labels(snapshots: ibis.Table, customer_days: ibis.Table, customer_xref: ibis.Table) -> ibis.Table:
        return lapse(snapshots, customer_days, customer_xref, covered_until(customer_days, ends))

    def value_labels(snapshots: ibis.Table, customer_days: ibis.Table, customer_xref: ibis.Table) -> ibis.Table:
        return value(snapshots, customer_days, customer_xref, covered_until(customer_days, ends))

    inputs, outside = ("customer_days", "customer_xref"), {CLOSED: lambda: closed_text(ends)}
    return (
        TableAsset(LAPSE_LABELS, lapse_labels, "features", "snapshot", inputs=inputs, outside=outside),
        TableAsset(VALUE_LABELS, value_labels, "features", "snapshot", inputs=inputs, outside=outside),
    )


def closed_text(ends: Mapping[str, date | None]) -> str:
    """Which order sources are closed and when they end, as text that changes when any of it does."""
    return ", ".join(f"{source} {end or 'live'}" for source, end in sorted(ends.items()))


def covered_until(customer_days: ibis.Table, ends: Mapping[str, date | None]) -> ir.DateScalar:
    """The first local day that the orders do not wholly cover.

    Closed sources cover their last day. A live source covers the days before its newest one, which may be
    half delivered; with several live sources the slowest decides, or its customers would seem to lapse.
    """
    live = [source for source, end in ends.items() if end is None]
    if not live:
        return ibis.literal(max((end for end in ends.values() if end), default=date.min) + timedelta(days=1))
    # a day whose orders were withdrawn is not covered by them
    held = customer_days.filter(customer_days.source.isin(live) & customer_days.superseded_at.isnull())
    newest = held.group_by("source").aggregate(day=_.local_date.max())
    return newest.day.min().as_scalar()


def lapse(
    snapshots: ibis.Table, customer_days: ibis.Table, customer_xref: ibis.Table, covered: ir.DateScalar
) -> ibis.Table:
    """(snapshot_date, customer_id, eligible, lapsed) for every customer known at each closed snapshot."""
    closed = _closed(snapshots, LAPSE_HORIZON, covered)
    before = days_at(closed, customer_days, customer_xref)
    before = before.filter(before.orders > 0)
    age = before.snapshot_date.delta(before.local_date, unit="day")
    customers = before.group_by(["snapshot_date", "customer_id"]).aggregate(eligible=age.min() <= ACTIVE_DAYS)
    after = _after(closed, customer_days, customer_xref, LAPSE_HORIZON)
    bought = after.filter(after.orders > 0).select("snapshot_date", "customer_id").distinct().mutate(bought=True)
    joined = customers.left_join(bought, ["snapshot_date", "customer_id"])
    return joined.select(
        "snapshot_date",
        "customer_id",
        "eligible",
        lapsed=ibis.ifelse(joined.eligible, joined.bought.isnull(), ibis.null("boolean")),
    )


def value(
    snapshots: ibis.Table, customer_days: ibis.Table, customer_xref: ibis.Table, covered: ir.DateScalar
) -> ibis.Table:
    """(snapshot_date, customer_id, purchase_days, net) for every customer known at each closed snapshot."""
    closed = _closed(snapshots, VALUE_HORIZON, covered)
    before = days_at(closed, customer_days, customer_xref)
    customers = before.filter(before.orders > 0).select("snapshot_date", "customer_id").distinct()
    after = _after(closed, customer_days, customer_xref, VALUE_HORIZON)
    spent = after.group_by(["snapshot_date", "customer_id"]).aggregate(
        purchase_days=after.local_date.nunique(where=after.orders > 0), net=after.net.sum()
    )
    joined = customers.left_join(spent, ["snapshot_date", "customer_id"])
    return joined.select(
        "snapshot_date",
        "customer_id",
        purchase_days=joined.purchase_days.coalesce(0),
        net=joined.net.coalesce(ibis.literal(0, type=MONEY)),
    )


def _closed(snapshots: ibis.Table, horizon: int, covered: ir.DateScalar) -> ibis.Table:
    return snapshots.filter(snapshots.snapshot_date + ibis.interval(days=horizon) <= covered)


def _after(snapshots: ibis.Table, customer_days: ibis.Table, customer_xref: ibis.Table, horizon: int) -> ibis.Table:
    valid = customer_days.filter(customer_days.superseded_at.isnull())
    days = snapshots.join(
        valid,
        [
            valid.local_date >= snapshots.snapshot_date,
            valid.local_date < snapshots.snapshot_date + ibis.interval(days=horizon),
        ],
    )
    return resolve(days, customer_xref, days.cutoff_at)
