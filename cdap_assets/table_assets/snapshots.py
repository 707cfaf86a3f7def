"""Snapshot dates: weekly Sundays, each the cut-off itself (00:00 on that day in the installation's zone)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    import dagster as dg
    import ibis

WEEK = timedelta(days=7)


def cutoff(snapshot_date: date, zone: ZoneInfo) -> datetime:
    """The UTC instant (naive) of 00:00 on ``snapshot_date`` in ``zone``."""
    return datetime.combine(snapshot_date, time(), zone).astimezone(UTC).replace(tzinfo=None)


def snapshot_rows(dates: Sequence[date], zone: ZoneInfo) -> ibis.Table:
    """The requested snapshots: (snapshot_date, cutoff_at), one row each."""
    import ibis

    return ibis.memtable(
        [{"snapshot_date": day, "cutoff_at": cutoff(day, zone)} for day in sorted(set(dates))],
        schema=ibis.schema({"snapshot_date": "date", "cutoff_at": "timestamp(6)"}),
    )


def last_sunday(day: date) -> date:
    """The latest snapshot date that is not after ``day``."""
    return day - timedelta(days=day.isoweekday() % 7)


def weekly(first: date, closed: date | None, timezone: str) -> dg.WeeklyPartitionsDefinition:
    """Partition keys from ``first``; the newest one's cut-off has passed, or lies just past a closed data set.

    Dagster's key names the window that begins on it; ours is the cut-off, so ``end_offset=1`` adds the key
    of the week that runs. That week begins at midnight in ``timezone``, as the cut-off does.
    """
    import dagster as dg

    if closed is None:
        return dg.WeeklyPartitionsDefinition(
            start_date=first.isoformat(), day_offset=0, end_offset=1, timezone=timezone
        )
    end = last_sunday(closed + timedelta(days=1)) + WEEK
    return dg.WeeklyPartitionsDefinition(
        start_date=first.isoformat(), day_offset=0, end_date=end.isoformat(), timezone=timezone
    )


def weeks_between(first: date, last: date) -> list[date]:
    """The snapshot dates from ``first`` to ``last``, both included."""
    start = last_sunday(first + timedelta(days=6))
    return [start + WEEK * n for n in range(max(0, (last - start) // WEEK + 1))]
