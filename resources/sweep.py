"""The sweep: deletes files that no retained metadata references, and what runs and publishes long over left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from resources.catalog import references, staging_database
from resources.lock import exclusive
from resources.object_store import FolderStore, ObjectStore, StoredObject
from resources.scratch import FOLDER as SCRATCH
from resources.tiers.journal import Journal
from resources.tiers.manifest import partition_folder
from resources.tiers.placement import placed_now

if TYPE_CHECKING:
    from resources.lakehouse import Lakehouse

WAIT = 600  # seconds for another sweep of the same home


@dataclass(frozen=True)
class Swept:
    """What a sweep deleted."""

    files: int
    bytes: int


def sweep(lakehouse: Lakehouse, *, older_than: datetime) -> Swept:
    """Delete what runs left behind that no retained snapshot or metadata of a table references.

    ``older_than`` is the lease: it lies before the start of every run that may still be at work, for the
    staged files of a running publish are referenced by nothing yet. Only files in the folders of catalogued
    tables, of the archive, of runs and of scratch tables are touched; of a shadow or scratch table that a dead
    publish left, the catalog's entry is dropped, never the table by an engine, which would take files of the real
    one along.
    Raises ``ValueError`` for a naive ``older_than`` and
    :class:`~resources.lock.Busy` while another process sweeps.
    """
    if older_than.tzinfo is None:
        raise ValueError(f"older_than {older_than} has no time zone; give an aware datetime")
    files = size = 0
    with exclusive(lakehouse.settings, "sweep", timeout=WAIT):
        _drop_staging(lakehouse, older_than)
        old = [(lakehouse.store, found) for found in _unreferenced(lakehouse, older_than)]
        old += [(lakehouse.archive, found) for found in _forgotten(lakehouse, older_than)]
        old += [(lakehouse.runs, found) for found in _older(lakehouse.runs, "", older_than)]
        for store, found in old:
            if store.delete([found.key]):
                files, size = files + 1, size + found.size
        _clear_spill(lakehouse, older_than)
    return Swept(files, size)


def _clear_spill(lakehouse: Lakehouse, older_than: datetime) -> None:
    """Delete what killed processes of this machine left of queries and of deliveries that they were reading."""
    spill = FolderStore(lakehouse.settings.home / "spill")
    spill.delete([found.key for found in spill.list() if found.modified < older_than])


def _drop_staging(lakehouse: Lakehouse, older_than: datetime) -> None:
    from pyiceberg.exceptions import NoSuchTableError

    if not lakehouse.settings.shared:
        return
    for identifier in lakehouse.catalog.list_tables(staging_database(lakehouse.settings)):
        # its own session may drop it meanwhile
        with suppress(NoSuchTableError, FileNotFoundError):
            table = lakehouse.catalog.load_table(identifier)
            # not by the time in the metadata, which of a shadow is that of the table it stands for
            key = lakehouse.store.key(table.metadata_location)
            if all(found.modified < older_than for found in lakehouse.store.list(key)):
                lakehouse.catalog.drop_table(identifier)


def _unreferenced(lakehouse: Lakehouse, older_than: datetime) -> Iterator[StoredObject]:
    for name in lakehouse.names():
        # listed before the references are read: what is committed in between counts as referenced
        old = list(_older(lakehouse.store, f"{name}/", older_than))
        # and the journal between: a move that is finished after a crash takes the files of its dead try, however old
        moves = [move.id for move in Journal(lakehouse.archive).pending()] if old else []
        finishing = tuple(f"{name}/data/{what}-{move}/" for move in moves for what in ("move", "restored"))
        table = lakehouse.load(name)
        if table is None or not old:
            continue
        kept = references(table)
        for found in old:
            if lakehouse.store.location(found.key) not in kept and not found.key.startswith(finishing):
                yield found
    yield from _older(lakehouse.store, f"{SCRATCH}/", older_than)


def _forgotten(lakehouse: Lakehouse, older_than: datetime) -> Iterator[StoredObject]:
    """Archived files of partitions whose archive no table speaks of any more, and of no move under way."""
    # listed before the references are read: what is archived in between counts as referenced
    old = list(_older(lakehouse.archive, "", older_than))
    if not old:
        return
    pending = {move.id for move in Journal(lakehouse.archive).pending()}
    held: dict[str, set[str]] = defaultdict(set)  # folders of partitions by the move that archived them
    for name in lakehouse.names():
        table = lakehouse.load(name)
        for one in placed_now(table).values() if table else ():
            held[one.move].add(partition_folder(one.partition))
    for found in old:
        match found.key.split("/"):
            case ["data" | "keys", _table, move, folder, _file] if move not in pending and folder not in held[move]:
                yield found
            case ["manifests", _table, file] if (move := file.removesuffix(".json")) not in pending and not held[move]:
                yield found


def _older(store: ObjectStore, prefix: str, older_than: datetime) -> Iterator[StoredObject]:
    return (found for found in store.list(prefix) if found.modified < older_than)
