"""The ledger at work: which files are new, what was delivered, taking a delivery back, reading one again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import ibis

from cdap_assets.contracts.contract import Contract
from cdap_assets.raw.ingestion import Delivery, DeliveryRefused, Ingested, ingest, record
from cdap_assets.raw.landing import fetched, landed, landing
from cdap_assets.raw.tables import DELIVERIES, QUARANTINE, raw_table
from resources.lake.session import InProcess, Session
from resources.settings import Settings
from resources.stores.lock import confirm, exclusive
from resources.stores.object_store import ObjectStore, StoredObject

WAIT = 3600  # seconds for another process that takes, withdraws or replays deliveries of the source
SEEN = "seen"


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
    """What one pass over a landing folder did, and all that the ledger then knew of the source."""

    ingested: dict[str, Ingested]
    refused: dict[str, str]
    entries: tuple[LedgerEntry, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Known:
    """What the ledger knows: the newest event of every delivery, oldest first, and files it need not read again."""

    entries: Mapping[str, LedgerEntry]
    files: Mapping[tuple[str, int, str], str] = field(repr=False)

    def entry(self, found: StoredObject) -> LedgerEntry | None:
        """The delivery that a landed file is known to be without reading it."""
        return self.entries.get(self.files.get((found.key, found.size, found.version), ""))


def ledger(session: Session) -> dict[str, LedgerEntry]:
    """The newest event of every delivery, by delivery id, oldest first."""
    return dict(_known(session).entries)


def _known(session: Session) -> Known:
    rows = session.read(DELIVERIES).order_by("at").to_pyarrow().to_pylist()
    entries = {row["delivery_id"]: _entry(row) for row in rows if row["event"] != SEEN}
    files = {(row["path"], row["bytes"], row["version"]): row["delivery_id"] for row in rows if row["version"]}
    return Known(entries, files)


def _entry(row: dict[str, Any]) -> LedgerEntry:
    delivery = Delivery(row["source"], row["path"], row["sha256"], row["bytes"], row["version"])
    fields = ("event", "rows", "accepted", "quarantined", "contract_version", "history", "note", "at")
    return LedgerEntry(delivery, **{name: row[name] for name in fields})


def _done(entry: LedgerEntry | None, contract: Contract) -> bool:
    return entry is not None and (entry.event != "refused" or entry.contract_version == contract.version)


def outstanding(settings: Settings, contract: Contract, session: Session) -> list[tuple[StoredObject, bool]]:
    """Landed files that are to be read, and whether each is history.

    A file is done once its content was accepted or taken back, or was refused by this contract version; one
    that is as the ledger knows it is not read to learn that. The files found at a source's very first ingestion
    are its history.
    """
    return _outstanding(landing(settings), contract, _known(session))


def _outstanding(store: ObjectStore, contract: Contract, known: Known) -> list[tuple[StoredObject, bool]]:
    mine = [entry for entry in known.entries.values() if entry.delivery.source == contract.name]
    first = not any(entry.event in ("accepted", "replayed", "retracted") for entry in mine)
    return [
        (found, in_history or first)
        for found, in_history in landed(store, contract.name)
        if not _done(known.entry(found), contract)
    ]


def take(session: InProcess, settings: Settings, contract: Contract, now: datetime) -> Taken:
    """Ingest what is outstanding. A file that is refused is noted in the ledger and costs no other file.

    A file whose content was delivered before is noted as seen. One process at a time takes a source. Raises
    :class:`~resources.stores.busy.Busy` when another does not finish.
    """
    ingested: dict[str, Ingested] = {}
    refused: dict[str, str] = {}
    seen: list[Delivery] = []
    store = session.tables.stores.at(settings.root("landing"))
    with _alone(settings, contract), session.as_of_now() as latest:
        known = _known(latest)
        done = {name for name, entry in known.entries.items() if _done(entry, contract)}
        for number, (found, history) in enumerate(_outstanding(store, contract, known)):
            at = now + timedelta(microseconds=number)  # of two deliveries in one pass, the later one wins
            with fetched(store, settings, contract.name, found) as (delivery, file):
                if delivery.id in done:
                    seen.append(delivery)
                    continue
                confirm()
                done.add(delivery.id)
                try:
                    ingested[delivery.path] = ingest(session, contract, delivery, file, at=at, history=history)
                except DeliveryRefused as error:
                    refused[delivery.path] = str(error)
                    nothing = Ingested(0, 0, 0)
                    record(session, contract, [delivery], "refused", nothing, at=at, history=history, note=str(error))
        if seen:
            record(session, contract, seen, SEEN, Ingested(0, 0, 0), at=now, history=False)
        entries = known.entries
        if ingested or refused:
            with session.as_of_now() as after:
                entries = ledger(after)
    mine = tuple(entry for entry in entries.values() if entry.delivery.source == contract.name)
    return Taken(ingested, refused, mine)


def _alone(settings: Settings, contract: Contract) -> AbstractContextManager[None]:
    # the ledger is read inside the lock and by a session of its own: a run's pins may be older than the lock
    return exclusive(settings, f"raw_{contract.name}", timeout=WAIT)


def retract(session: InProcess, contract: Contract, delivery_id: str, *, by: str, at: datetime) -> LedgerEntry:
    """Withdraw a delivery: its rows stay readable as they were believed until ``at``, and count no more.

    Raises ``ValueError`` for a delivery that is unknown or already withdrawn.
    """
    with _alone(session.tables.settings, contract):
        entry = ledger(session).get(delivery_id)
        if entry is None or entry.event not in ("accepted", "replayed"):
            state = "is not in the ledger" if entry is None else f"was {entry.event} already"
            raise ValueError(f"delivery {delivery_id} {state}; see `cdap deliveries list`")
        spec = raw_table(contract)
        rows = session.read(spec, {"delivery_id": [delivery_id]})
        withdrawn = rows.mutate(retracted_at=ibis.literal(at).cast("timestamp(6)"))
        session.publish(spec, withdrawn, replace={"delivery_id": [delivery_id]})
        counts = Ingested(entry.rows, entry.accepted, entry.quarantined)
        record(session, contract, [entry.delivery], "retracted", counts, at=at, history=entry.history, note=f"by {by}")
    return entry


def replay(session: InProcess, settings: Settings, contract: Contract, delivery_id: str, *, at: datetime) -> Ingested:
    """Read a delivery again under the contract of today. Rows that leave quarantine are known from ``at``.

    Raises ``ValueError`` when the delivery is unknown, or its file is gone or has changed.
    """
    with _alone(settings, contract):
        entry = ledger(session).get(delivery_id)
        if entry is None:
            raise ValueError(f"delivery {delivery_id} is not in the ledger; see `cdap deliveries list`")
        changed = ValueError(
            f"landing/{entry.delivery.path} is gone or has changed since it was delivered; put back the file "
            f"whose sha256 is {entry.delivery.sha256} and replay again"
        )
        store = session.tables.stores.at(settings.root("landing"))
        listed = store.list(entry.delivery.path)
        found = next((found for found in listed if found.key == entry.delivery.path), None)
        if found is None:
            raise changed
        quarantine = session.read(QUARANTINE, {"delivery_id": [delivery_id]})
        held = [int(n) for n in quarantine.row_number.to_pyarrow().to_pylist()]
        with fetched(store, settings, contract.name, found) as (delivery, file):
            if delivery.id != delivery_id:
                raise changed
            return ingest(
                session,
                contract,
                delivery,
                file,
                at=at,
                history=entry.history,
                event="replayed",
                late_rows=held,
            )
