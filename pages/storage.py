"""The page of storage: what keeping the data costs, what moved and what would move, and why.

Every row refuses money that is no finite Decimal, and negative sizes or counts, with a ValueError that names it.
"""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from markupsafe import Markup

from pages import charts
from pages.formats import MINUS, NO_BREAK_SPACE, binary_size, binary_unit, check_finite, fine_amount, month, unbroken
from pages.page import render

MOST_PROPOSALS_SHOWN = 50
MOST_MOVES_SHOWN = 30
MOST_RESTORES_SHOWN = 30
MOST_ARCHIVED_SHOWN = 30
OLD_PRICES = timedelta(days=365)  # after which the page says that the price book is old

Tier = Literal["hot", "cool", "archived"]
Action = Literal["cool", "archive", "warm", "expire", "compact"]
MoveKind = Literal["cool", "archive", "warm", "expire", "compact", "restore", "return"]

TIERS: tuple[Tier, ...] = ("hot", "cool", "archived")
_TARGETS = {"cool": "cool", "archive": "archived", "warm": "hot", "expire": "deleted"}
_NOTHING = Decimal(0)
_SMALLEST_SHOWN = Decimal("0.0001")


@dataclass(frozen=True)
class TierDay:
    """One tier on one day: what lay there and what a month of it was estimated to cost.

    `monthly_cost_hot` is the cost of a month had nothing of it ever moved. Deleted partitions are in no tier.
    """

    day: date
    tier: Tier
    partitions: int
    objects: int
    bytes: int
    monthly_cost: Decimal
    monthly_cost_hot: Decimal

    def __post_init__(self) -> None:
        owner = f"{self.tier} on {self.day}"
        if self.tier not in TIERS:
            raise ValueError(f"{owner}: expected a tier of {', '.join(TIERS)}; what was deleted is in none")
        _check_money(owner, self.monthly_cost, self.monthly_cost_hot)
        _check_counts(owner, self.partitions, self.objects, self.bytes)


@dataclass(frozen=True)
class Move:
    """A move that was carried out; `at` is an instant with its zone.

    `bytes_after` differs from `bytes_before` where a move also compressed, None when not measured; `saving` is a
    month's, as was estimated; None when it was not. `reason` may be a person ("asked back by Ana Ruiz").
    """

    at: datetime
    table: str
    partition: str
    kind: MoveKind
    bytes_before: int
    bytes_after: int | None
    saving: Decimal | None
    cost: Decimal | None
    reason: str

    def __post_init__(self) -> None:
        owner = f"move of {self.table} {self.partition}"
        _check_money(owner, self.saving, self.cost)
        _check_counts(owner, self.bytes_before, self.bytes_after)


@dataclass(frozen=True)
class Proposal:
    """What should become of one partition, now in `storage_class` of `tier`.

    `written` is the last day on which rows came, `last_read` None when it was never seen to be read. `saving` is per
    month over the horizon, after `cost`, which is paid once. `to_class` is empty for one to be deleted.
    """

    table: str
    partition: str
    action: Action
    tier: Tier
    storage_class: str
    to_class: str
    bytes: int
    objects: int
    written: date
    last_read: date | None
    saving: Decimal
    cost: Decimal
    reason: str

    def __post_init__(self) -> None:
        owner = f"proposal for {self.table} {self.partition}"
        _check_money(owner, self.saving, self.cost)
        _check_counts(owner, self.bytes, self.objects)

    @property
    def target(self) -> str:
        """Where it would be, in a word."""
        return _TARGETS.get(self.action, "larger files")


@dataclass(frozen=True)
class Stay:
    """Partitions that stay for one kind of reason; `example` is the whole reason of one of them, or empty."""

    reason: str
    partitions: int
    bytes: int
    example: str = ""

    def __post_init__(self) -> None:
        _check_counts(f"stay {self.reason!r}", self.partitions, self.bytes)


@dataclass(frozen=True)
class OtherPolicy:
    """What another policy would do today; `saving` is negative where it would cost more. `meaning` is a sentence."""

    name: str
    moves: int
    saving: Decimal
    cost: Decimal
    meaning: str = ""

    def __post_init__(self) -> None:
        _check_money(f"policy {self.name!r}", self.saving, self.cost)
        _check_counts(f"policy {self.name!r}", self.moves)


@dataclass(frozen=True)
class ActualCost:
    """A month (any day of it) whose cost is known: what was forecast, what it was, and who says so."""

    month: date
    forecast: Decimal
    actual: Decimal
    source: str

    def __post_init__(self) -> None:
        _check_money(f"cost of {month(self.month)}", self.forecast, self.actual)

    @property
    def off_by(self) -> float | None:
        """How far the forecast was above (or below) the actual cost, as a share of it; None where that was nothing."""
        return float((self.forecast - self.actual) / self.actual) if self.actual else None


