"""Three years of anything that can happen to a table: whatever the order, no row is lost, doubled or silently missed.

What the lake holds is compared with a model, a list of rows by partition. A read gives the rows of the model or is
refused because one of its partitions is archived. A process that dies is an exception at a step of a move.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cdap_assets.storage.decision import Action, Rules
from cdap_assets.storage.prices import ClassPrices, Prices, RestoreOption
from cdap_assets.tiering.state import State, states
from resources.iceberg.catalog import MAINTENANCE
from resources.iceberg.errors import LakehouseError, NotMoved, PartitionsArchived
from resources.iceberg.placement import Placement, placed_now
from resources.iceberg.table import Column, TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.reads import fold
from resources.lake.session import Session
from resources.lake.sweep import sweep
from resources.lake.table_snapshots import expire, keep, release, tags_of
from resources.settings import Settings
from resources.tiers.checking import archive_faults, unreadable_files
from resources.tiers.inventory import holdings
from resources.tiers.journal import Journal, Kind, Move
from resources.tiers.manifest import files_of, read_manifest
from resources.tiers.moving import begun, carry_out, due_day, finish_pending
from tests.examples import examples
from tests.resources.tiers.crashing import STEPS

ORDERS = TableSpec(
    "orders",
    (Column("number", "int64", nullable=False), Column("month", "date"), Column("note", "string")),
    key=("number",),
    partition_by=("month",),
    sought_by="number",
)
# retention counts from the end of a month, and moves by the clock of the snapshots
NEWEST = datetime.now(UTC).date().replace(day=1)
MONTHS = (*((NEWEST - timedelta(days=days)).replace(day=1) for days in (70, 35, 0)), None)
KINDS: tuple[Kind, ...] = ("archive", "restore", "return", "cool", "warm", "compact", "expire")
ACTIONS: dict[Action, Kind] = {"cool": "cool", "archive": "archive", "warm": "warm", "expire": "expire"}
CLASSES: dict[Kind, str] = {"cool": "dense", "archive": "shelf"}
LIFE = timedelta(days=3 * 365)


def prices(*, overhead: int = 0) -> Prices:
    """A book in which a file of a kilobyte is worth a move."""
    book = {
        "disk": ClassPrices(tier="hot", in_place=True, per_gb_month=23_000, transition_per_1000=0),
        "dense": ClassPrices(
            tier="cool", in_place=True, per_gb_month=21_000, transition_per_1000=0, overhead_bytes=overhead
        ),
        "shelf": ClassPrices(
            tier="archived",
            in_place=False,
            per_gb_month=1_000,
            transition_per_1000=0,
            overhead_bytes=overhead,
            restore={"Standard": RestoreOption(per_gb=5_000, per_1000_requests=0, hours=0)},
        ),
    }
    return Prices("test", "EUR", "here", date(2024, 1, 1), "made up", book)


class Died(BaseException):
    """The process ends here."""


@contextmanager
def dying(step: int | None) -> Iterator[None]:
    """Raise :class:`Died` before or after the nth thing that a move does, ``None``: never."""
    left = step or 0

    def reached() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Died

    def mortal(work: Callable[..., Any]) -> Callable[..., Any]:
        def worked(*args: Any, **how: Any) -> Any:
            reached()
            result = work(*args, **how)
            reached()
            return result

        return worked

    with ExitStack() as patched:
        for place, name in STEPS:
            patched.enter_context(patch.object(place, name, mortal(getattr(place, name))))
        yield


def later() -> datetime:
    """An instant before which all lies that was written so far."""
    return datetime.now(UTC) + timedelta(days=1)


months = st.sampled_from(MONTHS)
some_months = st.sets(months, min_size=1, max_size=3).map(lambda found: sorted(found, key=str))
# most of what can go wrong needs an archive first
kinds = st.sampled_from((*KINDS, "archive", "archive", "restore"))
steps = st.none() | st.integers(1, 24)


class Lake(RuleBasedStateMachine):
    """The lake, the model, and a clock of its own that starts now, where the instants of snapshots do."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.began = self.at = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        self.lake = Lakehouse(Settings(home=self.home / "home", threads=1, memory_limit="500MB"), lambda: self.at)
        self.rows: dict[date | None, list[int]] = {}
        self.next = 0
        self.begun: dict[str, Move] = {}  # expiries that died before their commit
        self.pinned: list[tuple[Session, dict[date | None, list[int]], bool]] = []
        self.tagged: list[int] | None = None

    def teardown(self) -> None:
        try:
            for session, _rows, _forgotten in self.pinned:
                session.__exit__(None, None, None)
            if self.rows:
                self.all_comes_back()
        finally:
            shutil.rmtree(self.home)

    # what is written

    @initialize(data=st.lists(some_months, min_size=1, max_size=3))
    def start(self, data: list[list[date | None]]) -> None:
        for found in [list(MONTHS), *data]:
            self.append(found, 2)
        self.read(None)  # before anybody was seen to read, nothing is decided

    @rule(found=some_months, count=st.integers(1, 3))
    def append(self, found: list[date | None], count: int) -> None:
        new = self._new(found, count)
        self._publish(new, append=True)
        for month, numbers in new.items():
            self.rows.setdefault(month, []).extend(numbers)

    @rule(found=some_months, count=st.integers(0, 3))
    def replace_partitions(self, found: list[date | None], count: int) -> None:
        new = self._new(found, count)
        self._publish(new, replace={"month": found})
        self.rows.update(new)

    @rule(found=some_months)
    def replace_all(self, found: list[date | None]) -> None:
        self.rows = self._new(found, 3)
        self._publish(self.rows)

    def _new(self, found: list[date | None], count: int) -> dict[date | None, list[int]]:
        new = {}
        for month in found:
            new[month] = list(range(self.next, self.next + count))
            self.next += count
        return new

    def _publish(self, rows: dict[date | None, list[int]], **how: Any) -> None:
        told = [
            {"number": number, "month": month, "note": f"order {number} " * 5}
            for month, numbers in rows.items()
            for number in numbers
        ]
        with self.lake.session() as session:
            table = pa.Table.from_pylist(told, schema=ORDERS.schema().to_pyarrow())
            session.publish(ORDERS, ibis.memtable(table), **how)

    # what time brings

    @rule(days=st.sampled_from([1, 20, 95, 200]), may_archive=st.booleans(), overhead=st.sampled_from([0, 0, 25_000]))
    def tick(self, days: int, may_archive: bool, overhead: int) -> None:
        """Time passes, and what is decided then is done, as the sensor and its jobs do."""
        self.at = min(self.at + timedelta(days=days), self.began + LIFE)
        fold(self.lake.stores.reads)
        rules = {"orders": Rules(may_archive=may_archive, margin=Decimal(0), retention_days=900)}
        batches: dict[Kind, list[date | None]] = {}
        for state in states(self.lake, rules, prices(overhead=overhead), self.at):
            if (kind := decided(state, self.at.date())) is not None:
                batches.setdefault(kind, []).append(state.held.partition[0])
        for kind, found in batches.items():
            self._move(kind, found)

    @rule(kind=kinds, found=some_months, step=steps)
    def move(self, kind: Kind, found: list[date | None], step: int | None) -> None:
        with suppress(Died), dying(step):
            self._move(kind, found)

    def _move(self, kind: Kind, found: list[date | None]) -> None:
        due = due_day(self.at, 7) if kind == "restore" else None
        move = begun(
            kind,
            "orders",
            [(month,) for month in found],
            self.at,
            storage_class=CLASSES.get(kind, ""),
            due=due,
            sought_by="number" if kind == "archive" else "",
        )
        if kind == "expire":
            self.begun[move.id] = move
        try:
            carry_out(self.lake, move)
        except NotMoved:
            self.begun.pop(move.id, None)
        finally:
            self._note_expiries()

    @rule(step=steps)
    def finish(self, step: int | None) -> None:
        with suppress(Died), dying(step):
            list(finish_pending(self.lake))
            assert list(Journal(self.lake.stores.archive).pending()) == []
        self._note_expiries()
        if not list(Journal(self.lake.stores.archive).pending()):
            self.begun.clear()

    def _note_expiries(self) -> None:
        """Rows leave the model with the commit of an expiry, whatever became of its process."""
        made = {
            snapshot.summary.additional_properties.get("cdap.move")
            for snapshot in self._table().snapshots()
            if snapshot.summary
        }
        for move in [move for name, move in self.begun.items() if name in made]:
            del self.begun[move.id]
            for (month,) in move.partitions:
                self.rows[month] = []

    # what is cleared away

    @rule(forget=st.booleans())
    def clear(self, forget: bool) -> None:
        if forget:
            expire(self.lake, before=later())
            self.pinned = [(session, rows, True) for session, rows, _forgotten in self.pinned]
        sweep(self.lake, older_than=later())
        assert list(unreadable_files(self.lake)) == []
        assert list(archive_faults(self.lake, 5, "seed")) == []
        referenced = {
            file.key
            for one in self._placed().values()
            if one.tier in ("archived", "restored")
            for file in files_of(read_manifest(self.lake.stores.archive, "orders", one.move), one.partition)
        }
        pending = {move.id for move in Journal(self.lake.stores.archive).pending()}
        left = {found.key for found in self.lake.stores.archive.list("data/") if found.key.split("/")[2] not in pending}
        assert left <= referenced
        assert referenced <= {found.key for found in self.lake.stores.archive.list("data/")}

    # what is read

    @rule(found=st.none() | some_months)
    def read(self, found: list[date | None] | None) -> None:
        wanted = MONTHS if found is None else found
        archived = {one.partition[0] for one in self._placed().values() if one.tier == "archived"}
        with self.lake.session() as session:
            try:
                expression = session.read(ORDERS, None if found is None else {"month": found})
            except PartitionsArchived:
                assert archived & set(wanted)
                return
            assert not archived & set(wanted)
            assert read_rows(expression) == sorted(n for month in wanted for n in self.rows.get(month, []))

    @rule(pin=st.booleans())
    def read_pinned(self, pin: bool) -> None:
        """A run begins, or one that began some time ago reads on."""
        if pin and not any(one.tier == "archived" for one in self._placed().values()):
            session = self.lake.session()
            session.snapshot_id("orders")
            self.pinned.append((session, {month: list(numbers) for month, numbers in self.rows.items()}, False))
        elif self.pinned:
            self._read_on()

    def _read_on(self) -> None:
        session, rows, forgotten = self.pinned.pop(0)
        with session:
            gone = self._table().snapshot_by_id(session.snapshot_id("orders")) is None
            assert forgotten or not gone
            with pytest.raises(LakehouseError, match="no longer kept") if gone else nullcontext():
                found = read_rows(session.read(ORDERS))
                assert found == sorted(number for numbers in rows.values() for number in numbers)

    @rule(tag=st.booleans())
    def read_tagged(self, tag: bool) -> None:
        """A model is made from what is there now and its snapshot is kept, or an earlier one is made again."""
        if tag and not any(one.tier == "archived" for one in self._placed().values()):
            release(self.lake, "model")
            snapshot = self.lake.state("orders").snapshot_id
            assert snapshot is not None
            keep(self.lake, "orders", snapshot, "model")
            self.tagged = [number for numbers in self.rows.values() for number in numbers]
        elif self.tagged is not None:
            snapshot = tags_of(self.lake, "orders")["model"]
            with self.lake.session() as session, patch.object(session.run, "get", lambda _name: snapshot):
                assert read_rows(session.read(ORDERS)) == sorted(self.tagged)

    @rule()
    def all_comes_back(self) -> None:
        """Once all moves are finished and all that is archived is restored, the rows of the model are there."""
        self.clear(forget=False)
        self.finish(None)
        self._restore_all()
        assert not any(one.tier == "archived" for one in self._placed().values())
        self.read(None)

    def _restore_all(self) -> None:
        archived = [one.partition[0] for one in self._placed().values() if one.tier == "archived"]
        if archived:
            self._move("restore", archived)

    # what always holds

    @invariant()
    def all_is_read_or_refused_and_counted_right(self) -> None:
        if self.rows:
            self.read(None)
            counted = {one.partition[0]: one.rows for one in holdings(self.lake, "orders") if not is_gone(one.placed)}
            assert {month: n for month, n in counted.items() if n} == {
                month: len(numbers) for month, numbers in self.rows.items() if numbers and month in counted
            }

    def _table(self) -> Any:
        table = self.lake.load("orders")
        assert table is not None
        return table

    def _placed(self) -> dict[Any, Placement]:
        return placed_now(self._table())


