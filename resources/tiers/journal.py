"""The journal of moves: what was begun and is not finished, so that the run after a crash finishes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Literal

from resources.iceberg.catalog import Partition
from resources.iceberg.placement import decoded, encoded
from resources.stores.object_store import ObjectStore, read_bytes

Kind = Literal["archive", "restore", "return", "cool", "warm", "compact", "expire"]
FOLDER = "journal/"


@dataclass(frozen=True)
class Move:
    """One move of partitions of one table, begun ``at`` (UTC).

    ``offer`` says in words what bringing an archived partition back takes; ``speed`` is how fast a restore is
    asked for, ``due`` the day on which a restored partition goes back, ``sought_by`` the column whose values an
    archive keeps readable, and ``reason`` why it was decided or who asked. ``seen`` is the table's sequence number
    when it was decided: rows that came later are not what was decided on.
    """

    id: str
    kind: Kind
    table: str
    partitions: tuple[Partition, ...]
    at: datetime
    storage_class: str = ""
    offer: str = ""
    speed: str = ""
    due: date | None = None
    sought_by: str = ""
    reason: str = ""
    seen: int | None = None


class Journal:
    """Moves that were begun, one object each in ``journal/`` of the archive."""

    def __init__(self, archive: ObjectStore) -> None:
        self._archive = archive

    def begin(self, move: Move) -> None:
        """Write a move down before anything of it is done."""
        values = [encoded(partition) for partition in move.partitions]
        due = move.due.isoformat() if move.due else None
        content = {**asdict(move), "partitions": values, "at": move.at.isoformat(), "due": due}
        self._archive.write(f"{FOLDER}{move.id}.json", json.dumps(content).encode())

    def finish(self, move: Move) -> None:
        """Strike a move that is done, or was given up, with nothing left of it."""
        self._archive.delete([f"{FOLDER}{move.id}.json"])

    def pending(self) -> Iterator[Move]:
        """The moves that were begun and not finished, in the order of their ids."""
        for found in list(self._archive.list(FOLDER)):
            try:
                entry = json.loads(read_bytes(self._archive, found.key))
            except FileNotFoundError:
                continue  # finished since it was listed
            partitions = tuple(decoded(values) for values in entry["partitions"])
            at, due = datetime.fromisoformat(entry["at"]), entry["due"]
            due = date.fromisoformat(due) if due else None
            yield Move(**{**entry, "partitions": partitions, "at": at, "due": due})
