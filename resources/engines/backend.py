"""How Ibis reaches a query service: `.to_pyarrow()` of an expression runs there and comes back typed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from ibis.backends.sql import SQLBackend
from ibis.backends.sql.compilers.trino import compiler

if TYPE_CHECKING:
    import ibis
    import ibis.expr.operations as ops
    import pandas as pd
    import pyarrow as pa

BATCH = 100_000  # rows


class Computing(Protocol):
    """The engine behind the backend."""

    def rows(self, expression: ibis.Table) -> list[tuple[Any, ...]]:
        """The few rows of an aggregate as Python values."""

    def batches(self, expression: ibis.Table, size: int) -> Iterator[pa.RecordBatch]:
        """The rows of an expression as Arrow record batches."""

    def hold(self, name: str, rows: pa.Table, schema: ibis.Schema) -> None:
        """Make rows of Python a relation called ``name``."""


class QueryBackend(SQLBackend):
    """Compiles by Ibis's Trino compiler and computes by our engine; Ibis's own Athena backend is not used.

    It answers reads alone: tables are made by the tables.
    """

    name = "trino"
    compiler = compiler

    def __init__(self, engine: Computing) -> None:
        super().__init__()
        self._engine = engine

    @property
    def version(self) -> str:
        return "3"

    def register(self, expression: ibis.Expr) -> None:
        """Make the rows of Python in an expression relations of the engine."""
        self._register_in_memory_tables(expression)

    def to_pyarrow(
        self, expr: ibis.Expr, /, *, params: Any = None, limit: int | str | None = None, **_: Any
    ) -> pa.Table | pa.Array | pa.Scalar:
        """The result typed by the expression's schema.

        The one row of an aggregate comes as the query's result; anything longer through the files of a scratch
        table.
        """
        import pyarrow as pa
        from ibis.formats.pyarrow import PyArrowSchema

        table = expr.as_table()
        if isinstance(limit, int):
            table = table.limit(limit)
        schema = PyArrowSchema.from_ibis(table.schema())
        if _is_short(table.op()):
            rows = self._engine.rows(table)
            found = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
        else:
            found = pa.Table.from_batches(self._engine.batches(table, BATCH), schema)
        return expr.__pyarrow_result__(found)

    def execute(
        self, expr: ibis.Expr, /, *, params: Any = None, limit: int | str | None = None, **_: Any
    ) -> pd.DataFrame | pd.Series | Any:
        """The same as pandas."""
        from ibis.formats.pandas import PandasData

        found = self.to_pyarrow(expr.as_table(), limit=limit)
        frame = PandasData.convert_table(found.to_pandas(), expr.as_table().schema())
        return expr.__pandas_result__(frame)

    def _register_in_memory_table(self, op: ops.InMemoryTable) -> None:
        self._engine.hold(op.name, op.data.to_pyarrow(op.schema), op.schema)

    def _make_memtable_finalizer(self, name: str) -> None:
        """Nothing at exit: scratch tables end with the session."""

    def _get_schema_using_query(self, query: str) -> Any:
        raise NotImplementedError("SQL as text is not taken; build an expression")

    def create_table(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("tables are made by the lakehouse")

    def list_tables(self, **_: Any) -> list[str]:
        raise NotImplementedError("tables are listed by the lakehouse")


def _is_short(op: ops.Relation) -> bool:
    """Whether a relation has one row, or few by its own limit."""
    import ibis.expr.operations as ops

    if isinstance(op, ops.Aggregate):
        return not op.groups
    if isinstance(op, ops.JoinChain):
        return all(_is_short(table.parent) for table in (op.first, *(link.table for link in op.rest)))
    if isinstance(op, ops.Limit):
        return isinstance(op.n, int) and op.n <= 1000
    return isinstance(op, ops.DummyTable) or (isinstance(op, ops.Project) and _is_short(op.parent))
