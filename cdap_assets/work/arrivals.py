"""Whether the landing prefix is to be listed now: always; where S3 tells a queue of new objects, when it told of one.

What the queue tells only says when to look. Which files are new is for the ledger to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cdap_assets.lineage import Lineage
from cdap_assets.raw.landing import is_delivery
from resources.settings import Settings
from resources.stores.landing_queue import LandingQueue, Notice

MOST = 50  # messages in one tick, for their handles stay in the cursor until the next
BESIDE_A_QUEUE = timedelta(minutes=15)  # then it is listed all the same, for what the queue was not told


@dataclass(frozen=True)
class Arrivals:
    """Whether to ``look``, what of the queue could not be used, and what the next look is to be told of this one."""

    look: bool
    told: str
    seen: dict[str, Any]


def arrivals(settings: Settings, lineage: Lineage, at: datetime, seen: dict[str, Any]) -> Arrivals:
    """Whether to look at ``at`` (UTC), with what an earlier look has left in ``seen``.

    Messages are deleted by the look after the one that received them: one that dies before what it asked for is on
    record leaves them to be received again.
    """
    if not settings.landing_queue:
        return Arrivals(look=True, told="", seen={})
    queue = LandingQueue(settings)
    queue.delete(seen.get("handles", []))
    notices = queue.receive(MOST)
    sources = {key.split("/")[0] for key in _delivered(notices)}
    listed = seen.get("listed")
    look = bool(sources) or listed is None or at - datetime.fromisoformat(listed) >= BESIDE_A_QUEUE
    handles = [notice.handle for notice in notices]
    now_seen = {"handles": handles, "listed": at.isoformat() if look else listed}
    return Arrivals(look, _told(notices, sources - set(lineage.contracts)), now_seen)


def _delivered(notices: Sequence[Notice]) -> list[str]:
    return [key for notice in notices for key in notice.keys if is_delivery(key)]


def _told(notices: Sequence[Notice], unknown: set[str]) -> str:
    """What was in the queue and is not taken; it is deleted, or it would be received for ever."""
    told = []
    if unreadable := sum(not notice.readable for notice in notices):
        told.append(f"{unreadable} messages are not notifications of S3 and were dropped")
    if unknown:
        told.append(
            f"there is no readable contract for landing/{', landing/'.join(sorted(unknown))}; its files are taken once "
            "there is"
        )
    return "; ".join(told)
