"""The keys that archived partitions hold, in a small readable file: a correction finds the row that it corrects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from resources.catalog import Partition
from resources.engines.duckdb import DuckDBEngine
from resources.errors import LakehouseError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from resources.lakehouse import Lakehouse
    from resources.table import TableSpec
    from resources.tiers.journal import Move

LARGEST = 512 << 20  # bytes of a file
LEVEL = 19  # of zstd


def keys_prefix(table: str, move: str) -> str:
    """Where the keys of a move lie in the archive."""
    return f"keys/{table}/{move}/"


def write_keys(lakehouse: Lakehouse, table: Table, held: Mapping[Partition, Sequence[DataFile]], move: Move) -> None:
    """Write the different values of the move's ``sought_by`` column in each of its partitions."""
    prefix = keys_prefix(move.table, move.id)
    lakehouse.archive.delete([found.key for found in lakehouse.archive.list(prefix)])  # what a dead try left
    columns = ", ".join(f'"{name}"' for name in [*(field.name for field in table.spec().fields), move.sought_by])
    engine = DuckDBEngine(lakehouse.settings)
    try:
        rows = engine.parquet([file.file_path for files in held.values() for file in files])
        keys = rows.project(columns).distinct().order(columns)
        engine.write_large(keys, lakehouse.archive.location(prefix.rstrip("/")), LARGEST, LEVEL)
    finally:
        engine.close()


def partitions_with(lakehouse: Lakehouse, spec: TableSpec, moves: Sequence[str], keys: pa.Array) -> set[Partition]:
    """The partitions among those that ``moves`` archived that hold one of ``keys``.

    Raises :class:`LakehouseError` for a move that kept no keys: what it archived may hold any.
    """
    import pyarrow as pa

    files = []
    for move in moves:
        kept = [lakehouse.archive.location(found.key) for found in lakehouse.archive.list(keys_prefix(spec.name, move))]
        if not kept:
            raise LakehouseError(
                f"table {spec.name}: the archive {move} has no list of its values of {spec.sought_by}, so nobody knows "
                "what it holds. Restore its partitions, and run again."
            )
        files += kept
    engine = DuckDBEngine(lakehouse.settings)
    try:
        engine.backend.con.register("wanted", pa.table({"wanted": keys}))
        held = engine.parquet(files).filter(f'"{spec.sought_by}" IN (SELECT wanted FROM wanted)')  # noqa: S608  declared
        found = held.project(", ".join(f'"{name}"' for name in spec.partition_by)).distinct().fetchall()
    finally:
        engine.close()
    return set(found)