@dataclass(frozen=True)
class WaitingRestore:
    """A partition asked back that has not come yet; `asked` and `expected` are instants with their zone."""

    table: str
    partition: str
    bytes: int
    asked: datetime
    expected: datetime | None
    speed: str = ""
    by: str = ""

    def __post_init__(self) -> None:
        _check_counts(f"restore of {self.table} {self.partition}", self.bytes)


@dataclass(frozen=True)
class ArchivedPartition:
    """A partition that a query must ask back first; `offer` says in words how long that takes and what it costs."""

    table: str
    partition: str
    bytes: int
    since: date
    offer: str = ""

    def __post_init__(self) -> None:
        _check_counts(f"archived {self.table} {self.partition}", self.bytes)

    @property
    def command(self) -> str:
        """What brings it back, ready for a shell."""
        return f"cdap storage restore {shlex.quote(self.table)} --partition {shlex.quote(self.partition)}"


@dataclass(frozen=True)
class ClassPrice:
    """What a GB costs a month in one storage class, and for how many days it is billed at least."""

    name: str
    tier: Tier
    per_gb_month: Decimal
    minimum_days: int

    def __post_init__(self) -> None:
        _check_money(f"price of {self.name}", self.per_gb_month)
        _check_counts(f"price of {self.name}", self.minimum_days)

    @property
    def exact(self) -> str:
        """The price with all its digits, and no more."""
        return f"{self.per_gb_month.normalize():f}"


@dataclass(frozen=True)
class PriceSource:
    """The price book behind every estimate: its version, region, date, and where its figures are from."""

    version: str
    region: str
    date: date
    source: str
    classes: tuple[ClassPrice, ...] = ()


@dataclass(frozen=True)
class StorageFigures:
    """All that the storage page says, as of an instant with its zone; money is in `currency`.

    `apply` is that of storage.yaml: without it nothing moves. `budget` is the most that the moves of one run may cost,
    None when there is no limit. `days` is the history by day and tier, in any order; its last day is now. `proposals`
    are all of them, of every `action`: the headline sums are taken from them. `whole_list` names the table with every
    partition. `caveats` are sentences on what these figures do not hold.
    """

    as_of: datetime
    currency: str
    apply: bool
    horizon_days: int
    budget: Decimal | None
    days: tuple[TierDay, ...]
    moves: tuple[Move, ...]
    proposals: tuple[Proposal, ...]
    stays: tuple[Stay, ...]
    policies: tuple[OtherPolicy, ...]
    actual_costs: tuple[ActualCost, ...]
    restores: tuple[WaitingRestore, ...]
    archived: tuple[ArchivedPartition, ...]
    prices: PriceSource
    whole_list: str = "storage_tiers"
    caveats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_money("the budget of a run", self.budget)
        seen = {(entry.day, entry.tier) for entry in self.days}
        if len(seen) < len(self.days):
            raise ValueError(f"expected each tier once a day, found {len(self.days)} rows for {len(seen)} of them")

    @property
    def now(self) -> tuple[TierDay, ...]:
        """The tiers of the last day, hot first."""
        last = max((entry.day for entry in self.days), default=None)
        return tuple(sorted((e for e in self.days if e.day == last), key=lambda entry: TIERS.index(entry.tier)))

    @property
    def bytes(self) -> int:
        """All that is kept now."""
        return sum(entry.bytes for entry in self.now)

    @property
    def objects(self) -> int:
        """The files of all that is kept now."""
        return sum(entry.objects for entry in self.now)

    @property
    def monthly_cost(self) -> Decimal:
        """Of all that is kept now, where it lies."""
        return _total(entry.monthly_cost for entry in self.now)

    @property
    def monthly_cost_hot(self) -> Decimal:
        """Of the same, had nothing ever moved."""
        return _total(entry.monthly_cost_hot for entry in self.now)

    @property
    def saving(self) -> Decimal:
        """A month, by all proposals."""
        return _total(proposal.saving for proposal in self.proposals)

    @property
    def cost(self) -> Decimal:
        """Once, of all proposals."""
        return _total(proposal.cost for proposal in self.proposals)

    @property
    def proposed(self) -> dict[Action, list[Proposal]]:
        """The proposals by what they do; an action that nothing needs is an empty list."""
        actions: tuple[Action, ...] = ("cool", "archive", "warm", "expire", "compact")
        return {action: [one for one in self.proposals if one.action == action] for action in actions}


