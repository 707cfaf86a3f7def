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

from resources.iceberg.catalog import Partition
from resources.iceberg.errors import ArchiveDamaged, NotMoved
from resources.iceberg.placement import Placement, placed_now
from resources.stores.busy import Busy
from resources.stores.lock import exclusive
from resources.tiers.classes import COLD, SMALLEST_IN_IA, STANDARD, ask_back, copy, digest, is_readable, set_class
from resources.tiers.committing import (
    all_files,
    commit_move,
    figures_of,
    held_files,
    is_in,
    is_made,
    live_files,
    loaded,
    not_in,
    refuse,
)
from resources.tiers.inventory import sequence_of, written_since
from resources.tiers.journal import Journal, Kind, Move
from resources.tiers.keys import write_keys
from resources.tiers.manifest import (
    ArchivedFile,
    ArchiveManifest,
    by_partition,
    data_file,
    data_prefix,
    facts_of,
    files_of,
    read_manifest,
)
from resources.tiers.rewriting import rewritten

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

    from resources.iceberg.tables import Tables

WAIT = 600  # seconds for another process that moves
RETURNING: tuple[Kind, ...] = ("restore", "return")  # what was archived comes and goes as it is
DEEP_ARCHIVE, EXPEDITED = "DEEP_ARCHIVE", "Expedited"
NO_EXPEDITED = "is in Deep Archive, which has no Expedited (ask for Standard or Bulk)"
KEPT_READABLE_DAYS = 7  # of a cold object that was asked back: for who looks once a week whether it has come


@dataclass(frozen=True)
class Moved:
    """What a move did: partitions, files, rows, bytes before and after; ``waiting`` while S3 fetches cold files.

    ``given_up`` says why nothing of it was done and nothing will be.
    """

    move: Move
    files: int = 0
    rows: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    waiting: bool = False
    given_up: str = ""


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
    seen: int | None = None,
) -> Move:
    """A move to carry out, under a name of its own; ``seen`` is ``None`` for what is decided as it is begun."""
    return Move(
        id=f"{at:%Y%m%dT%H%M%S}-{kind}-{table}-{uuid.uuid4().hex[:8]}",
        kind=kind,
        table=table,
        partitions=tuple(partitions),
        at=at,
        storage_class=storage_class,
        offer=offer,
        speed=speed,
        due=due,
        sought_by=sought_by,
        reason=reason,
        seen=seen,
    )


def carry_out(tables: Tables, move: Move) -> Moved:
    """Write a move down, do it, and strike it. Killed at any point, :func:`finish_pending` goes on with it.

    A restore of cold files asks S3 for them and stays in the journal, ``waiting``, until they are there.
    Raises :class:`NotMoved` for a partition that is not where the move would take it from or that was written since
    the move was decided, with the table as it was, and :class:`~resources.stores.busy.Busy` while another process
    moves.
    """
    with exclusive(tables.settings, "tiers", timeout=WAIT):
        if move.seen is None:
            move = replace(move, seen=sequence_of(loaded(tables, move)))
        Journal(tables.stores.archive).begin(move)
        return _done(tables, move)


def finish_pending(tables: Tables) -> Iterator[Moved]:
    """Finish the moves that a crash, an error or a wait for S3 left; one that can no longer be done is given up.

    So is an expiry that was not committed: whether its partitions are to be deleted is decided anew. A move that
    fails stays in the journal and keeps no other from being finished; the first failure is raised at the end.
    Raises :class:`~resources.stores.busy.Busy` while another process moves.
    """
    failed: list[Exception] = []
    journal = Journal(tables.stores.archive)
    with exclusive(tables.settings, "tiers", timeout=WAIT):
        for move in journal.pending():
            try:
                done = _finished(tables, move)
            except NotMoved as error:
                journal.finish(move)
                done = Moved(move, given_up=str(error))
            except Busy:
                raise  # the lock is another's now
            except Exception as error:  # noqa: BLE001  raised below, whatever S3 or the catalog made it of
                failed.append(error)
                continue
            yield done
    if failed:
        raise failed[0]


def give_up(tables: Tables, name: str) -> Move:
    """Strike a move that fails time after time from the journal: its table is as the last commit left it.

    Files that it copied go with the sweep. Raises :class:`NotMoved` when no such move is in the journal, and
    :class:`~resources.stores.busy.Busy` while another process moves.
    """
    with exclusive(tables.settings, "tiers", timeout=WAIT):
        journal = Journal(tables.stores.archive)
        pending = {move.id: move for move in journal.pending()}
        if name not in pending:
            raise NotMoved(f"no move {name} waits to be finished; there are {', '.join(pending) or 'none'}")
        journal.finish(pending[name])
        return pending[name]


