"""What an archived partition consists of: its files, where each came from and went, and a checksum of each."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.iceberg.catalog import Partition, partition_of
from resources.iceberg.placement import encoded
from resources.stores.object_store import ObjectStore, read_bytes

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

# what Iceberg knows of a data file beside its place; bounds of personal columns are never written
_COUNTS = ("column_sizes", "value_counts", "null_value_counts", "nan_value_counts")
_BOUNDS = ("lower_bounds", "upper_bounds")


@dataclass(frozen=True)
class ArchivedFile:
    """One data file: its address in the table, its key in the archive, size in bytes, SHA-256 and Iceberg's facts."""

    origin: str
    key: str
    bytes: int
    rows: int
    sha256: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class ArchiveManifest:
    """The files of the partitions that one move archived. Lies beside the archive, in no cold class."""

    move: str
    table: str
    storage_class: str
    files: tuple[ArchivedFile, ...]

    @property
    def key(self) -> str:
        """Where it lies in the archive."""
        return manifest_key(self.table, self.move)

    def write(self, archive: ObjectStore) -> None:
        """Write it whole."""
        files = [{**vars(file)} for file in self.files]
        content = {"move": self.move, "table": self.table, "storage_class": self.storage_class, "files": files}
        archive.write(self.key, json.dumps(content).encode())


def manifest_key(table: str, move: str) -> str:
    """Where the manifest of a move lies in the archive."""
    return f"manifests/{table}/{move}.json"


def partition_folder(partition: Partition) -> str:
    """The folder of a partition within its move: what is let go of one partition leaves those of the others."""
    return hashlib.sha256(json.dumps(encoded(partition)).encode()).hexdigest()[:16]


def data_prefix(table: str, move: str, partition: Partition) -> str:
    """Where the files of a partition that a move archived lie in the archive."""
    return f"data/{table}/{move}/{partition_folder(partition)}/"


def read_manifest(archive: ObjectStore, table: str, move: str) -> ArchiveManifest:
    """The manifest of a move. Raises ``FileNotFoundError``."""
    told = json.loads(read_bytes(archive, manifest_key(table, move)))
    return ArchiveManifest(**{**told, "files": tuple(ArchivedFile(**file) for file in told["files"])})


def facts_of(file: DataFile) -> dict[str, Any]:
    """What Iceberg knows of a data file, as JSON."""
    return {
        "partition": [_plain(file.partition[n]) for n in range(len(file.partition))],
        "spec_id": file.spec_id,
        "split_offsets": file.split_offsets,
        "sort_order_id": file.sort_order_id,
        **{name: {str(key): value for key, value in (getattr(file, name) or {}).items()} for name in _COUNTS},
        **{
            name: {str(key): base64.b64encode(value).decode() for key, value in (getattr(file, name) or {}).items()}
            for name in _BOUNDS
        },
    }


def data_file(archived: ArchivedFile, path: str) -> DataFile:
    """The data file that ``archived`` was, now at ``path``."""
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    facts = archived.facts
    told: dict[str, Any] = {
        **{name: {int(key): value for key, value in facts[name].items()} for name in _COUNTS},
        **{name: {int(key): base64.b64decode(value) for key, value in facts[name].items()} for name in _BOUNDS},
    }
    made = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(*(_value(value) for value in facts["partition"])),
        record_count=archived.rows,
        file_size_in_bytes=archived.bytes,
        split_offsets=facts["split_offsets"],
        sort_order_id=facts["sort_order_id"],
        equality_ids=None,
        key_metadata=None,
        **told,
    )
    made.spec_id = facts["spec_id"]
    return made


def by_partition(table: Table, files: Sequence[DataFile]) -> dict[Partition, list[DataFile]]:
    """Data files by the partition that they hold."""
    found: dict[Partition, list[DataFile]] = {}
    for file in files:
        found.setdefault(partition_of(table, file.partition), []).append(file)
    return found


def files_of(manifest: ArchiveManifest, partition: Partition) -> list[ArchivedFile]:
    """The files of one partition among those of a manifest."""
    prefix = data_prefix(manifest.table, manifest.move, partition)
    return [file for file in manifest.files if file.key.startswith(prefix)]


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | bool) else {"date": value.isoformat()}


def _value(value: Any) -> Any:
    from datetime import date

    return date.fromisoformat(value["date"]) if isinstance(value, dict) else value
