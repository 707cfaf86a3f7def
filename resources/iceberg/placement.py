"""Where the partitions of a table are kept: a record in the table's own metadata, changed in the commit that moves.

The record is what a reader sees with the snapshot, so that no reader finds a partition missing without being told.
It names, for each partition that is or was not hot, the sequence numbers of the snapshots that it holds for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

from resources.iceberg.catalog import Partition
from resources.iceberg.errors import PartitionsArchived

if TYPE_CHECKING:
    from pyiceberg.table import Table

PROPERTY = "cdap.tiers"
NAMED = 5  # partitions that a message names one by one

PlacedTier = Literal["cool", "archived", "restored", "expired"]


@dataclass(frozen=True)
class Placement:
    """A partition that is not hot, in the snapshots with a sequence number from ``since`` up to before ``until``.

    ``until`` is ``None`` while it holds. ``move`` names the move that made it, ``at`` is its instant (UTC),
    ``offer`` says in words what bringing it back takes. A ``restored`` partition is in the table again, beside its
    archived files, and goes back on the day ``due``. Sizes are those of the moved files.
    """

    partition: Partition
    tier: PlacedTier
    storage_class: str
    move: str
    at: datetime
    since: int
    until: int | None
    files: int
    bytes: int
    rows: int
    offer: str = ""
    due: date | None = None

    @property
    def holds(self) -> bool:
        """Whether it is so now."""
        return self.until is None

    def held(self, sequence: int) -> bool:
        """Whether it was so in the snapshot of a sequence number."""
        return self.since <= sequence and (self.until is None or sequence < self.until)


def placements(table: Table) -> list[Placement]:
    """Every placement that a retained snapshot may need, those that ended included."""
    told = table.metadata.properties.get(PROPERTY)
    return [one for entry in json.loads(told) for one in _read(entry)] if told else []


def placed_now(table: Table) -> dict[Partition, Placement]:
    """The partitions that are not hot now."""
    return {one.partition: one for one in placements(table) if one.holds}


def archived_at(table: Table, sequence: int) -> list[Placement]:
    """The partitions whose rows the snapshot of a sequence number lacks because they are archived."""
    return [one for one in placements(table) if one.tier == "archived" and one.held(sequence)]


def with_placed(table: Table, new: Iterable[Placement]) -> dict[str, str]:
    """The properties after ``new`` took the place of what its partitions had."""
    added = list(new)
    moved = {one.partition: one.since for one in added}
    kept = [_ended(one, moved[one.partition]) if one.partition in moved else one for one in placements(table)]
    return _property(table, [*kept, *added])


def with_hot(table: Table, partitions: Iterable[Partition], sequence: int) -> dict[str, str]:
    """The properties after ``partitions`` became hot in the snapshot of ``sequence``."""
    hot = set(partitions)
    return _property(table, [_ended(one, sequence) if one.partition in hot else one for one in placements(table)])


def without_current(table: Table) -> dict[str, str]:
    """The properties of a copy of the table in another store: what older snapshots lack, and all else hot."""
    return _property(table, [one for one in placements(table) if not one.holds]) if placements(table) else {}


def refuse_archived(
    table: Table,
    name: str,
    sequence: int,
    only: Mapping[str, Sequence[Any]],
) -> None:
    """Raise :class:`PartitionsArchived` when a read of the partition values ``only`` would miss archived rows."""
    columns = [field.name for field in table.spec().fields]
    missed = [
        one
        for one in archived_at(table, sequence)
        if all(value in only[column] for column, value in zip(columns, one.partition, strict=True) if column in only)
    ]
    if not missed:
        return
    named = sorted(partition_text(columns, one.partition) for one in missed)
    told = named_partitions(named)
    options = " ".join(f"--partition {text}" for text in named[:NAMED])
    rows = sum(one.rows for one in missed)
    takes = sorted({one.offer for one in missed if one.offer})
    raise PartitionsArchived(
        f"table {name}: {told} {'is' if len(named) == 1 else 'are'} archived ({rows:,} rows), so this read would "
        f"return fewer rows than there are. Restore with `cdap storage restore {name} {options}`"
        f"{' (' + '; '.join(takes) + ')' if takes else ''}, or read other partitions only."
    )


def partition_text(columns: Sequence[str], partition: Partition) -> str:
    """A partition as people write it: ``month=2024-03-01``; of an unpartitioned table ``all``."""
    return "/".join(f"{column}={value}" for column, value in zip(columns, partition, strict=True)) or "all"


def named_partitions(texts: Sequence[str]) -> str:
    """Partitions as a message names them: the first, and how many more."""
    named = sorted(texts)
    return ", ".join(named[:NAMED]) + (f" and {len(named) - NAMED} more" if len(named) > NAMED else "")


def encoded(partition: Partition) -> list[Any]:
    """A partition's values as JSON keeps them."""
    return [{"date": value.isoformat()} if isinstance(value, date) else value for value in partition]


def decoded(values: Iterable[Any]) -> Partition:
    """The partition of what :func:`encoded` gave."""
    return tuple(date.fromisoformat(value["date"]) if isinstance(value, dict) else value for value in values)


def _ended(one: Placement, sequence: int) -> Placement:
    return replace(one, until=sequence) if one.holds else one


def _property(table: Table, found: Sequence[Placement]) -> dict[str, str]:
    # what ended before the oldest snapshot that can still be read is of use to nobody
    oldest = min((snapshot.sequence_number or 0 for snapshot in table.metadata.snapshots), default=0)
    together: dict[str, list[Placement]] = {}
    for one in found:
        if one.until is None or one.until > oldest:
            together.setdefault(json.dumps(_shared(one)), []).append(one)
    told = [{**json.loads(shared), "partitions": [_own(one) for one in ones]} for shared, ones in together.items()]
    return {PROPERTY: json.dumps(told, separators=(",", ":"))}


def _shared(one: Placement) -> dict[str, Any]:
    """What the partitions of a move share: written once, for a catalog may limit the size of a property."""
    due = one.due.isoformat() if one.due else None
    own = {"partition", "files", "bytes", "rows"}
    told = {key: value for key, value in asdict(one).items() if key not in own}
    return {**told, "at": one.at.isoformat(), "due": due}


def _own(one: Placement) -> list[Any]:
    return [encoded(one.partition), one.files, one.bytes, one.rows]


def _read(entry: dict[str, Any]) -> list[Placement]:
    due = date.fromisoformat(entry["due"]) if entry["due"] else None
    shared = {**entry, "at": datetime.fromisoformat(entry["at"]), "due": due}
    return [
        Placement(**shared, partition=decoded(values), files=files, bytes=size, rows=rows)
        for values, files, size, rows in shared.pop("partitions")
    ]
