"""Single snapshots of a table: kept by a tag for as long as something must be able to read them, and let go.

Expiry by pyiceberg passes over a tagged snapshot. An erasure does not: it lets go of every snapshot that still
holds what is erased, tagged or not, and is told which tags it took.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from resources.errors import LakehouseError

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from resources.lakehouse import Lakehouse

TRIES = 20
WAITS = {"multiplier": 0.05, "max": 2}  # seconds, with jitter


def is_kept(lakehouse: Lakehouse, name: str, snapshot_id: int) -> bool:
    """Whether a snapshot can still be read."""
    table = lakehouse.load(name)
    return table is not None and table.snapshot_by_id(snapshot_id) is not None


def rows_of(lakehouse: Lakehouse, name: str, snapshot_id: int) -> int:
    """The rows of a snapshot, from its metadata. Raises :class:`LakehouseError` when it is not kept."""
    table = lakehouse.load(name)
    snapshot = table.snapshot_by_id(snapshot_id) if table else None
    if snapshot is None:
        raise LakehouseError(f"table {name}: snapshot {snapshot_id} is no longer kept")
    summary = snapshot.summary.additional_properties if snapshot.summary else {}
    return int(summary.get("total-records", 0))


def tags_of(lakehouse: Lakehouse, name: str) -> dict[str, int]:
    """The tags of a table with the snapshots that they keep."""
    table = lakehouse.load(name)
    return _tags(table) if table else {}


def keep(lakehouse: Lakehouse, name: str, snapshot_id: int, tag: str) -> None:
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

    _committed(lakehouse, name, tagged)


def release(lakehouse: Lakehouse, tag: str) -> list[str]:
    """Take a tag from every table that has it, and name them: its snapshots may expire from now on."""
    found = [name for name in lakehouse.names() if tag in tags_of(lakehouse, name)]
    for name in found:
        _committed(lakehouse, name, lambda table: _without(table, [tag]))
    return found


def let_go(lakehouse: Lakehouse, name: str, snapshot_ids: Sequence[int]) -> dict[str, int]:
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
        table = lakehouse.catalog.load_table((lakehouse.database, name))
        there = [snapshot.snapshot_id for snapshot in table.snapshots() if snapshot.snapshot_id in gone]
        if there:
            table.maintenance.expire_snapshots().by_ids(there).commit()

    _committed(lakehouse, name, removed)
    return taken


def _tags(table: Table) -> dict[str, int]:
    return {name: ref.snapshot_id for name, ref in table.refs().items() if ref.snapshot_ref_type == "tag"}


def _without(table: Table, tags: Sequence[str]) -> None:
    there = [tag for tag in tags if tag in table.refs()]
    if there:
        with table.manage_snapshots() as changes:
            for tag in there:
                changes.remove_tag(tag)


def _committed(lakehouse: Lakehouse, name: str, change: Callable[[Table], None]) -> None:
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
        table = lakehouse.load(name)
        if table is None:
            raise LakehouseError(f"there is no table {name}")
        change(table)

    attempt()
