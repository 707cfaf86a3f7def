"""Moves between tiers: copy, verify, commit, and only then let go; each written down first and finished after a crash.

A move holds the lock of all moves. What it took out of a table stays in place for the snapshots that are kept;
expiry and the sweep delete it later, as they do with all that no snapshot needs.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from resources.catalog import Partition, planned_files
from resources.commit import overwritten
from resources.errors import NotMoved
from resources.lock import Busy, confirm, exclusive
from resources.tiers.classes import SMALLEST_IN_IA, STANDARD, ask_back, copy, digest, is_readable, set_class
from resources.tiers.history import told
from resources.tiers.inventory import with_written
from resources.tiers.journal import Journal, Kind, Move
from resources.tiers.keys import write_keys
from resources.tiers.manifest import (
    ArchivedFile,
    ArchiveManifest,
    by_partition,
    data_file,
    data_prefix,
    facts_of,
    read_manifest,
)
from resources.tiers.placement import (
    Placement,
    Tier,
    partition_text,
    placed_now,
    placements,
    with_hot,
    with_placed,
)
from resources.tiers.rewriting import rewritten

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from resources.lakehouse import Lakehouse

WAIT = 600  # seconds for another process that moves
TRIES = 20
WAITS = {"multiplier": 0.05, "max": 2}  # seconds, with jitter
DEEP_ARCHIVE, EXPEDITED = "DEEP_ARCHIVE", "Expedited"
NO_EXPEDITED = "is in Deep Archive, which has no Expedited (ask for Standard or Bulk)"
KEPT_READABLE_DAYS = 3  # of a cold object that was asked back: the copy into the table takes minutes


@dataclass(frozen=True)
class Moved:
    """What a move did: partitions, files, rows, bytes before and after; ``waiting`` while S3 fetches cold files."""

    move: Move
    files: int = 0
    rows: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    waiting: bool = False


def begun(
    kind: Kind,
    table: str,
    partitions: Sequence[Partition],
    at: datetime,
    *,
    storage_class: str = "",
    offer: str = "",
    speed: str = "",
    due: date | None = None,
    sought_by: str = "",
    reason: str = "",
) -> Move:
    """A move to carry out, under a name of its own."""
    name = f"{at:%Y%m%dT%H%M%S}-{kind}-{table}-{uuid.uuid4().hex[:8]}"
    return Move(name, kind, table, tuple(partitions), at, storage_class, offer, speed, due, sought_by, reason)


def carry_out(lakehouse: Lakehouse, move: Move) -> Moved:
    """Write a move down, do it, and strike it. Killed at any point, :func:`finish_pending` goes on with it.

    A restore of cold files asks S3 for them and stays in the journal, ``waiting``, until they are there.
    Raises :class:`NotMoved` for a partition that is not where the move would take it from or that was written
    meanwhile, with the table as it was, and :class:`~resources.lock.Busy` while another process moves.
    """
    with exclusive(lakehouse.settings, "tiers", timeout=WAIT):
        Journal(lakehouse.archive).begin(move)
        return _done(lakehouse, move)


def finish_pending(lakehouse: Lakehouse) -> Iterator[Moved]:
    """Finish the moves that a crash, an error or a wait for S3 left; one that can no longer be done is given up.

    A move that fails stays in the journal and keeps no other from being finished; the first failure is raised
    at the end. Raises :class:`~resources.lock.Busy` while another process moves.
    """
    failed: list[Exception] = []
    with exclusive(lakehouse.settings, "tiers", timeout=WAIT):
        for move in Journal(lakehouse.archive).pending():
            try:
                done = _done(lakehouse, move)
            except NotMoved:
                done = Moved(move)  # its partitions were written since it began: they are whole and hot
            except Busy:
                raise  # the lock is another's now
            except Exception as error:  # noqa: BLE001  raised below, whatever S3 or the catalog made it of
                failed.append(error)
                continue
            yield done
    if failed:
        raise failed[0]


def _done(lakehouse: Lakehouse, move: Move) -> Moved:
    work: Callable[[Lakehouse, Table, Move], Moved] = {
        "archive": _archive,
        "restore": _restore,
        "return": _return,
        "cool": _cool,
        "warm": _warm,
        "compact": _compact,
        "expire": _expire,
    }[move.kind]
    journal = Journal(lakehouse.archive)
    try:
        table = _table(lakehouse, move)
        # of an archive there is more to do after its commit
        done = Moved(move) if move.kind != "archive" and _made(table, move) else work(lakehouse, table, move)
    except NotMoved:
        journal.finish(move)
        raise
    if not done.waiting:
        journal.finish(move)
    return done


def _archive(lakehouse: Lakehouse, table: Table, move: Move) -> Moved:
    if not _made(table, move):
        held = _held(table, move)
        manifest = _copied(lakehouse, move, [file for files in held.values() for file in files])
        manifest.write(lakehouse.archive)
        if move.sought_by:
            write_keys(lakehouse, table, held, move)
        _commit(lakehouse, move, held, [], "archived")
    manifest = read_manifest(lakehouse.archive, move.table, move.id)
    for file in manifest.files:
        set_class(lakehouse.archive, file.key, move.storage_class, "archived")
    size = sum(file.bytes for file in manifest.files)
    return Moved(move, len(manifest.files), sum(file.rows for file in manifest.files), size, size)


def _copied(lakehouse: Lakehouse, move: Move, files: Sequence[DataFile]) -> ArchiveManifest:
    """The files in the archive, each read back and found to be the original."""
    archived = []
    for number, file in enumerate(files):
        origin, key = lakehouse.store.key(file.file_path), f"{data_prefix(move.table, move.id)}{number:05d}.parquet"
        expected = digest(lakehouse.store, origin)
        if not lakehouse.archive.exists(key) or digest(lakehouse.archive, key) != expected:
            copy(lakehouse.store, origin, lakehouse.archive, key)
            _verify(digest(lakehouse.archive, key), expected, lakehouse.archive.location(key))
        archived.append(
            ArchivedFile(file.file_path, key, file.file_size_in_bytes, file.record_count, expected, facts_of(file))
        )
    return ArchiveManifest(move.id, move.table, move.storage_class, tuple(archived))


def _restore(lakehouse: Lakehouse, table: Table, move: Move) -> Moved:
    placed = placed_now(table)
    _require(table, move, all(_is(placed, one, "archived") for one in move.partitions), "is not archived")
    sources = {one: placed[one] for one in move.partitions}
    deep = any(one.storage_class == DEEP_ARCHIVE for one in sources.values())
    _require(table, move, not (deep and move.speed == EXPEDITED), NO_EXPEDITED)
    files = archived_files(lakehouse, table, sources)
    for _partition, file in files:
        ask_back(lakehouse.archive, file.key, KEPT_READABLE_DAYS, move.speed)
    if not all(is_readable(lakehouse.archive, file.key) for _partition, file in files):
        return Moved(move, waiting=True)
    back = []
    for number, (_partition, file) in enumerate(files):
        key = f"{lakehouse.store.key(table.location())}/data/restored-{move.id}/{number:05d}.parquet"
        if not lakehouse.store.exists(key) or digest(lakehouse.store, key) != file.sha256:
            copy(lakehouse.archive, file.key, lakehouse.store, key)
            _verify(digest(lakehouse.store, key), file.sha256, lakehouse.store.location(key))
        back.append(data_file(file, lakehouse.store.location(key)))
    _commit(lakehouse, move, {one: [] for one in move.partitions}, back, "restored", sources=sources)
    size = sum(file.bytes for _partition, file in files)
    return Moved(move, len(files), sum(file.rows for _partition, file in files), size, size)


def _return(lakehouse: Lakehouse, table: Table, move: Move) -> Moved:
    """Take restored partitions out again: their archived files are where they were."""
    placed = placed_now(table)
    _require(table, move, all(_is(placed, one, "restored") for one in move.partitions), "is not restored")
    held, sources = _held(table, move), {one: placed[one] for one in move.partitions}
    rows = sum(file.record_count for files in held.values() for file in files)
    _require(table, move, rows == sum(placed[one].rows for one in move.partitions), "has got rows since")
    _commit(lakehouse, move, held, [], "archived", sources=sources)
    size = sum(file.file_size_in_bytes for files in held.values() for file in files)
    return Moved(move, sum(map(len, held.values())), rows, size, size)


def _cool(lakehouse: Lakehouse, table: Table, move: Move) -> Moved:
    """In S3 the objects change their class where they are; in a folder the files are written anew, smaller."""
    held = _held(table, move)
    files = [file for one in held.values() for file in one]
    size = sum(file.file_size_in_bytes for file in files)
    rows = sum(file.record_count for file in files)
    if not lakehouse.settings.warehouse:
        new = _rewritten(lakehouse, table, move, held, heavy=True)
        _commit(lakehouse, move, held, new, "cool")
        return Moved(move, len(files), rows, size, sum(file.file_size_in_bytes for file in new))
    for file in files:
        if file.file_size_in_bytes >= SMALLEST_IN_IA:
            set_class(lakehouse.store, lakehouse.store.key(file.file_path), move.storage_class, "cool")
    _commit(lakehouse, move, {one: [] for one in held}, [], "cool")
    return Moved(move, len(files), rows, size, size)


def _warm(lakehouse: Lakehouse, table: Table, move: Move) -> Moved:
    """In S3 the objects become standard again; in a folder they are as good as they were."""
    held = _held(table, move)
    files = [file for one in held.values() for file in one]
    if lakehouse.settings.warehouse:
        for file in files:
            set_class(lakehouse.store, lakehouse.store.key(file.file_path), STANDARD, "hot")
    _commit(lakehouse, move, {one: [] for one in held}, [], None)
    size = sum(file.file_size_in_bytes for file in files)
    return Moved(move, len(files), sum(file.record_count for file in files), size, size)


def _compact(lakehouse: Lakehouse, table: Table, move: Move) -> Moved:
    """Many small files become few large ones; a partition that is one file already is left."""
    held = {one: files for one, files in _held(table, move).items() if len(files) > 1}
    files = [file for one in held.values() for file in one]
    if not files:
        return Moved(move)
    new = _rewritten(lakehouse, table, move, held, heavy=False)
    _commit(lakehouse, replace(move, partitions=tuple(held)), held, new, None)
    return Moved(
        move,
        len(files),
        sum(file.record_count for file in files),
        sum(file.file_size_in_bytes for file in files),
        sum(file.file_size_in_bytes for file in new),
    )


def _rewritten(
    lakehouse: Lakehouse, table: Table, move: Move, held: Mapping[Partition, Sequence[DataFile]], *, heavy: bool
) -> list[DataFile]:
    folder = f"{lakehouse.store.key(table.location())}/data/move-{move.id}"
    lakehouse.store.delete([found.key for found in lakehouse.store.list(f"{folder}/")])  # what a dead try left
    return [
        made
        for number, files in enumerate(held.values())
        for made in rewritten(lakehouse, table, files, f"{folder}/{number:05d}", heavy=heavy)
    ]


def _expire(lakehouse: Lakehouse, table: Table, move: Move) -> Moved:
    """Take partitions out for good; archived files go with the next sweep of the archive."""
    placed = placed_now(table)
    live = by_partition(table, _live(table))
    gone = [one for one in move.partitions if one in live or _is(placed, one, "archived")]
    _require(table, move, len(gone) == len(move.partitions), "is not there")
    held = {one: live.get(one, []) for one in move.partitions}
    _commit(lakehouse, move, held, [], "expired")
    lost = [placed_now(_table(lakehouse, move))[one] for one in move.partitions]
    return Moved(move, sum(one.files for one in lost), sum(one.rows for one in lost), sum(one.bytes for one in lost))


def _commit(
    lakehouse: Lakehouse,
    move: Move,
    held: Mapping[Partition, Sequence[DataFile]],
    new: Sequence[DataFile],
    tier: Tier | None,
    sources: Mapping[Partition, Placement] | None = None,
) -> None:
    """Take ``held`` out of the table and put ``new`` in, in one snapshot that says which tier the partitions have.

    ``sources`` are the placements whose archived files a partition goes on having.
    Raises :class:`NotMoved` when a partition was written since its files were listed.
    """
    from pyiceberg.exceptions import ValidationException
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    taken = [file for files in held.values() for file in files]
    figures = _figures(lakehouse, move, held, new)

    @retry(
        retry=retry_if_exception_type(ValidationException),
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(**WAITS),
        reraise=True,
    )
    def attempt() -> None:
        table = _table(lakehouse, move)
        if _made(table, move):
            return  # its answer was lost: what it put in must not be put in twice
        live = by_partition(table, _live(table))
        placed = placed_now(table)
        unchanged = all({*live.get(one, [])} == {*files} for one, files in held.items() if files)
        unchanged &= all(placed.get(one) == source for one, source in (sources or {}).items())
        _require(table, move, unchanged, "was written meanwhile")

        def properties(sequence: int) -> Mapping[str, str]:
            written = with_written(table, held)
            if tier is None:
                return {**written, **(with_hot(table, held, sequence) if any(one in placed for one in held) else {})}
            new_places = [
                _placed(move, partition, tier, sequence, figures[partition], (sources or {}).get(partition))
                for partition in held
            ]
            return {**written, **with_placed(table, new_places)}

        confirm()  # whoever took the lock over finishes this move
        overwritten(table, taken, new, told(move, table, figures), properties)

    attempt()


def _placed(
    move: Move, partition: Partition, tier: Tier, sequence: int, figures: tuple[int, int, int], source: Placement | None
) -> Placement:
    files, size, rows = figures
    name, storage_class, offer = move.id, move.storage_class, move.offer
    if source is not None:
        name, storage_class, offer = source.move, source.storage_class, source.offer
    return Placement(
        partition, tier, storage_class, name, move.at, sequence, None, files, size, rows, offer=offer, due=move.due
    )


def _figures(
    lakehouse: Lakehouse, move: Move, held: Mapping[Partition, Sequence[DataFile]], new: Sequence[DataFile]
) -> dict[Partition, tuple[int, int, int]]:
    """Files, bytes and rows of each partition as the move leaves it, or as it takes it away."""
    table = _table(lakehouse, move)
    after, live, placed = by_partition(table, new), by_partition(table, _live(table)), placed_now(table)
    figures = {}
    for partition, files in held.items():
        moved = after.get(partition) or files or live.get(partition, [])
        count, size = len(moved), sum(file.file_size_in_bytes for file in moved)
        rows = sum(file.record_count for file in moved)
        if move.kind == "expire" and _is(placed, partition, "archived"):
            archived = placed[partition]
            count, size, rows = count + archived.files, size + archived.bytes, rows + archived.rows
        figures[partition] = (count, size, rows)
    return figures


def _table(lakehouse: Lakehouse, move: Move) -> Table:
    table = lakehouse.load(move.table)
    if table is None:
        raise NotMoved(f"there is no table {move.table}")
    return table


def _live(table: Table) -> list[DataFile]:
    snapshot = table.current_snapshot()
    return planned_files(table, snapshot.snapshot_id) if snapshot else []


def _held(table: Table, move: Move) -> dict[Partition, list[DataFile]]:
    """The files of the move's partitions. Raises :class:`NotMoved` for one without, or archived in part."""
    live, placed = by_partition(table, _live(table)), placed_now(table)
    _require(table, move, all(one in live for one in move.partitions), "is not in the table")
    # rows that came after it was archived are not all of it
    _require(table, move, not any(_is(placed, one, "archived") for one in move.partitions), "is archived")
    return {one: live[one] for one in move.partitions}


