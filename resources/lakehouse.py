"""The lakehouse: reads pinned snapshots and publishes a result as one Iceberg commit, or not at all."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from resources.catalog import (
    NAMESPACE,
    PROPERTIES,
    ancestors,
    changed_partitions,
    file_uri,
    iceberg_schema,
    iceberg_type,
    local_path,
    partition_of,
    partition_spec,
    personal_properties,
    sqlite_catalog,
)
from resources.engine import DuckDBEngine
from resources.pins import Pins
from resources.table import TableSpec

if TYPE_CHECKING:
    import ibis
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from resources.settings import Settings

Partition = tuple[Any, ...]


class LakehouseError(Exception):
    """What the lakehouse refuses, with what to do about it.

    ├── InvariantViolated    a result breaks what its table promises; nothing was published
    ├── OutsidePartitions    a result holds rows of partitions that were not to be replaced
    ├── HomeMoved            the home was copied or moved, and its tables point to where it was
    └── StalePublish         another run has published from newer inputs meanwhile
    """


class InvariantViolated(LakehouseError):
    """A result breaks what its table promises; nothing was published."""


class OutsidePartitions(LakehouseError):
    """A result holds rows of partitions that were not asked for; nothing was published."""


class HomeMoved(LakehouseError):
    """The home is not where its tables say that it is; nothing was read or written."""


class StalePublish(LakehouseError):
    """Another run has published this table from newer inputs; run again to see them."""


@dataclass(frozen=True)
class Published:
    """What a publish did: the snapshot readers now see, and figures of the rows written."""

    table: str
    snapshot_id: int | None
    rows: int
    total_rows: int
    size_bytes: int
    replaced: str
    sample: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class LastPublish:
    """The code version and the input snapshots of a table's newest publish."""

    code_version: str
    inputs: Mapping[str, int]


@dataclass(frozen=True)
class TableState:
    """A table as it reads now."""

    name: str
    rows: int
    snapshot_id: int | None
    committed_at: datetime | None
    size_bytes: int
    summary: Mapping[str, str]


