"""What a partition costs in a storage class: its storage, its reads and restores, and the move there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from itertools import accumulate

from cdap_assets.storage.demand import RESTORED_DAYS, Demand
from cdap_assets.storage.prices import GB, MONTH_DAYS, ClassPrices, Prices, RestoreSpeed, Tier

Partition = tuple[object, ...]
RESTORE: RestoreSpeed = "Standard"  # the speed that estimates assume: S3's default


@dataclass(frozen=True)
class Holding:
    """A partition as it lies there. Raises ValueError for sizes or dates that cannot be.

    `partition` are its plain values, `()` for a whole table; `sizes` the bytes of each object; `since` when it came
    into its class, `written` its last write; `reads` whole-partition equivalents per day; `observed_since` the first
    day on which reads of the table were counted, None when they never were.
    """

    table: str
    partition: Partition
    sizes: tuple[int, ...]
    tier: Tier
    storage_class: str
    since: date
    written: date
    reads: Mapping[date, float]
    observed_since: date | None
    last_day: date | None = None

    def __post_init__(self) -> None:
        if any(size < 0 for size in self.sizes):
            raise ValueError(f"{self.table} {self.partition}: sizes must be >= 0, found {min(self.sizes)}")
        if self.since < self.written and self.tier != "hot":
            raise ValueError(
                f"{self.table} {self.partition}: came into {self.storage_class} on {self.since}, "
                f"before its last write on {self.written}"
            )

    def kept_days(self, today: date) -> int:
        """How long its rows have been kept, as retention counts."""
        return (today - (self.last_day or self.written)).days

    @cached_property
    def bytes(self) -> int:
        """All its objects together."""
        return sum(self.sizes)

    def of_at_least(self, least: int) -> tuple[int, int]:
        """Its objects of so many bytes or more, and the bytes of these."""
        ascending, sums = self._ascending
        smaller = bisect_left(ascending, least)
        return len(ascending) - smaller, self.bytes - sums[smaller]

    @cached_property
    def _ascending(self) -> tuple[list[int], list[int]]:
        """Its sizes in order, and the sums of the first 0, 1, ... of them."""
        ascending = sorted(self.sizes)
        return ascending, list(accumulate(ascending, initial=0))


def total_cost(
    holding: Holding,
    storage_class: str,
    prices: Prices,
    demand: Demand,
    horizon_days: int,
    today: date,
    time_travel_days: int,
) -> Decimal:
    """What a partition costs in a class until the horizon: the move there, storage, reads and restores.

    Storage counts at least to the end of the minimum duration of the class: it is owed whatever comes after. Files
    that a move takes out of the table are billed for ``time_travel_days`` more, beside what they became.
    """
    served = (today - holding.since).days if storage_class == holding.storage_class else 0
    days = max(horizon_days, prices.of(storage_class).minimum_days - served)
    storage = storage_of(holding, storage_class, prices) * days / MONTH_DAYS
    if not prices.of(storage_class).in_place or _ratio(holding, storage_class, prices) != 1:
        beside = max(0, time_travel_days - _owed_days(holding, prices, today))
        storage += storage_of(holding, holding.storage_class, prices) * beside / MONTH_DAYS
    reading = reading_of(holding, storage_class, prices, demand)
    return move_cost(holding, storage_class, prices, today) + storage + reading


def move_cost(holding: Holding, storage_class: str, prices: Prices, today: date) -> Decimal:
    """What it costs once to copy a partition into a class: 0 for the one it is in.

    Requests to read and write each object, retrieval from the class that is left, and its minimum duration. What is
    archived is read twice, for its checksum and to be copied, and its copy once.
    """
    if storage_class == holding.storage_class:
        return Decimal(0)
    source, target, hot = prices.of(holding.storage_class), prices.of(storage_class), prices.of(prices.hot)
    reads, verified = (1, Decimal(0)) if target.in_place else (2, hot.get_per_1000)
    objects = min(_inside(holding, source)[0], _inside(holding, target)[0]) if target.in_place else len(holding.sizes)
    requests = objects * (source.get_per_1000 * reads + target.transition_per_1000 + verified) / 1000
    retrieval = _gigabytes(_inside(holding, source)[1]) * source.retrieval_per_gb * reads
    return requests + retrieval + leaving_cost(holding, prices, today)


def leaving_cost(holding: Holding, prices: Prices, today: date) -> Decimal:
    """What is still owed for the minimum duration of its class when a partition leaves it or is deleted."""
    return storage_of(holding, holding.storage_class, prices) * _owed_days(holding, prices, today) / MONTH_DAYS


def _owed_days(holding: Holding, prices: Prices, today: date) -> int:
    return max(0, prices.of(holding.storage_class).minimum_days - (today - holding.since).days)


def storage_cost(sizes: Iterable[int], storage_class: str, prices: Prices) -> Decimal:
    """A month of objects of these bytes that are in a class, each of them, unread."""
    target = prices.of(storage_class)
    billed = [max(size, target.minimum_object_bytes) for size in sizes]
    return _month(Decimal(sum(billed)), len(billed), target, prices)


def restore_cost(holding: Holding, prices: Prices, speed: RestoreSpeed) -> Decimal:
    """One restore of an archived partition, with :data:`RESTORED_DAYS` days of the copy that can be read.

    Raises KeyError for a speed that the class does not offer.
    """
    return _restoring(holding, holding.storage_class, prices, speed)


def storage_of(holding: Holding, storage_class: str, prices: Prices) -> Decimal:
    """A month of a partition in a class, unread; objects too small for a cool class stay in the hot one."""
    target, ratio = prices.of(storage_class), _ratio(holding, storage_class, prices)
    count, size = _inside(holding, target)
    small = _gigabytes(holding.bytes - size) * prices.of(prices.hot).per_gb_month
    return _month(size * ratio, count, target, prices) + small


def _inside(holding: Holding, target: ClassPrices) -> tuple[int, int]:
    """The objects of a partition in a class that are in it themselves, and their bytes."""
    return holding.of_at_least(target.minimum_object_bytes if target.in_place else 0)


def _month(billed: Decimal, objects: int, target: ClassPrices, prices: Prices) -> Decimal:
    own = (billed + objects * target.overhead_bytes) / GB * target.per_gb_month
    return own + _gigabytes(objects * target.hot_overhead_bytes) * prices.of(prices.hot).per_gb_month


def reading_of(holding: Holding, storage_class: str, prices: Prices, demand: Demand) -> Decimal:
    """Expected reads over the horizon: one GET for each object of a partition that is read."""
    target = prices.of(storage_class)
    if not target.in_place:
        return Decimal(repr(demand.restores)) * _restoring(holding, storage_class, prices, RESTORE)
    count, size = _inside(holding, target)
    gigabytes = _gigabytes(size) * _ratio(holding, storage_class, prices)
    small = (len(holding.sizes) - count) * prices.of(prices.hot).get_per_1000
    once = gigabytes * target.retrieval_per_gb + (count * target.get_per_1000 + small) / 1000
    return Decimal(repr(demand.reads)) * once


def _restoring(holding: Holding, storage_class: str, prices: Prices, speed: RestoreSpeed) -> Decimal:
    option = prices.of(storage_class).restore[speed]
    gigabytes = _gigabytes(holding.bytes) * _ratio(holding, storage_class, prices)
    copy = gigabytes * prices.of(prices.hot).per_gb_month * RESTORED_DAYS / MONTH_DAYS
    return gigabytes * option.per_gb + len(holding.sizes) * option.per_1000_requests / 1000 + copy


def _ratio(holding: Holding, storage_class: str, prices: Prices) -> Decimal:
    """The size expected in a class, relative to the one now: files are archived as they are."""
    target, source = prices.of(storage_class), prices.of(holding.storage_class)
    return target.size_ratio / source.size_ratio if target.in_place and source.in_place else Decimal(1)


def _gigabytes(size: int) -> Decimal:
    return Decimal(size) / GB