def decided(state: State, today: date) -> Kind | None:
    """What is to be done with a partition, if anything."""
    placed, decision = state.held.placed, state.decision
    if placed and placed.tier == "restored" and placed.due and placed.due <= today:
        return "return"
    if decision is None:
        return None
    return "compact" if decision.compact else ACTIONS.get(decision.action)


def is_gone(placed: Placement | None) -> bool:
    return placed is not None and placed.tier == "expired"


def read_rows(expression: ibis.Table) -> list[int]:
    return sorted(expression.number.to_pyarrow().to_pylist())


TestLake = Lake.TestCase
TestLake.settings = examples(
    6,
    stateful_step_count=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def test_the_years_bring_moves_of_every_tier() -> None:
    """The made-up prices do move things: otherwise the ticks above would prove nothing."""
    lake = Lake()
    try:
        lake.start([[*MONTHS]])
        seen: set[str] = set()
        turn = 0
        while lake.at < lake.began + LIFE:
            lake.tick(40, may_archive=not 4 < turn < 8, overhead=0 if turn > 4 else 25_000)
            seen |= {one.tier for one in lake._placed().values()}
            lake.read([MONTHS[turn % 2]])
            if turn == 12:
                lake.move("restore", [None], None)
                seen |= {one.tier for one in lake._placed().values()}
            turn += 1
        assert seen == {"cool", "archived", "restored", "expired"}
        assert {"compact", "cool", "archive", "restore", "return", "expire"} <= {
            one.summary[MAINTENANCE]
            for one in lake._table().snapshots()
            if one.summary and one.summary.get(MAINTENANCE)
        }
    finally:
        lake.teardown()
