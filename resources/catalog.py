"""Iceberg tables as pyiceberg knows them: catalog, schema from a declaration, what changed between snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.table import TableSpec

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.types import IcebergType

NAMESPACE = "cdap"
PROPERTIES = {
    "commit.retry.num-retries": "20",
    "write.metadata.previous-versions-max": "50",
    "write.metadata.delete-after-commit.enabled": "false",  # the sweep deletes, never a commit
}
PERSONAL_METRICS = "none"  # min and max of personal columns would outlive an erasure in manifests


def sqlite_catalog(lake: Path) -> Catalog:
    """The catalog of a local lake, made on first use. Waits up to 60 s for another process's commit."""
    from pyiceberg.catalog.sql import SqlCatalog

    lake.mkdir(parents=True, exist_ok=True)
    catalog = SqlCatalog(
        "cdap",
        uri=f"sqlite:///{lake / 'catalog.db'}?timeout=60",
        warehouse=file_uri(lake),
        init_catalog_tables="true",
    )
    catalog.create_namespace_if_not_exists(NAMESPACE)
    return catalog


def iceberg_schema(spec: TableSpec) -> Schema:
    """The declared schema with field ids in declared order. All optional: the lakehouse enforces non-null."""
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


def personal_properties(spec: TableSpec) -> dict[str, str]:
    """Properties that keep the values of personal columns out of table metadata."""
    return {
        f"write.metadata.metrics.column.{column.name}": PERSONAL_METRICS
        for column in spec.columns
        if column.personal != "none" and column.name not in spec.partition_by
    }


def ancestors(table: Table, snapshot: Snapshot | None) -> Iterator[Snapshot]:
    """``snapshot`` and the retained ones before it, newest first."""
    while snapshot is not None:
        yield snapshot
        snapshot = table.snapshot_by_id(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id else None


def changed_partitions(table: Table, current: int, since: int) -> set[tuple[Any, ...]] | None:
    """The partitions whose files were added or removed after snapshot ``since`` up to ``current``.

    ``None`` when ``since`` is no retained ancestor of ``current``: then nothing is known.
    """
    changed: set[tuple[Any, ...]] = set()
    for snapshot in ancestors(table, table.snapshot_by_id(current)):
        if snapshot.snapshot_id == since:
            return changed
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


def file_uri(path: Path) -> str:
    """The location of a local file as Iceberg writes it: not percent-encoded, as pyiceberg does not decode."""
    return f"file://{path}"


def local_path(uri: str) -> str:
    """The file system path of a ``file:`` location."""
    return uri.removeprefix("file://")
