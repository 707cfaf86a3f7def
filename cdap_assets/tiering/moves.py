"""Moves that people and decisions ask for: to another tier, back, into fewer files, or away; and what refuses them.

How a move is carried out is :mod:`resources.tiers.moving`'s; what starts one is jobs' and sensors'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from cdap_assets.lineage import Lineage
from cdap_assets.storage.costs import Holding
from cdap_assets.storage.prices import RestoreSpeed, Tier
from cdap_assets.tiering.state import offer, states
from cdap_assets.tiering.storage_policy import Terms, read_storage_policy, read_terms
from resources.iceberg.catalog import Partition
from resources.iceberg.placement import named_partitions, partition_text, placed_now
from resources.lake.lakehouse import Lakehouse
from resources.tiers.inventory import holdings
from resources.tiers.journal import Kind
from resources.tiers.moving import Moved, begun, carry_out, due_day

EXPIRE = "expire"
ACTIONS: Mapping[str, Kind] = {
    "cool": "cool",
    "archive": "archive",
    "warm": "warm",
    "return": "return",
    "compact": "compact",
}
TIER_OF: Mapping[str, Tier] = {"cool": "cool", "archive": "archived"}


class Refused(ValueError):
    """What was asked of storage cannot be done; the message says why and what to do. Nothing was moved."""


@dataclass(frozen=True)
class Batch:
    """Partitions of one table and what is to become of them.

    ``action`` is cool, archive, warm, compact, expire, or return: what was restored goes back. ``reason`` is why it was
    decided, or who asks; ``seen`` the table's sequence number when it was decided, None for what is decided now.
    """

    table: str
    partitions: tuple[Partition, ...]
    action: str = ""
    storage_class: str = ""
    reason: str = ""
    seen: int | None = None


def tier(lakehouse: Lakehouse, lineage: Lineage, batch: Batch, at: datetime) -> Moved:
    """Move a batch at ``at`` (UTC), or make it fit for a move, or delete it.

    Raises :class:`Refused` while storage.yaml is a dry run or for a move that its rules do not allow, and
    :class:`~resources.iceberg.errors.NotMoved`, also for a partition written since it was decided.
    """
    terms = _applied(lakehouse, lineage)
    if batch.action == EXPIRE:
        return _expire(lakehouse, terms, batch, at)
    table, action, rules = batch.table, batch.action, terms.rules.get(batch.table)
    if action not in ACTIONS or rules is None:
        raise Refused(f"{action!r} of {table!r} is not a move; use one of {', '.join(ACTIONS)} and a table of the lake")
    if action == "archive" and not rules.may_archive:
        raise Refused(
            f"{table} may not be archived: something reads all of it, or storage.yaml or its contract says so"
        )
    if action in TIER_OF and terms.prices.of(batch.storage_class).tier != TIER_OF[action]:
        fitting = ", ".join(terms.prices.in_tier(TIER_OF[action]))
        raise Refused(f"{action} puts nothing into {batch.storage_class}, only into {fitting}")
    return carry_out(
        lakehouse,
        begun(
            ACTIONS[action],
            table,
            batch.partitions,
            at,
            storage_class=batch.storage_class,
            offer=_offer(lakehouse, terms, batch) if action == "archive" else "",
            sought_by=lineage.specs[table].sought_by,
            reason=batch.reason,
            seen=batch.seen,
        ),
    )


def _expire(lakehouse: Lakehouse, terms: Terms, batch: Batch, at: datetime) -> Moved:
    """Delete partitions whose retention has ended; their files go when no snapshot that is kept needs them.

    Raises :class:`Refused` for a table without retention or under legal hold, and for a partition whose time is not
    over, whatever was decided under an earlier policy.
    """
    rules = terms.rules.get(batch.table)
    if rules is None or rules.retention_days is None or rules.legal_hold:
        raise Refused(f"{batch.table!r} has no retention that would delete rows, or is under legal hold")
    early = [
        state.partition
        for state in states(lakehouse, {batch.table: rules}, terms.prices, at)
        if state.held.partition in batch.partitions and state.decision is not None and state.decision.action != EXPIRE
    ]
    if early:
        days = rules.retention_days
        raise Refused(f"{batch.table}: {named_partitions(early)} is kept for {days} days, which are not over")
    move = begun("expire", batch.table, batch.partitions, at, reason=batch.reason, seen=batch.seen)
    return carry_out(lakehouse, move)


def restore(
    lakehouse: Lakehouse, table: str, partitions: Sequence[Partition], at: datetime, *, speed: str = "", days: int = 0
) -> Moved:
    """Bring archived partitions back for ``days``; what needs hours in S3 is finished by a later run.

    Without a speed or days they are those of storage.yaml, whether it is applied or not.
    Raises :class:`Refused` for a speed that there is not, and :class:`~resources.iceberg.errors.NotMoved` for a
    partition that is not archived.
    """
    own = read_storage_policy(lakehouse.settings.home).restore
    if speed and speed not in get_args(RestoreSpeed):
        raise Refused(f"there is no speed {speed!r}; a restore is {', '.join(get_args(RestoreSpeed))}")
    move = begun("restore", table, partitions, at, speed=speed or own.speed, due=due_day(at, days or own.days))
    return carry_out(lakehouse, move)


def chosen(lakehouse: Lakehouse, table: str, texts: Iterable[str]) -> list[Partition]:
    """The partitions that people write as ``month=2024-03-01``. Raises :class:`Refused` naming those there are."""
    found = lakehouse.load(table)
    if found is None:
        raise Refused(f"there is no table {table}; there are {', '.join(lakehouse.names())}")
    known = {partition_text(held.columns, held.partition): held.partition for held in holdings(lakehouse, table)}
    if unknown := [text for text in texts if text not in known]:
        placed = [partition_text([f.name for f in found.spec().fields], one) for one in placed_now(found)]
        told = ", ".join(sorted(placed)) or "none"
        raise Refused(f"table {table} has no partition {', '.join(unknown)}; those that are not hot: {told}")
    return [known[text] for text in texts]


def _applied(lakehouse: Lakehouse, lineage: Lineage) -> Terms:
    if not read_storage_policy(lakehouse.settings.home).apply:
        raise Refused("storage.yaml is a dry run: set `apply: true` in it to have partitions moved")
    return read_terms(lakehouse.settings, lineage)


def _offer(lakehouse: Lakehouse, terms: Terms, batch: Batch) -> str:
    """What restoring the largest of the partitions takes: a message may name any of them."""
    held = [held.sizes for held in holdings(lakehouse, batch.table) if held.partition in batch.partitions]
    prices = terms.prices
    largest = Holding(
        table=batch.table,
        partition=(),
        sizes=max(held, key=sum, default=()),
        tier="hot",
        storage_class=prices.hot,
        since=prices.date,
        written=prices.date,
        reads={},
        observed_since=None,
    )
    return offer(largest, batch.storage_class, prices, terms.policy.restore)
