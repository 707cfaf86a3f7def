"""Iceberg tables as pyiceberg knows them: catalog, schema from a declaration, what changed between snapshots."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.iceberg.errors import LakehouseError
from resources.iceberg.table import TableSpec
from resources.stores.lock import exclusive

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile, ManifestFile
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.types import IcebergType

    from resources.settings import Settings

Partition = tuple[Any, ...]
PROPERTIES = {
    "commit.retry.num-retries": "20",
    "commit.retry.max-wait-ms": "1000",  # else twenty conflicts in a row take half an hour to be told
    "write.metadata.previous-versions-max": "50",
    "write.metadata.delete-after-commit.enabled": "false",  # the sweep deletes, never a commit
}
FILE_IO = "resources.iceberg.file_io.SharedFileIO"
STANDS_FOR = "cdap.stands_for"
MAINTENANCE = "cdap.maintenance"  # in the summary of a snapshot that moved files and kept what they hold
WAIT = 60  # seconds for another process at a SQLite catalog
PERSONAL_METRICS = "none"  # min and max of personal columns would outlive an erasure in manifests


def open_catalog(settings: Settings) -> Catalog:
    """The catalog that the settings choose, with our two databases in it: the tables', and that of staging.

    A SQLite catalog is made on first use, by one process at a time, and waits up to 60 s for another's commit.
    Raises :class:`~resources.stores.busy.Busy` when another process has not made it in that time.
    """
    match settings.catalog:
        case "sqlite":
            settings.lake.mkdir(parents=True, exist_ok=True)
            # it asks for its tables and then makes them, which two processes on a new home would both do
            with exclusive(settings, "catalog", timeout=WAIT):
                catalog = _sqlite(settings, init_catalog_tables="true")
                catalog.create_namespace_if_not_exists(settings.database)
            return catalog
        case "glue":
            from resources.stores.aws import client

            catalog = _glue(settings, client("glue", settings))
        case "rest":
            catalog = _rest(settings)
    for database in (settings.database, staging_database(settings)):
        # asked before made: a role that may not create databases works where they exist
        if not catalog.namespace_exists(database):
            catalog.create_namespace_if_not_exists(database)
    return catalog


def catalog_as_it_is(settings: Settings) -> Catalog | None:
    """The catalog for one look: nothing is made, and no call is tried again. ``None`` before it is made."""
    match settings.catalog:
        case "sqlite":
            return _sqlite(settings, init_catalog_tables="false") if _sqlite_file(settings).exists() else None
        case "glue":
            from resources.stores.aws import QUICK, client

            return _glue(settings, client("glue", settings, **QUICK))
        case "rest":
            return _rest(settings)


def catalog_failures(settings: Settings) -> tuple[type[Exception], ...]:
    """What a catalog raises that does not answer, or not to us."""
    match settings.catalog:
        case "sqlite":
            from sqlalchemy.exc import SQLAlchemyError

            return (OSError, SQLAlchemyError)
        case "glue":
            from botocore.exceptions import BotoCoreError, ClientError

            from resources.stores.aws import CredentialsExpired

            return (OSError, BotoCoreError, ClientError, CredentialsExpired)
        case "rest":
            from pyiceberg.exceptions import RESTError

            return (OSError, RESTError)


def _sqlite_file(settings: Settings) -> Path:
    return settings.lake / "catalog.db"


def _sqlite(settings: Settings, **options: str) -> Catalog:
    from pyiceberg.catalog.sql import SqlCatalog

    uri = f"sqlite:///{_sqlite_file(settings)}?timeout={WAIT}"
    return SqlCatalog("cdap", uri=uri, warehouse=settings.root("lake"), **options)


def _glue(settings: Settings, client: Any) -> Catalog:
    from pyiceberg.catalog.glue import GlueCatalog

    return GlueCatalog("cdap", client, warehouse=settings.root("lake"), **_store(settings))


def _rest(settings: Settings) -> Catalog:
    from pyiceberg.catalog.rest import RestCatalog

    told = {
        "warehouse": settings.catalog_warehouse,
        "credential": settings.catalog_credential.get_secret_value(),
    }
    known = {key: value for key, value in told.items() if value}
    return RestCatalog("cdap", uri=settings.catalog_uri, **known, **_store(settings))


def _store(settings: Settings) -> dict[str, str]:
    told = {"s3.region": settings.region, "s3.endpoint": settings.s3_endpoint, "py-io-impl": FILE_IO}
    return {key: value for key, value in told.items() if value}


def staging_database(settings: Settings) -> str:
    """The database of tables that nobody but one running publish knows."""
    return f"{settings.database}_staging"


def iceberg_schema(spec: TableSpec) -> Schema:
    """The declared schema with field ids in declared order. All optional: the tables enforces non-null."""
    from pyiceberg.schema import Schema
    from pyiceberg.types import NestedField

    return Schema(
        *(
            NestedField(number, column.name, iceberg_type(column.type), required=False, doc=column.description or None)
            for number, column in enumerate(spec.columns, start=1)
        )
    )


def iceberg_type(name: str) -> IcebergType:
    """The Iceberg type of a declared Ibis type name. Raises ``ValueError`` for one we do not store."""
    import ibis.expr.datatypes as dt
    from pyiceberg import types

    dtype = dt.dtype(name)
    match dtype:
        case dt.Decimal():
            return types.DecimalType(dtype.precision or 38, dtype.scale or 0)
        case dt.Timestamp(timezone=None):
            return types.TimestampType()
        case dt.Array():
            raise ValueError(f"{name} is not stored; use text")
    simple = {
        "string": types.StringType(),
        "int64": types.LongType(),
        "int32": types.IntegerType(),
        "float64": types.DoubleType(),
        "boolean": types.BooleanType(),
        "date": types.DateType(),
    }
    if name not in simple:
        raise ValueError(f"{name} is not stored; use one of {sorted(simple)}, decimal(p, s) or timestamp(6)")
    return simple[name]


def partition_spec(spec: TableSpec, schema: Schema) -> PartitionSpec:
    """Identity partitions by the declared columns."""
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.transforms import IdentityTransform

    return PartitionSpec(
        *(
            PartitionField(schema.find_field(name).field_id, 1000 + number, IdentityTransform(), name)
            for number, name in enumerate(spec.partition_by)
        )
    )


def personal_columns(spec: TableSpec) -> list[str]:
    """Columns whose values must not stand in table metadata, where they would outlive an erasure."""
    return [c.name for c in spec.columns if c.personal != "none" and c.name not in spec.partition_by]


def personal_properties(spec: TableSpec) -> dict[str, str]:
    """Properties that keep the values of personal columns out of table metadata."""
    return {f"write.metadata.metrics.column.{name}": PERSONAL_METRICS for name in personal_columns(spec)}


def ancestors(table: Table, snapshot: Snapshot | None) -> Iterator[Snapshot]:
    """``snapshot`` and the retained ones before it, newest first."""
    while snapshot is not None:
        yield snapshot
        snapshot = table.snapshot_by_id(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id else None


def stood_for(snapshot: Snapshot) -> list[int]:
    """The snapshots, back to the newest publish, whose rows a snapshot of a move holds as well."""
    told = snapshot.summary.additional_properties.get(STANDS_FOR) if snapshot.summary else None
    return json.loads(told) if told else []


def changed_partitions(table: Table, current: int, since: int) -> set[tuple[Any, ...]] | None:
    """The partitions whose rows were added or removed after snapshot ``since`` up to ``current``.

    A snapshot that moved files and kept their rows changes nothing.
    ``None`` when ``since`` is no retained ancestor of ``current`` and none stands for it: then nothing is known.
    """
    changed: set[tuple[Any, ...]] = set()
    for snapshot in ancestors(table, table.snapshot_by_id(current)):
        if since in (snapshot.snapshot_id, *stood_for(snapshot)):
            return changed
        if snapshot.summary and MAINTENANCE in snapshot.summary.additional_properties:
            continue
        for manifest in snapshot.manifests(table.io):
            if manifest.added_snapshot_id != snapshot.snapshot_id:
                continue
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
                if entry.snapshot_id == snapshot.snapshot_id:
                    changed.add(partition_of(table, entry.data_file.partition))
    return None


def partition_of(table: Table, record: Any) -> tuple[Any, ...]:
    """A manifest's partition record as Python values in the order of the partition columns."""
    from datetime import date, timedelta

    from pyiceberg.types import DateType

    schema = table.schema()
    values = []
    for position, field in enumerate(table.spec().fields):
        value = record[position]
        if isinstance(schema.find_field(field.source_id).field_type, DateType) and isinstance(value, int):
            value = date(1970, 1, 1) + timedelta(days=value)
        values.append(value)
    return tuple(values)


