"""pyiceberg's way to files on S3, with one client for all tables."""

from __future__ import annotations

from functools import lru_cache

from pyarrow.fs import FileSystem
from pyiceberg.io.pyarrow import PyArrowFileIO

S3 = ("s3", "s3a", "s3n")
CONNECTION = ("s3.", "client.")  # the properties that say how it is reached


class SharedFileIO(PyArrowFileIO):
    """What pyiceberg calls by its property ``py-io-impl``.

    By itself it makes a client of S3, with connections of its own, at each load of a table.
    """

    def _initialize_fs(self, scheme: str, netloc: str | None = None) -> FileSystem:
        if scheme not in S3:
            return super()._initialize_fs(scheme, netloc)
        told = {key: value for key, value in self.properties.items() if key.startswith(CONNECTION)}
        return _client(scheme, netloc, tuple(sorted(told.items())))


# few: a REST catalog may hand out credentials that are others each hour
@lru_cache(maxsize=8)
def _client(scheme: str, netloc: str | None, connection: tuple[tuple[str, str], ...]) -> FileSystem:
    """The client of a bucket that is reached in one way."""
    return PyArrowFileIO(dict(connection))._initialize_fs(scheme, netloc)
