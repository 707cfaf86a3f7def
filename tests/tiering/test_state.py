"""Use is measured: what was read through us, per partition and day, and what only looks at storage counts as none."""

from __future__ import annotations

from datetime import timedelta

import ibis
import pyarrow as pa
import pytest

from cdap_assets.storage.costs import Holding
from cdap_assets.tiering.following import tick
from cdap_assets.tiering.moves import restore
from cdap_assets.tiering.restores import wait
from cdap_assets.tiering.state import offer
from cdap_assets.tiering.storage_policy import RestorePolicy, prices_of, read_storage_policy
from cdap_assets.work.scan_cost import scan_costs
from resources.iceberg.placement import partition_text
from resources.lake.reads import fold, history
from tests.tiering.conftest import ARCHIVE, FEBRUARY, JANUARY, MARCH, AgeingShop


def reads(shop: AgeingShop, table: str = "order_lines") -> dict[str, dict[int, int]]:
    """How often each partition of a table was read, by days since the shop began."""
    fold(shop.lakehouse.stores.reads)
    return {
        partition_text(["month"], partition): {(day - shop.began.date()).days: one.count for day, one in days.items()}
        for (name, partition), days in history(shop.lakehouse.stores.reads).items()
        if name == table
    }


def test_each_session_that_reads_a_partition_counts_once_on_its_day(shop: AgeingShop) -> None:
    before = reads(shop)
    shop.pass_days(10)
    shop.month("order_lines", JANUARY)
    shop.month("order_lines", JANUARY, FEBRUARY)
    shop.pass_days(5)
    shop.month("order_lines", JANUARY)
    after = reads(shop)
    assert {day: count for day, count in after["month=2017-01-01"].items() if day} == {10: 2, 15: 1}
    assert {day: count for day, count in after["month=2017-02-01"].items() if day} == {10: 1}
    assert after["month=2017-03-01"] == before["month=2017-03-01"]
    states = shop.states()
    january, march = states["order_lines", "month=2017-01-01"], states["order_lines", "month=2017-03-01"]
    assert january.last_read == shop.at.date()
    assert january.recent_reads - march.recent_reads == pytest.approx(3)
    assert march.last_read == shop.began.date()
    # a table that nobody reads through us is unknown, however long one waits
    shop.pass_days(400)
    unread = shop.states()["customer_days", "month=2017-01-01"]
    assert (unread.last_read, unread.holding.observed_since) == (None, None)
    assert unread.decision is not None
    told = "reads of customer_days were never observed: its use is unknown, so it does not move"
    assert (unread.decision.action, unread.decision.reason) == ("stay", told)


def test_looking_estimating_and_moving_are_no_reads(shop: AgeingShop) -> None:
    shop.pass_days(40)
    before = reads(shop)
    scan_costs(shop.lineage, shop.lakehouse, [], ["order_lines", "orders"], anew=True)
    assert shop.job("review_storage").success
    tick(shop.lakehouse, shop.settings, shop.at, None)
    wait(shop.lakehouse, shop.settings, shop.at)
    shop.move("cool", "order_lines", MARCH, to_class="drawer")
    january = shop.partitions("order_lines", JANUARY)
    shop.archive("order_lines", JANUARY)
    restore(shop.lakehouse, "order_lines", january, shop.at)
    shop.move("return", "order_lines", JANUARY)
    assert reads(shop) == before
    assert reads(shop, "storage_tiers") == {}


def test_a_partition_is_as_old_as_its_rows_wherever_it_was_moved_to_since(shop: AgeingShop) -> None:
    shop.pass_days(100)
    shop.deliver("till", 2, [("late", 1, "ann", "2017-03-30 10:00:00", "7")])
    assert shop.refresh().success
    shop.archive("order_lines", JANUARY)
    shop.move("cool", "order_lines", FEBRUARY, to_class="drawer")
    shop.pass_days(20)
    states = shop.states()
    january, february, march = (states["order_lines", f"month=2017-0{n}-01"] for n in (1, 2, 3))
    assert (january.tier, january.held.rows) == ("archived", 40)
    assert (shop.at - january.since) == timedelta(days=20)
    assert january.decision is not None
    assert january.decision.reason.startswith("archived since ")
    assert (february.tier, february.holding.storage_class) == ("cool", "drawer")
    assert january.holding.written == february.holding.written == shop.began.date()
    assert (march.tier, march.holding.storage_class) == ("hot", "desk")
    # what is archived costs a hundredth of what it did
    assert january.decision.monthly["hot"] / january.storage_month == pytest.approx(100, rel=0.01)
    assert january.values == [{"date": "2017-01-01"}]
    assert january.holding.last_day is not None
    assert f"{january.holding.last_day}" == "2017-01-31"


def test_a_compacted_partition_is_as_old_as_before_and_moves_when_its_time_comes(shop: AgeingShop) -> None:
    spec = shop.lineage.specs["order_lines"]
    more = [{**row, "order_id": f"{row['order_id']} again"} for row in shop.month("order_lines", JANUARY)]
    rows = pa.Table.from_pylist(more, schema=spec.schema().to_pyarrow())
    with shop.lakehouse.in_process() as session:
        session.publish(spec, ibis.memtable(rows, schema=spec.schema()), append=True, inputs={})
    assert shop.move("compact", "order_lines", JANUARY).files == 2
    assert len(shop.month("order_lines", JANUARY)) == 80
    shop.pass_days(200)
    state = shop.states()["order_lines", "month=2017-01-01"]
    assert (len(state.holding.sizes), state.holding.written) == (1, shop.began.date())
    assert state.decision is not None
    assert state.decision.action == "archive"


def test_a_restored_partition_is_kept_until_its_days_are_over_and_says_so(shop: AgeingShop) -> None:
    shop.archive("order_lines", JANUARY)
    restore(shop.lakehouse, "order_lines", [(JANUARY,)], shop.at, days=9)
    state = shop.states()["order_lines", "month=2017-01-01"]
    until = shop.at.date() + timedelta(days=9)
    assert state.tier == "hot"
    assert state.decision is not None
    assert state.decision.reason == f"kept where it can be read: restored until {until}"


def test_what_bringing_back_takes_is_told_by_hours_money_and_the_date_of_the_prices(shop: AgeingShop) -> None:
    prices = prices_of(shop.settings, read_storage_policy(shop.settings.home))
    day = shop.at.date()
    holding = Holding("order_lines", (JANUARY,), (1 << 30,), "hot", "desk", day, day, {}, None)
    told = offer(holding, ARCHIVE, prices, RestorePolicy())
    assert told.startswith("up to 3 hours by Standard, ")
    assert " EUR " in told
    assert told.endswith("of 2024-01-01")
    # a speed that the class does not have falls back to the one that every class has
    assert offer(holding, ARCHIVE, prices, RestorePolicy(speed="Bulk")) == told
