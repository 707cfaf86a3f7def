"""What was published to a table since a snapshot that somebody knows, read from its metadata alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from resources.iceberg.catalog import ancestors, stood_for
from resources.iceberg.publish_record import INPUTS, PUBLISHED

if TYPE_CHECKING:
    from pyiceberg.table.snapshots import Snapshot

    from resources.iceberg.tables import Tables

OURS = "cdap."  # what a publish records in its snapshot begins with it


@dataclass(frozen=True)
class PastPublish:
    """A publish: its snapshot, the rows that it wrote and those that the table had then, and what it recorded."""

    snapshot_id: int
    at: datetime
    rows: int
    total_rows: int
    recorded: Mapping[str, str]


def publishes_since(tables: Tables, name: str, snapshot_id: int | None) -> list[PastPublish]:
    """The publishes of a table after ``snapshot_id``, oldest first; files that moved are none.

    The newest alone where that snapshot is ``None`` or no longer kept.
    """
    table = tables.load(name)
    found: list[PastPublish] = []
    for snapshot in ancestors(table, table.current_snapshot()) if table else ():
        if snapshot_id in (snapshot.snapshot_id, *stood_for(snapshot)):
            return found[::-1]
        summary = snapshot.summary.additional_properties if snapshot.summary else {}
        if INPUTS in summary and PUBLISHED not in summary:
            found.append(_told(snapshot, summary))
    return found[:1]


def _told(snapshot: Snapshot, summary: Mapping[str, str]) -> PastPublish:
    return PastPublish(
        snapshot.snapshot_id,
        datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
        int(summary.get("added-records", 0)),
        int(summary.get("total-records", 0)),
        {key.removeprefix(OURS): value for key, value in summary.items() if key.startswith(OURS)},
    )
