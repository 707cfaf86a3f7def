"""Moves as Dagster runs them: decided, followed, refused when they may not be, and without a table growing stale."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import dagster as dg
import pytest

from cdap_assets.tiering.batches import run_config
from cdap_assets.tiering.following import follow
from cdap_assets.tiering.look import tier_rows
from cdap_assets.tiering.moves import Batch, Refused, chosen, restore
from cdap_assets.tiering.restores import wait
from cdap_assets.tiering.sweeping import sweep_lake
from cdap_assets.work import stages
from resources.clock import Calendar
from resources.iceberg.errors import NotMoved, PartitionsArchived
from resources.tiers.journal import Journal
from resources.tiers.moving import begun, give_up
from tests.curated.till import rebuilt
from tests.tiering.conftest import (
    APPLIED,
    ARCHIVE,
    FEBRUARY,
    JANUARY,
    MARCH,
    MONTHS,
    AgeingShop,
    as_json,
    failure,
    line,
    three_months,
)


def tiering(shop: AgeingShop, table: str, *months: date, action: str = "archive", to_class: str = ARCHIVE) -> Any:
    """A run of the tiering job with one batch."""
    batch = Batch(table, tuple(shop.partitions(table, *months)), action, to_class, "a test asks")
    return shop.job("tier_partitions", run_config(batch))


def restoring(shop: AgeingShop, table: str, *months: date, **how: Any) -> dg.ExecuteInProcessResult:
    """A run of the restoring job with months of a table of one partition a month."""
    batch = {"table": table, "partitions": as_json([(month,) for month in months]), **how}
    return shop.job("restore_partitions", {"ops": {"move_back": {"config": batch}}})


def figures(result: dg.ExecuteInProcessResult, op: str) -> dict[str, Any]:
    """What a run says that it moved."""
    assert result.success
    [output] = [one for one in result.all_node_events if one.is_successful_output and one.step_key == op]
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def test_a_year_in_which_less_is_read_archives_what_is_not_and_brings_a_month_back(shop: AgeingShop) -> None:
    shop.policy(**APPLIED, tables={name: {"archive": False} for name in ("raw_till", "orders")})
    before = shop.month("order_lines", *MONTHS)
    for _month in range(5):
        shop.pass_days(28)
        shop.month("order_lines", MARCH)
    for stage in follow(shop.lakehouse, shop.settings, shop.clock):
        assert shop.job(stage.job, stage.config).success, stage.why
    tiers = {name: state.tier for name, state in shop.states().items()}
    archived = {name for name, tier in tiers.items() if tier == "archived"}
    # March somebody reads, and the other tables must stay
    assert archived == {("order_lines", "month=2017-01-01"), ("order_lines", "month=2017-02-01")}

    with pytest.raises(PartitionsArchived) as refused:
        shop.month("order_lines", *MONTHS)
    told = str(refused.value)
    assert told.startswith("table order_lines: month=2017-01-01, month=2017-02-01 are archived (80 rows)")
    assert "cdap storage restore order_lines --partition month=2017-01-01 --partition month=2017-02-01`" in told
    assert "(up to 3 hours by Standard, " in told

    # a new order of the month that is there: nothing of the archived ones is touched
    files = sorted(found.key for found in shop.lakehouse.stores.archive.list("data/"))
    shop.deliver("till", 2, [line("new", "03-09", "9")])
    assert shop.refresh().success
    assert len(shop.month("order_lines", MARCH)) == 41
    assert sorted(found.key for found in shop.lakehouse.stores.archive.list("data/")) == files

    result = restoring(shop, "order_lines", JANUARY, FEBRUARY, days=5)
    assert figures(result, "move_back")["rows"] == 80
    assert shop.month("order_lines", JANUARY, FEBRUARY) == [row for row in before if row["month"] != MARCH]
    assert len(shop.month("order_lines", *MONTHS)) == 121

    # until the day, and not longer
    shop.pass_days(4)
    assert isinstance(wait(shop.lakehouse, shop.settings, shop.at), dg.SkipReason)
    shop.pass_days(1)
    due = wait(shop.lakehouse, shop.settings, shop.at)
    assert isinstance(due, dg.SensorResult)
    [request] = due.run_requests or []
    assert shop.job("tier_partitions", request.run_config).success
    with pytest.raises(PartitionsArchived, match=r"are archived \(80 rows\)"):
        shop.month("order_lines", JANUARY, FEBRUARY)
    assert sorted(found.key for found in shop.lakehouse.stores.archive.list("data/")) == files
    # and again, as it was
    assert restoring(shop, "order_lines", JANUARY).success
    assert shop.month("order_lines", JANUARY) == [row for row in before if row["month"] == JANUARY]


def test_a_run_says_what_it_moved_and_the_table_keeps_who_asked(shop: AgeingShop) -> None:
    told = figures(tiering(shop, "order_lines", JANUARY, FEBRUARY), "move_tiers")
    assert {name: told[name] for name in ("table", "partitions", "files", "rows", "waiting")} == {
        "table": "order_lines",
        "partitions": 2,
        "files": 2,
        "rows": 80,
        "waiting": False,
    }
    assert told["bytes_before"] == told["bytes_after"] > 0
    cooled = figures(tiering(shop, "order_lines", MARCH, action="cool", to_class="drawer"), "move_tiers")
    assert cooled["bytes_after"] < cooled["bytes_before"]
    table = shop.lakehouse.load("order_lines")
    assert table is not None
    assert "a test asks" in json.dumps([s.summary.additional_properties for s in table.snapshots() if s.summary])


def test_what_a_killed_run_left_is_finished_by_the_next_one_and_then_its_own_batch(shop: AgeingShop) -> None:
    left = begun("archive", "order_lines", [(JANUARY,)], shop.at, storage_class=ARCHIVE)
    Journal(shop.lakehouse.stores.archive).begin(left)
    assert tiering(shop, "order_lines", FEBRUARY).success
    states = shop.states()
    assert {states["order_lines", f"month={month}"].tier for month in (JANUARY, FEBRUARY)} == {"archived"}
    assert list(Journal(shop.lakehouse.stores.archive).pending()) == []
    assert shop.job("tier_partitions").success  # nothing left, nothing asked


@pytest.mark.parametrize(
    ("change", "batch", "told"),
    [
        ({"apply": False}, {}, "storage.yaml is a dry run: set `apply: true` in it to have partitions moved"),
        ({"tables": {"order_lines": {"archive": False}}}, {}, "order_lines may not be archived: "),
        ({}, {"table": "customer_days"}, "customer_days may not be archived: something reads all of it"),
        ({}, {"table": "nonsense"}, "'archive' of 'nonsense' is not a move; use one of cool, archive, "),
        ({}, {"action": "melt"}, "'melt' of 'order_lines' is not a move"),
        (
            {},
            {"storage_class": "cellar"},
            "the price book test has no class 'cellar' in dear, only desk, ",
        ),
        ({}, {"partitions": ['[{"date": "2031-01-01"}]']}, "month=2031-01-01 is not in the table"),
        ({}, {"partitions": ["2017-01-01"]}, "partitions of order_lines: "),
        ({}, {"action": "expire"}, "'order_lines' has no retention that would delete rows, or is under legal hold"),
        (
            {"tables": {"order_lines": {"retention_days": 9000}}},
            {"action": "expire"},
            "order_lines: month=2017-01-01 is kept for 9000 days, which are not over",
        ),
        (
            {},
            {"action": "cool", "storage_class": ARCHIVE},
            f"cool puts nothing into {ARCHIVE}, only into ",
        ),
        (
            {"tables": {"order_lines": {"retention_days": 10, "legal_hold": True}}},
            {"action": "expire"},
            "'order_lines' has no retention that would delete rows, or is under legal hold",
        ),
    ],
)
def test_a_batch_that_may_not_move_fails_with_the_reason_and_moves_nothing(
    seen: AgeingShop, change: dict[str, Any], batch: dict[str, Any], told: str
) -> None:
    seen.policy(**{**APPLIED, **change})
    config = run_config(Batch("order_lines", ((JANUARY,),), "archive", ARCHIVE))
    config["ops"]["move_tiers"]["config"].update(batch)
    try:
        result = seen.job("tier_partitions", config)
    finally:
        seen.policy(**APPLIED)
    assert failure(result).startswith(told) or told in failure(result)
    assert "Traceback" not in failure(result)
    assert list(Journal(seen.lakehouse.stores.archive).pending()) == []
    assert len(seen.month("order_lines", JANUARY)) == 40


def test_a_lost_archive_fails_its_restore_time_after_time_and_holds_up_no_other_move(shop: AgeingShop) -> None:
    shop.policy(**APPLIED)
    shop.archive("order_lines", JANUARY)
    archive = shop.lakehouse.stores.archive
    archive.delete([found.key for found in archive.list("data/")])
    assert "is not there: put it back" in failure(restoring(shop, "order_lines", JANUARY))
    [lost] = Journal(archive).pending()
    told = failure(tiering(shop, "order_lines", FEBRUARY))
    assert told.startswith("a move of an earlier run cannot be finished: ")
    assert "is not there: put it back" in told
    assert shop.states()["order_lines", "month=2017-02-01"].tier == "archived"
    assert [one.id for one in Journal(archive).pending()] == [lost.id]
    with pytest.raises(NotMoved, match="no move nonsense waits to be finished; there are "):
        give_up(shop.lakehouse, "nonsense")
    assert give_up(shop.lakehouse, lost.id) == lost
    assert figures(restoring(shop, "order_lines", FEBRUARY), "move_back")["rows"] == 40
    with pytest.raises(PartitionsArchived):
        shop.month("order_lines", JANUARY)


def test_restores_that_cannot_be_say_why(seen: AgeingShop) -> None:
    assert "month=2017-01-01 is not archived" in failure(restoring(seen, "order_lines", JANUARY))
    assert failure(restoring(seen, "nonsense", JANUARY)) == "there is no table nonsense"
    told = failure(restoring(seen, "order_lines", JANUARY, speed="Fast"))
    assert told == "there is no speed 'Fast'; a restore is Expedited, Standard, Bulk"
    with pytest.raises(Refused, match="there is no table nonsense; there are customer_days, "):
        chosen(seen.lakehouse, "nonsense", ["month=2017-01-01"])
    with pytest.raises(Refused, match="has no partition month=2017-13-01; those that are not hot: none"):
        chosen(seen.lakehouse, "order_lines", ["month=2017-13-01"])
    assert chosen(seen.lakehouse, "order_lines", ["month=2017-01-01"]) == [(JANUARY,)]


def test_what_its_retention_ends_is_deleted_archived_or_not_and_stays_on_record(shop: AgeingShop) -> None:
    shop.policy(**APPLIED, tables={"orders": {"retention_days": 300}})
    shop.archive("orders", JANUARY)
    shop.pass_days(301)
    config = {"table": "orders", "partitions": as_json([(JANUARY,), (FEBRUARY,)])}
    result = shop.job("expire_partitions", {"ops": {"delete_expired": {"config": config}}})
    assert figures(result, "delete_expired")["rows"] == 80
    assert len(shop.month("orders", *MONTHS)) == 40  # without an error: nothing can bring them back
    rows = {row["partition"]: row for row in tier_rows(shop.look()) if row["table_name"] == "orders"}
    january = rows["month=2017-01-01"]
    assert (january["tier"], january["decision"], january["storage_month"]) == ("expired", "stay", 0)
    assert (january["kind"], january["reason"]) == ("deleted", "deleted when its retention ended")
    assert rows["month=2017-03-01"]["decision"] == "expire"
    with pytest.raises(NotMoved, match="is not archived"):
        restore(shop.lakehouse, "orders", [(JANUARY,)], shop.at)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> AgeingShop:
    """A shop with all tables of the lake, and features and labels of some snapshots."""
    shop = AgeingShop(tmp_path_factory.mktemp("built") / "home")
    shop.deliver("till", 1, three_months())
    assert shop.job("refresh_lake").success
    stage = stages.snapshot_stage(shop.installation, UNTIL)
    assert stage is not None
    first, last = min(stage.partitions), max(stage.partitions)
    span = {"dagster/asset_partition_range_start": f"{first}", "dagster/asset_partition_range_end": f"{last}"}
    assert shop.job(stage.job, tags=span).success
    shop.pass_days(200)
    return shop


UNTIL = date(2017, 3, 5)


def stale(shop: AgeingShop) -> list[str]:
    """What `cdap run` would find to do."""
    found = [
        stages.lake_stage(shop.installation),
        stages.snapshot_stage(shop.installation, UNTIL),
    ]
    return [f"{stage.job}: {stage.why}" for stage in found if stage is not None]


def swept(shop: AgeingShop) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        resources = {"lakehouse": shop.lakehouse, "installation": Calendar(shop.clock)}
        assert dg.materialize([sweep_lake], resources=resources, instance=instance).success


def restored_for_good(shop: AgeingShop) -> None:
    restore(shop.lakehouse, "order_lines", [(JANUARY,)], shop.at)


STEPS: list[tuple[str, list[Callable[[AgeingShop], object]]]] = [
    (
        "archived",
        [lambda shop: shop.archive("order_lines", JANUARY), lambda shop: shop.archive("raw_till", JANUARY)],
    ),
    ("restored", [restored_for_good]),
    (
        "returned, cooled and compacted",
        [
            lambda shop: shop.move("return", "order_lines", JANUARY),
            lambda shop: shop.move("cool", "order_lines", FEBRUARY, to_class="drawer"),
            lambda shop: shop.move("warm", "order_lines", FEBRUARY, to_class="desk"),
            lambda shop: shop.move("cool", "customer_days", FEBRUARY, to_class="drawer"),
            lambda shop: shop.move("compact", "order_lines", MARCH),
        ],
    ),
    ("swept, and archived again", [swept, lambda shop: shop.archive("order_lines", FEBRUARY)]),
]


def test_no_tier_change_compaction_or_expiry_gives_the_next_run_anything_to_do(built: AgeingShop) -> None:
    built.policy(**APPLIED, time_travel_days=1)
    assert stale(built) == []
    for what, moves in STEPS:
        for move in moves:
            move(built)
        assert stale(built) == [], what
    # and what comes next is still known by its months
    built.deliver("till", 2, [line("new", "03-09", "9")])
    assert stale(built) == ["refresh_lake: 1 new file in till"]
    assert rebuilt(built.refresh("order_lines"), "order_lines") == "1 months that changed in raw_till"