def planned_files(
    table: Table,
    snapshot_id: int,
    only: Mapping[str, Sequence[Any]] | None = None,
    between: Mapping[str, tuple[Any, Any]] | None = None,
) -> list[DataFile]:
    """The data files of a snapshot, pruned by partition values and column bounds."""
    from pyiceberg.expressions import (
        AlwaysTrue,
        And,
        BooleanExpression,
        GreaterThanOrEqual,
        In,
        IsNull,
        LessThanOrEqual,
        Or,
        Reference,
        literal,
    )

    row_filter: BooleanExpression = AlwaysTrue()
    for column, (low, high) in (between or {}).items():
        term = Reference(column)
        at_least, at_most = literal(low), literal(high)
        row_filter = And(
            row_filter, GreaterThanOrEqual(term=term, value=at_least), LessThanOrEqual(term=term, value=at_most)
        )
    for column, values in (only or {}).items():
        known = [value for value in values if value is not None]
        is_null: BooleanExpression = IsNull(term=Reference(column))
        condition = In(term=Reference(column), values={literal(value) for value in known}) if known else is_null
        if known and len(known) < len(values):
            condition = Or(condition, is_null)
        if not values:
            return []
        row_filter = And(row_filter, condition)
    planned = list(table.scan(row_filter=row_filter, snapshot_id=snapshot_id).plan_files())
    if any(task.delete_files for task in planned):
        raise LakehouseError(f"table {table.name()[-1]} has row-level deletes; compact it before reading")
    return [task.file for task in planned]


def references(table: Table) -> set[str]:
    """Every file that the table's metadata names: its own versions, manifests, data and delete files."""
    metadata = table.metadata
    found = {table.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    found |= {file.statistics_path for file in (*metadata.statistics, *metadata.partition_statistics)}
    manifests: dict[str, ManifestFile] = {}
    for snapshot in metadata.snapshots:
        found.add(snapshot.manifest_list)
        manifests |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)}
    for path, manifest in manifests.items():
        found.add(path)
        found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return found
