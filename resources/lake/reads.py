"""Who reads what: each session notes the partitions that it read, and a fold adds the notes up by day.

A note is one small object, written when a session ends, so that a read costs no request of its own. A fold adds
the notes of a month up in one object that names them, and then deletes them: whatever happens in between, each
note counts once.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from resources.iceberg.catalog import Partition, partition_of
from resources.iceberg.placement import decoded, encoded
from resources.stores.object_store import ObjectStore, read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

NOTES = "notes/"
MONTHS = "months/"


@dataclass(frozen=True)
class Reads:
    """How often a partition was read on one day, and how many bytes of it were planned to be."""

    count: int
    bytes: int


class ReadLog:
    """The notes of one session on what it reads; nothing is written before :meth:`flush`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._seen: dict[tuple[str, Partition], int] = defaultdict(int)
        self._counts: dict[tuple[str, Partition], int] = defaultdict(int)

    def note(self, table: Table, name: str, files: Iterable[DataFile]) -> None:
        """Note that ``files`` of a table are read."""
        read: dict[Partition, int] = defaultdict(int)
        for file in files:
            read[partition_of(table, file.partition)] += file.file_size_in_bytes
        for partition, size in read.items():
            self._counts[name, partition] += 1
            self._seen[name, partition] += size

    def flush(self, at: datetime) -> None:
        """Write the notes down under the day of ``at`` (UTC), if there are any."""
        note(self._store, {what: Reads(count, self._seen[what]) for what, count in self._counts.items()}, at)
        self._seen.clear()
        self._counts.clear()


def note(store: ObjectStore, reads: Mapping[tuple[str, Partition], Reads], at: date, name: str = "") -> None:
    """Write reads by table and partition down under a day (UTC), if there are any.

    ``name`` is one that the same reads would have again, for who may note them twice.
    """
    if not reads:
        return
    entries = [[table, encoded(partition), read.count, read.bytes] for (table, partition), read in reads.items()]
    place = f"{NOTES}{at:%Y-%m}/{at:%Y-%m-%d}-{name or uuid.uuid4().hex}.json"
    store.write(place, json.dumps(entries).encode())


def fold(store: ObjectStore) -> None:
    """Add the notes up by month. One process at a time: its caller holds a lock."""
    notes: dict[str, list[str]] = defaultdict(list)
    for found in store.list(NOTES):
        notes[found.key.split("/")[1]].append(found.key)
    for month, keys in notes.items():
        added = _month(store, month)
        days, counted = _days(added), set(added["added"])
        for key in keys:
            if key in counted:
                continue  # of a fold that died before it deleted
            day = key.rsplit("/", 1)[1][:10]
            for name, partition, count, size in json.loads(read_bytes(store, key)):
                _add(days, (name, decoded(partition)), day, Reads(count, size))
        told = [
            [name, encoded(partition), day, reads.count, reads.bytes]
            for (name, partition), by_day in days.items()
            for day, reads in by_day.items()
        ]
        store.write(f"{MONTHS}{month}.json", json.dumps({"added": keys, "reads": told}).encode())
        store.delete(keys)


def history(store: ObjectStore) -> Mapping[tuple[str, Partition], Mapping[date, Reads]]:
    """Reads by table and partition, by day (UTC), of all that was folded."""
    found: dict[tuple[str, Partition], dict[str, Reads]] = {}
    for stored in list(store.list(MONTHS)):
        for what, by_day in _days(json.loads(read_bytes(store, stored.key))).items():
            for day, reads in by_day.items():
                _add(found, what, day, reads)
    return {what: {date.fromisoformat(day): reads for day, reads in days.items()} for what, days in found.items()}


def _month(store: ObjectStore, month: str) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(read_bytes(store, f"{MONTHS}{month}.json"))
    except FileNotFoundError:
        return {"added": [], "reads": []}
    return told


def _days(month: Mapping[str, Any]) -> dict[tuple[str, Partition], dict[str, Reads]]:
    found: dict[tuple[str, Partition], dict[str, Reads]] = {}
    for name, partition, day, count, size in month["reads"]:
        _add(found, (name, decoded(partition)), day, Reads(count, size))
    return found


def _add(
    days: dict[tuple[str, Partition], dict[str, Reads]], what: tuple[str, Partition], day: str, reads: Reads
) -> None:
    by_day = days.setdefault(what, {})
    known = by_day.get(day, Reads(0, 0))
    by_day[day] = Reads(known.count + reads.count, known.bytes + reads.bytes)
