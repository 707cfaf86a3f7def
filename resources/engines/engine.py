"""What a session asks of an engine: read pinned tables, compute expressions, write what nobody sees yet.

An engine commits nothing and chooses no snapshot, and nothing here is of one engine alone: that goes to its own file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from resources.iceberg.table import TableSpec

if TYPE_CHECKING:
    import ibis
    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

LONGEST_TOLD = 2000  # characters of a failing statement in a message
IN_PROCESS = "duckdb"  # the engine of this process, and the dialect of SQL that it takes


class QueryFailed(ValueError):
    """A statement that the engine cannot run, with its reason.

    ``retryable``: the engine says that it may pass later. ``query``: what it took all the same, where it is billed.
    """

    def __init__(self, message: str, *, retryable: bool = False, query: Query | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.query = query


@dataclass(frozen=True)
class Source:
    """A pinned state of a table: its snapshot, the files to read of it, and the ids of the columns it had then.

    ``only`` holds the partition values and ``between`` the bounds by which ``files`` were chosen.
    """

    table: str
    snapshot_id: int
    files: Sequence[DataFile]
    columns: Mapping[str, int]
    only: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    between: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Staged:
    """Rows that are written and that no reader of their table sees.

    ``files`` become the table's in one commit. ``discard`` deletes them; ``release`` lets go of whatever else
    the engine made to write them, and keeps the files.
    """

    rows: ibis.Table
    files: Sequence[DataFile]
    discard: Callable[[], None]
    release: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Query:
    """One statement that an engine was sent: its own id, bytes scanned, seconds it took, and its price in USD.

    ``expected_bytes`` is what the manifests made us expect before it was sent.
    """

    id: str
    scanned_bytes: int
    seconds: float
    cost: float
    expected_bytes: int = 0


class Engine(Protocol):
    """Computes Ibis expressions over pinned tables. Snapshots and commits are the lakehouse's."""

    failures: tuple[type[Exception], ...]  # what it raises where a store refused it, beside OSError

    @property
    def queries(self) -> Sequence[Query]:
        """What was sent to a service that bills by query, in order; nothing for an engine in this process."""

    def read(self, spec: TableSpec, source: Source | None, name: str) -> ibis.Table:
        """The rows of a pinned state of a table in its declared schema; none of one that was never built.

        Columns that the state lacks are null. ``name`` is new to this engine.
        """

    def stage(self, spec: TableSpec, expression: ibis.Table, table: Table, name: str, run: str) -> Staged:
        """Write ``expression`` in the declared schema as data files for ``table``; ``name`` names their rows.

        Raises ``ValueError`` for missing columns, and the engine's own error when a value does not fit.
        """

    def materialize(self, expression: ibis.Table) -> ibis.Table:
        """Compute an expression once, for several readers in this session."""

    def batches(self, expression: ibis.Table, size: int) -> Iterator[pa.RecordBatch]:
        """The rows of an expression as Arrow record batches of about ``size`` rows, never whole in memory."""

    def close(self) -> None:
        """Give back what the engine holds."""


def shortened(sql: str) -> str:
    """A statement as a message tells it."""
    return sql if len(sql) <= LONGEST_TOLD else f"{sql[:LONGEST_TOLD]} ..."


def check_columns(spec: TableSpec, expression: ibis.Table) -> None:
    """Raise ``ValueError`` when a result lacks declared columns."""
    missing = [name for name in spec.names if name not in expression.columns]
    if missing:
        raise ValueError(f"table {spec.name}: the result lacks {missing}; it has {expression.columns}")