def _finished(tables: Tables, move: Move) -> Moved:
    table = loaded(tables, move)
    if not is_made(table, move):
        if move.kind == "expire":
            Journal(tables.stores.archive).finish(move)
            return Moved(move, given_up="a deletion that was not committed is decided anew")
        if move.kind == "restore":
            # a month that was written anew while S3 fetched it is whole: the others go on
            left = set(move.partitions) - set(not_in(move, placed_now(table), "archived"))
            move = replace(move, partitions=tuple(one for one in move.partitions if one in left) or move.partitions)
    return _done(tables, move)


def _done(tables: Tables, move: Move) -> Moved:
    work: Callable[[Tables, Table, Move], Moved] = {
        "archive": _archive,
        "restore": _restore,
        "return": _return,
        "cool": _cool,
        "warm": _warm,
        "compact": _compact,
        "expire": _expire,
    }[move.kind]
    journal = Journal(tables.stores.archive)
    try:
        table = loaded(tables, move)
        made = is_made(table, move)
        if not made and move.kind not in RETURNING and move.seen is not None:
            refuse(table, move, written_since(table, move.seen) & {*move.partitions}, "was written meanwhile")
        # of an archive there is more to do after its commit
        done = Moved(move) if made and move.kind != "archive" else work(tables, table, move)
    except NotMoved:
        journal.finish(move)
        raise
    if not done.waiting:
        journal.finish(move)
    return done


def _archive(tables: Tables, table: Table, move: Move) -> Moved:
    if not is_made(table, move):
        held = held_files(table, move)
        manifest = _copied(tables, move, held)
        manifest.write(tables.stores.archive)
        if move.sought_by:
            write_keys(tables, table, held, move)
        commit_move(tables, move, held, all_files(held), [], "archived")
    manifest = read_manifest(tables.stores.archive, move.table, move.id)
    for file in manifest.files:
        set_class(tables.stores.archive, file.key, move.storage_class, "archived")
    size = sum(file.bytes for file in manifest.files)
    return Moved(move, len(manifest.files), sum(file.rows for file in manifest.files), size, size)


def _copied(tables: Tables, move: Move, held: Mapping[Partition, Sequence[DataFile]]) -> ArchiveManifest:
    """The files in the archive, each read back and found to be the original."""
    archived = []
    placed = [(one, number, file) for one, files in held.items() for number, file in enumerate(files)]
    for partition, number, file in placed:
        origin = tables.stores.lake.key(file.file_path)
        key = f"{data_prefix(move.table, move.id, partition)}{number:05d}.parquet"
        expected = digest(tables.stores.lake, origin)
        if not tables.stores.archive.exists(key) or digest(tables.stores.archive, key) != expected:
            copy(tables.stores.lake, origin, tables.stores.archive, key)
            if digest(tables.stores.archive, key) != expected:
                raise NotMoved(
                    f"{tables.stores.archive.location(key)} is not the file that was copied; nothing was moved"
                )
        archived.append(
            ArchivedFile(file.file_path, key, file.file_size_in_bytes, file.record_count, expected, facts_of(file))
        )
    return ArchiveManifest(move.id, move.table, move.storage_class, tuple(archived))


def _restore(tables: Tables, table: Table, move: Move) -> Moved:
    placed = placed_now(table)
    refuse(table, move, not_in(move, placed, "archived"), "is not archived")
    sources = {one: placed[one] for one in move.partitions}
    if move.speed == EXPEDITED:
        deep = [one for one, source in sources.items() if source.storage_class == DEEP_ARCHIVE]
        refuse(table, move, deep, NO_EXPEDITED)
    files = archived_files(tables, table, sources)
    for _partition, file in files:
        ask_back(tables.stores.archive, file.key, KEPT_READABLE_DAYS, move.speed)
    if not all(is_readable(tables.stores.archive, file.key) for _partition, file in files):
        return Moved(move, waiting=True)
    back = []
    for number, (_partition, file) in enumerate(files):
        key = f"{tables.stores.lake.key(table.location())}/data/restored-{move.id}/{number:05d}.parquet"
        if not tables.stores.lake.exists(key) or digest(tables.stores.lake, key) != file.sha256:
            copy(tables.stores.archive, file.key, tables.stores.lake, key)
            if digest(tables.stores.lake, key) != file.sha256:
                raise ArchiveDamaged(
                    f"table {move.table}: {tables.stores.archive.location(file.key)} is not the file that was "
                    "archived. Put the right version of it back, or strike the restore: "
                    f"`cdap storage give-up {move.id}`"
                )
        back.append(data_file(file, tables.stores.lake.location(key)))
    commit_move(tables, move, {one: [] for one in move.partitions}, [], back, "restored", sources=sources)
    size = sum(file.bytes for _partition, file in files)
    return Moved(move, len(files), sum(file.rows for _partition, file in files), size, size)


