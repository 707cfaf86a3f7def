"""What a publish records in its snapshot for the rebuilds that follow: its inputs, its code, and what it still owes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from resources.iceberg.catalog import ancestors

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

INPUTS = "cdap.inputs"
CODE_VERSION = "cdap.code_version"
OWED = "cdap.owed_months"
OUTSIDE = "cdap.outside"
INVARIANTS = "cdap.invariants"
RECORDED = (INPUTS, CODE_VERSION, OWED, OUTSIDE, INVARIANTS)
PUBLISHED = "cdap.published"  # of a move: the instant of the publish that it tells again


@dataclass(frozen=True)
class LastPublish:
    """A table's newest publish: code version, instant (UTC), and what it was made from.

    ``told_by`` is the snapshot that tells of it, its own or that of a move since. ``read`` holds snapshot and
    sequence number of each input; ``owed`` are months that were left as they were, for their rows were archived:
    they are rebuilt once these are back. ``outside`` is what else the table was made from, by name; ``kept`` are the
    statements of its promises that were enforced, with the rows that each was tried on.
    """

    code_version: str
    at: datetime
    read: Mapping[str, tuple[int, int]]
    owed: frozenset[date | None] = frozenset()
    outside: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)
    told_by: int = field(default=0, compare=False)

    @property
    def inputs(self) -> dict[str, int]:
        """The snapshot of each input."""
        return {name: snapshot_id for name, (snapshot_id, _sequence) in self.read.items()}


def last_publish(table: Table | None) -> LastPublish | None:
    """What the newest publish recorded; ``None`` before the first."""
    publish = newest_publish(table) if table is not None else None
    if publish is None or publish.summary is None:
        return None
    told = publish.summary.additional_properties
    return LastPublish(
        told.get(CODE_VERSION, ""),
        datetime.fromtimestamp(published_ms(publish) / 1000, UTC),
        {name: (pair[0], pair[1]) for name, pair in json.loads(told[INPUTS]).items()},
        frozenset(date.fromisoformat(month) if month else None for month in json.loads(told.get(OWED, "[]"))),
        json.loads(told.get(OUTSIDE, "{}")),
        json.loads(told.get(INVARIANTS, "{}")),
        publish.snapshot_id,
    )


def newest_publish(table: Table) -> Snapshot | None:
    """The snapshot that tells of the newest publish: its own, or that of a move since, which tells it again."""
    for snapshot in ancestors(table, table.current_snapshot()):
        if snapshot.summary and INPUTS in snapshot.summary.additional_properties:
            return snapshot
    return None


def published_ms(snapshot: Snapshot) -> int:
    """When what a snapshot tells of was published, in milliseconds since 1970 (UTC)."""
    told = snapshot.summary.additional_properties.get(PUBLISHED) if snapshot.summary else None
    return int(told) if told else snapshot.timestamp_ms


def record(owed: Iterable[date | None], outside: Mapping[str, str]) -> dict[str, str]:
    """What a publish owes and depends on beside its inputs, as its snapshot keeps it."""
    months = [month and month.isoformat() for month in sorted(owed, key=str)]
    return {OWED: json.dumps(months), OUTSIDE: json.dumps(dict(outside))}
