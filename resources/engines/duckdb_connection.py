"""A DuckDB in memory, in UTC, with the threads, the memory and the place to spill that the settings allow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

    from resources.settings import Settings

IN_MEMORY = ":memory:"
# none of these is taken before a connection is open: time zones come with an extension that is loaded by then
_ONCE_OPEN = "SET TimeZone = 'UTC'; SET enable_progress_bar = false"


def connection_config(settings: Settings) -> dict[str, Any]:
    """What DuckDB is told when it is opened."""
    return {
        "threads": settings.threads,
        "memory_limit": settings.memory_limit,
        "temp_directory": str(settings.home / "spill"),
        "preserve_insertion_order": False,
    }


def local_connection(settings: Settings) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """A connection to a database of its own, closed also when an exception passes."""
    import duckdb

    return in_utc(duckdb.connect(IN_MEMORY, config=connection_config(settings)))


@contextmanager
def in_utc(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """``connection`` in UTC and without progress bars, closed in the end, also when an exception passes."""
    with closing(connection):
        connection.execute(_ONCE_OPEN)
        yield connection
