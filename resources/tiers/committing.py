"""The commit of a move: what it was listed on is still so, and table, placements and record change in one snapshot."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from resources.iceberg.catalog import Partition, planned_files
from resources.iceberg.commit import overwritten
from resources.iceberg.errors import NotMoved
from resources.iceberg.placement import (
    PlacedTier,
    Placement,
    named_partitions,
    partition_text,
    placed_now,
    placements,
    with_hot,
    with_placed,
)
from resources.stores.lock import confirm
from resources.tiers.history import told
from resources.tiers.inventory import with_written
from resources.tiers.journal import Move
from resources.tiers.manifest import by_partition

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from resources.iceberg.tables import Tables

TRIES = 20
WAITS = {"multiplier": 0.05, "max": 2}  # seconds, with jitter


def commit_move(
    tables: Tables,
    move: Move,
    held: Mapping[Partition, Sequence[DataFile]],
    taken: Sequence[DataFile],
    new: Sequence[DataFile],
    tier: PlacedTier | None,
    sources: Mapping[Partition, Placement] | None = None,
) -> None:
    """Take ``taken`` out of the table and put ``new`` in, in one snapshot that says which tier the partitions have.

    ``held`` are the files of each partition as they were listed; of a restore there are none that matter, for rows
    that came after an archive stay. ``sources`` are the placements that the move goes on from, whose archived files a
    partition goes on having if it is not deleted.
    Raises :class:`NotMoved` when a partition was written since its files were listed.
    """
    from pyiceberg.exceptions import ValidationException
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    kept = (sources or {}) if tier != "expired" else {}
    figures = figures_of(loaded(tables, move), move, held, new)

    @retry(
        retry=retry_if_exception_type(ValidationException),
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(**WAITS),
        reraise=True,
    )
    def attempt() -> None:
        table = loaded(tables, move)
        if is_made(table, move):
            return  # its answer was lost: what it put in must not be put in twice
        live = by_partition(table, live_files(table))
        placed = placed_now(table)
        written = [one for one, source in (sources or {}).items() if placed.get(one) != source]
        if move.kind != "restore":
            written += [one for one, files in held.items() if {*live.get(one, [])} != {*files}]
        refuse(table, move, written, "was written meanwhile")

        def properties(sequence: int) -> Mapping[str, str]:
            told_before = with_written(table, held)
            if tier is None:
                hot = with_hot(table, held, sequence) if any(one in placed for one in held) else {}
                return {**told_before, **hot}
            new_places = [
                _placed(move, partition, tier, sequence, figures[partition], kept.get(partition)) for partition in held
            ]
            return {**told_before, **with_placed(table, new_places)}

        confirm()  # whoever took the lock over finishes this move
        overwritten(table, taken, new, told(move, table, figures), properties)

    attempt()


def _placed(
    move: Move,
    partition: Partition,
    tier: PlacedTier,
    sequence: int,
    figures: tuple[int, int, int],
    source: Placement | None,
) -> Placement:
    files, size, rows = figures
    name, storage_class, offer = move.id, move.storage_class, move.offer
    if source is not None:
        name, storage_class, offer = source.move, source.storage_class, source.offer
    return Placement(
        partition, tier, storage_class, name, move.at, sequence, None, files, size, rows, offer=offer, due=move.due
    )


def figures_of(
    table: Table, move: Move, held: Mapping[Partition, Sequence[DataFile]], new: Sequence[DataFile]
) -> dict[Partition, tuple[int, int, int]]:
    """Files, bytes and rows of each partition as the move leaves it, or as it takes it away."""
    after, live, placed = by_partition(table, new), by_partition(table, live_files(table)), placed_now(table)
    figures = {}
    for partition, files in held.items():
        moved = after.get(partition) or files or live.get(partition, [])
        count, size = len(moved), sum(file.file_size_in_bytes for file in moved)
        rows = sum(file.record_count for file in moved)
        if move.kind == "expire" and is_in(placed, partition, "archived"):
            archived = placed[partition]
            count, size, rows = count + archived.files, size + archived.bytes, rows + archived.rows
        figures[partition] = (count, size, rows)
    return figures


def loaded(tables: Tables, move: Move) -> Table:
    """The table of a move as it is now. Raises :class:`NotMoved` when there is none."""
    table = tables.load(move.table)
    if table is None:
        raise NotMoved(f"there is no table {move.table}")
    return table


def live_files(table: Table) -> list[DataFile]:
    """The data files of the current snapshot."""
    snapshot = table.current_snapshot()
    return planned_files(table, snapshot.snapshot_id) if snapshot else []


def held_files(table: Table, move: Move) -> dict[Partition, list[DataFile]]:
    """The files of the move's partitions. Raises :class:`NotMoved` for one without, or archived in part."""
    live, placed = by_partition(table, live_files(table)), placed_now(table)
    refuse(table, move, [one for one in move.partitions if one not in live], "is not in the table")
    # rows that came after it was archived are not all of it
    refuse(table, move, [one for one in move.partitions if is_in(placed, one, "archived")], "is archived")
    return {one: live[one] for one in move.partitions}


def is_made(table: Table, move: Move) -> bool:
    """Whether the move's commit happened; a snapshot that is no longer kept leaves its placements."""
    return any(one.move == move.id for one in placements(table)) or any(
        snapshot.summary is not None and snapshot.summary.additional_properties.get("cdap.move") == move.id
        for snapshot in table.metadata.snapshots
    )


def is_in(placed: Mapping[Partition, Placement], partition: Partition, tier: PlacedTier) -> bool:
    """Whether a partition is in a tier."""
    return partition in placed and placed[partition].tier == tier


def not_in(move: Move, placed: Mapping[Partition, Placement], tier: PlacedTier) -> list[Partition]:
    """The partitions of a move that are not in a tier."""
    return [one for one in move.partitions if not is_in(placed, one, tier)]


def all_files(held: Mapping[Partition, Sequence[DataFile]]) -> list[DataFile]:
    """The files of all partitions."""
    return [file for files in held.values() for file in files]


def refuse(table: Table, move: Move, wrong: Collection[Partition], what: str) -> None:
    """Raise :class:`NotMoved` when partitions of a move are ``wrong``."""
    if wrong:
        columns = [field.name for field in table.spec().fields]
        told = named_partitions([partition_text(columns, one) for one in wrong])
        rest = "" if len(move.partitions) == len(wrong) else f" of {len(move.partitions)} partitions"
        raise NotMoved(f"table {move.table}: {told} {what}, so nothing{rest} was moved ({move.kind})")
