"""What lies in lake and archive, listed, beside what the tables say of it."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from resources.iceberg.catalog import Partition, planned_files
from resources.iceberg.placement import placed_now
from resources.stores.s3_store import S3Store
from resources.tiers.classes import COLD, digest, is_readable
from resources.tiers.lifecycle import harmful
from resources.tiers.manifest import files_of, read_manifest

if TYPE_CHECKING:
    from resources.iceberg.tables import Tables

Where = Literal["live", "older", "archived"]


@dataclass(frozen=True)
class Fault:
    """A file that is not as its table says: which table, the file's address, and what is wrong."""

    table: str
    location: str
    what: str


def unreadable_files(tables: Tables) -> Iterator[Fault]:
    """Files of current snapshots that are gone, of another size, or in a class that cannot be read."""
    for name in tables.names():
        live = _live(tables, name)
        stored = {tables.stores.lake.location(found.key): found for found in tables.stores.lake.list(f"{name}/")}
        for location, size in live.items():
            found = stored.get(location)
            if found is None:
                yield Fault(name, location, "is not there")
            elif found.size != size:
                yield Fault(name, location, f"has {found.size:,} bytes, expected {size:,}")
            elif found.storage_class in COLD and not is_readable(tables.stores.lake, found.key):
                yield Fault(name, location, f"is in {found.storage_class} and cannot be read")


def archive_faults(tables: Tables, sampled: int, seed: str) -> Iterator[Fault]:
    """Archived files that are gone or of another size, and of a sample of ``sampled`` those of another SHA-256.

    What S3 would have to fetch first is not in the sample. ``seed`` draws it.
    """
    files = []
    for name in tables.names():
        table = tables.load(name)
        archived: dict[str, list[Partition]] = defaultdict(list)
        for one in placed_now(table).values() if table else ():
            if one.tier in ("archived", "restored"):
                archived[one.move].append(one.partition)
        for move, partitions in sorted(archived.items()):
            try:
                manifest = read_manifest(tables.stores.archive, name, move)
            except FileNotFoundError:
                yield Fault(name, move, "has no manifest, so its partitions cannot be restored")
                continue
            files += [(name, file) for partition in partitions for file in files_of(manifest, partition)]
    stored = {found.key: found for found in tables.stores.archive.list("data/")}
    whole = []
    for name, file in files:
        found, location = stored.get(file.key), tables.stores.archive.location(file.key)
        if found is None:
            yield Fault(name, location, "is not there")
        elif found.size != file.bytes:
            yield Fault(name, location, f"has {found.size:,} bytes, expected {file.bytes:,}")
        elif found.storage_class not in COLD:
            whole.append((name, file))
    for name, file in random.Random(seed).sample(whole, min(sampled, len(whole))):
        if digest(tables.stores.archive, file.key) != file.sha256:
            yield Fault(name, tables.stores.archive.location(file.key), "has another SHA-256 than its manifest")


def harmful_rules(tables: Tables) -> list[str]:
    """What the lifecycle rules of the warehouse's bucket would do to lake or archive; of a folder nothing."""
    if not isinstance(tables.stores.lake, S3Store):
        return []
    from botocore.exceptions import ClientError

    store = tables.stores.lake
    try:
        present = store.client.get_bucket_lifecycle_configuration(Bucket=store.bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
            return []
        raise
    return list(harmful(present, store.prefix.rpartition("lake")[0]))


def sizes_by_class(tables: Tables) -> Mapping[tuple[Where, str], list[int]]:
    """Bytes of each data file by where it is and in which class: live, needed by older snapshots alone, or archived."""
    found: dict[tuple[Where, str], list[int]] = defaultdict(list)
    for name in tables.names():
        live = _live(tables, name)
        for stored in tables.stores.lake.list(f"{name}/data/"):
            where: Where = "live" if tables.stores.lake.location(stored.key) in live else "older"
            found[where, stored.storage_class].append(stored.size)
    for stored in tables.stores.archive.list("data/"):
        found["archived", stored.storage_class].append(stored.size)
    return found


def _live(tables: Tables, name: str) -> dict[str, int]:
    table = tables.load(name)
    snapshot = table.current_snapshot() if table else None
    if table is None or snapshot is None:
        return {}
    return {file.file_path: file.file_size_in_bytes for file in planned_files(table, snapshot.snapshot_id)}
