"""The tables of one installation: loaded, made and evolved to their declarations.

Reading and publishing rows is a session's (:mod:`resources.lake.session`). What needs only catalog, metadata and
stores takes :class:`Tables`, and not the lakehouse, which is in a room above.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from resources.connections import Connections
from resources.iceberg.catalog import (
    PROPERTIES,
    iceberg_schema,
    iceberg_type,
    open_catalog,
    partition_spec,
    personal_properties,
)
from resources.iceberg.errors import HomeMoved
from resources.iceberg.table import TableSpec
from resources.stores.stores import Stores

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from resources.settings import Settings


PLAIN = Connections()


@dataclass(frozen=True)
class TableState:
    """A table as it reads now."""

    name: str
    rows: int
    snapshot_id: int | None
    committed_at: datetime | None
    size_bytes: int
    summary: Mapping[str, str]


class Tables:
    """All tables of one installation. Cheap to make; the catalog opens on first use."""

    def __init__(self, settings: Settings, connections: Connections = PLAIN) -> None:
        self.settings = settings
        self.connections = connections
        self._opened = cache(partial(open_catalog, settings))

    @property
    def catalog(self) -> Catalog:
        """The Iceberg catalog."""
        return self._opened()

    def through(self, connections: Connections) -> Self:
        """The same tables on other connections. What one of the two has opened of the catalog, the other has too."""
        other = copy(self)
        other.connections = connections
        other.__dict__.pop("stores", None)
        return other

    @cached_property
    def stores(self) -> Stores:
        """Where files lie: of tables, their archive, notes of reads, and what runs share."""
        return Stores(self.settings, self.connections.s3)

    @property
    def database(self) -> str:
        """The catalog's database of our tables."""
        return self.settings.database

    def load(self, name: str) -> Table | None:
        """The Iceberg table, or ``None`` before its first publish. Raises :class:`HomeMoved`."""
        from pyiceberg.exceptions import NoSuchTableError

        try:
            table = self.catalog.load_table((self.database, name))
        except NoSuchTableError:
            return None
        self._refuse_moved(table.location(), name)
        return table

    def _refuse_moved(self, location: str, name: str) -> None:
        # metadata holds absolute paths: what a copy of a home wrote would land in the home it was copied from
        ours = self.stores.lake.location(name)
        if location == ours:
            return
        if not location.startswith("file://"):
            raise HomeMoved(
                f"table {name} of database {self.database} lies in {location}, not in {ours}: set "
                "CDAP_WAREHOUSE to where its tables are, or CDAP_DATABASE to a database of its own."
            )
        place = Path(location.removeprefix("file://"))
        if place.resolve() != (self.settings.lake / name).resolve():
            raise HomeMoved(
                f"the tables of {self.settings.home} lie in {place.parent}: this home was copied or moved. Put it back "
                f"to {place.parent.parent}, or make a new home and deliver the files to it again."
            )

    def names(self) -> list[str]:
        """Tables that were published at least once."""
        return sorted(identifier[-1] for identifier in self.catalog.list_tables(self.database))

    def state(self, name: str) -> TableState:
        """What ``name`` reads as now; zero rows and no snapshot before its first publish."""
        table = self.load(name)
        snapshot = table.current_snapshot() if table else None
        if table is None or snapshot is None:
            return TableState(name, 0, None, None, 0, {})
        summary = snapshot.summary.additional_properties if snapshot.summary else {}
        return TableState(
            name,
            int(summary.get("total-records", 0)),
            snapshot.snapshot_id,
            datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
            int(summary.get("total-files-size", 0)),
            summary,
        )

    def ensure(self, spec: TableSpec) -> Table:
        """The Iceberg table of a declaration, made or evolved to it. Columns are added, never dropped."""
        from pyiceberg.exceptions import TableAlreadyExistsError

        table = self.load(spec.name)
        if table is None:
            schema = iceberg_schema(spec)
            try:
                return self.catalog.create_table(
                    (self.database, spec.name),
                    schema,
                    location=self.stores.lake.location(spec.name),
                    partition_spec=partition_spec(spec, schema),
                    properties={
                        **PROPERTIES,
                        **personal_properties(spec),
                        "schema.name-mapping.default": schema.name_mapping.model_dump_json(),
                    },
                )
            except TableAlreadyExistsError:
                return self.catalog.load_table((self.database, spec.name))
        known = {field.name for field in table.schema().fields}
        added = [column for column in spec.columns if column.name not in known]
        if added:
            with table.transaction() as transaction:
                with transaction.update_schema() as update:
                    for column in added:
                        update.add_column(column.name, iceberg_type(column.type), column.description or None)
                mapping = transaction.table_metadata.schema().name_mapping.model_dump_json()
                transaction.set_properties({"schema.name-mapping.default": mapping})
            table = self.catalog.load_table((self.database, spec.name))
        return table
