"""Data files written anew: few large ones in place of many, with the same rows, which is checked before they count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resources.engines.duckdb import DuckDBEngine
from resources.iceberg.errors import NotMoved

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from resources.iceberg.tables import Tables

LARGEST = 512 << 20  # bytes of a file: larger ones are no cheaper to keep, and slower to move
LIGHT, HEAVY = 3, 19  # zstd levels


def rewritten(tables: Tables, table: Table, files: Sequence[DataFile], folder: str, *, heavy: bool) -> list[DataFile]:
    """The rows of one partition's ``files`` in new files that no reader sees yet; ``heavy``: as small as they get.

    ``folder`` is a key of the lake's store without anything below it. Raises :class:`NotMoved` when the new files
    do not hold the same rows.
    """
    from pyiceberg.io.pyarrow import parquet_files_to_data_files

    engine = DuckDBEngine.of(tables)
    try:
        old = engine.parquet([file.file_path for file in files])
        paths = engine.write_large(old, tables.stores.lake.location(folder), LARGEST, HEAVY if heavy else LIGHT)
        before, after = _fingerprint(old), _fingerprint(engine.parquet(paths))
    finally:
        engine.close()
    if before != after:
        raise NotMoved(f"table {table.name()[-1]}: {folder} does not hold the rows that it was written from")
    return list(parquet_files_to_data_files(table.io, table.metadata, iter(paths)))


def _fingerprint(rows: duckdb.DuckDBPyRelation) -> tuple[int, ...]:
    """Count and two sums of row hashes, which no order changes."""
    columns = ", ".join(f'"{name}"' for name in sorted(rows.columns))
    told = rows.aggregate(f"count(*), sum(hash({columns})), bit_xor(hash({columns}))").fetchall()
    return tuple(int(figure or 0) for figure in told[0])
