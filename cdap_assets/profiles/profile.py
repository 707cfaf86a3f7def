"""The customer profile: one row per customer, what a person at the shop would want to see first."""

from __future__ import annotations

import ibis
from ibis import _

from cdap_assets.identity.customer_xref import CUSTOMER_ID, resolve
from cdap_assets.profiles.segments import purchases_now
from cdap_assets.table_assets.table_asset import table_asset
from resources.iceberg.table import INSTANT, MONEY, Column, TableSpec

CUSTOMER_PROFILE = TableSpec(
    "customer_profile",
    (
        CUSTOMER_ID,
        Column("as_of", "date", "the day after the newest purchase in the data"),
        Column("first_purchase", "date", "first purchase day that the data holds"),
        Column("last_purchase", "date", "last purchase day"),
        Column("recency_days", "int64", "last purchase to as_of", unit="days"),
        Column("tenure_days", "int64", "first purchase to as_of; too short where the data begins late", unit="days"),
        Column("purchase_days", "int64", "days with a purchase; 0 for a customer without", nullable=False),
        Column("orders", "int64", "orders that are no refunds", nullable=False),
        Column("net", MONEY, "received in all", nullable=False, unit="currency"),
        Column("currency", "string", "ISO 4217 code; empty without purchases"),
        Column("mean_gap_days", "float64", "mean days between purchase days", unit="days"),
        Column("top_category", "string", "category with the most spend"),
        Column("top_category_share", "float64", "its share of all spend, 0 to 1"),
        Column("segment", "string", "RFM segment; 'no purchase' without one", nullable=False),
        Column("touches", "int64", "campaigns sent", nullable=False),
        Column("last_touch_at", INSTANT, "newest campaign sent (UTC)"),
        Column("responses", "int64", "answers to campaigns, such as coupons used", nullable=False),
        Column("last_response_at", INSTANT, "newest answer (UTC)"),
        Column("traits", "int64", "further facts in customer_traits", nullable=False),
    ),
    key=("customer_id",),
    description=(
        "One row per customer of the cross-reference, by what is known now: recency, frequency, spend, tenure, "
        "favourite category, campaign and coupon history, RFM segment."
    ),
)


def customer_count(customer_profile: ibis.Table) -> ibis.Table:
    """How many there are."""
    return customer_profile.aggregate(value=_.count()).mutate(figure=ibis.literal("customers"))


@table_asset(CUSTOMER_PROFILE, group="profiles", figures=customer_count)
def customer_profile(
    customer_xref: ibis.Table,
    customer_days: ibis.Table,
    customer_segments: ibis.Table,
    customer_categories: ibis.Table,
    touches: ibis.Table,
    responses: ibis.Table,
    customer_traits: ibis.Table,
) -> ibis.Table:
    """Every customer, joined with what is known of purchases, categories and campaigns."""
    customers = customer_xref.filter(_.valid_to.isnull()).select("customer_id").distinct()
    parts = [
        purchases_now(customer_days, customer_xref),
        favourite_category(customer_categories, customer_xref),
        customer_segments.select("customer_id", "segment"),
        _history(touches, customer_xref, "touches", last_touch_at="sent_at"),
        _history(responses, customer_xref, "responses", last_response_at="responded_at"),
        _history(customer_traits, customer_xref, "traits"),
    ]
    joined = customers
    for part in parts:
        joined = joined.left_join(part, "customer_id").drop("customer_id_right")
    counts = ("purchase_days", "orders", "touches", "responses", "traits")
    return joined.mutate(
        **{name: joined[name].coalesce(0) for name in counts},
        net=joined.net.coalesce(ibis.literal(0, type=MONEY)),
        segment=joined.segment.coalesce("no purchase"),
        tenure_days=joined.as_of.delta(joined.first_purchase, unit="day"),
        mean_gap_days=joined.last_purchase.delta(joined.first_purchase, unit="day").cast("float64")
        / (joined.purchase_days - 1).nullif(0),
    )


def favourite_category(customer_categories: ibis.Table, customer_xref: ibis.Table) -> ibis.Table:
    """(customer_id, top_category, top_category_share): most net spend, ties by name."""
    spend = (
        resolve(customer_categories, customer_xref, None)
        .group_by(["customer_id", "category"])
        .aggregate(spent=_.net.sum())
        .filter(_.spent > 0)
    )
    ranked = spend.mutate(
        place=ibis.row_number().over(group_by="customer_id", order_by=[spend.spent.desc(), spend.category]),
        total=spend.spent.sum().over(group_by="customer_id"),
    )
    return ranked.filter(ranked.place == 0).select(
        "customer_id",
        top_category=_.category,
        top_category_share=_.spent.cast("float64") / _.total.cast("float64"),
    )


def _history(rows: ibis.Table, customer_xref: ibis.Table, count: str, **last: str) -> ibis.Table:
    seen = resolve(rows.filter(rows.superseded_at.isnull()), customer_xref, None)
    newest = {name: seen[column].max() for name, column in last.items()}
    return seen.group_by("customer_id").aggregate(**{count: seen.count()}, **newest)
