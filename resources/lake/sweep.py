"""The sweep: deletes files that no retained metadata references, and what runs and publishes long over left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from resources.iceberg.catalog import references, staging_database
from resources.iceberg.placement import placed_now
from resources.iceberg.scratch import FOLDER as SCRATCH
from resources.stores.folder_store import FolderStore
from resources.stores.lock import exclusive
from resources.stores.object_store import ObjectStore, StoredObject
from resources.tiers.journal import Journal
from resources.tiers.manifest import partition_folder

if TYPE_CHECKING:
    from resources.iceberg.tables import Tables

WAIT = 600  # seconds for another sweep of the same home


@dataclass(frozen=True)
class Swept:
    """What a sweep deleted."""

    files: int
    bytes: int


def sweep(tables: Tables, *, older_than: datetime) -> Swept:
    """Delete what runs left behind that no retained snapshot or metadata of a table references.

    ``older_than`` is the lease: it lies before the start of every run that may still be at work, for the
    staged files of a running publish are referenced by nothing yet. Only files in the folders of catalogued
    tables, of the archive, of runs and of scratch tables are touched; of a shadow or scratch table that a dead
    publish left, the catalog's entry is dropped, never the table by an engine, which would take files of the real
    one along.
    Raises ``ValueError`` for a naive ``older_than`` and
    :class:`~resources.stores.busy.Busy` while another process sweeps.
    """
    if older_than.tzinfo is None:
        raise ValueError(f"older_than {older_than} has no time zone; give an aware datetime")
    files = size = 0
    with exclusive(tables.settings, "sweep", timeout=WAIT):
        _drop_staging(tables, older_than)
        old = [(tables.stores.lake, found) for found in _unreferenced(tables, older_than)]
        old += [(tables.stores.archive, found) for found in _forgotten(tables, older_than)]
        old += [(tables.stores.runs, found) for found in _older(tables.stores.runs, "", older_than)]
        for store, found in old:
            if store.delete([found.key]):
                files, size = files + 1, size + found.size
        _clear_spill(tables, older_than)
    return Swept(files, size)


def _clear_spill(tables: Tables, older_than: datetime) -> None:
    """Delete what killed processes of this machine left of queries and of deliveries that they were reading."""
    spill = FolderStore(tables.settings.home / "spill")
    spill.delete([found.key for found in spill.list() if found.modified < older_than])


def _drop_staging(tables: Tables, older_than: datetime) -> None:
    from pyiceberg.exceptions import NoSuchTableError

    if not tables.settings.shared:
        return
    for identifier in tables.catalog.list_tables(staging_database(tables.settings)):
        # its own session may drop it meanwhile
        with suppress(NoSuchTableError, FileNotFoundError):
            table = tables.catalog.load_table(identifier)
            # not by the time in the metadata, which of a shadow is that of the table it stands for
            key = tables.stores.lake.key(table.metadata_location)
            if all(found.modified < older_than for found in tables.stores.lake.list(key)):
                tables.catalog.drop_table(identifier)


def _unreferenced(tables: Tables, older_than: datetime) -> Iterator[StoredObject]:
    for name in tables.names():
        # listed before the references are read: what is committed in between counts as referenced
        old = list(_older(tables.stores.lake, f"{name}/", older_than))
        # and the journal between: a move that is finished after a crash takes the files of its dead try, however old
        moves = [move.id for move in Journal(tables.stores.archive).pending()] if old else []
        finishing = tuple(f"{name}/data/{what}-{move}/" for move in moves for what in ("move", "restored"))
        table = tables.load(name)
        if table is None or not old:
            continue
        kept = references(table)
        for found in old:
            if tables.stores.lake.location(found.key) not in kept and not found.key.startswith(finishing):
                yield found
    yield from _older(tables.stores.lake, f"{SCRATCH}/", older_than)


def _forgotten(tables: Tables, older_than: datetime) -> Iterator[StoredObject]:
    """Archived files of partitions whose archive no table speaks of any more, and of no move under way."""
    # listed before the references are read: what is archived in between counts as referenced
    old = list(_older(tables.stores.archive, "", older_than))
    if not old:
        return
    pending = {move.id for move in Journal(tables.stores.archive).pending()}
    held: dict[str, set[str]] = defaultdict(set)  # folders of partitions by the move that archived them
    for name in tables.names():
        table = tables.load(name)
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
