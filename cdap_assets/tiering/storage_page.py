"""The page of storage: its figures from the tables, the snapshots of moves and the journal, and its file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from cdap_assets.storage.decision import Rules, decide
from cdap_assets.storage.prices import Prices
from cdap_assets.storage.tables import STORAGE_SAVINGS
from cdap_assets.tiering.state import State
from cdap_assets.tiering.storage_policy import StoragePolicy
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
from resources.iceberg.placement import partition_text
from resources.lake.lakehouse import Lakehouse
from resources.stores.stores import open_store
from resources.tiers.history import moves_made
from resources.tiers.journal import Journal

PAGE = "storage.html"
KINDS = {
    "never observed": "reads were never observed, so the use is unknown",
    "kept where it can be read": "kept where it can be read",
    "a decision needs": "reads not observed for long enough",
    "still young": "young: waits to be archived without a stop",
    "no move saves more": "no move saves more than the margin",
    "archived since": "archived: comes back when somebody asks",
    "stays for": "written too recently",
    "no objects": "has no objects",
}
CAVEATS = (
    "Costs are list prices of the price book times what table metadata says, without taxes, discounts, and files that "
    "only older snapshots of tables need.",
    "A table counts as read when it is read through CDAP; what other tools read is seen only where their logs are.",
)


def write_storage_page(
    lakehouse: Lakehouse,
    found: Sequence[State],
    rows: Sequence[Mapping[str, Any]],
    rules: Mapping[str, Rules],
    policy: StoragePolicy,
    prices: Prices,
    at: datetime,
) -> None:
    """Write the page as storage is at ``at`` (UTC): ``rows`` are those of ``storage_tiers`` that ``found`` gave."""
    figures = storage_figures(lakehouse, found, rows, rules, policy, prices, at)
    store = open_store(lakehouse.settings.root("pages"), lakehouse.settings)
    store.write(PAGE, storage_page(figures).encode())


def storage_figures(
    lakehouse: Lakehouse,
    found: Sequence[State],
    rows: Sequence[Mapping[str, Any]],
    rules: Mapping[str, Rules],
    policy: StoragePolicy,
    prices: Prices,
    at: datetime,
) -> StorageFigures:
    """Everything that the page says."""
    return StorageFigures(
        as_of=at.replace(tzinfo=UTC),
        currency=prices.currency,
        apply=policy.apply,
        horizon_days=policy.horizon_days,
        budget=policy.budget,
        days=tuple(_days(lakehouse)),
        moves=tuple(_moves(lakehouse)),
        proposals=tuple(_proposal(row) for row in rows if row["decision"] != "stay"),
        stays=tuple(_stays(rows)),
        policies=tuple(_policies(found, rules, prices, at)),
        actual_costs=(),
        restores=tuple(_restores(lakehouse)),
        archived=tuple(_archived(found)),
        prices=PriceSource(
            prices.version,
            prices.region,
            prices.date,
            prices.source,
            tuple(ClassPrice(name, p.tier, p.per_gb_month, p.minimum_days) for name, p in prices.classes.items()),
        ),
        caveats=CAVEATS,
    )


def _days(lakehouse: Lakehouse) -> Iterator[TierDay]:
    with lakehouse.in_process() as session:
        rows = session.read(STORAGE_SAVINGS).to_pyarrow().to_pylist()
        session.reads.clear()
    for row in rows:
        if row["tier"] in TIERS:
            costs = (row["monthly_cost"], row["monthly_cost_hot"])
            yield TierDay(row["day"], row["tier"], row["partitions"], row["objects"], row["bytes"], *costs)


def _moves(lakehouse: Lakehouse) -> Iterator[Move]:
    for past in moves_made(lakehouse):
        count = len(past.partitions)
        what = past.partitions[0] if count == 1 else f"{past.partitions[0]} and {count - 1} more"
        yield Move(
            past.at.replace(tzinfo=UTC),
            past.table,
            what,
            past.kind,  # type: ignore[arg-type]
            past.bytes_before,
            past.bytes_after,
            None,
            None,
            past.reason or ("asked back" if past.kind == "restore" else ""),
        )


def _proposal(row: Mapping[str, Any]) -> Proposal:
    return Proposal(
        row["table_name"],
        row["partition"],
        row["decision"],
        row["tier"],
        row["storage_class"],
        "" if row["decision"] == "expire" else row["to_class"],
        row["bytes"],
        row["objects"],
        row["written_at"].date(),
        row["last_read"],
        row["saving"],
        row["move_cost"],
        row["reason"],
    )


def _stays(rows: Sequence[Mapping[str, Any]]) -> Iterator[Stay]:
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["decision"] == "stay" and row["tier"] in TIERS:
            groups[kind_of(row["reason"])].append(row)
    for kind, group in groups.items():
        yield Stay(kind, len(group), sum(row["bytes"] for row in group), group[0]["reason"])


def kind_of(reason: str) -> str:
    """The kind of a reason to stay: what is left of it without its figures."""
    return next((kind for words, kind in KINDS.items() if words in reason), "other reasons")


def _policies(
    found: Sequence[State], rules: Mapping[str, Rules], prices: Prices, at: datetime
) -> Iterator[OtherPolicy]:
    others: dict[str, tuple[str, Callable[[Rules], Rules]]] = {
        "never archive": ("everything stays readable at once", lambda own: replace(own, may_archive=False)),
        "any saving": ("moves however little they save", lambda own: replace(own, margin=Decimal(0))),
        "further ahead": ("twice the horizon", lambda own: replace(own, horizon_days=2 * own.horizon_days)),
    }
    for name, (meaning, change) in others.items():
        decided = [
            decide(state.holding, change(rules[state.held.table]), prices, at.date())
            for state in found
            if state.decision is not None
        ]
        moves = [one for one in decided if one.action != "stay"]
        saving = sum((one.saving for one in moves), Decimal(0))
        yield OtherPolicy(name, len(moves), saving, sum((one.move_cost for one in moves), Decimal(0)), meaning)


def _restores(lakehouse: Lakehouse) -> Iterator[WaitingRestore]:
    for move in Journal(lakehouse.stores.archive).pending():
        table = lakehouse.load(move.table)
        if move.kind != "restore" or table is None:
            continue
        columns = [field.name for field in table.spec().fields]
        for partition in move.partitions:
            asked = move.at.replace(tzinfo=UTC)
            yield WaitingRestore(
                move.table, partition_text(columns, partition), 0, asked, None, move.speed, move.reason
            )


def _archived(found: Sequence[State]) -> Iterator[ArchivedPartition]:
    for state in found:
        placed = state.held.placed
        if placed is not None and placed.tier == "archived":
            yield ArchivedPartition(state.held.table, state.partition, placed.bytes, placed.at.date(), placed.offer)
