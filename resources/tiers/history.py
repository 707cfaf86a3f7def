"""What was moved: told by the snapshots that moves made, for as long as these are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from resources.iceberg.catalog import MAINTENANCE, STANDS_FOR, Partition, stood_for
from resources.iceberg.placement import partition_text
from resources.iceberg.publish_record import PUBLISHED, RECORDED, newest_publish, published_ms

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from resources.iceberg.tables import Tables
    from resources.tiers.journal import Kind, Move


@dataclass(frozen=True)
class Past:
    """A move that was made: when it was begun (UTC), of which partitions, bytes as they were and are, and why."""

    at: datetime
    kind: Kind
    table: str
    partitions: tuple[str, ...]
    bytes_before: int
    bytes_after: int
    reason: str


def told(move: Move, table: Table, figures: Mapping[Partition, tuple[int, int, int]]) -> dict[str, str]:
    """What the snapshot of a move says of it; ``figures`` are files, bytes and rows of each partition after it."""
    columns = [field.name for field in table.spec().fields]
    return {
        **_in_place_of(table),
        MAINTENANCE: move.kind,
        "cdap.move": move.id,
        "cdap.at": move.at.isoformat(),
        "cdap.partitions": json.dumps([partition_text(columns, one) for one in figures]),
        "cdap.bytes": str(sum(size for _files, size, _rows in figures.values())),
        "cdap.reason": move.reason,
    }


def _in_place_of(table: Table) -> dict[str, str]:
    """What the newest publish recorded, told again: a rebuild asks the move, and the publish need not be kept."""
    publish, current = newest_publish(table), table.current_snapshot()
    if publish is None or publish.summary is None or current is None:
        return {}
    before = publish.summary.additional_properties
    stood = stood_for(current) if current.summary and MAINTENANCE in current.summary.additional_properties else []
    return {
        **{key: before[key] for key in RECORDED if key in before},
        PUBLISHED: str(published_ms(publish)),
        STANDS_FOR: json.dumps([current.snapshot_id, *stood]),
    }


def moves_made(tables: Tables) -> Iterator[Past]:
    """The moves whose snapshots are kept, by table and in their order."""
    for name in tables.names():
        table = tables.load(name)
        for snapshot in table.metadata.snapshots if table else ():
            summary = snapshot.summary.additional_properties if snapshot.summary else {}
            if "cdap.at" not in summary:
                continue
            after, removed = int(summary["cdap.bytes"]), int(summary.get("removed-files-size", 0))
            rewritten = removed and "added-files-size" in summary
            yield Past(
                at=datetime.fromisoformat(summary["cdap.at"]),
                kind=cast("Kind", summary[MAINTENANCE]),
                table=name,
                partitions=tuple(json.loads(summary["cdap.partitions"])),
                bytes_before=removed if rewritten else after,
                bytes_after=after,
                reason=summary["cdap.reason"],
            )
