"""`python -m benchmarks.storage_policy [--quick]`: what three years of storage cost when a decision moves partitions.

Monthly partitions are written for three years and read by three patterns. The bill below is written independently of
the decision: it knows the price book, and every write, move and read as they happen. It compares

- ours: :func:`cdap_assets.storage.decision.decide` once a week, from the reads before that day; moves are copies, so
  they pay requests and retrieval;
- by age: S3 lifecycle rules, Standard-IA after 30 days, Glacier Flexible after 90, Deep Archive after 180; lifecycle
  pays no retrieval, and moves no object under 128 KB. Athena would skip the archived objects and answer with
  a wrong number; here they are restored, in the bill's favour;
- never: all stays in Standard.

A read of an archived partition restores it whole at the standard speed; the copy costs its days in Standard, and what
is read while it lasts needs no other. Waiting has no price in the bill, so the restores are told beside it.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from benchmarks.results import Results, table
from cdap_assets.storage.costs import Holding
from cdap_assets.storage.decision import Rules, decide
from cdap_assets.storage.prices import ClassPrices, Prices, read_prices

YEAR = 365
BEGIN, DAYS = date(2023, 1, 1), 3 * YEAR
COPY_DAYS = 7
KB, MB, GB = 1 << 10, 1 << 20, 1 << 30
SIZES: Mapping[str, tuple[int, ...]] = {
    "40 x 256 MB": (256 * MB,) * 40,
    "100 x 16 MB": (16 * MB,) * 100,
    "400 x 1 MB": (1 * MB,) * 400,
    "2,000 x 256 KB": (256 * KB,) * 2000,
    "2,000 x 64 KB": (64 * KB,) * 2000,
}
RULES = Rules(may_archive=True)

Reads = Mapping[date, float]


def hot_tail(written: date, seed: int) -> Reads:
    """Most days at first, ever more seldom in two weeks' half-life; later once in a year or two."""
    return _reads(written, seed, lambda age: 0.8 * 0.5 ** (age / 14) + 0.002)


def yearly_seasonal(written: date, seed: int) -> Reads:
    """Three weeks of use, then on some days of the four weeks around each anniversary."""
    return _reads(written, seed, lambda age: 0.3 if age < 21 or _near_anniversary(age) else 0)


def never_read(_written: date, _seed: int) -> Reads:
    """Written, and that is all."""
    return {}


PATTERNS: Mapping[str, Callable[[date, int], Reads]] = {
    "hot tail": hot_tail,
    "yearly seasonal": yearly_seasonal,
    "never read": never_read,
}


@dataclass
class Bill:
    """What one partition costs while days pass, money in the price book's currency."""

    prices: Prices
    sizes: tuple[int, ...]
    storage_class: str
    since: date
    total: Decimal = Decimal(0)
    restores: int = 0
    copy_until: date = date.min
    _day: dict[str, Decimal] = field(default_factory=dict)

    def store(self) -> None:
        """A day of storage."""
        self.total += self._daily(self.storage_class)

    def read(self, day: date, share: float) -> None:
        """A query that reads a share of the partition; archived, it is restored first unless a copy is there."""
        now = self._class
        if now.in_place:
            self.total += Decimal(share) * (self._gb * now.retrieval_per_gb + self._thousands * now.get_per_1000)
            return
        hot = self.prices.of(self.prices.hot)
        if day > self.copy_until:
            option = now.restore["Standard"]
            self.total += self._gb * option.per_gb + self._thousands * option.per_1000_requests
            self.total += self._gb * hot.per_gb_month / 30 * COPY_DAYS
            self.copy_until = day + timedelta(days=COPY_DAYS - 1)
            self.restores += 1
        self.total += Decimal(share) * self._thousands * hot.get_per_1000

    def copy(self, storage_class: str, day: date) -> None:
        """Move by COPY: a request to read and one to write each object, and retrieval.

        Into the archive each is read twice and its copy once, and the file that the table let go of stays for a while.
        """
        left, archived = self.storage_class, not self.prices.of(storage_class).in_place
        reads = 2 if archived else 1
        self.total += reads * (self._gb * self._class.retrieval_per_gb + self._thousands * self._class.get_per_1000)
        owed = max(0, self._class.minimum_days - (day - self.since).days)
        self.transition(storage_class, day)
        if archived:
            self.total += self._thousands * self.prices.of(self.prices.hot).get_per_1000
            self.total += self._daily(left) * max(0, RULES.time_travel_days - owed)

    def transition(self, storage_class: str, day: date) -> None:
        """Move by lifecycle: one transition per object, and what the class left behind is owed for its minimum."""
        self.total += self._thousands * self.prices.of(storage_class).transition_per_1000
        self.total += self._daily(self.storage_class) * max(0, self._class.minimum_days - (day - self.since).days)
        self.storage_class, self.since = storage_class, day

    @property
    def _class(self) -> ClassPrices:
        return self.prices.of(self.storage_class)

    @property
    def _gb(self) -> Decimal:
        return Decimal(sum(self.sizes)) / GB

    @property
    def _thousands(self) -> Decimal:
        return Decimal(len(self.sizes)) / 1000

    def _daily(self, name: str) -> Decimal:
        if name not in self._day:
            at, hot = self.prices.of(name), self.prices.of(self.prices.hot)
            billed = sum(max(size, at.minimum_object_bytes) + at.overhead_bytes for size in self.sizes)
            index = len(self.sizes) * at.hot_overhead_bytes
            self._day[name] = (billed * at.per_gb_month + index * hot.per_gb_month) / GB / 30
        return self._day[name]


