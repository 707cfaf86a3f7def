"""The keys that archived partitions hold, in a small readable file: a correction finds the row that it corrects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from resources.engines.duckdb import DuckDBEngine
from resources.iceberg.catalog import Partition
from resources.iceberg.errors import LakehouseError
from resources.iceberg.placement import Placement, partition_text
from resources.tiers.manifest import partition_folder

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from resources.iceberg.table import TableSpec
    from resources.iceberg.tables import Tables
    from resources.tiers.journal import Move

LARGEST = 512 << 20  # bytes of a file
LEVEL = 19  # of zstd


def keys_prefix(table: str, move: str) -> str:
    """Where the keys of a move lie in the archive, a folder for each partition."""
    return f"keys/{table}/{move}/"


def write_keys(tables: Tables, table: Table, held: Mapping[Partition, Sequence[DataFile]], move: Move) -> None:
    """Write the different values of the move's ``sought_by`` column in each of its partitions."""
    prefix = keys_prefix(move.table, move.id)
    tables.stores.archive.delete([found.key for found in tables.stores.archive.list(prefix)])  # what a dead try left
    columns = ", ".join(f'"{name}"' for name in [*(field.name for field in table.spec().fields), move.sought_by])
    engine = DuckDBEngine.of(tables)
    try:
        for partition, files in held.items():
            keys = engine.parquet([file.file_path for file in files]).project(columns).distinct().order(columns)
            place = tables.stores.archive.location(f"{prefix}{partition_folder(partition)}")
            engine.write_large(keys, place, LARGEST, LEVEL)
    finally:
        engine.close()


def partitions_with(
    tables: Tables, spec: TableSpec, archived: Mapping[Partition, Placement], keys: pa.Array
) -> set[Partition]:
    """The partitions among the ``archived`` that hold one of ``keys``.

    Raises :class:`LakehouseError` for a partition of which no keys were kept: it may hold any.
    """
    import pyarrow as pa

    kept: dict[str, list[str]] = {}
    for move in sorted({one.move for one in archived.values()}):
        for found in tables.stores.archive.list(keys_prefix(spec.name, move)):
            kept.setdefault(found.key.rsplit("/", 1)[0], []).append(tables.stores.archive.location(found.key))
    files = []
    for partition, one in archived.items():
        own = kept.get(f"{keys_prefix(spec.name, one.move)}{partition_folder(partition)}")
        if own is None:
            text = partition_text(spec.partition_by, partition)
            raise LakehouseError(
                f"table {spec.name}: the archive of {text} has no list of its values of {spec.sought_by}, so nobody "
                f"knows what it holds. Restore it with `cdap storage restore {spec.name} --partition {text}`, and run "
                "again."
            )
        files += own
    engine = DuckDBEngine.of(tables)
    try:
        engine.backend.con.register("wanted", pa.table({"wanted": keys}))
        held = engine.parquet(files).filter(f'"{spec.sought_by}" IN (SELECT wanted FROM wanted)')  # noqa: S608  declared
        partitions = held.project(", ".join(f'"{name}"' for name in spec.partition_by)).distinct().fetchall()
    finally:
        engine.close()
    return set(partitions)
