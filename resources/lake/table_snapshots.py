"""Single snapshots of a table: kept by a tag for as long as something must be able to read them, and let go.

Expiry by pyiceberg passes over a tagged snapshot. An erasure does not: it lets go of every snapshot that still
holds what is erased, tagged or not, and is told which tags it took.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from resources.iceberg.catalog import ancestors, stood_for
from resources.iceberg.errors import LakehouseError
from resources.iceberg.publish_record import last_publish
from resources.tiers.inventory import with_written
from resources.tiers.journal import Journal

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from resources.iceberg.tables import Tables

TRIES = 20
WAITS = {"multiplier": 0.05, "max": 2}  # seconds, with jitter


def is_kept(tables: Tables, name: str, snapshot_id: int) -> bool:
    """Whether a snapshot can still be read."""
    table = tables.load(name)
    return table is not None and table.snapshot_by_id(snapshot_id) is not None


def rows_of(tables: Tables, name: str, snapshot_id: int) -> int:
    """The rows of a snapshot, from its metadata. Raises :class:`LakehouseError` when it is not kept."""
    table = tables.load(name)
    snapshot = table.snapshot_by_id(snapshot_id) if table else None
    if snapshot is None:
        raise LakehouseError(f"table {name}: snapshot {snapshot_id} is no longer kept")
    summary = snapshot.summary.additional_properties if snapshot.summary else {}
    return int(summary.get("total-records", 0))


def tags_of(tables: Tables, name: str) -> dict[str, int]:
    """The tags of a table with the snapshots that they keep."""
    table = tables.load(name)
    return _tags(table) if table else {}


def keep(tables: Tables, name: str, snapshot_id: int, tag: str) -> None:
    """Keep a snapshot from expiry under ``tag``; does nothing when the tag is on it already.

    Raises :class:`LakehouseError` when the snapshot is gone or the tag keeps another one.
    """

    def tagged(table: Table) -> None:
        found = _tags(table).get(tag)
        if found == snapshot_id:
            return
        if found is not None:
            raise LakehouseError(f"table {name}: the tag {tag} keeps snapshot {found}, not {snapshot_id}")
        if table.snapshot_by_id(snapshot_id) is None:
            raise LakehouseError(f"table {name}: snapshot {snapshot_id} is no longer kept, so {tag} cannot keep it")
        table.manage_snapshots().create_tag(snapshot_id, tag).commit()

    _committed(tables, name, tagged)


def release(tables: Tables, tag: str) -> list[str]:
    """Take a tag from every table that has it, and name them: its snapshots may expire from now on."""
    found = [name for name in tables.names() if tag in tags_of(tables, name)]
    for name in found:
        _committed(tables, name, lambda table: _without(table, [tag]))
    return found


def expire(tables: Tables, *, before: datetime, held: Collection[str] = ()) -> dict[str, int]:
    """Let go of snapshots that nobody could see from an instant on and nothing needs; tell how many of each table.

    Kept are what readers see or saw since ``before``, however long ago it was committed, what a tag keeps, those of
    moves in the journal, and every snapshot since the oldest that the newest publish of a table was made from: by
    those a rebuild knows what has changed. Tables ``held``, such as under a legal hold, keep all. The files that only
    the others read go with the next sweep. Raises ``ValueError`` for a naive ``before``.
    """
    if before.tzinfo is None:
        raise ValueError(f"before {before} has no time zone; give an aware datetime")
    needed = _needed(tables)
    moves = {move.id for move in Journal(tables.stores.archive).pending()}
    expired: dict[str, int] = {}
    for name in sorted(set(tables.names()) - set(held)):

        def let_old_go(table: Table, name: str = name) -> None:
            old = _expirable(table, before, needed.get(name, set()), moves)
            _forget(table, old)
            expired[name] = len(old)

        _committed(tables, name, let_old_go)
    return {name: count for name, count in expired.items() if count}


def _needed(tables: Tables) -> dict[str, set[int]]:
    """Snapshots by table from which the newest publish of some table was made, and those publishes themselves."""
    needed: dict[str, set[int]] = defaultdict(set)
    for name in tables.names():
        last = last_publish(tables.load(name))
        if last is None:
            continue
        needed[name].add(last.told_by)
        for source, snapshot_id in last.inputs.items():
            needed[source].add(snapshot_id)
    return needed


def _expirable(table: Table, before: datetime, needed: set[int], moves: set[str]) -> list[int]:
    line = list(ancestors(table, table.current_snapshot()))
    # the newest snapshot that is what is needed or stands for it
    places: dict[int, int] = {}
    for place, one in enumerate(line):
        for found in (one.snapshot_id, *stood_for(one)):
            places.setdefault(found, place)
    last = max((places[found] for found in needed if found in places), default=0)
    kept = {one.snapshot_id for one in line[: last + 1]} | {ref.snapshot_id for ref in table.refs().values()}
    kept |= {
        one.snapshot_id
        for one in table.snapshots()
        if one.summary and one.summary.additional_properties.get("cdap.move") in moves
    }
    # a snapshot was what readers pinned until the next one came
    until = {old.snapshot_id: new.timestamp_ms for new, old in pairwise(line)}
    limit = before.timestamp() * 1000
    return [
        one.snapshot_id
        for one in table.snapshots()
        if one.snapshot_id not in kept and until.get(one.snapshot_id, one.timestamp_ms) < limit
    ]


def _forget(table: Table, snapshot_ids: Sequence[int]) -> None:
    from pyiceberg.table.update.snapshot import ExpireSnapshots

    there = [one for one in snapshot_ids if table.snapshot_by_id(one) is not None]
    if there:
        with table.transaction() as transaction:
            transaction.set_properties(dict(with_written(table)))
            ExpireSnapshots(transaction).by_ids(there).commit()


def let_go(tables: Tables, name: str, snapshot_ids: Sequence[int]) -> dict[str, int]:
    """Remove snapshots for good, tagged or not, and give the tags that kept them: what an erasure ends with.

    The files that only they read go with the next sweep. Raises :class:`LakehouseError` for the current
    snapshot: rows are erased from it by a publish first.
    """
    gone = set(snapshot_ids)
    taken: dict[str, int] = {}

    def removed(table: Table) -> None:
        current = table.current_snapshot()
        if current is not None and current.snapshot_id in gone:
            raise LakehouseError(f"table {name}: snapshot {current.snapshot_id} is what readers see; publish without")
        tags = {tag: found for tag, found in _tags(table).items() if found in gone}
        _without(table, list(tags))
        taken.update(tags)
        table = tables.catalog.load_table((tables.database, name))
        _forget(table, list(gone))

    _committed(tables, name, removed)
    return taken


def _tags(table: Table) -> dict[str, int]:
    return {name: ref.snapshot_id for name, ref in table.refs().items() if ref.snapshot_ref_type == "tag"}


def _without(table: Table, tags: Sequence[str]) -> None:
    there = [tag for tag in tags if tag in table.refs()]
    if there:
        with table.manage_snapshots() as changes:
            for tag in there:
                changes.remove_tag(tag)


def _committed(tables: Tables, name: str, change: Callable[[Table], None]) -> None:
    """Make a change on the table as it is now, again when another commit came first."""
    from pyiceberg.exceptions import CommitFailedException
    from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    @retry(
        retry=retry_if_exception_type(CommitFailedException),
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(**WAITS),
        reraise=True,
    )
    def attempt() -> None:
        table = tables.load(name)
        if table is None:
            raise LakehouseError(f"there is no table {name}")
        change(table)

    attempt()
