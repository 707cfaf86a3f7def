"""What the lake holds, partition by partition, told by metadata alone.

When rows last came is the instant of the snapshot that added a file. A move and an expiry of snapshots first write
that down in a property of the table, for afterwards no snapshot tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from resources.iceberg.catalog import MAINTENANCE, Partition, partition_of, planned_files
from resources.iceberg.placement import Placement, decoded, encoded, placed_now

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from resources.iceberg.tables import Tables

PROPERTY = "cdap.written"


@dataclass(frozen=True)
class Held:
    """A partition: the sizes of its files in bytes, its rows, when rows last came, and where it is when not hot.

    ``written`` is ``None`` when neither a snapshot nor the table's property tells. Sizes of an archived partition are
    those it had and of rows that came after; an expired one that got rows is hot with these alone. Instants are naive
    UTC; ``seen`` is the sequence number of the table that this was told of.
    """

    table: str
    columns: tuple[str, ...]
    partition: Partition
    sizes: tuple[int, ...]
    rows: int
    written: datetime | None
    placed: Placement | None
    seen: int = 0


def holdings(tables: Tables, name: str) -> Iterator[Held]:
    """The partitions of a table, those that are archived or expired included; none of one that was never built."""
    table = tables.load(name)
    if table is None:
        return
    columns = tuple(field.name for field in table.spec().fields)
    placed = placed_now(table)
    live, before = _live(table), _written_before(table)
    for partition in sorted({*live, *placed}, key=repr):
        sizes, rows, came = live.get(partition, ([], 0, None))
        written = _newest(came, before.get(partition))
        one = placed.get(partition)
        if one is not None and one.tier == "expired" and partition in live:
            one = None  # rows that came late are rows as any: their time is over as well, and they go in their turn
        if one is not None and one.tier in ("archived", "expired"):
            sizes, rows = [*sizes, *_evenly(one)], rows + one.rows
        yield Held(
            table=name,
            columns=columns,
            partition=partition,
            sizes=tuple(sizes),
            rows=rows,
            written=written.at if written else None,
            placed=one,
            seen=sequence_of(table),
        )


def sequence_of(table: Table) -> int:
    """The sequence number of a table's current snapshot; 0 before the first."""
    snapshot = table.current_snapshot()
    return (snapshot.sequence_number if snapshot else None) or 0


def written_since(table: Table, seen: int) -> set[Partition]:
    """The partitions that hold rows which came after a sequence number; a move brings none."""
    before = _written_before(table)
    newest = {one: _newest(came, before.get(one)) for one, (_sizes, _rows, came) in _live(table).items()}
    return {one for one, came in newest.items() if came is not None and came.sequence > seen}


@dataclass(frozen=True, order=True)
class _Came:
    """When rows came: the sequence number of the snapshot that brought them, and its instant (naive UTC)."""

    sequence: int
    at: datetime


def _live(table: Table) -> dict[Partition, tuple[list[int], int, _Came | None]]:
    snapshot = table.current_snapshot()
    found: dict[Partition, tuple[list[int], int, _Came | None]] = {}
    if snapshot is None:
        return found
    came = {
        one.snapshot_id: _Came(
            one.sequence_number or 0, datetime.fromtimestamp(one.timestamp_ms / 1000, UTC).replace(tzinfo=None)
        )
        for one in table.metadata.snapshots
        if one.summary is None or MAINTENANCE not in one.summary.additional_properties
    }
    for manifest in snapshot.manifests(table.io):
        for entry in manifest.fetch_manifest_entry(table.io):
            file = entry.data_file
            partition = partition_of(table, file.partition)
            sizes, rows, written = found.get(partition, ([], 0, None))
            sizes.append(file.file_size_in_bytes)
            new = came.get(entry.snapshot_id) if entry.snapshot_id is not None else None
            found[partition] = (sizes, rows + file.record_count, _newest(written, new))
    return found


def with_written(table: Table, partitions: Iterable[Partition] | None = None) -> Mapping[str, str]:
    """The properties that go on telling when rows last came into ``partitions``, ``None``: into all that there are."""
    live, before = _live(table), _written_before(table)
    known = {partition: came for partition, (_sizes, _rows, came) in live.items()}
    # of a partition that is nowhere any more nothing needs to be known
    there = {*known, *placed_now(table)}
    told = {one: came for one, came in before.items() if one in there}
    for one in known if partitions is None else partitions:
        if (newest := _newest(known.get(one), before.get(one))) is not None:
            told[one] = newest
    if told == before:
        return {}
    return {PROPERTY: json.dumps([[encoded(one), came.sequence, came.at.isoformat()] for one, came in told.items()])}


def _written_before(table: Table) -> dict[Partition, _Came]:
    told = json.loads(table.metadata.properties.get(PROPERTY, "[]"))
    return {decoded(values): _Came(sequence, datetime.fromisoformat(at)) for values, sequence, at in told}


def _newest(*found: _Came | None) -> _Came | None:
    return max((came for came in found if came is not None), default=None)


def _evenly(one: Placement) -> list[int]:
    return [one.bytes // one.files] * one.files if one.files else []


def partitions_of_files(tables: Tables, name: str) -> dict[str, Partition]:
    """The partition of each data file that a table's current snapshot has, by the file's address."""
    table = tables.load(name)
    snapshot = table.current_snapshot() if table else None
    if table is None or snapshot is None:
        return {}
    files = planned_files(table, snapshot.snapshot_id)
    return {file.file_path: partition_of(table, file.partition) for file in files}
