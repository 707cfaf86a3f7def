"""A shop with a contract in code: lands files, takes them, and reads what became of them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cdap_assets.contracts.contract import Contract, History, SourceColumn
from cdap_assets.raw.deliveries import LedgerEntry, Taken, ledger, replay, retract, take
from cdap_assets.raw.ingestion import Ingested
from cdap_assets.raw.tables import DELIVERIES, QUARANTINE, raw_table
from resources.engines.file_format import FileFormat
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings

MONDAY = datetime(2024, 3, 4, 6, tzinfo=UTC)
TUESDAY, WEDNESDAY = MONDAY + timedelta(days=1), MONDAY + timedelta(days=2)

COLUMNS = (
    SourceColumn("receipt", "int64", required=True, primary_key=True),
    SourceColumn("card", "string", personal="pseudonymous"),
    SourceColumn("shop", "string", enum=("A", "B")),
    SourceColumn("amount", "decimal(18, 4)", minimum=0, maximum=1000),
    SourceColumn("paid_at", "timestamp(6)"),
)

CONTRACT = Contract(
    name="till",
    version="1.0.0",
    description="Till receipts.",
    limitations="A test.",
    owner=None,
    file=FileFormat(),
    columns=COLUMNS,
    timezone="Europe/Berlin",
    event_time="paid_at",
    event_time_zone="Europe/Berlin",
    currency="EUR",
    key_space="till",
    live=True,
    ends=None,
    history=None,
    purposes=(),
    retention=None,
    archive=None,
    legal_hold=False,
    min_hot=None,
    max_quarantined_share=0.5,
    outputs=(),
    path=Path("till.yaml"),
)
LAGGED = dataclasses.replace(CONTRACT, history=History(lag=timedelta(hours=2)))
HEADER = "receipt,card,shop,amount,paid_at\n"


def line(receipt: Any, shop: str = "A", amount: str = "1.50", paid_at: str = "2024-03-01 12:00:00") -> str:
    return f"{receipt},c{receipt},{shop},{amount},{paid_at}\n"


def naive(at: datetime) -> datetime:
    """An instant as tables tell it: UTC without saying so."""
    return at.astimezone(UTC).replace(tzinfo=None)


class Shop:
    """One home with one source."""

    def __init__(self, home: Path, contract: Contract = CONTRACT) -> None:
        self.settings = Settings(home=home, threads=1, memory_limit="1GB")
        self.lake = Lakehouse(self.settings)
        self.contract = contract

    def change(self, **fields: Any) -> None:
        """Change the contract, and its version with it unless told."""
        self.contract = dataclasses.replace(self.contract, **{"version": "2.0.0", **fields})

    def land(self, name: str, content: str | bytes) -> Path:
        """Put a file into the landing folder of the source."""
        path = self.settings.landing / self.contract.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def take(self, at: datetime = MONDAY) -> Taken:
        with self.lake.session() as session:
            return take(session, self.settings, self.contract, at)

    def replay(self, delivery_id: str, at: datetime) -> Ingested:
        with self.lake.session() as session:
            return replay(session, self.settings, self.contract, delivery_id, at=at)

    def retract(self, delivery_id: str, at: datetime) -> LedgerEntry:
        with self.lake.session() as session:
            return retract(session, self.contract, delivery_id, by="Ann", at=at)

    def rows(self) -> list[dict[str, Any]]:
        """The raw rows, by delivery and row number."""
        with self.lake.session() as session:
            return (
                session.read(raw_table(self.contract)).order_by("delivered_at", "row_number").to_pyarrow().to_pylist()
            )

    def quarantine(self) -> list[dict[str, Any]]:
        with self.lake.session() as session:
            return session.read(QUARANTINE).order_by("at", "row_number").to_pyarrow().to_pylist()

    def ledger(self) -> list[LedgerEntry]:
        """The newest event of each delivery."""
        with self.lake.session() as session:
            return list(ledger(session).values())

    def events(self) -> list[str]:
        """All events, oldest first."""
        with self.lake.session() as session:
            return session.read(DELIVERIES).order_by("at").event.to_pyarrow().to_pylist()