def storage_page(figures: StorageFigures) -> str:
    """Storage as one HTML file, without scripts or outside addresses.

    Raises ValueError when an instant has no time zone.
    """
    proposals = sorted(figures.proposals, key=lambda one: (-one.saving, -one.bytes, one.table, one.partition))
    moves = sorted(figures.moves, key=lambda one: (one.at, one.table, one.partition), reverse=True)
    return render(
        "storage.html",
        storage=figures,
        proposed=figures.proposed,
        proposals=proposals[:MOST_PROPOSALS_SHOWN],
        proposals_left=proposals[MOST_PROPOSALS_SHOWN:],
        proposals_left_saving=_total(one.saving for one in proposals[MOST_PROPOSALS_SHOWN:]),
        moves=moves[:MOST_MOVES_SHOWN],
        moves_left=moves[MOST_MOVES_SHOWN:],
        stays=sorted(figures.stays, key=lambda one: (-one.bytes, -one.partitions, one.reason)),
        actual_costs=sorted(figures.actual_costs, key=lambda one: one.month, reverse=True),
        restores=sorted(figures.restores, key=lambda one: (one.asked, one.table, one.partition)),
        restores_shown=MOST_RESTORES_SHOWN,
        archived=sorted(figures.archived, key=lambda one: (one.table, one.partition)),
        archived_shown=MOST_ARCHIVED_SHOWN,
        old_prices=figures.as_of.date() - figures.prices.date > OLD_PRICES,
        bytes_chart=_bytes_chart(figures),
        cost_chart=_cost_chart(figures),
        first_day=min((entry.day for entry in figures.days), default=None),
        ever_moved=any(entry.tier != "hot" for entry in figures.days),
        size=_size,
        price=_price,
        price_column=_price_column,
    )


def _bytes_chart(figures: StorageFigures) -> Markup | None:
    name, unit = binary_unit(max(_by_day((entry.day, entry.bytes) for entry in figures.days), default=0))
    rows = [(entry.day, entry.tier, entry.bytes / unit) for entry in figures.days]
    return _tiers_chart(figures, rows, axis_title=name)


def _cost_chart(figures: StorageFigures) -> Markup | None:
    """With what it would be had nothing moved, where something did."""
    rows = [(entry.day, entry.tier, float(entry.monthly_cost)) for entry in figures.days]
    unmoved: dict[date, float] = defaultdict(float)
    if any(entry.tier != "hot" for entry in figures.days):
        for entry in figures.days:
            unmoved[entry.day] += float(entry.monthly_cost_hot)
    return _tiers_chart(figures, rows, axis_title=f"{figures.currency} a month", reference=sorted(unmoved.items()))


def _tiers_chart(
    figures: StorageFigures,
    rows: Sequence[tuple[date, str, float]],
    *,
    axis_title: str,
    reference: Sequence[tuple[date, float]] = (),
) -> Markup | None:
    """Areas over time, or bars while there is one day only; None without any."""
    if not rows:
        return None
    if len({entry.day for entry in figures.days}) > 1:
        return charts.tiers_over_time(rows, tiers=TIERS, axis_title=axis_title, reference=reference)
    values = {tier: value for _, tier, value in rows}
    bars = [(f"{tier}, {axis_title}", values[tier]) for tier in TIERS if tier in values]
    return charts.bars(bars, axis_title=axis_title, label_format=",.3~r")


def _by_day(entries: Iterable[tuple[date, int]]) -> list[int]:
    totals: dict[date, int] = defaultdict(int)
    for on, value in entries:
        totals[on] += value
    return list(totals.values())


def _size(size: int) -> str:
    """Bytes as "3.1 GB", with the units of the bill and of the reasons."""
    return unbroken(binary_size(size))


def _price(value: Decimal, currency: str) -> str:
    """An amount with its code, as "USD 12.30"; up to two digits of one next to nothing, as "USD 0.0021"."""
    return f"{currency}{NO_BREAK_SPACE}{_price_column(value, currency)}"


def _price_column(value: Decimal, currency: str) -> str:
    """The same without the code, for a column whose head names the currency."""
    if 0 < abs(value) < _SMALLEST_SHOWN:
        return f"{MINUS if value < 0 else ''}<{fine_amount(_SMALLEST_SHOWN, currency)}"
    return fine_amount(value, currency)


def _total(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, _NOTHING)


def _check_money(owner: str, *amounts: Decimal | None) -> None:
    for value in amounts:
        if value is not None and not isinstance(value, Decimal):
            raise ValueError(f"{owner}: money must be a Decimal, found {value!r}")
        check_finite(owner, None if value is None else float(value))


def _check_counts(owner: str, *counts: int | None) -> None:
    for value in counts:
        if value is not None and value < 0:
            raise ValueError(f"{owner}: expected counts and sizes of zero and more, found {value}")
