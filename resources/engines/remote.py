"""An engine that is a service, Athena or a Trino: it reads pinned tables and inserts into shadows of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from resources.engines.backend import QueryBackend
from resources.engines.dialect import DIALECT, NoRows, Relation, compiled, distinct_of, insert_of, placed, within
from resources.engines.engine import Query, QueryFailed, Source, Staged, check_columns
from resources.engines.scan_estimate import Footprint, estimated_scan, footprint
from resources.engines.shadow import Shadow
from resources.engines.statements import allowed
from resources.iceberg.catalog import staging_database
from resources.iceberg.errors import BudgetExceeded
from resources.iceberg.scratch import Scratch, stored_type
from resources.iceberg.table import Column, TableSpec

if TYPE_CHECKING:
    import ibis
    import pyarrow as pa
    import sqlglot.expressions as sge
    from pyiceberg.table import Table

    from resources.iceberg.run_state import RunState
    from resources.iceberg.tables import Tables

OPEN_PARTITIONS = 100  # that one INSERT may write to, on Athena
TRIES = 3  # of a statement that the service says may pass later
GB = 10**9


class QueryService(Protocol):
    """Where statements go."""

    catalog: str  # its name for the catalog of our tables

    def run(self, sql: str, schema: ibis.Schema | None = None) -> tuple[list[tuple[Any, ...]], Query]:
        """The rows of a statement as Python values of ``schema``, and what it took.

        Cancels the statement when the wait for it is interrupted. Raises :class:`QueryFailed` with the
        statement and the service's reason.
        """


@dataclass(frozen=True)
class Compiled:
    """The SELECT of an expression, and the bytes that it is expected to scan."""

    select: sge.Query
    expected_bytes: int


class RemoteEngine:
    """Computes Ibis expressions by a query service; what it writes is files that nobody sees until a commit."""

    def __init__(self, tables: Tables, run: RunState) -> None:
        self.failures: tuple[type[Exception], ...] = ()
        self.backend = QueryBackend(self)
        self.queries: list[Query] = []
        self._tables = tables
        self._settings = tables.settings
        self._run = run
        self._scratch = Scratch(tables)
        self._staging = staging_database(tables.settings)
        self._relations: dict[str, Relation | NoRows] = {}
        self._footprints: dict[str, Footprint] = {}

    @cached_property
    def _service(self) -> QueryService:
        if self._settings.engine == "athena":
            from resources.engines.athena import Athena

            return Athena(self._settings)
        from resources.engines.trino import Trino

        return Trino(self._settings)

    def close(self) -> None:
        """Drop the session's scratch tables."""
        self._scratch.close()

    def read(self, spec: TableSpec, source: Source | None, name: str) -> ibis.Table:
        """The rows of a pinned state of a table; none of one that was never built."""
        import ibis

        if source is None:
            return self._relation(spec, NoRows(spec), name)
        held = TableSpec(spec.name, tuple(column for column in spec.columns if column.name in source.columns))
        self._footprints[name] = footprint(source.files, source.columns)
        rows = self._relation(held, Relation(self._tables.database, source.table, source.snapshot_id), name)
        for column, values in source.only.items():
            known = [value for value in values if value is not None]
            chosen = rows[column].isin(known) if known else ibis.literal(False)
            rows = rows.filter(chosen | rows[column].isnull() if None in values else chosen)
        for column, (low, high) in source.between.items():
            rows = rows.filter(rows[column].between(low, high))
        missing = {c.name: ibis.null(c.type) for c in spec.columns if c.name not in source.columns}
        return rows.mutate(**missing).select(spec.names) if missing else rows

    def _relation(self, spec: TableSpec, relation: Relation | NoRows, name: str) -> ibis.Table:
        import ibis.expr.operations as ops

        self._relations[name] = relation
        return ops.DatabaseTable(name=name, schema=spec.schema(), source=self.backend).to_expr()

    def stage(self, spec: TableSpec, expression: ibis.Table, table: Table, name: str, run: str) -> Staged:
        """INSERT ``expression`` into a shadow of ``table``; the files of that are what a commit adopts."""
        check_columns(spec, expression)
        query = self.query(expression)

        def attempt() -> Staged:
            # a try that failed may have written: the next one has a shadow of its own
            shadow = Shadow(self._tables, table, f"{spec.name}_{uuid.uuid4().hex}")
            try:
                self._insert(spec, query, Relation(self._staging, shadow.name))
                snapshot_id, files = shadow.written(spec)
            except BaseException:
                shadow.discard()
                raise
            rows = self._relation(spec, Relation(self._staging, shadow.name, snapshot_id), name)
            self._footprints[name] = footprint(files, {field.name: field.field_id for field in table.schema().fields})
            return Staged(rows, files, shadow.discard, shadow.drop)

        return self._tried(attempt)

    def _insert(self, spec: TableSpec, query: Compiled, into: Relation) -> None:
        try:
            self._run_insert(spec, query, into)
            return
        except QueryFailed as error:
            if not spec.partition_by or "open writers for partitions" not in str(error).lower():
                raise
        values = replace(query, select=distinct_of(query.select, spec.partition_by))
        found = self.run(values.select, values.expected_bytes, spec.partition_schema())
        partitions = [dict(zip(spec.partition_by, row, strict=True)) for row in found]
        types = {column.name: column.type for column in spec.columns}
        for start in range(0, len(partitions), OPEN_PARTITIONS):
            part = within(query.select, partitions[start : start + OPEN_PARTITIONS], types)
            self._run_insert(spec, replace(query, select=part), into)

    def _run_insert(self, spec: TableSpec, query: Compiled, into: Relation) -> None:
        self.run(insert_of(spec, query.select, into, self._service.catalog), query.expected_bytes)

    def materialize(self, expression: ibis.Table) -> ibis.Table:
        """Compute an expression into a scratch table, for several readers in this session."""
        spec, relation, _table = self._stored(expression)
        return self._relation(spec, relation, f"once_{uuid.uuid4().hex}")

    def batches(self, expression: ibis.Table, size: int) -> Iterator[pa.RecordBatch]:
        """The rows of an expression, streamed from the files of a scratch table: typed, and never whole in memory."""
        import pyarrow as pa
        from ibis.formats.pyarrow import PyArrowSchema

        schema = PyArrowSchema.from_ibis(expression.schema())
        _spec, _relation, table = self._stored(expression)
        for batch in table.scan().to_arrow_batch_reader():
            typed = pa.Table.from_batches([batch]).cast(schema)
            yield from typed.to_batches(max_chunksize=size)

    def _stored(self, expression: ibis.Table) -> tuple[TableSpec, Relation, Table]:
        name, spec, table = self._scratch.make(expression.schema())
        relation = Relation(self._staging, name)
        self._tried(lambda: self._run_insert(spec, self.query(expression), relation))
        table.refresh()
        return spec, relation, table

    def hold(self, name: str, rows: pa.Table, schema: ibis.Schema) -> None:
        """Make rows of Python a relation called ``name``, by a scratch table: no value stands in a query's text."""
        from ibis.formats.pyarrow import PyArrowSchema

        if not rows.num_rows:
            columns = tuple(Column(column, stored_type(dtype)) for column, dtype in schema.items())
            self._relations[name] = NoRows(TableSpec(name, columns))
            return
        scratch, spec, table = self._scratch.make(schema)
        table.append(rows.rename_columns(list(spec.names)).cast(PyArrowSchema.from_ibis(spec.schema())))
        self._relations[name] = Relation(self._staging, scratch)

    def query(self, expression: ibis.Expr) -> Compiled:
        """The SELECT of an expression, after rows of Python in it were made relations."""
        self.backend.register(expression)
        select = placed(compiled(expression), self._relations, self._service.catalog)
        return Compiled(select, estimated_scan(expression, self._footprints))

    def rows(self, expression: ibis.Table) -> list[tuple[Any, ...]]:
        """The few rows of an aggregate as Python values."""
        query = self.query(expression)
        return self._tried(lambda: self.run(query.select, query.expected_bytes, expression.schema()))

    def run(self, statement: sge.Expr, expected_bytes: int, schema: ibis.Schema | None = None) -> list[tuple[Any, ...]]:
        """Send a statement that keeps within the budgets, and note what it took.

        Raises :class:`~resources.iceberg.errors.BudgetExceeded` before it is sent, and :class:`QueryFailed`.
        """
        self._within_budgets(expected_bytes)
        sql = allowed(statement.sql(dialect=DIALECT), insert_into=self._staging)
        try:
            rows, query = self._service.run(sql, schema)
        except QueryFailed as error:
            if error.query is not None:
                self._note(replace(error.query, expected_bytes=expected_bytes))
            raise
        self._note(replace(query, expected_bytes=expected_bytes))
        return rows

    def _note(self, query: Query) -> None:
        self.queries.append(query)
        self._run.scanned(query.id, query.scanned_bytes)

    def _within_budgets(self, expected: int) -> None:
        settings = self._settings
        if expected > settings.query_budget_gb * GB:
            raise BudgetExceeded(
                f"a query would scan {expected / GB:,.3g} GB, more than the {settings.query_budget_gb:,.3g} GB of "
                "CDAP_QUERY_BUDGET_GB; it was not sent. Raise the budget, or rebuild less at a time."
            )
        so_far = self._run.scanned_bytes()
        if so_far + expected > settings.run_budget_gb * GB:
            raise BudgetExceeded(
                f"this run has scanned {so_far / GB:,.3g} GB and the next query would scan {expected / GB:,.3g} GB, "
                f"more than the {settings.run_budget_gb:,.3g} GB of CDAP_RUN_BUDGET_GB; it was not sent. Raise the "
                "budget, or build less in one run."
            )

    def _tried(self, work: Any) -> Any:
        from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

        again = retry(
            retry=retry_if_exception(lambda error: isinstance(error, QueryFailed) and error.retryable),
            stop=stop_after_attempt(TRIES),
            wait=wait_random_exponential(multiplier=0.5, max=20),
            reraise=True,
        )
        return again(work)()
