"""A shadow: an empty second catalog entry on a table's own schema, partitions and place, for an engine to fill."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from resources.iceberg.catalog import personal_columns, planned_files, references, staging_database
from resources.iceberg.table import TableSpec

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from resources.iceberg.tables import Tables

_HISTORY = ("snapshots", "snapshot_log", "metadata_log", "statistics", "partition_statistics")


class Shadow:
    """Stands in the staging database until its files are adopted by one commit of the real table, or deleted.

    It has the table's field ids, so that adopted files read as the table's own, also after columns were added.
    Only the catalog's entry is ever dropped: an engine's DROP TABLE would delete what lies in the place, which
    is the real table's too.
    """

    def __init__(self, tables: Tables, table: Table, name: str) -> None:
        from pyiceberg.serializers import ToOutputFile

        self.name = name
        self._tables = tables
        self._identifier = (staging_database(tables.settings), name)
        self._data: set[str] = set()
        empty: dict[str, Any] = {key: [] for key in _HISTORY} | {"refs": {}, "current_snapshot_id": None}
        metadata = table.metadata.model_copy(update={**empty, "table_uuid": uuid.uuid4()})
        location = f"{table.location()}/metadata/00000-{uuid.uuid4()}.metadata.json"
        ToOutputFile.table_metadata(metadata, table.io.new_output(location))
        tables.catalog.register_table(self._identifier, location)

    def written(self, spec: TableSpec) -> tuple[int | None, Sequence[DataFile]]:
        """The snapshot that INSERTs have left and its files, without bounds of personal columns."""
        table = self._tables.catalog.load_table(self._identifier)
        snapshot = table.current_snapshot()
        if snapshot is None:
            return None, []
        files = planned_files(table, snapshot.snapshot_id)
        personal = [table.schema().find_field(name).field_id for name in personal_columns(spec)]
        for file in files:
            for bounds in (file.lower_bounds, file.upper_bounds):
                for field_id in personal:
                    (bounds or {}).pop(field_id, None)
        self._data = {file.file_path for file in files}
        return snapshot.snapshot_id, files

    def drop(self) -> None:
        """Let go of the entry and delete its own metadata; the data files stay."""
        table = self._tables.catalog.load_table(self._identifier)
        own = references(table)
        self._tables.catalog.drop_table(self._identifier)
        self._delete(own - self._data)

    def discard(self) -> None:
        """Let go of the entry and delete every file that it refers to; after ``drop``, the data files alone."""
        if self._tables.catalog.table_exists(self._identifier):
            self._data |= references(self._tables.catalog.load_table(self._identifier))
            self._tables.catalog.drop_table(self._identifier)
        self._delete(self._data)

    def _delete(self, locations: set[str]) -> None:
        store = self._tables.stores.lake
        store.delete([store.key(location) for location in locations])