class Lakehouse:
    """All tables of one installation. Cheap to make; the catalog opens on first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def catalog(self) -> Catalog:
        """The Iceberg catalog."""
        return sqlite_catalog(self.settings.lake)

    def session(self, run_id: str | None = None) -> Session:
        """Reading and publishing for one run: every read of the run sees the same state."""
        return Session(self, run_id)

    def load(self, name: str) -> Table | None:
        """The Iceberg table, or ``None`` before its first publish. Raises :class:`HomeMoved`."""
        from pyiceberg.exceptions import NoSuchTableError

        try:
            table = self.catalog.load_table((NAMESPACE, name))
        except NoSuchTableError:
            return None
        # metadata holds absolute paths: what a copy of a home wrote would land in the home it was copied from
        place = Path(local_path(table.location()))
        if place.resolve() != (self.settings.lake / name).resolve():
            raise HomeMoved(
                f"the tables of {self.settings.home} lie in {place.parent}: this home was copied or moved. Put it back "
                f"to {place.parent.parent}, or make a new home and deliver the files to it again."
            )
        return table

    def names(self) -> list[str]:
        """Tables that were published at least once."""
        return sorted(identifier[-1] for identifier in self.catalog.list_tables(NAMESPACE))

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
                    (NAMESPACE, spec.name),
                    schema,
                    location=file_uri(self.settings.lake / spec.name),
                    partition_spec=partition_spec(spec, schema),
                    properties={
                        **PROPERTIES,
                        **personal_properties(spec),
                        "schema.name-mapping.default": schema.name_mapping.model_dump_json(),
                    },
                )
            except TableAlreadyExistsError:
                return self.catalog.load_table((NAMESPACE, spec.name))
        known = {field.name for field in table.schema().fields}
        added = [column for column in spec.columns if column.name not in known]
        if added:
            with table.transaction() as transaction:
                with transaction.update_schema() as update:
                    for column in added:
                        update.add_column(column.name, iceberg_type(column.type), column.description or None)
                mapping = transaction.table_metadata.schema().name_mapping.model_dump_json()
                transaction.set_properties({"schema.name-mapping.default": mapping})
            table = self.catalog.load_table((NAMESPACE, spec.name))
        return table


class Session:
    """One run's view of the lake and its own in-memory engine. Use as a context manager."""

    def __init__(self, lakehouse: Lakehouse, run_id: str | None) -> None:
        self.lakehouse = lakehouse
        self.run_id = run_id
        self.pins = Pins(lakehouse.settings.lake / "pins", run_id, self._current_snapshots)
        self._inputs: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "engine" in self.__dict__:
            self.engine.close()

    @cached_property
    def engine(self) -> DuckDBEngine:
        """The session's engine, started on first use."""
        settings = self.lakehouse.settings
        return DuckDBEngine(threads=settings.threads, memory_limit=settings.memory_limit, spill=settings.home / "spill")

    def _current_snapshots(self) -> dict[str, int]:
        pinned = {}
        for name in self.lakehouse.names():
            table = self.lakehouse.load(name)
            if table is not None and (snapshot := table.current_snapshot()):
                pinned[name] = snapshot.snapshot_id
        return pinned

    def snapshot_id(self, name: str) -> int | None:
        """The snapshot of ``name`` that this run reads; ``None`` while the table is not built."""
        return self.pins.get(name)

    def read(
        self,
        spec: TableSpec,
        only: Mapping[str, Sequence[Any]] | None = None,
        between: Mapping[str, tuple[Any, Any]] | None = None,
    ) -> ibis.Table:
        """The pinned rows of a table; with ``only``, those of the named partition values.

        ``between`` skips files that cannot hold a value from low to high by their column bounds; rows
        outside may still come along.

        A table not yet built has its declared schema and no rows. Raises :class:`LakehouseError` for a
        table with row-level deletes, which reading by files would ignore.
        """
        snapshot_id = self.snapshot_id(spec.name)  # before the table is loaded, or a pin may be newer than it
        table = self.lakehouse.load(spec.name)
        name = self._new_view(spec)
        if table is None or snapshot_id is None:
            return self.engine.scan(spec, [], name)
        snapshot = table.snapshot_by_id(snapshot_id)
        if snapshot is None:
            raise LakehouseError(f"table {spec.name}: snapshot {snapshot_id} is no longer kept; start a new run")
        self._inputs[spec.name] = (snapshot_id, snapshot.sequence_number or 0)
        files = [local_path(file.file_path) for file in self.files(table, snapshot_id, only, between)]
        return self.engine.scan(spec, files, name)

    def _new_view(self, spec: TableSpec) -> str:
        name = f"{spec.name}__{len(self._views)}"
        self._views[name] = spec.name
        return name

    @cached_property
    def _views(self) -> dict[str, str]:
        return {}

    def read_so_far(self, *names: str) -> dict[str, tuple[int, int]]:
        """Snapshot and sequence number of the named tables among those that this session has read."""
        return {name: self._inputs[name] for name in names if name in self._inputs}

    def table_of(self, view: str) -> str:
        """The table that a relation of this session reads."""
        return self._views.get(view.removesuffix("__files"), view)

    def files(
        self,
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
        )

        row_filter: BooleanExpression = AlwaysTrue()
        for column, (low, high) in (between or {}).items():
            row_filter = And(row_filter, GreaterThanOrEqual(column, low), LessThanOrEqual(column, high))
        for column, values in (only or {}).items():
            known = [value for value in values if value is not None]
            condition: BooleanExpression = In(column, known) if known else IsNull(column)
            if known and len(known) < len(values):
                condition = Or(condition, IsNull(column))
            if not values:
                return []
            row_filter = And(row_filter, condition)
        planned = list(table.scan(row_filter=row_filter, snapshot_id=snapshot_id).plan_files())
        if any(task.delete_files for task in planned):
            raise LakehouseError(f"table {table.name()[-1]} has row-level deletes; compact it before reading")
        return [task.file for task in planned]

    def partitions(self, name: str) -> set[Partition]:
        """The partitions that a table holds, in the order of its partition columns; read from manifests."""
        snapshot_id, table = self.snapshot_id(name), self.lakehouse.load(name)
        if table is None or snapshot_id is None:
            return set()
        return {partition_of(table, file.partition) for file in self.files(table, snapshot_id)}

    def last_publish(self, name: str) -> LastPublish | None:
        """What the table's newest publish recorded; ``None`` before the first."""
        table = self.lakehouse.load(name)
        summary = recorded_summary(table) if table else None
        if summary is None:
            return None
        inputs = json.loads(summary["cdap.inputs"])
        return LastPublish(summary.get("cdap.code_version", ""), {key: pair[0] for key, pair in inputs.items()})

    def changed_since(self, name: str, since: int) -> set[Partition] | None:
        """Partitions of ``name`` that changed from snapshot ``since`` to the pinned one; ``None``: unknown."""
        current, table = self.snapshot_id(name), self.lakehouse.load(name)
        if table is None or current is None:
            return None
        return changed_partitions(table, current, since)

    def publish(
        self,
        spec: TableSpec,
        expression: ibis.Table,
        *,
        replace: Mapping[str, Sequence[Any]] | None = None,
        provenance: Mapping[str, str] | None = None,
        inputs: Mapping[str, tuple[int, int]] | None = None,
        append: bool = False,
    ) -> Published:
        """Write ``expression``, check it while nobody can see it, and make it the table in one commit.

        ``replace`` names a partition column and its values: those partitions are replaced as a whole,
        also by nothing. ``None`` replaces the whole table; with ``append`` nothing is replaced. Raises
        :class:`InvariantViolated`, :class:`OutsidePartitions` or :class:`StalePublish`, with the table as it was.
        """
        from pyiceberg.exceptions import CommitFailedException, ValidationException

        from resources.staging import check_staged

        if replace is not None and not set(replace) <= set(spec.partition_by):
            raise ValueError(f"table {spec.name} is partitioned by {spec.partition_by}, not {tuple(replace)}")
        table = self.lakehouse.ensure(spec)
        # a folder of its own for every publish, so that a failed one can be cleared whole
        folder = Path(local_path(table.location())) / "data" / f"run-{self.run_id or 'none'}" / uuid.uuid4().hex
        try:
            staged = self.engine.write(spec, expression, folder)
            staged_rows = self.engine.scan(spec, [str(path) for path in staged], self._new_view(spec))
            figures = check_staged(spec, staged_rows, replace)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        summary = {
            **{f"cdap.{key}": value for key, value in (provenance or {}).items()},
            "cdap.run_id": self.run_id or "",
            "cdap.inputs": json.dumps(inputs if inputs is not None else self._inputs),
            "cdap.invariants": json.dumps(figures.invariants),
        }
        try:
            snapshot_id = self._commit(spec, [file_uri(path) for path in staged], replace, summary, append)
        except (
            StalePublish,
            CommitFailedException,
            ValidationException,
        ):  # after any other error the commit may have happened
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.pins.published(spec.name, snapshot_id)
        state = self.lakehouse.state(spec.name)
        return Published(
            table=spec.name,
            snapshot_id=snapshot_id,
            rows=figures.rows,
            total_rows=state.rows,
            size_bytes=state.size_bytes,
            replaced=_replaced(replace, append),
            sample=figures.sample,
        )

    def _commit(
        self,
        spec: TableSpec,
        staged: list[str],
        replace: Mapping[str, Sequence[Any]] | None,
        summary: dict[str, str],
        append: bool,
    ) -> int:
        from pyiceberg.exceptions import CommitFailedException, ValidationException
        from pyiceberg.io.pyarrow import parquet_files_to_data_files
        from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        mine = json.loads(summary["cdap.inputs"])

        @retry(
            # the second is how an overwrite that another commit overtook ends: what it deletes is planned anew
            retry=retry_if_exception_type((CommitFailedException, ValidationException)),
            stop=stop_after_attempt(20),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            reraise=True,
        )
        def commit() -> int:
            current = self.lakehouse.catalog.load_table((NAMESPACE, spec.name))
            snapshot = current.current_snapshot()
            if not append:
                summary_now = recorded_summary(current)
                _refuse_stale(spec.name, json.loads(summary_now["cdap.inputs"]) if summary_now else {}, mine)
            gone: list[DataFile] = []
            if snapshot is not None and not append:
                planned = self.files(current, snapshot.snapshot_id)
                gone = [file for file in planned if _within(spec, partition_of(current, file.partition), replace)]
            with current.transaction() as transaction:
                producer = transaction.update_snapshot(summary)
                with producer.fast_append() if append else producer.overwrite() as update:
                    for file in gone:
                        update.delete_data_file(file)
                    for file in parquet_files_to_data_files(current.io, transaction.table_metadata, iter(staged)):
                        update.append_data_file(file)
            committed = current.current_snapshot()
            assert committed is not None
            return committed.snapshot_id

        return commit()


def _within(spec: TableSpec, partition: Partition, replace: Mapping[str, Sequence[Any]] | None) -> bool:
    values = dict(zip(spec.partition_by, partition, strict=True))
    return all(values[column] in wanted for column, wanted in (replace or {}).items())


def _replaced(replace: Mapping[str, Sequence[Any]] | None, append: bool) -> str:
    if append:
        return "nothing: appended"
    if replace is None:
        return "the whole table"
    return ", ".join(f"{len(values)} of {column}" for column, values in replace.items())


def recorded_summary(table: Table) -> Mapping[str, str] | None:
    """The summary of the newest publish; a compaction since then records no inputs and is passed over."""
    for snapshot in ancestors(table, table.current_snapshot()):
        if snapshot.summary and "cdap.inputs" in snapshot.summary.additional_properties:
            return snapshot.summary.additional_properties
    return None


def _refuse_stale(name: str, current: Mapping[str, Sequence[int]], mine: Mapping[str, Sequence[int]]) -> None:
    newer = [source for source, pair in mine.items() if source in current and current[source][1] > pair[1]]
    if newer:
        raise StalePublish(
            f"table {name}: another run has published it from newer {', '.join(sorted(newer))}; "
            "nothing was replaced. Run again."
        )
