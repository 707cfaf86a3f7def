"""The tables of ingestion: one raw table per contract, the ledger of deliveries, and the quarantine."""

from __future__ import annotations

from cdap_assets.contracts.contract import Contract
from resources.iceberg.table import INSTANT, Column, TableSpec

DELIVERY_ID = Column("delivery_id", "string", "the delivery: a file by its content", nullable=False)
ROW_NUMBER = Column("row_number", "int64", "row of the delivered file, from 1", nullable=False)

RAW_COLUMNS = (
    DELIVERY_ID,
    ROW_NUMBER,
    Column("occurred_at", INSTANT, "event time (UTC); empty for undated data"),
    Column("local_date", "date", "the source's local day of the event"),
    Column("month", "date", "first day of the local month"),
    Column("known_at", INSTANT, "when we knew (UTC)", nullable=False),
    Column("known_assumed", "boolean", "history: known_at follows the contract, not a delivery", nullable=False),
    Column("delivered_at", INSTANT, "when the delivery was committed (UTC)", nullable=False),
    Column("retracted_at", INSTANT, "when the delivery was withdrawn (UTC)"),
)

DELIVERIES = TableSpec(
    "deliveries",
    (
        DELIVERY_ID,
        Column("source", "string", "the contract", nullable=False),
        Column("path", "string", "the file, relative to the landing folder", nullable=False),
        Column("sha256", "string", "of the file", nullable=False),
        Column("bytes", "int64", "of the file", nullable=False, unit="bytes"),
        Column("event", "string", "accepted, refused, replayed, retracted, or seen: delivered before", nullable=False),
        Column("rows", "int64", "in the file", nullable=False),
        Column("accepted", "int64", "rows that are in the raw table", nullable=False),
        Column("quarantined", "int64", "rows that are in quarantine", nullable=False),
        Column("contract_version", "string", "that the rows were read by", nullable=False),
        Column("history", "boolean", "rows take their known time from the contract", nullable=False),
        Column("note", "string", "why it was refused, or by whom it was withdrawn"),
        Column("at", INSTANT, "when (UTC)", nullable=False),
        Column("version", "string", "of the file where it lies: changes when it is written"),
    ),
    description="The ledger: every event of every delivery, in order; only ever added to.",
)

QUARANTINE = TableSpec(
    "quarantine",
    (
        DELIVERY_ID,
        Column("source", "string", "the contract", nullable=False),
        ROW_NUMBER,
        Column("reasons", "string", "each column that failed, with what was expected", nullable=False),
        Column("row", "string", "the row as delivered (JSON)", nullable=False, personal="direct"),
        Column("at", INSTANT, "when (UTC)", nullable=False),
    ),
    partition_by=("delivery_id",),
    description="Rows that broke their contract, whole and with the reason; replay the delivery after a fix.",
)


def raw_table(contract: Contract) -> TableSpec:
    """The raw table of a source: its columns as typed by the contract, and what ingestion adds."""
    return TableSpec(
        f"raw_{contract.name}",
        (
            *(
                Column(c.name, c.type, c.description, nullable=not c.required, personal=c.personal)
                for c in contract.columns
            ),
            *RAW_COLUMNS,
        ),
        key=("delivery_id", "row_number"),
        partition_by=("delivery_id", "month"),
        description=" ".join(filter(None, (contract.description, contract.limitations))),
    )
