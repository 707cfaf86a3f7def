"""S3 objects as DuckDB reads and writes files: by pyarrow, for DuckDB's own S3 client is an extension to download."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from fsspec.implementations.arrow import ArrowFSWrapper

from resources.stores.aws import arrow_filesystem

if TYPE_CHECKING:
    from resources.settings import Settings

WHOLE = 4 << 20  # bytes of a file that one request fetches whole: a request takes longer than its bytes
HELD = 32 << 20  # bytes of such files that an engine holds: DuckDB opens a file again for every query over it


def object_files(settings: Settings) -> ArrowFSWrapper:
    """The filesystem to register for ``s3://``."""
    return _Objects(arrow_filesystem(settings))


class _Objects(ArrowFSWrapper):
    """What S3 told of an object stays true: each file of a table is written once, under a name of its own."""

    cachable = False  # else fsspec keeps that of every engine for good

    def __init__(self, fs: pa.fs.FileSystem) -> None:
        super().__init__(fs)
        self._told: dict[str, Any] = {}
        self._held: OrderedDict[str, pa.Buffer] = OrderedDict()
        self._lock = threading.Lock()

    def info(self, path: str, **_: Any) -> Any:
        """Size, kind and time of an object; DuckDB asks several times for every query."""
        path = self._strip_protocol(path)
        if (told := self._told.get(path)) is None:
            told = super().info(path)
            if told["type"] == "file":
                self._told[path] = told
        return told

    def modified(self, path: str) -> Any:
        """When an object was written."""
        return self.info(path)["mtime"]

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Nothing: a prefix needs no folder, and an empty object in place of one would be read as a file."""

    makedirs = mkdir

    def ls(self, path: str, detail: bool = False, **_: Any) -> list[Any]:
        """What lies below a prefix, which exists whether or not anything does."""
        try:
            return super().ls(path, detail=detail)
        except FileNotFoundError:
            return []

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode, **options)
        path = self._strip_protocol(path)
        if self.info(path)["size"] <= WHOLE:
            return _Reader(pa.BufferReader(self._whole(path)))
        return _Reader(self.fs.open_input_file(path))

    def _whole(self, path: str) -> pa.Buffer:
        with self._lock:
            if (known := self._held.get(path)) is not None:
                self._held.move_to_end(path)
                return known
        with self.fs.open_input_file(path) as source:
            content = source.read_buffer()
        with self._lock:
            self._held[path] = content
            while sum(held.size for held in self._held.values()) > HELD:
                self._held.popitem(last=False)
        return content


class _Reader:
    """An object's bytes for DuckDB's threads, which seek and read one open file at once.

    A read begins where its own thread last sought, else where the last read ended: with one position for all,
    one thread reads at the other's place, and Parquet is corrupt now and then.
    """

    def __init__(self, source: pa.NativeFile) -> None:
        self._source, self._size = source, source.size()
        self._sought = threading.local()
        self._position = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = self._sought.position = offset + {0: 0, 1: self.tell(), 2: self._size}[whence]
        return self._position

    def tell(self) -> int:
        position = getattr(self._sought, "position", None)
        return self._position if position is None else position

    def read(self, size: int = -1) -> bytes:
        start = self.tell()
        self._sought.position = None
        length = self._size - start if size is None or size < 0 else min(size, self._size - start)
        content = self._source.read_at(length, start)
        self._position = start + len(content)
        return content

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._source.close()
