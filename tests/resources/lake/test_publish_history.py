"""What was published to a table since a snapshot, also where files moved and where snapshots have expired."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from resources.lake.lakehouse import Lakehouse
from resources.lake.publish_history import publishes_since
from resources.tiers.journal import Kind
from resources.tiers.moving import begun, carry_out
from tests.resources.visits import FIRST, put


def snapshot(lake: Lakehouse) -> int:
    found = lake.state("visits").snapshot_id
    assert found is not None
    return found


def move(lake: Lakehouse, kind: Kind, day: date) -> None:
    carry_out(lake, begun(kind, "visits", [(day,)], datetime(2024, 6, 1, 5)))


def since(lake: Lakehouse, snapshot_id: int | None) -> list[tuple[int, int, str]]:
    """The rows written by each publish, those of the table then, and what was recorded as its plan."""
    found = publishes_since(lake, "visits", snapshot_id)
    return [(one.rows, one.total_rows, one.recorded.get("plan_id", "")) for one in found]


def test_each_publish_since_a_snapshot_is_told_once_in_order(lake: Lakehouse) -> None:
    assert since(lake, None) == []
    put(lake, [(1, FIRST)], append=True)
    first = snapshot(lake)
    put(lake, [(2, FIRST), (3, FIRST)], append=True, provenance={"plan_id": "a"})
    put(lake, [(4, FIRST)], append=True, provenance={"plan_id": "b"})
    assert since(lake, first) == [(2, 3, "a"), (1, 4, "b")]
    assert since(lake, snapshot(lake)) == []
    assert since(lake, None) == since(lake, 1) == [(1, 4, "b")]


def test_files_that_moved_are_no_publish(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)], append=True)
    put(lake, [(2, FIRST)], append=True)
    first = snapshot(lake)
    move(lake, "compact", FIRST)
    assert snapshot(lake) != first
    assert since(lake, first) == []
    put(lake, [(3, FIRST)], append=True, provenance={"plan_id": "a"})
    move(lake, "compact", FIRST)
    assert since(lake, first) == [(1, 3, "a")]


def test_a_snapshot_that_is_no_longer_kept_leaves_the_newest_publish_to_tell(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)], append=True)
    first = snapshot(lake)
    put(lake, [(2, FIRST)], append=True, provenance={"plan_id": "a"})
    put(lake, [(3, FIRST)], append=True, provenance={"plan_id": "b"})
    table = lake.load("visits")
    assert table is not None
    table.maintenance.expire_snapshots().older_than(datetime.now(UTC) + timedelta(days=1)).commit()
    assert since(lake, first) == [(1, 3, "b")]
