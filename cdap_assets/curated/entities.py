"""The canonical tables that contracts map to: their columns, keys and event times. Small and closed.

A column that only one source has does not belong here: it stays in the raw table, or becomes a customer trait. How rows
are made from contracts is in ``canonical``, which version of a row counts is in ``versions``.
"""

from __future__ import annotations

from dataclasses import dataclass

from resources.iceberg.table import INSTANT, MONEY, Column, TableSpec

SOURCE = Column("source", "string", "the contract that the row came through", nullable=False)
CUSTOMER_KEY = Column("customer_key", "string", "the source's own customer id", nullable=False, personal="pseudonymous")
KEY_SPACE = Column(
    "key_space", "string", "sources of one key space name the same person by the same key", nullable=False
)
MONTH = Column("month", "date", "first day of the local month: the partition")
VERSION = (
    Column("known_at", INSTANT, "when the delivery of the row was committed (UTC)", nullable=False),
    Column("superseded_at", INSTANT, "when a correction or retraction replaced the row (UTC)"),
)


@dataclass(frozen=True)
class Entity:
    """A canonical table: what contracts fill (``mapped``), and what names one row (``identifies``).

    A later delivery with the same ``source`` and ``identifies`` supersedes the row. ``dated`` entities are
    partitioned by the local month of their event and rebuilt by month.
    """

    name: str
    mapped: tuple[Column, ...]
    identifies: tuple[str, ...]
    description: str
    dated: bool = False
    of_customer: bool = True

    @property
    def table(self) -> TableSpec:
        """The stored table: source and key, the mapped columns, and the row's validity as known."""
        who = (SOURCE, KEY_SPACE, CUSTOMER_KEY) if self.of_customer else (SOURCE,)
        mapped = tuple(column for column in self.mapped if column.name != "customer_key")
        return TableSpec(
            name=self.name,
            columns=(*who, *mapped, *((MONTH,) if self.dated else ()), *VERSION),
            key=("source", *self.identifies, "known_at"),
            partition_by=("month",) if self.dated else (),
            description=self.description,
            sought_by=self.identifies[0] if self.dated else "",
        )


def _column(name: str, type_: str, description: str, *, required: bool = False, **kwargs: str) -> Column:
    return Column(name, type_, description, nullable=not required, **kwargs)  # type: ignore[arg-type]


_CURRENCY = _column("currency", "string", "ISO 4217 code", required=True)

ENTITIES: dict[str, Entity] = {
    entity.name: entity
    for entity in (
        Entity(
            "order_lines",
            (
                CUSTOMER_KEY,
                _column("order_id", "string", "the order, unique within its source", required=True),
                _column("line", "string", "the line within the order", required=True),
                _column("ordered_at", INSTANT, "when the order was placed (UTC)", required=True),
                _column("local_date", "date", "the shop's local day of the order", required=True),
                _column("product_key", "string", "the source's product id"),
                _column("quantity", "decimal(18, 4)", "units; may be a weight or volume"),
                _column("gross", MONEY, "before discounts", unit="currency"),
                _column("discount", MONEY, "taken off by the shop", unit="currency"),
                _column("net", MONEY, "what the shop received", required=True, unit="currency"),
                _CURRENCY,
                _column("is_refund", "boolean", "money went back to the customer", required=True),
            ),
            ("order_id", "line"),
            "One row per order line and per version of it.",
            dated=True,
        ),
        Entity(
            "products",
            (
                _column("product_key", "string", "the source's product id", required=True),
                _column("name", "string", "as shown to people"),
                _column("category", "string", "the level that affinities are measured at"),
                _column("department", "string", "the level above category"),
                _column("brand", "string", "brand or its kind"),
            ),
            ("product_key",),
            "The product master.",
            of_customer=False,
        ),
        Entity(
            "customer_traits",
            (
                CUSTOMER_KEY,
                _column("name", "string", "what is said", required=True),
                _column("value", "string", "as delivered", personal="quasi"),
                _column("valid_from", "date", "from when it holds, where known"),
            ),
            ("customer_key", "name"),
            "What is said of a customer and has no table of its own.",
        ),
        Entity(
            "contacts",
            (
                CUSTOMER_KEY,
                _column("given_name", "string", "", personal="direct"),
                _column("family_name", "string", "", personal="direct"),
                _column("email", "string", "", personal="direct"),
                _column("phone", "string", "", personal="direct"),
                _column("address", "string", "", personal="direct"),
                _column("birth_date", "date", "", personal="direct"),
                _column("updated_at", INSTANT, "when the source last changed it (UTC)"),
            ),
            ("customer_key",),
            "How a customer can be reached.",
        ),
        Entity(
            "events",
            (
                CUSTOMER_KEY,
                _column("event_id", "string", "", required=True),
                _column("anonymous_id", "string", "device or cookie", personal="pseudonymous"),
                _column("occurred_at", INSTANT, "UTC", required=True),
                _column("local_date", "date", "local day of the event", required=True),
                _column("type", "string", "view, cart, ...", required=True),
                _column("properties", "string", "JSON as delivered"),
            ),
            ("event_id",),
            "Web and app events.",
            dated=True,
        ),
        Entity(
            "campaigns",
            (
                _column("campaign", "string", "the source's campaign id", required=True),
                _column("type", "string", "the shop's own kind of campaign"),
                _column("started_at", INSTANT, "UTC"),
                _column("ended_at", INSTANT, "UTC"),
            ),
            ("campaign",),
            "Campaigns that were run.",
            of_customer=False,
        ),
        Entity(
            "touches",
            (
                CUSTOMER_KEY,
                _column("campaign", "string", "", required=True),
                _column("channel", "string", "how the customer was reached"),
                _column("sent_at", INSTANT, "UTC", required=True),
            ),
            ("customer_key", "campaign"),
            "Who was sent what.",
        ),
        Entity(
            "responses",
            (
                CUSTOMER_KEY,
                _column("campaign", "string", "", required=True),
                _column("kind", "string", "coupon, click, reply", required=True),
                _column("detail", "string", "the coupon or link", required=True),
                _column("responded_at", INSTANT, "UTC", required=True),
            ),
            ("customer_key", "campaign", "kind", "detail", "responded_at"),
            "What customers did in answer to a campaign.",
        ),
        Entity(
            "subscriptions",
            (
                CUSTOMER_KEY,
                _column("subscription_id", "string", "", required=True),
                _column("started", "date", "", required=True),
                _column("ended", "date", "empty while it runs"),
            ),
            ("subscription_id",),
            "Contracts in time.",
        ),
        Entity(
            "consents",
            (
                CUSTOMER_KEY,
                _column("purpose", "string", "marketing, email, ...", required=True),
                _column("granted", "boolean", "", required=True),
                _column("at", INSTANT, "UTC", required=True),
            ),
            ("customer_key", "purpose", "at"),
            "What a customer allowed or refused, and when.",
        ),
        Entity(
            "customer_links",
            (
                CUSTOMER_KEY,
                _column("other_key_space", "string", "", required=True),
                _column("other_key", "string", "", required=True, personal="pseudonymous"),
                _column("method", "string", "how the two were found to be one person", required=True),
                _column("probability", "float64", "1 for a stated link", required=True),
            ),
            ("customer_key", "other_key_space", "other_key"),
            "Two keys that name one person; what identity resolution writes and the cross-reference reads.",
        ),
    )
}
