"""A session: what one run reads of the lake, pinned, and what it publishes, each as one commit or not at all.

How a commit is made and tried again is in :mod:`resources.iceberg.commit`, how rows are computed and written in
:mod:`resources.engines`. What is to be rebuilt, and why, is the asset's to know.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from resources.clock import Clock, utc_now
from resources.engines.engine import IN_PROCESS, Engine, Source, Staged, check_columns
from resources.iceberg.catalog import Partition, changed_partitions, partition_of, planned_files
from resources.iceberg.commit import commit, evolved
from resources.iceberg.errors import LakehouseError, StalePublish
from resources.iceberg.placement import PlacedTier, Placement, placements, refuse_archived
from resources.iceberg.publish_record import INPUTS, INVARIANTS, LastPublish, last_publish, record
from resources.iceberg.run_state import RunState
from resources.iceberg.table import TableSpec
from resources.lake.reads import ReadLog
from resources.tiers.keys import partitions_with

if TYPE_CHECKING:
    import ibis
    from pyiceberg.table import Table

    from resources.engines.duckdb import DuckDBEngine
    from resources.iceberg.staging import StagedFigures
    from resources.iceberg.tables import Tables

logger = logging.getLogger(__name__)
KEYS_AT_ONCE = 100_000


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


class Session:
    """One run's view of the lake and its own in-memory engine. Use as a context manager."""

    def __init__(self, tables: Tables, run_id: str | None, clock: Clock = utc_now, *, noted: bool = True) -> None:
        self.tables = tables
        self.clock = clock
        self._noted = noted
        self.run_id = run_id
        self.run = RunState(tables.stores.runs, run_id, self._current_snapshots)
        self.reads = ReadLog(tables.stores.reads)
        self.sources: dict[str, Source] = {}  # by the name of the relation that reads it
        # of what this session published: the rows that each statement of a table's promises was tried on
        self.kept: dict[str, Counter[str]] = defaultdict(Counter)
        self._inputs: dict[str, tuple[int, int]] = {}
        self._views: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        failures: tuple[type[Exception], ...] = ()
        if "engine" in self.__dict__:
            failures = self.engine.failures
            self.engine.close()
        try:
            self.reads.flush(self.clock())
        except Exception as failed:  # noqa: BLE001  a store that takes no note has given the rows all the same
            logger.warning("what this session read could not be noted: %s", failed)
        if self.tables.settings.warehouse and isinstance(error, (OSError, *failures)):
            # Arrow does not tell why S3 refused; boto3's client does if the credentials ran out
            next(iter(self.tables.stores.runs.list()), None)

    @cached_property
    def engine(self) -> Engine:
        """The session's engine, started on first use."""
        if self.tables.settings.engine == IN_PROCESS:
            return _in_process(self.tables)
        from resources.engines.remote import RemoteEngine

        return RemoteEngine(self.tables, self.run)

    def as_of_now(self) -> InProcess:
        """A session of its own that reads the tables as they are now: a run's pins may be older than a lock."""
        return InProcess(self.tables, None, self.clock)

    def _current_snapshots(self) -> dict[str, int]:
        pinned = {}
        for name in self.tables.names():
            table = self.tables.load(name)
            if table is not None and (snapshot := table.current_snapshot()):
                pinned[name] = snapshot.snapshot_id
        return pinned

    def snapshot_id(self, name: str) -> int | None:
        """The snapshot of ``name`` that this run reads; ``None`` while the table is not built."""
        return self.run.get(name)

    def read(
        self,
        spec: TableSpec,
        only: Mapping[str, Sequence[Any]] | None = None,
        between: Mapping[str, tuple[Any, Any]] | None = None,
        *,
        without_archived: bool = False,
    ) -> ibis.Table:
        """The pinned rows of a table; with ``only``, those of the named partition values.

        ``between`` skips files that cannot hold a value from low to high by their column bounds; rows
        outside may still come along.

        A table not yet built has its declared schema and no rows. Raises :class:`LakehouseError` for a
        table with row-level deletes, which reading by files would ignore, and
        :class:`~resources.iceberg.errors.PartitionsArchived` when rows of the read are archived; ``without_archived``
        leaves those out instead, for who has asked what else there is.
        """
        name, source = self._source(spec, only, between, without_archived=without_archived)
        return self.engine.read(spec, source, name)

    def foresee(self, spec: TableSpec, only: Mapping[str, Sequence[Any]] | None = None) -> ibis.Table:
        """A relation that stands for what :meth:`read` would give; nothing is opened, and it cannot be computed.

        :attr:`sources` tells its files. Raises as :meth:`read`.
        """
        import ibis

        name, _ = self._source(spec, only, None, without_archived=False)
        return ibis.table(spec.schema(), name=name)

    def _source(
        self,
        spec: TableSpec,
        only: Mapping[str, Sequence[Any]] | None,
        between: Mapping[str, tuple[Any, Any]] | None,
        *,
        without_archived: bool,
    ) -> tuple[str, Source | None]:
        """The name of a new relation and what it reads; nothing of a table that is not built yet."""
        snapshot_id = self.snapshot_id(spec.name)  # before the table is loaded, or a pin may be newer than it
        table = self.tables.load(spec.name)
        name = self._new_view(spec)
        if table is None or snapshot_id is None:
            return name, None
        snapshot = table.snapshot_by_id(snapshot_id)
        if snapshot is None:
            raise LakehouseError(f"table {spec.name}: snapshot {snapshot_id} is no longer kept; start a new run")
        self._inputs[spec.name] = (snapshot_id, snapshot.sequence_number or 0)
        schema = table.schemas()[snapshot.schema_id] if snapshot.schema_id is not None else table.schema()
        ids = {column.name: column.field_id for column in schema.fields}
        if not without_archived:
            refuse_archived(table, spec.name, snapshot.sequence_number or 0, only or {})
        files = planned_files(table, snapshot_id, only, between)
        if self._noted:
            self.reads.note(table, spec.name, files)
        self.sources[name] = Source(spec.name, snapshot_id, files, ids, only or {}, between or {})
        return name, self.sources[name]

    def _new_view(self, spec: TableSpec) -> str:
        name = f"{spec.name}__{len(self._views)}"
        self._views[name] = spec.name
        return name

    def read_so_far(self, *names: str) -> dict[str, tuple[int, int]]:
        """Snapshot and sequence number of the named tables among those that this session has read."""
        return {name: self._inputs[name] for name in names if name in self._inputs}

    def table_of(self, view: str) -> str:
        """The table that a relation of this session reads."""
        return self._views.get(view, view)

    def partitions(self, name: str) -> set[Partition]:
        """The partitions that a table holds, in the order of its partition columns; read from manifests."""
        snapshot_id, table = self.snapshot_id(name), self.tables.load(name)
        if table is None or snapshot_id is None:
            return set()
        return {partition_of(table, file.partition) for file in planned_files(table, snapshot_id)}

    def last_publish(self, name: str) -> LastPublish | None:
        """What the table's newest publish recorded; ``None`` before the first."""
        return last_publish(self.tables.load(name))

    def has_changed(self, name: str, since: int | None) -> bool:
        """Whether rows of ``name`` may have changed from snapshot ``since``; files that moved are no change."""
        current = self.snapshot_id(name)
        if since is None or current is None or current == since:
            return current != since
        return self.changed_since(name, since) != set()

    def withheld(self, name: str, *tiers: PlacedTier) -> dict[Partition, Placement]:
        """The partitions of ``name`` that are of these tiers in the pinned snapshot."""
        snapshot_id, table = self.snapshot_id(name), self.tables.load(name)
        snapshot = table.snapshot_by_id(snapshot_id) if table and snapshot_id else None
        if table is None or snapshot is None:
            return {}
        sequence = snapshot.sequence_number or 0
        return {one.partition: one for one in placements(table) if one.tier in tiers and one.held(sequence)}

    def archived_with(self, spec: TableSpec, keys: ibis.Table) -> set[Partition]:
        """The archived partitions of a table that hold one of the ``keys`` of its ``sought_by``."""
        archived = self.withheld(spec.name, "archived")
        if not archived:
            return set()
        wanted = keys.select(spec.sought_by).distinct()
        found: set[Partition] = set()
        for batch in self.engine.batches(wanted, KEYS_AT_ONCE):
            found |= partitions_with(self.tables, spec, archived, batch.column(0))
        return found

    def changed_since(self, name: str, since: int) -> set[Partition] | None:
        """Partitions of ``name`` that changed from snapshot ``since`` to the pinned one; ``None``: unknown."""
        current, table = self.snapshot_id(name), self.tables.load(name)
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
        owed: Iterable[date | None] = (),
        outside: Mapping[str, str] | None = None,
        append: bool = False,
    ) -> Published:
        """Write ``expression``, check it while nobody can see it, and make it the table in one commit.

        ``replace`` names a partition column and its values: those partitions are replaced as a whole,
        also by nothing. ``None`` replaces the whole table; with ``append`` nothing is replaced. ``owed`` are months
        that it leaves as they were, to be rebuilt later; ``outside`` is what it was made from beside tables. Raises
        :class:`InvariantViolated`, :class:`OutsidePartitions` or :class:`StalePublish`, with the table as it was.
        """
        from pyiceberg.exceptions import CommitFailedException, ValidationException

        if replace is not None and not set(replace) <= set(spec.partition_by):
            raise ValueError(f"table {spec.name} is partitioned by {spec.partition_by}, not {tuple(replace)}")
        table = evolved(self.tables, spec)
        staged, figures = self._staged(spec, expression, table, replace)
        staged.release()
        summary = {
            **{f"cdap.{key}": value for key, value in (provenance or {}).items()},
            "cdap.run_id": self.run_id or "",
            "cdap.publish_id": uuid.uuid4().hex,
            INPUTS: json.dumps(inputs if inputs is not None else self._inputs),
            INVARIANTS: json.dumps({statement: one.rows for statement, one in figures.tried.items()}),
            **record(owed, outside or {}),
        }
        try:
            snapshot = commit(self.tables, spec, staged.files, replace, summary, append=append)
        except (StalePublish, CommitFailedException, ValidationException):
            staged.discard()  # after any other error the commit may have happened
            raise
        self.run.published(spec.name, snapshot.snapshot_id, snapshot.sequence_number or 0)
        for statement, one in figures.tried.items():
            self.kept[spec.name][statement] += one.rows
        state = self.tables.state(spec.name)
        return Published(
            table=spec.name,
            snapshot_id=snapshot.snapshot_id,
            rows=figures.rows,
            total_rows=state.rows,
            size_bytes=state.size_bytes,
            replaced=_replaced(replace, append),
            sample=figures.sample,
        )

    def _staged(
        self, spec: TableSpec, expression: ibis.Table, table: Table, replace: Mapping[str, Sequence[Any]] | None
    ) -> tuple[Staged, StagedFigures]:
        """What is written of a result and holds its promises; nothing stays of one that does not."""
        from resources.iceberg.staging import check_staged, without_rows

        if is_empty(expression):
            # a table that no contract fills: an engine would be asked, and paid, for nothing
            check_columns(spec, expression)
            return Staged(expression, (), lambda: None), without_rows(spec)
        staged = self.engine.stage(spec, expression, table, self._new_view(spec), self.run_id or "none")
        try:
            return staged, check_staged(spec, staged.rows, replace)
        except BaseException:
            staged.discard()
            raise


class InProcess(Session):
    """A session that computes in this process, and reads delivered files as well."""

    @cached_property
    def engine(self) -> DuckDBEngine:
        """The engine of this process, started on first use."""
        return _in_process(self.tables)


def _in_process(tables: Tables) -> DuckDBEngine:
    from resources.engines.duckdb import DuckDBEngine

    return DuckDBEngine.of(tables)


def is_empty(expression: ibis.Table) -> bool:
    """Whether a result is rows of Python, and there are none."""
    import ibis.expr.operations as ops

    held = expression.op()
    return isinstance(held, ops.InMemoryTable) and held.data.to_pyarrow(held.schema).num_rows == 0


def _replaced(replace: Mapping[str, Sequence[Any]] | None, append: bool) -> str:
    if append:
        return "nothing: appended"
    if replace is None:
        return "the whole table"
    return ", ".join(f"{len(values)} of {column}" for column, values in replace.items())
