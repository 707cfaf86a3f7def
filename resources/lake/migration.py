"""Moving a lake: every table with its history from one installation's store and catalog to another's."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.iceberg.catalog import planned_files
from resources.iceberg.errors import LakehouseError
from resources.iceberg.placement import partition_text, placed_now, without_current
from resources.stores.object_store import ObjectStore, read_bytes

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata

    from resources.iceberg.tables import Tables

PIECE = 1 << 20  # bytes


class MigrationRefused(LakehouseError):
    """A table that cannot be moved as it is; the target's table is as before."""


@dataclass(frozen=True)
class Migrated:
    """A moved table: what it holds now, over all snapshots that were kept, and whether it was there already."""

    table: str
    snapshots: int
    rows: int
    files: int
    bytes: int
    was_there: bool


def migrate(source: Tables, target: Tables) -> Iterator[Migrated]:
    """Move every table of ``source`` into ``target``, one at a time.

    Data files are copied as they are and read back: their SHA-256 must be that of the original. Manifests and
    metadata are written anew with the target's addresses, and name the same snapshots, so that runs, time
    travel and the record of inputs go on. A table appears in the target's catalog when all of it is there;
    killed before, it is moved again, without copying what has arrived. Moving again what is there is nothing.

    What is archived does not move: it is restored first. Which class files are in is left behind, for the target
    has classes of its own.

    Raises :class:`MigrationRefused` for a table that both sides have and that differs, and for one of which
    partitions are archived, with both as they were.
    """
    for name in source.names():
        table = source.load(name)
        if table is not None:
            yield _moved(name, table, source, target)


def _moved(name: str, table: Table, source: Tables, target: Tables) -> Migrated:
    there = target.load(name)
    if there is not None and _snapshots(there) != _snapshots(table):
        raise MigrationRefused(
            f"table {name}: the target has one with other snapshots, so one of the two was written since. Move into "
            "a database and warehouse of their own (CDAP_DATABASE, CDAP_WAREHOUSE), or go on with the target's."
        )
    if archived := [one for one in placed_now(table).values() if one.tier == "archived"]:
        columns = [field.name for field in table.spec().fields]
        raise MigrationRefused(
            f"table {name}: {len(archived)} partitions are archived, such as "
            f"{partition_text(columns, archived[0].partition)}; restore them with `cdap storage restore` and move again"
        )
    files = _data_files(table)
    if there is None:
        held = {found.key: found.size for found in target.stores.lake.list(f"{name}/data/")}
        for location, size in files.items():
            _copy(source.stores.lake, target.stores.lake, source.stores.lake.key(location), size, held)
        metadata = _rewritten(table, source.stores.lake, target.stores.lake)
        key = f"{name}/metadata/00000-{metadata.table_uuid}.metadata.json"
        target.stores.lake.write(key, metadata.model_dump_json().encode())
        target.catalog.register_table((target.database, name), target.stores.lake.location(key))
    rows = _rows(target.load(name))
    if rows != _rows(table):
        raise MigrationRefused(f"table {name}: the moved table has {rows:,} rows, the original {_rows(table):,}")
    return Migrated(name, len(table.metadata.snapshots), rows, len(files), sum(files.values()), there is not None)


def _snapshots(table: Table) -> list[int]:
    return sorted(snapshot.snapshot_id for snapshot in table.metadata.snapshots)


def _data_files(table: Table) -> Mapping[str, int]:
    """Address and size of every data file that a retained snapshot refers to."""
    return {
        entry.data_file.file_path: entry.data_file.file_size_in_bytes
        for snapshot in table.metadata.snapshots
        for manifest in snapshot.manifests(table.io)
        for entry in manifest.fetch_manifest_entry(table.io)
    }


def _rows(table: Table | None) -> int:
    snapshot = table.current_snapshot() if table else None
    if table is None or snapshot is None:
        return 0
    return sum(file.record_count for file in planned_files(table, snapshot.snapshot_id))


def _copy(source: ObjectStore, target: ObjectStore, key: str, size: int, held: Mapping[str, int]) -> None:
    if held.get(key) != size:
        target.write(key, read_bytes(source, key))
    if _digest(source, key) != _digest(target, key):
        raise MigrationRefused(f"{target.location(key)} is not the file that was copied; delete it and move again")


def _digest(store: ObjectStore, key: str) -> str:
    digest = hashlib.sha256()
    with closing(store.open(key)) as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _rewritten(table: Table, source: ObjectStore, target: ObjectStore) -> TableMetadata:
    """The table's metadata with the target's addresses, after its manifests and their lists were written so."""

    def moved(location: str) -> str:
        return target.location(source.key(location))

    lengths: dict[str, int] = {}
    for snapshot in table.metadata.snapshots:
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path not in lengths:
                lengths[manifest.manifest_path] = _rewrite(
                    manifest.manifest_path, source, target, lambda entry: _entry(entry, moved)
                )
        _rewrite(snapshot.manifest_list, source, target, lambda entry: _listed(entry, moved, lengths))
    snapshots = [
        snapshot.model_copy(update={"manifest_list": moved(snapshot.manifest_list)})
        for snapshot in table.metadata.snapshots
    ]
    return table.metadata.model_copy(
        update={
            "location": moved(table.metadata.location),
            "properties": {**table.metadata.properties, **without_current(table)},
            "snapshots": snapshots,
            "metadata_log": [],  # older versions of the metadata stay with the original
            "statistics": [],
            "partition_statistics": [],
        }
    )


def _entry(entry: dict[str, Any], moved: Any) -> dict[str, Any]:
    return {**entry, "data_file": {**entry["data_file"], "file_path": moved(entry["data_file"]["file_path"])}}


def _listed(entry: dict[str, Any], moved: Any, lengths: Mapping[str, int]) -> dict[str, Any]:
    path = entry["manifest_path"]
    return {**entry, "manifest_path": moved(path), "manifest_length": lengths[path]}


def _rewrite(location: str, source: ObjectStore, target: ObjectStore, change: Any) -> int:
    """Write an Avro file of the source to the target with its records changed; its schema and all else stay."""
    import fastavro

    with closing(source.open(source.key(location))) as stream:
        reader = fastavro.reader(io.BytesIO(stream.read()))
        records = [change(record) for record in reader]
    written = io.BytesIO()
    told = {key: value for key, value in reader.metadata.items() if not key.startswith("avro.")}
    fastavro.writer(written, reader.writer_schema, records, codec=reader.codec, metadata=told)
    target.write(source.key(location), written.getvalue())
    return len(written.getvalue())
