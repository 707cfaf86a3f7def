"""Which tier a partition should be in: the cheapest over a horizon, by its objects, its reads and the price book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from cdap_assets.storage.costs import Holding, leaving_cost, move_cost, reading_of, storage_of, total_cost
from cdap_assets.storage.demand import YOUNG_DAYS, Demand, expected_demand
from cdap_assets.storage.prices import MONTH_DAYS, Prices, Tier
from pages.formats import binary_size, count, fine_amount, rough

Action = Literal["stay", "cool", "archive", "warm", "expire"]
ReasonKind = Literal[
    "saves",
    "retention ended",
    "deleted",
    "archived",
    "no objects",
    "restored",
    "never observed",
    "written recently",
    "observed too briefly",
    "small objects",
    "young",
    "no saving",
]

KINDS: Mapping[ReasonKind, str] = {
    "saves": "a move saves more than it costs",
    "retention ended": "its time is over",
    "deleted": "deleted when its retention ended",
    "archived": "archived: comes back when somebody asks",
    "no objects": "has no objects",
    "restored": "kept where it can be read",
    "never observed": "reads were never observed, so the use is unknown",
    "written recently": "written too recently",
    "observed too briefly": "reads not observed for long enough",
    "small objects": "too small to move at a profit: compacted first",
    "young": "young: waits to be archived without a stop",
    "no saving": "no move saves more than the margin",
}

IN_USE_DAYS = 14  # after a read, within which a partition is not archived
OBSERVED_DAYS = 30  # of a partition's reads, before which nothing is concluded from them
COMPACTED_BYTES = 128 << 20  # an object that compaction aims at
READABLE: tuple[Tier, ...] = ("hot", "cool")
TIERS: tuple[Tier, ...] = (*READABLE, "archived")
ACTIONS: Mapping[Tier, Action] = {"hot": "warm", "cool": "cool", "archived": "archive"}


@dataclass(frozen=True)
class Rules:
    """What a policy says of a table; money in the price book's currency. Raises ValueError naming the field.

    `restored_until` is the day up to which a partition that somebody asked back must stay where it can be read;
    `date.max` without a day, None where nobody asked. `margin` is the least saving per month worth a move. More than
    `max_restores` expected in the horizon, and a partition is not archived however cheap that were: somebody would
    wait each time. `retention_days` count as `Holding.kept_days`. Files that a move took out of a table are kept, and
    billed, for `time_travel_days` more.
    """

    may_archive: bool
    restored_until: date | None = None
    legal_hold: bool = False
    min_hot_days: int = 30
    retention_days: int | None = None
    margin: Decimal = Decimal("0.001")
    horizon_days: int = 365
    max_restores: float = 2.0
    time_travel_days: int = 7

    def __post_init__(self) -> None:
        if not (self.margin.is_finite() and self.margin >= 0):
            raise ValueError(f"margin must be >= 0, found {self.margin}")
        for name, value, least in (
            ("min_hot_days", self.min_hot_days, 0),
            ("horizon_days", self.horizon_days, 1),
            ("retention_days", self.retention_days, 1),
            ("max_restores", self.max_restores, 0),
            ("time_travel_days", self.time_travel_days, 0),
        ):
            if value is not None and not value >= least:
                raise ValueError(f"{name} must be at least {least}, found {value}")


@dataclass(frozen=True)
class Decision:
    """What to do with a partition, and why: the kind of the reason, and the reason in one sentence.

    `tier` and `storage_class` are where it will be, or what an expiring one leaves. `monthly` is the estimated cost
    of a month in each tier, in the tier's best class, reads and restores included, moves not. `move_cost` is paid once,
    `saving` is per month over the horizon, after it.
    """

    action: Action
    tier: Tier
    storage_class: str
    monthly: Mapping[Tier, Decimal]
    move_cost: Decimal
    saving: Decimal
    kind: ReasonKind
    reason: str

    @property
    def compact(self) -> bool:
        """Whether only its small objects keep it from moving."""
        return self.kind == "small objects"


def kind_in_words(kind: str | None) -> str:
    """A kind of reason as people read it; None is that of a decision made before decisions had one."""
    return next((words for known, words in KINDS.items() if known == kind), "other reasons")


def decide(holding: Holding, rules: Rules, prices: Prices, today: date) -> Decision:
    """The cheapest place for a partition over the horizon, or why it stays or goes.

    Costs are those of :func:`total_cost`, up to the horizon or the end of retention. Archiving must pay against the
    cheapest readable class even if nobody read that one, so that more reads never make a partition colder. A young hot
    partition that may be archived is not cooled first: copying it out of a cool class costs up to ten months of
    what archiving then saves. Nothing leaves an archive but by expiry: a restore is asked by a person.

    Raises ValueError when `storage_class` is not of `tier`, PriceError when the region does not have it, and what
    :func:`~cdap_assets.storage.demand.expected_demand` raises.
    """
    if (told := prices.of(holding.storage_class).tier) != holding.tier:
        raise ValueError(f"{holding.table} {holding.partition}: {holding.storage_class} is {told}, not {holding.tier}")
    days = _horizon(holding, rules, today)
    demand = _demand(holding, days, today)
    case = _Case(holding, rules, prices, demand, days, today)
    if rules.retention_days is not None and holding.kept_days(today) >= rules.retention_days and not rules.legal_hold:
        return _expire(case)
    if refusal := _refusal(case):
        return _stay(case, *refusal)

    best = _best(case)
    if best == holding.storage_class:
        return _unmoved(case)
    tier, move = prices.of(best).tier, move_cost(holding, best, prices, today)
    saving = _per_month(case.cost(holding.storage_class) - case.cost(best), days)
    reason = f"{_use(case)}: saves {_money(saving, prices)} a month after {_money(move, prices)} to move"
    return Decision(
        action=ACTIONS[tier],
        tier=tier,
        storage_class=best,
        monthly=_monthly(case, {tier: best}),
        move_cost=move,
        saving=saving,
        kind="saves",
        reason=reason,
    )


@dataclass(frozen=True)
class _Case:
    """All that one decision looks at; ``days`` is the horizon, and ``demand`` is over it."""

    holding: Holding
    rules: Rules
    prices: Prices
    demand: Demand
    days: int
    today: date

    @property
    def age(self) -> int:
        return (self.today - self.holding.written).days

    def cost(self, storage_class: str, reads: float | None = None) -> Decimal:
        demand = self.demand if reads is None else replace(self.demand, reads=reads)
        kept = self.rules.time_travel_days
        return total_cost(self.holding, storage_class, self.prices, demand, self.days, self.today, kept)


def _horizon(holding: Holding, rules: Rules, today: date) -> int:
    """Days that a choice made today has effect: not beyond the day on which the partition is deleted."""
    if rules.retention_days is None or rules.legal_hold:
        return rules.horizon_days
    return min(rules.horizon_days, max(1, rules.retention_days - holding.kept_days(today)))


def _demand(holding: Holding, horizon_days: int, today: date) -> Demand:
    if holding.observed_since is None:
        return Demand(0.0, 0.0)
    return expected_demand(
        holding.reads,
        written=holding.written,
        observed_since=holding.observed_since,
        today=today,
        horizon_days=horizon_days,
    )


def _refusal(case: _Case) -> tuple[ReasonKind, str] | None:
    """Why a partition stays whatever it costs, if so."""
    holding, rules = case.holding, case.rules
    if holding.tier == "archived":
        return "archived", f"archived since {holding.since}: comes back when somebody asks for a restore"
    if not holding.sizes:
        return "no objects", "has no objects"
    if rules.restored_until is not None:
        until = "" if rules.restored_until == date.max else f" until {rules.restored_until}"
        return "restored", f"kept where it can be read: restored{until}"
    if holding.observed_since is None:
        return (
            "never observed",
            f"reads of {holding.table} were never observed: its use is unknown, so it does not move",
        )
    if case.age < rules.min_hot_days:
        return "written recently", f"written {_days(case.age)} ago, stays for {rules.min_hot_days}"
    if (observed := (case.today - max(holding.observed_since, holding.written)).days) < OBSERVED_DAYS:
        return "observed too briefly", f"reads observed for {_days(max(0, observed))}, a decision needs {OBSERVED_DAYS}"
    return None


def _best(case: _Case) -> str:
    """The class to be in: the present one unless another saves more than the margin."""
    present, prices = case.holding.storage_class, case.prices
    margin = case.rules.margin * case.days / MONTH_DAYS
    readable = (present, *(name for tier in READABLE for name in prices.in_tier(tier) if name != present))
    if case.rules.may_archive and case.demand.restores <= case.rules.max_restores and not _in_use(case):
        archive = min(prices.in_tier("archived"), key=case.cost, default=None)
        if archive and _archiving_pays(case, archive, readable, margin):
            return archive
    if _waits(case):
        return present
    best = min(readable, key=case.cost)
    return best if case.cost(present) - case.cost(best) > margin else present


def _in_use(case: _Case) -> bool:
    """Whether anybody read it lately: the next who does must not be refused, however seldom that is."""
    return any(count and 0 < (case.today - day).days <= IN_USE_DAYS for day, count in case.holding.reads.items())


def _waits(case: _Case) -> bool:
    """Whether it stays hot while young, whatever its reads: else more of them could make it colder."""
    return case.rules.may_archive and case.holding.tier == "hot" and case.age < YOUNG_DAYS


def _archiving_pays(case: _Case, archive: str, readable: tuple[str, ...], margin: Decimal) -> bool:
    """Against the present class by the margin, and against every other, as if nobody read there."""
    unread = {name: case.cost(name, reads=0.0) for name in readable}
    archived = case.cost(archive)
    return unread[case.holding.storage_class] - archived > margin and archived < min(unread.values())


def _unmoved(case: _Case) -> Decision:
    holding = case.holding
    large = replace(holding, sizes=_compacted(holding.bytes))
    # out of a cool class compaction would pay retrieval and make it hot
    if holding.tier == "hot" and len(large.sizes) < len(holding.sizes):
        best = case.prices.of(_best(replace(case, holding=large)))
        if best.tier not in (holding.tier, "hot"):
            return _stay(case, "small objects", f"{_use(case)}: too small to move at a profit, compact them first")
    if _waits(case):
        return _stay(case, "young", f"{_use(case)}: still young, waits to be archived without a stop in a cool class")
    return _stay(
        case, "no saving", f"{_use(case)}: no move saves more than {_money(case.rules.margin, case.prices)} a month"
    )


def _stay(case: _Case, kind: ReasonKind, reason: str) -> Decision:
    here = case.holding
    return Decision(
        action="stay",
        tier=here.tier,
        storage_class=here.storage_class,
        monthly=_monthly(case),
        move_cost=Decimal(0),
        saving=Decimal(0),
        kind=kind,
        reason=reason,
    )


def _expire(case: _Case) -> Decision:
    here, monthly = case.holding, _monthly(case)
    return Decision(
        action="expire",
        tier=here.tier,
        storage_class=here.storage_class,
        monthly=monthly,
        move_cost=leaving_cost(here, case.prices, case.today),
        saving=monthly[here.tier],
        kind="retention ended",
        reason=f"{_days(here.kept_days(case.today))} old, kept for {case.rules.retention_days}: its time is over",
    )


def _monthly(case: _Case, chosen: Mapping[Tier, str] = MappingProxyType({})) -> Mapping[Tier, Decimal]:
    """A month in the class that is or was chosen for a tier, and in the cheapest one of the others."""
    holding, prices = case.holding, case.prices

    def month(storage_class: str) -> Decimal:
        reading = reading_of(holding, storage_class, prices, case.demand)
        return storage_of(holding, storage_class, prices) + _per_month(reading, case.days)

    fixed = {holding.tier: holding.storage_class, **chosen}
    classes = {tier: (fixed[tier],) if tier in fixed else prices.in_tier(tier) for tier in TIERS}
    return {tier: min(map(month, names)) for tier, names in classes.items() if names}


def _compacted(size: int) -> tuple[int, ...]:
    whole, rest = divmod(size, COMPACTED_BYTES)
    return (COMPACTED_BYTES,) * whole + ((rest,) if rest else ())


def _per_month(money: Decimal, days: int) -> Decimal:
    return money * MONTH_DAYS / days


def _use(case: _Case) -> str:
    """Its reads and size in words: "420 days unread, 3.1 GB in 9 objects"."""
    holding = case.holding
    start = max(holding.observed_since or holding.written, holding.written)
    last = max((day for day, count in holding.reads.items() if count and start <= day < case.today), default=None)
    unread = (case.today - (last or start)).days
    if last and unread < OBSERVED_DAYS:
        return f"{rough(case.demand.reads)} reads expected in {_days(case.days)}, {_size(holding)}"
    return f"{_days(unread)} unread, {_size(holding)}"


def _size(holding: Holding) -> str:
    objects = len(holding.sizes)
    return f"{binary_size(holding.bytes)} in {count(objects)} {'object' if objects == 1 else 'objects'}"


def _days(days: int) -> str:
    return "1 day" if days == 1 else f"{days} days"


def _money(amount: Decimal, prices: Prices) -> str:
    """Cents, or up to two digits of less than ten."""
    shown = fine_amount(amount, prices.currency)
    return f"${shown}" if prices.currency == "USD" else f"{shown} {prices.currency}"
