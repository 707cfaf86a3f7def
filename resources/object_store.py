"""Where files are: a folder, or a prefix of an S3 bucket, under one set of verbs."""

from __future__ import annotations

import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from resources.settings import Settings

DELETE_AT_ONCE = 1000  # S3's limit
BEING_WRITTEN = re.compile(r"(^|/)\.[^/]*\.partial(/|$)")  # what a folder's writer has not yet put in its place
CONDITION_FAILED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}


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


def open_store(root: str | Path, settings: Settings) -> ObjectStore:
    """The store of a folder or of an ``s3://bucket/prefix``; nothing is connected before first use."""
    if str(root).startswith("s3://"):
        return S3Store(str(root), settings)
    return FolderStore(Path(str(root).removeprefix("file://")))


class FolderStore:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = f"file://{folder}"  # not percent-encoded: pyiceberg does not decode

    def location(self, key: str) -> str:
        return f"{self.root}/{key}" if key else self.root

    def key(self, location: str) -> str:
        return _below(self.root, location)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        start = self.folder / prefix
        within = start if prefix.endswith("/") or not prefix else start.parent
        found = {path.relative_to(self.folder).as_posix(): path for path in within.rglob("*")}
        for key in sorted(found):
            if not key.startswith(prefix) or BEING_WRITTEN.search(key):
                continue
            try:
                status = found[key].stat()
            except FileNotFoundError:
                continue  # deleted meanwhile, or a link to nothing
            if stat.S_ISREG(status.st_mode):
                written = datetime.fromtimestamp(status.st_mtime, UTC)
                yield StoredObject(key, status.st_size, written, str(status.st_mtime_ns))

    def exists(self, key: str) -> bool:
        return (self.folder / key).is_file()

    def open(self, key: str) -> BinaryIO:
        return (self.folder / key).open("rb")

    def write(self, key: str, content: bytes) -> None:
        with self.writing(key) as file:
            file.write(content)

    @contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """A file to write whole in pieces: a reader sees what was there before, or all of it once this ends."""
        partial = self._partial(key, b"")
        try:
            with partial.open("wb") as file:
                yield file
            partial.replace(self.folder / key)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def create(self, key: str, content: bytes) -> bool:
        partial = self._partial(key, content)
        try:
            os.link(partial, self.folder / key)
        except FileExistsError:
            return False
        finally:
            partial.unlink()
        return True

    def write_together(self, folder: str, files: Mapping[str, bytes]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{folder}-{uuid.uuid4().hex}.partial"
        partial.mkdir()
        try:
            for name, content in files.items():
                (partial / name).write_bytes(content)
            partial.rename(self.folder / folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _partial(self, key: str, content: bytes) -> Path:
        target = self.folder / key
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}-{uuid.uuid4().hex}.partial")
        partial.write_bytes(content)
        return partial

    def delete(self, keys: Iterable[str]) -> int:
        deleted = 0
        for key in keys:
            path = self.folder / key
            if path.is_file() and not path.is_symlink():  # a link is somebody's, to something elsewhere
                path.unlink()
                deleted += 1
                self._prune(path.parent)
        return deleted

    def _prune(self, folder: Path) -> None:
        # a prefix without keys does not exist, as on S3; what another process puts there meanwhile keeps it
        with suppress(OSError):
            while folder != self.folder:
                folder.rmdir()
                folder = folder.parent


class S3Store:
    """A prefix of an S3 bucket."""

    def __init__(self, root: str, settings: Settings) -> None:
        parts = urlsplit(root)
        self.bucket, self.prefix = parts.netloc, parts.path.strip("/")
        self.root = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        self._settings = settings

    @cached_property
    def client(self) -> S3Client:
        """boto3's client, which repeats what S3 throttled."""
        from resources.aws import client

        return client("s3", self._settings)

    def full(self, key: str) -> str:
        """The key in the bucket."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def location(self, key: str) -> str:
        return f"{self.root}/{key}" if key else self.root

    def key(self, location: str) -> str:
        return _below(self.root, location)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.full(prefix))
        for page in pages:
            for found in page.get("Contents", []):
                key = found["Key"][len(self.prefix) :].lstrip("/")
                written, version = found["LastModified"].astimezone(UTC), found["ETag"].strip('"')
                yield StoredObject(key, found["Size"], written, version, found.get("StorageClass", "STANDARD"))

    def exists(self, key: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            self.client.head_object(Bucket=self.bucket, Key=self.full(key))
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
                return False
            raise
        return True

    def open(self, key: str) -> BinaryIO:
        try:
            body: Any = self.client.get_object(Bucket=self.bucket, Key=self.full(key))["Body"]
        except self.client.exceptions.NoSuchKey as error:
            raise FileNotFoundError(self.location(key)) from error
        return body

    def write(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self.full(key), Body=content)

    def create(self, key: str, content: bytes) -> bool:
        from botocore.exceptions import ClientError

        try:
            self.client.put_object(Bucket=self.bucket, Key=self.full(key), Body=content, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] in CONDITION_FAILED:
                return False
            raise
        return True

    def write_together(self, folder: str, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            self.write(f"{folder}/{name}", content)

    def replace(self, key: str, content: bytes, version: str) -> str | None:
        """Write a file if it is of ``version`` still, decided by S3: its new version, or ``None`` if it is not."""
        from botocore.exceptions import ClientError

        try:
            answer = self.client.put_object(Bucket=self.bucket, Key=self.full(key), Body=content, IfMatch=version)
        except ClientError as error:
            if error.response["Error"]["Code"] in {*CONDITION_FAILED, "NoSuchKey", "404"}:
                return None
            raise
        return answer["ETag"].strip('"')

    def delete(self, keys: Iterable[str]) -> int:
        deleted = 0
        chosen = list(keys)
        for start in range(0, len(chosen), DELETE_AT_ONCE):
            batch = chosen[start : start + DELETE_AT_ONCE]
            answer = self.client.delete_objects(
                Bucket=self.bucket, Delete={"Objects": [{"Key": self.full(key)} for key in batch], "Quiet": True}
            )
            if failed := answer.get("Errors"):
                raise PermissionError(
                    f"{len(failed)} of {len(batch)} objects of {self.root} were not deleted; the first: "
                    f"{failed[0].get('Key')}: {failed[0].get('Message')}. Check s3:DeleteObject and delete again."
                )
            deleted += len(batch)
        return deleted


def _below(root: str, location: str) -> str:
    # Spark and older Hadoop tools write s3a:// for the same object
    plain = location.replace("s3a://", "s3://", 1)
    if not plain.startswith(f"{root}/"):
        raise ValueError(f"{location} does not lie below {root}")
    return plain[len(root) + 1 :]
