"""Point-in-time features: what was known of each customer at a snapshot date, for many dates in one pass."""

from __future__ import annotations

import ibis
from ibis import _

from cdap_assets.curated.versions import known_at
from cdap_assets.identity.customer_xref import CUSTOMER_ID, resolve
from cdap_assets.table_assets.table_asset import table_asset
from resources.iceberg.table import MONEY, Column, Invariant, TableSpec

WINDOWS = (28, 56, 91, 182)  # days, ending at the cut-off
SNAPSHOT_DATE = Column(
    "snapshot_date", "date", "the cut-off: 00:00 on this day in the installation's zone", nullable=False
)

CUSTOMER_FEATURES = TableSpec(
    "customer_features",
    (
        SNAPSHOT_DATE,
        CUSTOMER_ID,
        Column("first_purchase", "date", "first purchase day that the data holds", nullable=False),
        Column("last_purchase", "date", "last purchase day before the cut-off", nullable=False),
        Column("purchase_days", "int64", "days with a purchase", nullable=False, unit="days"),
        Column("frequency", "int64", "repeat purchase days: purchase_days - 1", nullable=False),
        Column("recency", "float64", "first to last purchase day", nullable=False, unit="weeks"),
        Column("T", "float64", "first purchase day to the cut-off", nullable=False, unit="weeks"),
        Column("days_since_last", "int64", "last purchase day to the cut-off", nullable=False, unit="days"),
        Column("mean_gap", "float64", "mean days between purchase days; empty with one", unit="days"),
        Column("overdue", "float64", "days_since_last / mean_gap; empty with one purchase day"),
        Column("net", MONEY, "received in all", nullable=False, unit="currency"),
        Column("monetary_value", "float64", "mean net per purchase day", nullable=False, unit="currency"),
        Column("repeat_value", "float64", "mean net per repeat purchase day; empty without", unit="currency"),
        *(
            column
            for days in WINDOWS
            for column in (
                Column(f"purchase_days_{days}", "int64", f"in the last {days} days", nullable=False, unit="days"),
                Column(f"orders_{days}", "int64", f"in the last {days} days", nullable=False),
                Column(f"net_{days}", MONEY, f"in the last {days} days", nullable=False, unit="currency"),
            )
        ),
        Column("touches_91", "int64", "campaigns sent in the last 91 days", nullable=False),
        Column("responses_91", "int64", "campaign responses in the last 91 days", nullable=False),
        Column("responses", "int64", "campaign responses in all", nullable=False),
        Column("currency", "string", "of every amount of the row", nullable=False),
        Column("currencies", "int64", "currencies among the customer's purchases", nullable=False),
    ),
    key=("snapshot_date", "customer_id"),
    partition_by=("snapshot_date",),
    invariants=(
        Invariant(
            "before the cut-off", "no purchase on or after the cut-off", lambda t: t.last_purchase >= t.snapshot_date
        ),
        Invariant("one currency", "amounts of two currencies are never added", lambda t: t.currencies > 1),
    ),
    description=(
        "One row per customer and snapshot date: purchases, spend and campaign history by what had happened "
        "and was known at the cut-off, with the cross-reference as it was then. Later corrections, late rows "
        "and merges do not move a snapshot that is built."
    ),
)


