"""The state of storage: every partition with its use and the decision on it, at one instant."""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from cdap_assets.storage.costs import Holding, restore_cost, storage_of
from cdap_assets.storage.decision import Decision, Rules, decide
from cdap_assets.storage.prices import Prices
from cdap_assets.tiering.storage_policy import RestorePolicy
from pages.formats import fine_amount
from resources.iceberg.catalog import Partition
from resources.iceberg.placement import Placement, encoded, partition_text
from resources.lake.lakehouse import Lakehouse
from resources.lake.reads import Reads, history
from resources.tiers.inventory import Held, holdings

RECENT_DAYS = 91


@dataclass(frozen=True)
class State:
    """A partition with its use, what a month of its storage costs, and the decision on it; an expired one has none."""

    held: Held
    holding: Holding
    last_read: date | None
    recent_reads: float
    storage_month: Decimal
    decision: Decision | None

    @property
    def partition(self) -> str:
        """The partition as people write it."""
        return partition_text(self.held.columns, self.held.partition)

    @property
    def values(self) -> list[Any]:
        """The partition's values as JSON keeps them."""
        return encoded(self.held.partition)

    @property
    def tier(self) -> str:
        """hot, cool, archived or expired."""
        placed = self.held.placed
        return "expired" if placed is not None and placed.tier == "expired" else self.holding.tier

    @property
    def since(self) -> datetime:
        """Since when it is there (UTC)."""
        return self.held.placed.at if self.held.placed else datetime.combine(self.holding.written, datetime.min.time())


def states(lakehouse: Lakehouse, rules: Mapping[str, Rules], prices: Prices, at: datetime) -> Iterator[State]:
    """The state of every partition of the tables in ``rules`` at the instant ``at`` (UTC)."""
    reads = history(lakehouse.stores.reads)
    began = min((day for by_day in reads.values() for day in by_day), default=None)
    read_tables = {table for table, _partition in reads}
    for name, own in rules.items():
        observed = began if name in read_tables else None
        for held in holdings(lakehouse, name):
            yield _state(held, own, prices, at, reads.get((name, held.partition), {}), observed)


def _state(
    held: Held, rules: Rules, prices: Prices, at: datetime, reads: Mapping[date, Reads], observed: date | None
) -> State:
    placed, size = held.placed, sum(held.sizes)
    written = (held.written or (placed.at if placed else at)).date()
    whole = {day: min(float(one.count), one.bytes / size if size else 0.0) for day, one in reads.items()}
    tier = placed.tier if placed is not None and placed.tier in ("cool", "archived") else "hot"
    storage_class = placed.storage_class if placed is not None and tier != "hot" else prices.hot
    since = max(placed.at.date(), written) if placed is not None and tier != "hot" else written
    holding = Holding(
        table=held.table,
        partition=held.partition,
        sizes=held.sizes,
        tier=tier,
        storage_class=storage_class,
        since=since,
        written=written,
        reads=whole,
        observed_since=observed,
        last_day=_last_day(held.columns, held.partition),
    )
    recent = sum(count for day, count in whole.items() if (at.date() - day).days < RECENT_DAYS)
    last = max(reads, default=None)
    if placed is not None and placed.tier == "expired":
        return State(held, holding, last, recent, Decimal(0), None)
    month = storage_of(holding, storage_class, prices)
    if placed is not None and placed.tier == "restored" and _goes_back(held, placed, at):
        rules = replace(rules, restored_until=placed.due or date.max)
    return State(held, holding, last, recent, month, decide(holding, rules, prices, at.date()))


def _goes_back(held: Held, placed: Placement, at: datetime) -> bool:
    """Whether a restored partition waits for its day; with rows that came since it cannot go back to what it was."""
    return held.rows == placed.rows or placed.due is None or placed.due > at.date()


def _last_day(columns: Iterable[str], partition: Partition) -> date | None:
    """The last day that the rows of a partition are of, where its values tell."""
    values = dict(zip(columns, partition, strict=True))
    month, snapshot = values.get("month"), values.get("snapshot_date")
    if isinstance(month, date):
        return month.replace(day=calendar.monthrange(month.year, month.month)[1])
    return snapshot - timedelta(days=1) if isinstance(snapshot, date) else None


def offer(holding: Holding, storage_class: str, prices: Prices, restore: RestorePolicy) -> str:
    """What bringing a partition back from a class takes, in words."""
    moved = replace(holding, tier=prices.of(storage_class).tier, storage_class=storage_class)
    option = prices.of(storage_class).restore
    speed = restore.speed if restore.speed in option else "Standard"
    cost = restore_cost(moved, prices, speed)
    hours = option[speed].hours
    wait = f"up to {hours} hours by {speed}" if hours else "at once"
    return f"{wait}, up to {fine_amount(cost, prices.currency)} {prices.currency} each by prices of {prices.date}"
