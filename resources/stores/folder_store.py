"""Files of a folder of this machine."""

from __future__ import annotations

import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from resources.stores.object_store import StoredObject, key_below

BEING_WRITTEN = re.compile(r"(^|/)\.[^/]*\.partial(/|$)")  # what a folder's writer has not yet put in its place


class FolderStore:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = f"file://{folder}"  # not percent-encoded: pyiceberg does not decode

    def location(self, key: str) -> str:
        return f"{self.root}/{key}" if key else self.root

    def key(self, location: str) -> str:
        return key_below(self.root, location)

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
