"""Tables that live for a moment: results that a session reads again, and rows of Python that an engine joins."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from resources.iceberg.catalog import PROPERTIES, iceberg_schema, staging_database
from resources.iceberg.table import Column, TableSpec

if TYPE_CHECKING:
    import ibis
    from pyiceberg.table import Table

    from resources.iceberg.tables import Tables

FOLDER = "scratch"
WIDER = {**dict.fromkeys(("int8", "int16", "uint8", "uint16"), "int32"), "uint32": "int64", "float32": "float64"}


class Scratch:
    """The scratch tables of one session, in the staging database and below ``scratch/``; dropped when it closes.

    One that a killed process leaves is dropped by the sweep. Values in them never stand in the text of a query.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._made: list[str] = []

    def make(self, schema: ibis.Schema) -> tuple[str, TableSpec, Table]:
        """An empty table of a schema: its name in the staging database, its declaration, and itself."""
        name = f"scratch_{uuid.uuid4().hex}"
        columns = tuple(Column(column, stored_type(dtype)) for column, dtype in schema.items())
        spec = TableSpec(name, columns)
        table = self._tables.catalog.create_table(
            (staging_database(self._tables.settings), name),
            iceberg_schema(spec),
            location=self._tables.stores.lake.location(f"{FOLDER}/{name}"),
            properties={**PROPERTIES, "write.metadata.metrics.default": "none"},
        )
        self._made.append(name)
        return name, spec, table

    def close(self) -> None:
        """Drop them all, entries and files."""
        store = self._tables.stores.lake
        while self._made:
            name = self._made.pop()
            self._tables.catalog.drop_table((staging_database(self._tables.settings), name))
            store.delete([found.key for found in store.list(f"{FOLDER}/{name}/")])


def stored_type(dtype: object) -> str:
    """The declared type that holds every value of an Ibis type."""
    import ibis.expr.datatypes as dt

    nullable = dt.dtype(dtype).copy(nullable=True)
    if nullable.is_timestamp():
        return "timestamp(6)"
    if nullable.is_decimal():
        return f"decimal({nullable.precision or 38}, {nullable.scale or 0})"
    return WIDER.get(str(nullable), str(nullable))
