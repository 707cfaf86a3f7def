"""The clock and the calendar of an installation: handed to whoever needs them, and replaced in tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

Clock = Callable[[], datetime]
UTC_ZONE = ZoneInfo("UTC")


def utc_now() -> datetime:
    """Now, as a naive UTC instant."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Calendar:
    """What an installation knows of time.

    ``now`` says what now is, ``zone`` whose midnights are the cut-offs of snapshots, and ``data_ends`` is the last day
    of a closed data set, ``None`` for a living one: a page must say it.
    """

    now: Clock
    data_ends: date | None = None
    zone: ZoneInfo = UTC_ZONE
