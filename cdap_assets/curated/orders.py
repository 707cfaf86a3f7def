"""Orders and customer days: what profiles, features and models read of purchases, and category spend."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import ibis
from ibis import _

from cdap_assets.curated.entities import CUSTOMER_KEY, KEY_SPACE, MONTH, SOURCE, VERSION
from cdap_assets.curated.versions import as_known
from cdap_assets.table_assets.figures import Figures
from cdap_assets.table_assets.table_asset import table_asset
from resources.iceberg.table import INSTANT, MONEY, Column, Invariant, TableSpec

if TYPE_CHECKING:
    import ibis.expr.types as ir

CURRENCY = Column("currency", "string", "ISO 4217 code", nullable=False)
LOCAL_DATE = Column("local_date", "date", "the shop's local day", nullable=False)

ORDERS = TableSpec(
    "orders",
    (
        SOURCE,
        KEY_SPACE,
        CUSTOMER_KEY,
        Column("order_id", "string", "unique within its source", nullable=False),
        LOCAL_DATE,
        Column("ordered_at", INSTANT, "first line of the order (UTC)", nullable=False),
        Column("lines", "int64", "order lines", nullable=False),
        Column("gross", MONEY, "before discounts", unit="currency"),
        Column("discount", MONEY, "taken off by the shop", unit="currency"),
        Column("net", MONEY, "what the shop received; negative for a refund", nullable=False, unit="currency"),
        CURRENCY,
        MONTH,
        *VERSION,
    ),
    key=("source", "customer_key", "order_id", "local_date", "currency", "known_at"),
    partition_by=("month",),
    description="One row per order, local day and version of it, summed from its lines.",
)


@table_asset(ORDERS, group="curated", scope="month", driver=["order_lines"])
def orders(order_lines: ibis.Table) -> ibis.Table:
    """Order lines summed to orders, as known over time."""
    by = ("source", "key_space", "customer_key", "order_id", "local_date", "currency", "month")
    return as_known(
        order_lines,
        by,
        {
            "ordered_at": _.ordered_at.min(),
            "lines": _.count(),
            "gross": _.gross.sum(),
            "discount": _.discount.sum(),
            "net": _.net.sum(),
        },
    )


CUSTOMER_DAYS = TableSpec(
    "customer_days",
    (
        SOURCE,
        KEY_SPACE,
        CUSTOMER_KEY,
        LOCAL_DATE,
        Column("orders", "int64", "orders that are no refunds; 0 on a day of refunds only", nullable=False),
        Column("lines", "int64", "order lines", nullable=False),
        Column("net", MONEY, "what the shop received, refunds taken off", nullable=False, unit="currency"),
        CURRENCY,
        MONTH,
        *VERSION,
    ),
    key=("source", "customer_key", "local_date", "currency", "known_at"),
    partition_by=("month",),
    invariants=(Invariant("orders", "orders is not negative", lambda rows: rows.orders < 0),),
    description=(
        "One row per customer, local day and version of it: the only thing that profiles, features and "
        "purchase models read of orders, small enough never to be archived."
    ),
)


@table_asset(CUSTOMER_DAYS, group="curated", scope="month", driver=["orders"])
def customer_days(orders: ibis.Table) -> ibis.Table:
    """Orders of one customer on one day, as known over time."""
    by = ("source", "key_space", "customer_key", "local_date", "currency", "month")
    return as_known(
        orders,
        by,
        {"orders": (_.net >= 0).sum(), "lines": _.lines.sum(), "net": _.net.sum()},
    )


def weekly_revenue(covered_until: Callable[[ibis.Table], ir.DateScalar]) -> Figures:
    """What the shop received in the last full week, for each currency by itself, by what is known now.

    A week is that between two snapshot dates: local days from a Sunday to the Saturday after. It is full when the data
    has begun by then, and the orders cover it: ``covered_until`` gives the first day that they do not.
    """

    def figures(customer_days: ibis.Table) -> ibis.Table:
        valid = customer_days.filter(customer_days.superseded_at.isnull())
        known = valid.aggregate(begin=_.local_date.min(), covered=covered_until(customer_days))
        days_since_sunday = (known.covered.day_of_week.index() + 1) % 7
        known = known.mutate(end=(known.covered - days_since_sunday.as_interval("D")).cast("date"))
        known = known.mutate(week_from=(known.end - ibis.interval(days=7)).cast("date"))
        known = known.mutate(week_to=(known.end - ibis.interval(days=1)).cast("date"))
        week = valid.join(known, [valid.local_date >= known.week_from, valid.local_date <= known.week_to])
        full = week.filter(week.begin <= week.week_from)
        sums = full.group_by(["currency", "week_from", "week_to"]).aggregate(value=full.net.sum())
        return sums.select("week_from", "week_to", "value", figure=ibis.literal("revenue_last_week_") + sums.currency)

    return figures


CUSTOMER_CATEGORIES = TableSpec(
    "customer_categories",
    (
        SOURCE,
        KEY_SPACE,
        CUSTOMER_KEY,
        Column("category", "string", "of the product master; 'unknown' for a product without one", nullable=False),
        Column("lines", "int64", "order lines", nullable=False),
        Column("net", MONEY, "what the shop received", nullable=False, unit="currency"),
        CURRENCY,
        MONTH,
    ),
    key=("source", "customer_key", "category", "currency", "month"),
    partition_by=("month",),
    description="What each customer spent on each category per month, by what is known now.",
)


@table_asset(CUSTOMER_CATEGORIES, group="curated", scope="month", driver=["order_lines"])
def customer_categories(order_lines: ibis.Table, products: ibis.Table) -> ibis.Table:
    """Valid order lines with their product's category, summed by customer and month."""
    lines = order_lines.filter(order_lines.superseded_at.isnull())
    master = products.filter(products.superseded_at.isnull()).select("source", "product_key", "category")
    # products come through a contract of their own, so a product key means the same in every source
    master = master.group_by("product_key").aggregate(category=_.category.min())
    named = lines.left_join(master, "product_key").mutate(category=_.category.coalesce("unknown"))
    by = ["source", "key_space", "customer_key", "category", "currency", "month"]
    return named.group_by(by).aggregate(lines=_.count(), net=_.net.sum())
