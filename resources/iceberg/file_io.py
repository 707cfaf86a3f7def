"""pyiceberg's way to files on S3, with one client for all tables."""

from __future__ import annotations

from functools import cache

from pyarrow.fs import FileSystem
from pyiceberg.io.pyarrow import PyArrowFileIO

CONNECTION = ("s3.", "client.")  # the properties that say how storage is reached


class SharedFileIO(PyArrowFileIO):
    """What pyiceberg calls by its property ``py-io-impl``.

    By itself it makes a client of S3 at each load of a table, which takes longer than to read the table's metadata.
    """

    def _initialize_fs(self, scheme: str, netloc: str | None = None) -> FileSystem:
        told = {key: value for key, value in self.properties.items() if key.startswith(CONNECTION)}
        return _file_system(scheme, netloc, tuple(sorted(told.items())))


@cache
def _file_system(scheme: str, netloc: str | None, connection: tuple[tuple[str, str], ...]) -> FileSystem:
    """The client of a bucket that is reached in one way; it asks for credentials anew whenever they have run out."""
    return PyArrowFileIO(dict(connection))._initialize_fs(scheme, netloc)
