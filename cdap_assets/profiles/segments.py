"""RFM segments: recency, frequency and monetary value by fifths, and the names that marketers use for them."""

from __future__ import annotations

import ibis
from ibis import _

from cdap_assets.identity.customer_xref import CUSTOMER_ID, resolve
from cdap_assets.table_assets.table_asset import table_asset
from resources.iceberg.table import MONEY, Column, Invariant, TableSpec

CUSTOMER_SEGMENTS = TableSpec(
    "customer_segments",
    (
        CUSTOMER_ID,
        Column("as_of", "date", "the day after the newest purchase in the data", nullable=False),
        Column("recency_days", "int64", "last purchase to as_of", nullable=False, unit="days"),
        Column("purchase_days", "int64", "days with a purchase", nullable=False, unit="days"),
        Column("net", MONEY, "received in all", nullable=False, unit="currency"),
        Column("r", "int64", "5 = bought most recently", nullable=False),
        Column("f", "int64", "5 = bought most often", nullable=False),
        Column("m", "int64", "5 = spent most", nullable=False),
        Column("segment", "string", "the segment's name", nullable=False),
        Column("currencies", "int64", "currencies among the customer's purchases", nullable=False),
    ),
    key=("customer_id",),
    invariants=(
        Invariant(
            "fifths", "r, f and m are 1 to 5", lambda t: ~(t.r.between(1, 5) & t.f.between(1, 5) & t.m.between(1, 5))
        ),
        Invariant("one currency", "amounts of two currencies are never added", lambda t: t.currencies > 1),
    ),
    description=(
        "One row per customer with a purchase: fifths of recency, frequency and spend (5 is best; ties are "
        "broken by customer id) and a named segment. Fifths are relative: they say who is ahead, not who is well."
    ),
)


SEGMENTS = ("champions", "loyal", "new or rare", "cannot lose", "at risk", "need attention", "dormant")


def shares(customer_segments: ibis.Table) -> ibis.Table:
    """The share of each segment among the customers, also of one that nobody is in."""
    names = ibis.memtable({"segment": SEGMENTS})
    sizes = customer_segments.group_by("segment").aggregate(customers=_.count())
    total = customer_segments.aggregate(total=_.count())
    joined = names.left_join(sizes, "segment").cross_join(total)
    return joined.select(
        figure=ibis.literal("share_") + joined.segment.replace(" ", "_"),
        value=joined.customers.coalesce(0).cast("float64") / joined.total.nullif(0),
    )


@table_asset(CUSTOMER_SEGMENTS, group="profiles", figures=shares)
def customer_segments(customer_days: ibis.Table, customer_xref: ibis.Table) -> ibis.Table:
    """Customers by fifths of R, F and M, by what is known now."""
    customers = purchases_now(customer_days, customer_xref)

    # the first fifth of a descending order is the best, so 5 - number
    def fifth(column: str) -> ibis.Value:
        order = [customers[column], customers.customer_id]
        return ibis.ntile(5).over(order_by=order).cast("int64") + 1

    scored = customers.mutate(r=6 - fifth("recency_days"), f=fifth("purchase_days"), m=fifth("net"))
    return scored.mutate(segment=_segment(scored))


def purchases_now(customer_days: ibis.Table, customer_xref: ibis.Table) -> ibis.Table:
    """Customers with a purchase: customer_id, first and last purchase, purchase_days, orders, net, currency,
    the number of currencies, and as_of with recency_days.
    """
    valid = customer_days.filter(customer_days.superseded_at.isnull())
    days = resolve(valid, customer_xref, None)
    customers = (
        days.group_by("customer_id")
        .aggregate(
            first_purchase=days.local_date.min(where=days.orders > 0),
            last_purchase=days.local_date.max(where=days.orders > 0),
            purchase_days=days.local_date.nunique(where=days.orders > 0),
            orders=days.orders.sum(),
            net=days.net.sum(),
            currency=days.currency.min(),
            currencies=days.currency.nunique(),
        )
        .filter(_.purchase_days > 0)
    )
    as_of = customers.aggregate(as_of=_.last_purchase.max() + ibis.interval(days=1))
    return customers.cross_join(as_of).mutate(
        as_of=_.as_of.cast("date"), recency_days=_.as_of.cast("date").delta(_.last_purchase, unit="day")
    )


def _segment(t: ibis.Table) -> ibis.Value:
    return ibis.cases(
        ((t.r >= 4) & (t.f >= 4), "champions"),
        ((t.r >= 3) & (t.f >= 3), "loyal"),
        ((t.r >= 4) & (t.f <= 2), "new or rare"),
        ((t.r <= 2) & (t.f >= 4), "cannot lose"),
        ((t.r <= 2) & (t.f == 3), "at risk"),
        ((t.r == 3) & (t.f <= 2), "need attention"),
        else_="dormant",
    )
