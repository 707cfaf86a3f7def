"""The tables of storage: what the lake holds, where each partition should be and why, and cost over time."""

from __future__ import annotations

from resources.iceberg.table import INSTANT, Column, Invariant, TableSpec

GROUP = "storage"  # of the assets, and the pool of what moves or deletes files
TABLE = Column("table_name", "string", "the table", nullable=False)
PARTITION = Column(
    "partition", "string", "column=value, joined by /; `all` of a table without partitions", nullable=False
)
VALUES = Column("partition_values", "string", "the same as JSON", nullable=False)
AS_OF = Column("as_of", INSTANT, "when it was looked at (UTC)", nullable=False)
TIER = Column("tier", "string", "hot, cool, archived or expired", nullable=False)
COST = "decimal(18, 6)"

WHERE = (
    AS_OF,
    TABLE,
    PARTITION,
    VALUES,
    TIER,
    Column("storage_class", "string", "as the price book names it", nullable=False),
    Column("since", INSTANT, "since when in this tier (UTC)", nullable=False),
    Column("objects", "int64", "data files", nullable=False),
    Column("bytes", "int64", "of all data files", nullable=False, unit="bytes"),
)
USED = (
    Column("written_at", INSTANT, "when rows last came (UTC)", nullable=False),
    Column("last_read", "date", "last day (UTC) on which it was read; empty: never seen to be"),
)

STORAGE_INVENTORY = TableSpec(
    "storage_inventory",
    (
        *WHERE,
        Column("rows", "int64", "rows", nullable=False),
        *USED,
        Column("reads_91", "float64", "whole-partition reads in the last 91 days", nullable=False),
        Column("observed_since", "date", "first day on which reads of the table were noted; empty: never"),
    ),
    key=("table_name", "partition"),
    description="One row per partition: objects, bytes, when it was written and read, told by metadata alone.",
)

STORAGE_TIERS = TableSpec(
    "storage_tiers",
    (
        *WHERE,
        *USED,
        Column("storage_month", COST, "a month of it where it is, unread", nullable=False, unit="currency"),
        Column("monthly_hot", COST, "estimated cost of a month in the tier, reads included", unit="currency"),
        Column("monthly_cool", COST, "the same", unit="currency"),
        Column("monthly_archived", COST, "the same", unit="currency"),
        Column("decision", "string", "stay, compact, cool, archive, warm or expire", nullable=False),
        Column("to_tier", "string", "where the decision puts it", nullable=False),
        Column("to_class", "string", "as the price book names it", nullable=False),
        Column("move_cost", COST, "once", nullable=False, unit="currency"),
        Column("saving", COST, "a month, after the move", nullable=False, unit="currency"),
        Column("kind", "string", "the kind of the reason; empty: of a look before decisions had one"),
        Column("reason", "string", "why, in one sentence", nullable=False),
        Column("currency", "string", "of all money in the row (ISO 4217)", nullable=False),
        Column("seen", "int64", "Iceberg sequence number of the table that was looked at", nullable=False),
    ),
    key=("table_name", "partition"),
    invariants=(Invariant("move_cost", "a move is not paid for", lambda rows: rows.move_cost < 0),),
    description="One row per partition: where it is, what each tier would cost a month, where it should be and why.",
)

STORAGE_SAVINGS = TableSpec(
    "storage_savings",
    (
        Column("day", "date", "UTC", nullable=False),
        TIER,
        Column("partitions", "int64", "in the tier", nullable=False),
        Column("objects", "int64", "in the tier", nullable=False),
        Column("bytes", "int64", "in the tier", nullable=False, unit="bytes"),
        Column("monthly_cost", COST, "estimated cost of a month where they are", nullable=False, unit="currency"),
        Column("monthly_cost_hot", COST, "of a month, had nothing ever moved", nullable=False, unit="currency"),
        Column("proposed_moves", "int64", "partitions that should leave the tier", nullable=False),
        Column("proposed_saving", COST, "a month, by those", nullable=False, unit="currency"),
        Column("currency", "string", "ISO 4217", nullable=False),
    ),
    key=("day", "tier"),
    partition_by=("day",),
    description="One row per day and tier: bytes and cost as they are, had nothing moved, and what moving would save.",
)

STORAGE_TABLES = (STORAGE_INVENTORY, STORAGE_TIERS, STORAGE_SAVINGS)
