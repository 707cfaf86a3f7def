"""The sweep: deletes files of tables that no retained metadata references, and pins of runs long over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from resources.catalog import local_path
from resources.lock import exclusive

if TYPE_CHECKING:
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table import Table

    from resources.lakehouse import Lakehouse

WAIT = 600  # seconds for another sweep of the same home


@dataclass(frozen=True)
class Swept:
    """What a sweep deleted."""

    files: int
    bytes: int


def sweep(lakehouse: Lakehouse, *, older_than: datetime) -> Swept:
    """Delete what runs left behind that no retained snapshot or metadata of a table references.

    ``older_than`` is the lease: it lies before the start of every run that may still be at work, for the
    staged files of a running publish are referenced by nothing yet. Only files in the folders of catalogued
    tables and in the folder of pins are touched. Raises ``ValueError`` for a naive ``older_than`` and
    :class:`~resources.lock.Busy` while another process sweeps.
    """
    if older_than.tzinfo is None:
        raise ValueError(f"older_than {older_than} has no time zone; give an aware datetime")
    lease = older_than.timestamp()
    files = size = 0
    with exclusive(lakehouse.settings.locks, "sweep", timeout=WAIT):
        for path in _unreferenced(lakehouse, lease):
            found = path.stat().st_size
            path.unlink()
            files, size = files + 1, size + found
    return Swept(files, size)


def _unreferenced(lakehouse: Lakehouse, lease: float) -> Iterator[Path]:
    for name in lakehouse.names():
        table = lakehouse.load(name)
        if table is None:
            continue
        folder = Path(local_path(table.location()))
        # listed before the references are read: what is committed in between counts as referenced
        old = list(_older(folder, lease))
        table = lakehouse.load(name)
        if table is None or not old:
            continue
        kept = references(table)
        yield from (path for path in old if path not in kept)
        _remove_empty(folder / "data", lease)
    yield from _older(lakehouse.settings.lake / "pins", lease)


def references(table: Table) -> set[Path]:
    """Every file that the table's metadata names: its own versions, manifests, data and delete files."""
    metadata = table.metadata
    found = {table.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    found |= {file.statistics_path for file in (*metadata.statistics, *metadata.partition_statistics)}
    manifests: dict[str, ManifestFile] = {}
    for snapshot in metadata.snapshots:
        found.add(snapshot.manifest_list)
        manifests |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)}
    for path, manifest in manifests.items():
        found.add(path)
        found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return {Path(local_path(location)) for location in found}


def _older(folder: Path, lease: float) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mtime < lease:
            yield path


def _remove_empty(folder: Path, lease: float) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and path.stat().st_mtime < lease and not any(path.iterdir()):
            path.rmdir()
