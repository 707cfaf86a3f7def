"""Where files are, under one set of verbs: what a folder and a prefix of an S3 bucket have in common.

What only S3 has (storage classes, restores, notifications) is not a verb here: see ``s3_store``, ``landing_queue`` and
:mod:`resources.tiers.classes`. Rows of tables are read by engines, never through a store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class StoredObject:
    """A file: its key below the store's root, size in bytes, and when it was last written (UTC)."""

    key: str
    size: int
    modified: datetime
    version: str  # changes with the content: S3's ETag, a file's time of change
    storage_class: str = ""  # S3's; a folder has none


class ObjectStore(Protocol):
    """Files below one root. Keys are ``/``-separated and relative to it."""

    root: str

    def location(self, key: str) -> str:
        """The full address of a key, as tables and engines write it."""

    def key(self, location: str) -> str:
        """The key of a full address. Raises ``ValueError`` for one that is not below the root."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """All files whose key begins with ``prefix``, page by page, in order of their keys."""

    def exists(self, key: str) -> bool:
        """Whether there is a file."""

    def open(self, key: str) -> BinaryIO:
        """A file's bytes as a stream. Raises ``FileNotFoundError``."""

    def write(self, key: str, content: bytes) -> None:
        """Write a file whole; a reader sees what was there before or all of it."""

    def create(self, key: str, content: bytes) -> bool:
        """Write a file unless there is one, decided by the store: of many at once, one is told ``True``."""

    def write_together(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write the files of a new folder, each whole; in a folder of this machine all appear at once or none does."""

    def delete(self, keys: Iterable[str]) -> int:
        """Delete files and tell how many; one that is not there is none to delete."""


def read_bytes(store: ObjectStore, key: str) -> bytes:
    """A small file whole. Raises ``FileNotFoundError``."""
    with closing(store.open(key)) as stream:
        return stream.read()


def readable(location: str) -> str:
    """An address as people write it: of a file of this machine, its path."""
    return location.removeprefix("file://")


def key_below(root: str, location: str) -> str:
    """The key of an address below ``root``. Raises ``ValueError`` for any other."""
    # Spark and older Hadoop tools write s3a:// for the same object
    plain = location.replace("s3a://", "s3://", 1)
    if not plain.startswith(f"{root}/"):
        raise ValueError(f"{location} does not lie below {root}")
    return plain[len(root) + 1 :]
