"""The stores of an installation, one for each purpose: in its home, or below its warehouse on S3."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from resources.stores.folder_store import FolderStore
from resources.stores.object_store import ObjectStore
from resources.stores.s3_store import S3Store

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from resources.settings import Settings


class Stores:
    """The stores of one installation. Nothing is connected before first use.

    ``s3`` gives the client of S3; by default each store has a plain one of its own.
    """

    def __init__(self, settings: Settings, s3: Callable[[], S3Client] | None = None) -> None:
        self._settings = settings
        self._s3 = s3

    @cached_property
    def lake(self) -> ObjectStore:
        """Where files of tables lie; a table's folder is named after it."""
        return self._named("lake")

    @cached_property
    def archive(self) -> ObjectStore:
        """Where archived partitions are, with their manifests and the journal of moves."""
        return self._named("archive")

    @cached_property
    def reads(self) -> ObjectStore:
        """Notes of what was read, and when."""
        return self._named("reads")

    @cached_property
    def runs(self) -> ObjectStore:
        """What the processes of a run share, a folder for each."""
        return self._named("runs")

    @cached_property
    def landing(self) -> ObjectStore:
        """Delivered files, a folder for each source."""
        return self._named("landing")

    @cached_property
    def exports(self) -> ObjectStore:
        """Files of approved plans."""
        return self._named("exports")

    @cached_property
    def pages(self) -> ObjectStore:
        """Review pages, one file each."""
        return self._named("pages")

    def _named(self, name: str) -> ObjectStore:
        return self.at(self._settings.root(name))

    def at(self, root: str) -> ObjectStore:
        """The store of any other place: of a folder, or of an ``s3://bucket/prefix``."""
        return open_store(root, self._settings, self._s3)


def open_store(root: str | Path, settings: Settings, s3: Callable[[], S3Client] | None = None) -> ObjectStore:
    """The store of a folder or of an ``s3://bucket/prefix``; nothing is connected before first use."""
    if str(root).startswith("s3://"):
        return S3Store(str(root), settings, s3)
    return FolderStore(Path(str(root).removeprefix("file://")))