def archived_files(
    lakehouse: Lakehouse, table: Table, sources: Mapping[Partition, Placement]
) -> list[tuple[Partition, ArchivedFile]]:
    """The archived files of partitions, from the manifests of the moves that archived them."""
    found = []
    for move in sorted({one.move for one in sources.values()}):
        for file in read_manifest(lakehouse.archive, table.name()[-1], move).files:
            partition = next(iter(by_partition(table, [data_file(file, file.origin)])))
            if partition in sources and sources[partition].move == move:
                found.append((partition, file))
    return found


def _made(table: Table, move: Move) -> bool:
    """Whether the move's commit happened; a snapshot that is no longer kept leaves its placements."""
    return any(one.move == move.id for one in placements(table)) or any(
        snapshot.summary is not None and snapshot.summary.additional_properties.get("cdap.move") == move.id
        for snapshot in table.metadata.snapshots
    )


def _is(placed: Mapping[Partition, Placement], partition: Partition, tier: Tier) -> bool:
    return partition in placed and placed[partition].tier == tier


def _require(table: Table, move: Move, kept: bool, otherwise: str) -> None:
    if not kept:
        columns = [field.name for field in table.spec().fields]
        named = ", ".join(partition_text(columns, one) for one in move.partitions)
        raise NotMoved(f"table {move.table}: {named} {otherwise}, so nothing of it was moved ({move.kind})")


def _verify(found: str, expected: str, location: str) -> None:
    if found != expected:
        raise NotMoved(f"{location} is not the file that was copied (SHA-256 {found[:12]}, expected {expected[:12]})")


def due_day(at: datetime, days: int) -> date:
    """The day on which a partition restored ``at`` for ``days`` goes back."""
    return at.date() + timedelta(days=days)
