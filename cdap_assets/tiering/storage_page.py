"""The page of storage: its figures from the tables, the snapshots of moves and the journal, and its file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from typing import Any

from cdap_assets.storage.decision import Rules, decide, kind_in_words
from cdap_assets.storage.tables import STORAGE_SAVINGS
from cdap_assets.tiering.look import STAY, Look
from cdap_assets.tiering.state import State
from pages.storage import (
    TIERS,
    ArchivedPartition,
    ClassPrice,
    Move,
    OtherPolicy,
    PriceSource,
    Proposal,
    Stay,
    StorageFigures,
    TierDay,
    WaitingRestore,
    storage_page,
)
from resources.iceberg.placement import partition_text, placed_now
from resources.lake.lakehouse import Lakehouse
from resources.tiers.history import moves_made
from resources.tiers.journal import Journal

PAGE = "storage.html"
CAVEATS = (
    "Costs are list prices of the price book times what table metadata says, without taxes, discounts, and files that "
    "only older snapshots of tables need.",
    "A table counts as read when it is read through CDAP; what other tools read is seen only where their logs are.",
)


def write_storage_page(lakehouse: Lakehouse, seen: Look, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the page of a look; ``rows`` are those of ``storage_tiers`` that it gave."""
    lakehouse.stores.pages.write(PAGE, storage_page(storage_figures(lakehouse, seen, rows)).encode())


def storage_figures(lakehouse: Lakehouse, seen: Look, rows: Sequence[Mapping[str, Any]]) -> StorageFigures:
    """Everything that the page says."""
    policy, prices = seen.terms.policy, seen.terms.prices
    return StorageFigures(
        as_of=seen.at.replace(tzinfo=UTC),
        currency=prices.currency,
        apply=policy.apply,
        horizon_days=policy.horizon_days,
        budget=policy.budget,
        days=tuple(_days(lakehouse)),
        moves=tuple(_moves(lakehouse)),
        proposals=tuple(_proposal(row) for row in rows if row["decision"] != STAY),
        stays=tuple(_stays(rows)),
        policies=tuple(_policies(seen)),
        actual_costs=(),
        restores=tuple(_restores(lakehouse)),
        archived=tuple(_archived(seen.states)),
        prices=PriceSource(
            version=prices.version,
            region=prices.region,
            date=prices.date,
            source=prices.source,
            classes=tuple(
                ClassPrice(name=name, tier=one.tier, per_gb_month=one.per_gb_month, minimum_days=one.minimum_days)
                for name, one in prices.classes.items()
            ),
        ),
        caveats=CAVEATS,
    )


def _days(lakehouse: Lakehouse) -> Iterator[TierDay]:
    with lakehouse.looking() as session:
        rows = session.read(STORAGE_SAVINGS).to_pyarrow().to_pylist()
    for row in rows:
        if row["tier"] in TIERS:
            yield TierDay(
                day=row["day"],
                tier=row["tier"],
                partitions=row["partitions"],
                objects=row["objects"],
                bytes=row["bytes"],
                monthly_cost=row["monthly_cost"],
                monthly_cost_hot=row["monthly_cost_hot"],
            )


def _moves(lakehouse: Lakehouse) -> Iterator[Move]:
    for past in moves_made(lakehouse):
        count = len(past.partitions)
        yield Move(
            at=past.at.replace(tzinfo=UTC),
            table=past.table,
            partition=past.partitions[0] if count == 1 else f"{past.partitions[0]} and {count - 1} more",
            kind=past.kind,
            bytes_before=past.bytes_before,
            bytes_after=past.bytes_after,
            saving=None,
            cost=None,
            reason=past.reason or ("asked back" if past.kind == "restore" else ""),
        )


def _proposal(row: Mapping[str, Any]) -> Proposal:
    return Proposal(
        table=row["table_name"],
        partition=row["partition"],
        action=row["decision"],
        tier=row["tier"],
        storage_class=row["storage_class"],
        to_class="" if row["decision"] == "expire" else row["to_class"],
        bytes=row["bytes"],
        objects=row["objects"],
        written=row["written_at"].date(),
        last_read=row["last_read"],
        saving=row["saving"],
        cost=row["move_cost"],
        reason=row["reason"],
    )


def _stays(rows: Sequence[Mapping[str, Any]]) -> Iterator[Stay]:
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["decision"] == STAY and row["tier"] in TIERS:
            groups[row["kind"]].append(row)
    for kind, group in groups.items():
        yield Stay(
            reason=kind_in_words(kind),
            partitions=len(group),
            bytes=sum(row["bytes"] for row in group),
            example=group[0]["reason"],
        )


def _policies(seen: Look) -> Iterator[OtherPolicy]:
    """What each other policy would do, decided from the same reads."""
    others: dict[str, tuple[str, Callable[[Rules], Rules]]] = {
        "never archive": ("everything stays readable at once", lambda own: replace(own, may_archive=False)),
        "any saving": ("moves however little they save", lambda own: replace(own, margin=Decimal(0))),
        "further ahead": ("twice the horizon", lambda own: replace(own, horizon_days=2 * own.horizon_days)),
    }
    for name, (meaning, change) in others.items():
        decided = [
            decide(state.holding, change(seen.terms.rules[state.held.table]), seen.terms.prices, seen.at.date())
            for state in seen.states
            if state.decision is not None
        ]
        moves = [one for one in decided if one.action != STAY]
        yield OtherPolicy(
            name=name,
            moves=len(moves),
            saving=sum((one.saving for one in moves), Decimal(0)),
            cost=sum((one.move_cost for one in moves), Decimal(0)),
            meaning=meaning,
        )


def _restores(lakehouse: Lakehouse) -> Iterator[WaitingRestore]:
    for move in Journal(lakehouse.stores.archive).pending():
        table = lakehouse.load(move.table)
        if move.kind != "restore" or table is None:
            continue
        columns, placed = [field.name for field in table.spec().fields], placed_now(table)
        for partition in move.partitions:
            yield WaitingRestore(
                table=move.table,
                partition=partition_text(columns, partition),
                bytes=placed[partition].bytes if partition in placed else 0,
                asked=move.at.replace(tzinfo=UTC),
                expected=None,
                speed=move.speed,
                by=move.reason,
            )


def _archived(found: Sequence[State]) -> Iterator[ArchivedPartition]:
    for state in found:
        placed = state.held.placed
        if placed is not None and placed.tier == "archived":
            yield ArchivedPartition(
                table=state.held.table,
                partition=state.partition,
                bytes=placed.bytes,
                since=placed.at.date(),
                offer=placed.offer,
            )
