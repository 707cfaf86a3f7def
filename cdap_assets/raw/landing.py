"""What lies in the landing folder or prefix: files as they were delivered, one folder per source."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath

from cdap_assets.contracts.contract import Contract
from cdap_assets.raw.ingestion import Delivery
from resources.settings import Settings
from resources.stores.folder_store import FolderStore
from resources.stores.object_store import ObjectStore, StoredObject
from resources.stores.stores import Stores

HISTORY = "history"
UNFINISHED = (".part", ".partial", ".tmp", ".crdownload")
PIECE = 1 << 20  # bytes


def landing(settings: Settings) -> ObjectStore:
    """The store of delivered files; the first part of a key is the source."""
    return Stores(settings).landing


def landed(store: ObjectStore, source: str) -> Iterator[tuple[StoredObject, bool]]:
    """Files of a source in the landing ``store`` in order of their keys, with whether they lie under ``history/``.

    Hidden files and those that a transfer has not finished are passed over.
    """
    # a folder lists a/b before a.csv, S3 after it; of two deliveries in one pass the later one wins
    for found in sorted(store.list(f"{source}/"), key=lambda found: found.key):
        if is_delivery(found.key):
            yield found, found.key.split("/")[1] == HISTORY


def is_delivery(key: str) -> bool:
    """Whether the name of a file is one that is taken: below a source's folder, not hidden, and finished."""
    parts = key.split("/")
    # a console that makes a "folder" in S3 leaves an empty object whose name ends with a slash
    whole = len(parts) > 1 and all(parts) and not any(part.startswith(".") for part in parts)
    return whole and PurePosixPath(key).suffix.lower() not in UNFINISHED


@contextmanager
def fetched(
    store: ObjectStore, settings: Settings, source: str, found: StoredObject
) -> Iterator[tuple[Delivery, Path]]:
    """A landed file as the delivery that it is by its content, and where to read it on this machine.

    What lies elsewhere is read once, into a file that is gone afterwards. Raises ``FileNotFoundError``.
    """
    if isinstance(store, FolderStore):
        path = store.folder / found.key
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        yield Delivery(source, found.key, digest.hexdigest(), found.size, found.version), path
        return
    spill = settings.home / "spill"
    spill.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    # the suffix stays: an engine sees by it how a file is compressed
    with tempfile.NamedTemporaryFile(dir=spill, prefix="landed-", suffix=PurePosixPath(found.key).suffix) as copy:
        with closing(store.open(found.key)) as body:
            while piece := body.read(PIECE):
                digest.update(piece)
                copy.write(piece)
        copy.flush()
        yield Delivery(source, found.key, digest.hexdigest(), found.size, found.version), Path(copy.name)


def landing_digest(settings: Settings, contract: Contract) -> str | None:
    """A digest of the files in a landing folder, and of the contract version that reads them.

    A mended contract takes what an earlier version refused. ``None`` for an empty folder.
    """
    digest = hashlib.sha256(contract.version.encode())
    empty = digest.hexdigest()
    for found, _history in landed(landing(settings), contract.name):
        digest.update(f"\n{found.key} {found.size} {found.version}".encode())
    return None if digest.hexdigest() == empty else digest.hexdigest()[:16]