Policy = Callable[[Bill, date, date, Reads], None]


def ours(bill: Bill, written: date, today: date, reads: Reads) -> None:
    """What the decision says, once a week."""
    if (today - BEGIN).days % 7:
        return
    at = bill.prices.of(bill.storage_class)
    seen = {day: share for day, share in reads.items() if day < today}
    here = Holding(
        table="lines",
        partition=(written,),
        sizes=bill.sizes,
        tier=at.tier,
        storage_class=bill.storage_class,
        since=bill.since,
        written=written,
        reads=seen,
        observed_since=BEGIN,
    )
    decision = decide(here, RULES, bill.prices, today)
    if decision.storage_class != bill.storage_class:
        bill.copy(decision.storage_class, today)


def by_age(bill: Bill, written: date, today: date, _reads: Reads) -> None:
    """30, 90, 180 days."""
    to = {30: "STANDARD_IA", 90: "GLACIER", 180: "DEEP_ARCHIVE"}.get((today - written).days)
    if to and min(bill.sizes) >= 128 * KB:
        bill.transition(to, today)


def never(_bill: Bill, _written: date, _today: date, _reads: Reads) -> None:
    """Leave it."""


POLICIES: Mapping[str, Policy] = {"ours": ours, "by age": by_age, "never": never}


@dataclass(frozen=True)
class Outcome:
    """What all partitions of one pattern and object size cost under each policy, and how often one was restored."""

    pattern: str
    sizes: str
    cost: Mapping[str, Decimal]
    restores: Mapping[str, int]

    def ratio(self, other: str) -> Decimal:
        """Ours as a share of another policy's cost."""
        return self.cost["ours"] / self.cost[other]


def simulate(prices: Prices, days: int = DAYS, sizes: Mapping[str, tuple[int, ...]] = SIZES) -> Iterator[Outcome]:
    """Bill every pattern and object size, partition by partition and day by day."""
    for pattern, pattern_reads in PATTERNS.items():
        for name, objects in sizes.items():
            cost, restores = dict.fromkeys(POLICIES, Decimal(0)), dict.fromkeys(POLICIES, 0)
            for seed, written in enumerate(_months(days)):
                reads = pattern_reads(written, seed)
                for policy, act in POLICIES.items():
                    bill = _billed(act, prices, objects, written, BEGIN + timedelta(days=days), reads)
                    cost[policy] += bill.total
                    restores[policy] += bill.restores
            yield Outcome(pattern, name, cost, restores)


def add_outcomes(results: Results, region: str, outcomes: Iterable[Outcome]) -> None:
    """A row for each pattern and object size, and one for each pattern over all sizes."""
    found: list[Outcome] = []
    for outcome in outcomes:
        found.append(outcome)
        _add(results, region, outcome)
    for pattern in PATTERNS:
        of_pattern = [outcome for outcome in found if outcome.pattern == pattern]
        cost = {name: sum((o.cost[name] for o in of_pattern), Decimal(0)) for name in POLICIES}
        restores = {name: sum(o.restores[name] for o in of_pattern) for name in POLICIES}
        _add(results, region, Outcome(pattern, "all", cost, restores))


def _add(results: Results, region: str, outcome: Outcome) -> None:
    results.add(
        "ours",
        f"{outcome.pattern}, {outcome.sizes}, {region}",
        ratio=float(outcome.ratio("by age")),
        against="by age",
        figures={
            **{f"{name} cost": float(round(cost, 2)) for name, cost in outcome.cost.items()},
            "ours / never": float(outcome.ratio("never")),
            **{f"{name} restores": outcome.restores[name] for name in ("ours", "by age")},
        },
    )


def main() -> None:
    """Keep the cost of three years in two regions in benchmarks/results, and print markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storage_policy", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="one year and a half, one region")
    quick = parser.parse_args().quick
    book = read_prices()
    results = Results("storage_policy")
    for region in ("us-east-1",) if quick else ("us-east-1", "eu-central-1"):
        add_outcomes(results, region, simulate(book.region(region), DAYS // 2 if quick else DAYS))
    print(f"{book.currency} by price book {book.version}; the ratio is to by age\n\n{table(results.rows)}")


def _billed(act: Policy, prices: Prices, sizes: tuple[int, ...], written: date, end: date, reads: Reads) -> Bill:
    bill = Bill(prices, sizes, prices.hot, written)
    for day in _span(written, end):
        act(bill, written, day, reads)
        bill.store()
        if day in reads:
            bill.read(day, reads[day])
    return bill


def _reads(written: date, seed: int, chance: Callable[[int], float]) -> Reads:
    rng = random.Random(seed)
    days = ((day, rng.random(), rng.uniform(0.2, 1)) for day in _span(written, BEGIN + timedelta(days=DAYS)))
    return {day: share for day, luck, share in days if luck < chance((day - written).days)}


def _near_anniversary(age: int) -> bool:
    return age > YEAR / 2 and abs((age + YEAR // 2) % YEAR - YEAR // 2) < 14


def _months(days: int) -> list[date]:
    """The last day of each month: when a monthly partition is complete."""
    span = _span(BEGIN, BEGIN + timedelta(days=days))
    return [day for day in span if (day + timedelta(days=1)).day == 1]


def _span(first: date, end: date) -> Iterator[date]:
    return (first + timedelta(days=n) for n in range((end - first).days))


if __name__ == "__main__":
    main()