def _return(tables: Tables, table: Table, move: Move) -> Moved:
    """Take restored partitions out again: their archived files are where they were."""
    placed = placed_now(table)
    refuse(table, move, not_in(move, placed, "restored"), "is not restored")
    held, sources = held_files(table, move), {one: placed[one] for one in move.partitions}
    counted = {one: sum(file.record_count for file in files) for one, files in held.items()}
    refuse(table, move, [one for one in held if counted[one] != placed[one].rows], "has got rows since")
    rows = sum(counted.values())
    commit_move(tables, move, held, all_files(held), [], "archived", sources=sources)
    size = sum(file.file_size_in_bytes for files in held.values() for file in files)
    return Moved(move, sum(map(len, held.values())), rows, size, size)


def _cool(tables: Tables, table: Table, move: Move) -> Moved:
    """In S3 the objects change their class where they are; in a folder the files are written anew, smaller."""
    held = held_files(table, move)
    files = all_files(held)
    size = sum(file.file_size_in_bytes for file in files)
    rows = sum(file.record_count for file in files)
    if move.storage_class in COLD:
        raise NotMoved(f"table {move.table}: {move.storage_class} cannot be read in place; nothing was moved")
    if not tables.settings.warehouse:
        new = _rewritten(tables, table, move, held, heavy=True)
        commit_move(tables, move, held, files, new, "cool")
        return Moved(move, len(files), rows, size, sum(file.file_size_in_bytes for file in new))
    for file in files:
        if file.file_size_in_bytes >= SMALLEST_IN_IA:
            set_class(tables.stores.lake, tables.stores.lake.key(file.file_path), move.storage_class, "cool")
    commit_move(tables, move, held, [], [], "cool")
    return Moved(move, len(files), rows, size, size)


def _warm(tables: Tables, table: Table, move: Move) -> Moved:
    """In S3 the objects become standard again; in a folder they are as good as they were."""
    held = held_files(table, move)
    files = all_files(held)
    if tables.settings.warehouse:
        for file in files:
            set_class(tables.stores.lake, tables.stores.lake.key(file.file_path), STANDARD, "hot")
    commit_move(tables, move, held, [], [], None)
    size = sum(file.file_size_in_bytes for file in files)
    return Moved(move, len(files), sum(file.record_count for file in files), size, size)


def _compact(tables: Tables, table: Table, move: Move) -> Moved:
    """Many small files become few large ones; a partition that is one file already is left."""
    held = {one: files for one, files in held_files(table, move).items() if len(files) > 1}
    files = all_files(held)
    if not files:
        return Moved(move)
    new = _rewritten(tables, table, move, held, heavy=False)
    commit_move(tables, replace(move, partitions=tuple(held)), held, files, new, None)
    return Moved(
        move,
        len(files),
        sum(file.record_count for file in files),
        sum(file.file_size_in_bytes for file in files),
        sum(file.file_size_in_bytes for file in new),
    )


def _rewritten(
    tables: Tables, table: Table, move: Move, held: Mapping[Partition, Sequence[DataFile]], *, heavy: bool
) -> list[DataFile]:
    folder = f"{tables.stores.lake.key(table.location())}/data/move-{move.id}"
    tables.stores.lake.delete([found.key for found in tables.stores.lake.list(f"{folder}/")])  # what a dead try left
    # of its own for each try: one that lost its lock and writes on must not write over what the next has committed
    own = f"{folder}/{uuid.uuid4().hex[:8]}"
    return [
        made
        for number, files in enumerate(held.values())
        for made in rewritten(tables, table, files, f"{own}-{number:05d}", heavy=heavy)
    ]


def _expire(tables: Tables, table: Table, move: Move) -> Moved:
    """Take partitions out for good; archived files go with the next sweep of the archive."""
    placed = placed_now(table)
    live = by_partition(table, live_files(table))
    absent = [one for one in move.partitions if one not in live and not is_in(placed, one, "archived")]
    refuse(table, move, absent, "is not there")
    held = {one: live.get(one, []) for one in move.partitions}
    sources = {one: placed[one] for one in move.partitions if one in placed}
    lost = figures_of(table, move, held, []).values()
    commit_move(tables, move, held, all_files(held), [], "expired", sources=sources)
    files, size, rows = (sum(figures) for figures in zip(*lost, strict=True))
    return Moved(move, files, rows, size)


def archived_files(
    tables: Tables, table: Table, sources: Mapping[Partition, Placement]
) -> list[tuple[Partition, ArchivedFile]]:
    """The archived files of partitions, from the manifests of the moves that archived them."""
    name = table.name()[-1]
    manifests = {
        move: read_manifest(tables.stores.archive, name, move) for move in {one.move for one in sources.values()}
    }
    return [(one, file) for one, source in sources.items() for file in files_of(manifests[source.move], one)]


def due_day(at: datetime, days: int) -> date:
    """The day on which a partition restored ``at`` for ``days`` goes back."""
    return at.date() + timedelta(days=days)