@table_asset(CUSTOMER_FEATURES, group="features", scope="snapshot")
def customer_features(
    snapshots: ibis.Table,
    customer_days: ibis.Table,
    customer_xref: ibis.Table,
    touches: ibis.Table,
    responses: ibis.Table,
) -> ibis.Table:
    """Customers with a purchase known by each snapshot, described by windows that end at its cut-off."""
    days = days_at(snapshots, customer_days, customer_xref)
    # two keys of one customer may both buy on one day, which is one purchase day
    days = days.group_by(["snapshot_date", "customer_id", "local_date"]).aggregate(
        orders=_.orders.sum(),
        net=_.net.sum(),
        currency=_.currency.min(),
        other_currency=_.currency.max(),
    )
    age = days.snapshot_date.delta(days.local_date, unit="day")
    days = days.mutate(age=age, bought=(days.orders > 0).cast("int64"), first=_first_day(days))
    bought = days.bought == 1
    measures = {
        "first_purchase": days.local_date.min(where=bought),
        "last_purchase": days.local_date.max(where=bought),
        "purchase_days": days.bought.sum(),
        "net": days.net.sum(),
        "repeat_net": days.net.sum(where=days.local_date > days.first),
        "currency": days.currency.min(),
        "currencies": ibis.ifelse(days.currency.min() == days.other_currency.max(), 1, 2).cast("int64"),
    }
    for window in WINDOWS:
        inside = days.age <= window
        measures |= {
            f"purchase_days_{window}": days.bought.sum(where=inside).coalesce(0),
            f"orders_{window}": days.orders.sum(where=inside).coalesce(0),
            f"net_{window}": days.net.sum(where=inside).coalesce(ibis.literal(0, type=MONEY)),
        }
    customers = days.group_by(["snapshot_date", "customer_id"]).aggregate(**measures)
    customers = customers.filter(customers.purchase_days > 0)
    customers = customers.mutate(
        frequency=_.purchase_days - 1,
        recency=_.last_purchase.delta(_.first_purchase, unit="day").cast("float64") / 7,
        T=_.snapshot_date.delta(_.first_purchase, unit="day").cast("float64") / 7,
        days_since_last=_.snapshot_date.delta(_.last_purchase, unit="day"),
        monetary_value=_.net.cast("float64") / _.purchase_days,
        repeat_value=_.repeat_net.cast("float64") / (_.purchase_days - 1).nullif(0),
        mean_gap=_.last_purchase.delta(_.first_purchase, unit="day").cast("float64") / (_.purchase_days - 1).nullif(0),
    ).mutate(overdue=_.days_since_last.cast("float64") / _.mean_gap.nullif(0))
    sent = history_at(snapshots, touches, customer_xref, "sent_at")
    answered = history_at(snapshots, responses, customer_xref, "responded_at")
    customers = customers.left_join(
        sent.group_by(["snapshot_date", "customer_id"]).aggregate(touches_91=_.recent.sum()),
        ["snapshot_date", "customer_id"],
    ).drop("snapshot_date_right", "customer_id_right")
    customers = customers.left_join(
        answered.group_by(["snapshot_date", "customer_id"]).aggregate(responses_91=_.recent.sum(), responses=_.count()),
        ["snapshot_date", "customer_id"],
    ).drop("snapshot_date_right", "customer_id_right")
    counts = ("touches_91", "responses_91", "responses")
    return customers.mutate(**{name: customers[name].coalesce(0) for name in counts})


def days_at(snapshots: ibis.Table, customer_days: ibis.Table, customer_xref: ibis.Table) -> ibis.Table:
    """Customer days that had happened and were known at each snapshot, with the customer as held then."""
    days = snapshots.join(
        customer_days,
        [customer_days.local_date < snapshots.snapshot_date, known_at(customer_days, snapshots.cutoff_at)],
    )
    return resolve(days, customer_xref, days.cutoff_at)


def history_at(snapshots: ibis.Table, rows: ibis.Table, customer_xref: ibis.Table, event: str) -> ibis.Table:
    """Campaign rows that had happened and were known at each snapshot; ``recent`` is 1 in the last 91 days."""
    seen = snapshots.join(rows, [rows[event] < snapshots.cutoff_at, known_at(rows, snapshots.cutoff_at)])
    seen = seen.mutate(recent=(seen[event] >= seen.cutoff_at - ibis.interval(days=91)).cast("int64"))
    return resolve(seen, customer_xref, seen.cutoff_at)


def _first_day(days: ibis.Table) -> ibis.Value:
    # no filter on the minimum itself: Trino has none in a window
    bought = ibis.ifelse(days.orders > 0, days.local_date, ibis.null("date"))
    return bought.min().over(group_by=["snapshot_date", "customer_id"])
