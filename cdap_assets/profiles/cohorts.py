"""Cohort retention: of those who first bought in a 28-day period, how many bought in each later one."""

from __future__ import annotations

import ibis
from ibis import _

from cdap_assets.identity.customer_xref import resolve
from cdap_assets.table_assets.table_asset import table_asset
from resources.iceberg.table import Column, Invariant, TableSpec

PERIOD = 28  # days: four weeks, so that every period has the same weekdays

COHORT_RETENTION = TableSpec(
    "cohort_retention",
    (
        Column("cohort", "date", f"first day of the {PERIOD}-day period of the first purchase", nullable=False),
        Column("period", "int64", f"{PERIOD}-day periods since then; 0 is the first purchase's own", nullable=False),
        Column("customers", "int64", "of the cohort", nullable=False),
        Column("active", "int64", "of them, with a purchase in the period", nullable=False),
        Column("retention", "float64", "active / customers", nullable=False),
    ),
    key=("cohort", "period"),
    invariants=(Invariant("share", "active is at most customers", lambda t: t.active > t.customers),),
    description=(
        f"Retention by cohort in periods of {PERIOD} days that the data wholly covers. Where the data begins "
        "after the customers did, the first cohort holds everyone who was there already and says little."
    ),
)


def after_one_period(cohort_retention: ibis.Table) -> ibis.Table:
    """The share of the newest cohort that bought again in its next period, once that is over."""
    newest = cohort_retention.filter(_.period == 1).order_by(ibis.desc("cohort")).limit(1)
    return newest.select(
        "cohort", cohort_customers=_.customers, value=_.retention, figure=ibis.literal("retention_after_one_period")
    )


@table_asset(COHORT_RETENTION, group="profiles", figures=after_one_period)
def cohort_retention(customer_days: ibis.Table, customer_xref: ibis.Table) -> ibis.Table:
    """Cohorts on a calendar of 28-day periods that begins at the first purchase in the data."""
    valid = customer_days.filter((customer_days.superseded_at.isnull()) & (customer_days.orders > 0))
    days = resolve(valid, customer_xref, None).select("customer_id", "local_date").distinct()
    span = days.aggregate(begin=_.local_date.min(), end=_.local_date.max())
    span = span.mutate(periods=(_.end.delta(_.begin, unit="day") + 1) // PERIOD)
    numbered = days.cross_join(span).mutate(number=_.local_date.delta(_.begin, unit="day") // PERIOD)
    numbered = numbered.filter(numbered.number < numbered.periods)
    active = numbered.select("customer_id", "number").distinct()
    active = active.mutate(first=active.number.min().over(group_by="customer_id"))
    sizes = active.filter(active.number == active["first"]).group_by("first").aggregate(customers=_.count())
    counts = active.group_by(["first", "number"]).aggregate(active=_.count())
    # a period in which nobody of a cohort bought is a row with 0, or a mean over cohorts would be too high
    periods = span.select("begin", number=ibis.range(0, span.periods).unnest().cast("int64"))
    grid = sizes.join(periods, sizes["first"] <= periods.number)
    joined = grid.left_join(counts, ["first", "number"]).mutate(active=_.active.coalesce(0))
    return joined.select(
        cohort=(joined.begin + joined["first"].as_interval("D") * PERIOD).cast("date"),
        period=joined.number - joined["first"],
        customers=joined.customers,
        active=joined.active,
        retention=joined.active.cast("float64") / joined.customers,
    )
