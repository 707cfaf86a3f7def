"""The ledger at work: which files are new, what was delivered, taking a delivery back, reading one again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import ibis

from cdap_assets.contracts.contract import Contract
from cdap_assets.raw.ingestion import Delivery, DeliveryRefused, Ingested, ingest, record
from cdap_assets.raw.tables import DELIVERIES, QUARANTINE, raw_table
from resources.lakehouse import Session
from resources.lock import exclusive
from resources.settings import Settings

HISTORY = "history"
WAIT = 3600  # seconds for another process that takes, withdraws or replays deliveries of the source
UNFINISHED = (".part", ".partial", ".tmp", ".crdownload")


@dataclass(frozen=True)
class LedgerEntry:
    """The newest event of a delivery."""

    delivery: Delivery
    event: str
    rows: int
    accepted: int
    quarantined: int
    contract_version: str
    history: bool
    note: str | None
    at: datetime


@dataclass(frozen=True)
class Taken:
    """What one pass over a landing folder did."""

    ingested: dict[str, Ingested]
    refused: dict[str, str]


def ledger(session: Session) -> dict[str, LedgerEntry]:
    """The newest event of every delivery, by delivery id, oldest first."""
    rows = session.read(DELIVERIES).order_by("at").to_pyarrow().to_pylist()
    return {row["delivery_id"]: _entry(row) for row in rows}


def _entry(row: dict[str, Any]) -> LedgerEntry:
    delivery = Delivery(row["source"], row["path"], row["sha256"], row["bytes"])
    fields = ("event", "rows", "accepted", "quarantined", "contract_version", "history", "note", "at")
    return LedgerEntry(delivery, **{name: row[name] for name in fields})


def landed(settings: Settings, source: str) -> Iterator[tuple[Path, bool]]:
    """Files under ``landing/<source>/`` in order of their names, with whether they lie under ``history/``.

    Hidden files and those that a transfer has not finished are passed over.
    """
    folder = settings.landing / source
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.is_file() and not hidden and path.suffix.lower() not in UNFINISHED:
            yield path, relative.parts[0] == HISTORY


def delivery_of(settings: Settings, source: str, path: Path) -> Delivery:
    """The delivery that a landed file is, by its content."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Delivery(source, path.relative_to(settings.landing).as_posix(), digest, path.stat().st_size)


def outstanding(settings: Settings, contract: Contract, session: Session) -> list[tuple[Path, Delivery, bool]]:
    """Landed files that are to be taken, and whether each is history.

    A file is done once its content was accepted or taken back, or was refused by this contract version. The
    files found at a source's very first ingestion are its history.
    """
    entries = ledger(session)
    mine = [entry for entry in entries.values() if entry.delivery.source == contract.name]
    first = not any(entry.event in ("accepted", "replayed", "retracted") for entry in mine)
    found: dict[str, tuple[Path, Delivery, bool]] = {}
    for path, in_history in landed(settings, contract.name):
        delivery = delivery_of(settings, contract.name, path)
        entry = entries.get(delivery.id)
        refused_now = entry is not None and entry.event == "refused" and entry.contract_version == contract.version
        if entry is None or (entry.event == "refused" and not refused_now):
            found.setdefault(delivery.id, (path, delivery, in_history or first))
    return list(found.values())


def take(session: Session, settings: Settings, contract: Contract, now: datetime) -> Taken:
    """Ingest what is outstanding. A file that is refused is noted in the ledger and costs no other file.

    One process at a time takes a source. Raises :class:`~resources.lock.Busy` when another does not finish.
    """
    ingested: dict[str, Ingested] = {}
    refused: dict[str, str] = {}
    with _alone(settings, contract), session.lakehouse.session() as latest:
        for number, (path, delivery, history) in enumerate(outstanding(settings, contract, latest)):
            at = now + timedelta(microseconds=number)  # of two deliveries in one pass, the later one wins
            try:
                ingested[delivery.path] = ingest(session, contract, delivery, path, at=at, history=history)
            except DeliveryRefused as error:
                refused[delivery.path] = str(error)
                nothing = Ingested(0, 0, 0)
                record(session, contract, delivery, "refused", nothing, at=at, history=history, note=str(error))
    return Taken(ingested, refused)


def _alone(settings: Settings, contract: Contract) -> AbstractContextManager[None]:
    # the ledger is read inside the lock and by a session of its own: a run's pins may be older than the lock
    return exclusive(settings.locks, f"raw_{contract.name}", timeout=WAIT)


def retract(session: Session, contract: Contract, delivery_id: str, *, by: str, at: datetime) -> LedgerEntry:
    """Withdraw a delivery: its rows stay readable as they were believed until ``at``, and count no more.

    Raises ``ValueError`` for a delivery that is unknown or already withdrawn.
    """
    with _alone(session.lakehouse.settings, contract):
        entry = ledger(session).get(delivery_id)
        if entry is None or entry.event not in ("accepted", "replayed"):
            state = "is not in the ledger" if entry is None else f"was {entry.event} already"
            raise ValueError(f"delivery {delivery_id} {state}; see `cdap deliveries list`")
        spec = raw_table(contract)
        rows = session.read(spec, {"delivery_id": [delivery_id]})
        withdrawn = rows.mutate(retracted_at=ibis.literal(at).cast("timestamp(6)"))
        session.publish(spec, withdrawn, replace={"delivery_id": [delivery_id]})
        counts = Ingested(entry.rows, entry.accepted, entry.quarantined)
        record(session, contract, entry.delivery, "retracted", counts, at=at, history=entry.history, note=f"by {by}")
    return entry


def replay(session: Session, settings: Settings, contract: Contract, delivery_id: str, *, at: datetime) -> Ingested:
    """Read a delivery again under the contract of today. Rows that leave quarantine are known from ``at``.

    Raises ``ValueError`` when the delivery is unknown, or its file is gone or has changed.
    """
    with _alone(settings, contract):
        entry = ledger(session).get(delivery_id)
        if entry is None:
            raise ValueError(f"delivery {delivery_id} is not in the ledger; see `cdap deliveries list`")
        path = settings.landing / entry.delivery.path
        if not path.exists() or delivery_of(settings, contract.name, path).id != delivery_id:
            raise ValueError(
                f"landing/{entry.delivery.path} is gone or has changed since it was delivered; put back the file "
                f"whose sha256 is {entry.delivery.sha256} and replay again"
            )
        quarantine = session.read(QUARANTINE, {"delivery_id": [delivery_id]})
        held = [int(n) for n in quarantine.row_number.to_pyarrow().to_pylist()]
        return ingest(
            session,
            contract,
            entry.delivery,
            path,
            at=at,
            history=entry.history,
            event="replayed",
            late_rows=held,
        )
