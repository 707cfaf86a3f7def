"""The sensors at named instants: what they start, once, and what they say when they start nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from cdap_assets.definitions import build_definitions
from cdap_assets.storage.tables import STORAGE_TIERS
from cdap_assets.tiering.assets import published
from cdap_assets.tiering.sensors import MOST, storage_sensors, tick, wait
from cdap_assets.tiering.storage_policy import FILE
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from resources.stores.lock import exclusive
from resources.tiers.journal import Journal
from resources.tiers.moving import begun, carry_out, finish_pending
from tests.resources.visits import FIRST, SECOND, THIRD, VISITS, put, visits

LOOKED = datetime(2024, 6, 1, 4)
AT = LOOKED + timedelta(hours=1)
KEPT = json.dumps({"as_of": "2024-05-31T04:00:00", "budget": "5", "followed": 3})


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """A home whose storage.yaml is applied."""
    settings = Settings(home=tmp_path, first_snapshot=date(2024, 1, 7), threads=1, memory_limit="500MB")
    policy(settings, apply=True)
    return settings


@pytest.fixture
def lake(home: Settings) -> Lakehouse:
    return Lakehouse(home, lambda: AT)


def policy(settings: Settings, **told: Any) -> None:
    (settings.home / FILE).write_text(yaml.safe_dump(told), encoding="utf-8")


def decided(month: int, decision: str = "archive", saving: str = "0.5", table: str = "order_lines", **more: Any) -> Any:
    """A row of storage_tiers: a month of a table with the decision on it."""
    year, number = divmod(month, 12)
    first = date(2010 + year, number + 1, 1)
    move = "0.01" if decision != "stay" else "0"
    return {
        "as_of": LOOKED,
        "table_name": table,
        "partition": f"month={first}",
        "partition_values": json.dumps([{"date": first.isoformat()}]),
        "tier": "hot",
        "storage_class": "disk",
        "since": LOOKED,
        "objects": 1,
        "bytes": 100,
        "written_at": LOOKED,
        "storage_month": Decimal(1),
        "decision": decision,
        "to_tier": "archived" if decision == "archive" else "hot",
        "to_class": "archive_directory" if decision == "archive" else "",
        "move_cost": Decimal(move),
        "saving": Decimal(saving if decision != "stay" else "0"),
        "reason": "90 days unread, 1 KB in 1 object: saves 0.5 USD a month after 0.01 USD to move",
        "currency": "USD",
        "seen": 7,
        **more,
    }


def look(lake: Lakehouse, *rows: Any) -> None:
    """Publish a look at storage."""
    with lake.in_process() as session:
        published(session, STORAGE_TIERS, rows)


def batches(lake: Lakehouse, home: Settings) -> list[tuple[str, dict[str, Any]]]:
    """Run key and batch of each run that ticks ask for, one after another, until they ask for none."""
    found: list[tuple[str, dict[str, Any]]] = []
    cursor: str | None = None
    while isinstance(step := tick(lake, home, AT, cursor), dg.SensorResult):
        [request] = step.run_requests or []
        assert request.run_key is not None
        found.append((request.run_key, dict(request.run_config)["ops"]["move_tiers"]["config"]))
        cursor = step.cursor
        assert len(cursor or "") < 4096
    return found


def skipped(result: dg.SensorResult | dg.SkipReason) -> str:
    assert isinstance(result, dg.SkipReason), result
    return str(result.skip_message)


def months(batch: dict[str, Any]) -> list[str]:
    return [json.loads(values)[0]["date"][:7] for values in batch["partitions"]]


def test_nothing_moves_before_the_first_look_or_by_an_old_one(lake: Lakehouse, home: Settings) -> None:
    never = skipped(tick(lake, home, AT, None))
    assert never.startswith("the last look at storage was never taken: nothing moves by old decisions; ")
    look(lake, decided(1))
    assert isinstance(tick(lake, home, LOOKED + timedelta(days=2), None), dg.SensorResult)
    old = skipped(tick(lake, home, LOOKED + timedelta(days=2, seconds=1), None))
    assert old.startswith("the last look at storage is of 2024-06-01 04:00: nothing moves by old decisions")


def test_a_dry_run_says_how_many_would_move_what_they_save_and_what_that_costs(lake: Lakehouse, home: Settings) -> None:
    look(lake, decided(1), decided(2, saving="0.25"), decided(3, "compact"), decided(4, "stay"))
    (home.home / FILE).unlink()
    told = "dry run: 2 partitions would move, 0.7500 USD a month saved for 0.0200 once; set `apply: true` in"
    assert skipped(tick(lake, home, AT, None)).startswith(told)
    too_little = "{} days unread, 1 KB in {} objects: no move saves more than $0.001 a month"
    young = "written 3 days ago, stays for 90"
    look(lake, *(decided(n, "stay", reason=too_little.format(n, n)) for n in (1, 2)), decided(5, "stay", reason=young))
    told = skipped(tick(lake, home, AT, None))
    assert told == "nothing would move: 3 partitions (2 no move saves more than $0.001 a month; 1 stays for 90)"


def test_one_batch_at_a_time_what_is_deleted_first_and_then_the_largest_savings(
    lake: Lakehouse, home: Settings
) -> None:
    look(
        lake,
        decided(1, saving="0.1"),
        decided(2, saving="0.3"),
        decided(3, "compact"),
        decided(4, "expire", table="orders"),
        decided(5, "stay"),
        decided(6, saving="0.2", table="orders"),
    )
    found = batches(lake, home)
    assert [(batch["action"], batch["table"], months(batch)) for _key, batch in found] == [
        ("expire", "orders", ["2010-05"]),
        ("compact", "order_lines", ["2010-04"]),
        ("archive", "order_lines", ["2010-03", "2010-02"]),
        ("archive", "orders", ["2010-07"]),
    ]
    assert {batch["storage_class"] for _key, batch in found[2:]} == {"archive_directory"}
    assert "90 days unread" in found[2][1]["reason"]
    assert len({key for key, _batch in found}) == 4


def test_the_same_decisions_ask_under_the_same_key_and_new_ones_under_another(lake: Lakehouse, home: Settings) -> None:
    rows = [decided(1), decided(2, table="orders")]
    look(lake, *rows)
    first = [key for key, _batch in batches(lake, home)]
    look(lake, *reversed(rows))
    assert [key for key, _batch in batches(lake, home)] == first
    look(lake, *({**row, "as_of": LOOKED + timedelta(minutes=1)} for row in rows))
    assert not {key for key, _batch in batches(lake, home)} & {*first}


def test_after_all_batches_it_says_that_they_were_started(lake: Lakehouse, home: Settings) -> None:
    look(lake, decided(1))
    step = tick(lake, home, AT, None)
    assert isinstance(step, dg.SensorResult)
    told = skipped(tick(lake, home, AT, step.cursor))
    assert told == "all 1 batches decided on 2024-06-01 04:00 were started"
    # a cursor of an earlier look counts for nothing
    look(lake, decided(1, as_of=LOOKED + timedelta(minutes=5)))
    assert isinstance(tick(lake, home, AT, step.cursor), dg.SensorResult)
    look(lake, decided(1, "stay", reason="has no objects"))
    assert skipped(tick(lake, home, AT, None)) == "nothing moves: 1 partitions (1 has no objects)"


def test_a_run_moves_so_many_partitions_and_the_rest_follows(lake: Lakehouse, home: Settings) -> None:
    look(lake, *(decided(month) for month in range(2 * MOST + 20)))
    found = batches(lake, home)
    assert [len(batch["partitions"]) for _key, batch in found] == [MOST, MOST, 20]
    assert len({text for _key, batch in found for text in batch["partitions"]}) == 2 * MOST + 20


def test_a_run_costs_at_most_the_budget_and_what_is_dearer_by_itself_keeps_no_other(
    lake: Lakehouse, home: Settings
) -> None:
    policy(home, apply=True, budget=1)
    costs = {1: "9", 2: "0.6", 3: "0.6", 4: "0.3"}
    look(lake, *(decided(m, saving=str(5 - m), move_cost=Decimal(cost)) for m, cost in costs.items()))
    assert [months(batch) for _key, batch in batches(lake, home)] == [["2010-03"], ["2010-04", "2010-05"]]


def test_what_a_run_left_is_finished_by_the_next_batch_or_by_a_run_of_its_own(lake: Lakehouse, home: Settings) -> None:
    put(lake, [(1, FIRST)])
    Journal(lake.stores.archive).begin(begun("archive", "visits", [(FIRST,)], AT))
    look(lake, decided(1))
    step = tick(lake, home, AT, None)
    assert isinstance(step, dg.SensorResult)
    [request] = step.run_requests or []
    assert request.run_config["ops"]["move_tiers"]["config"]["table"] == "order_lines"
    look(lake, decided(1, "stay"))
    step = tick(lake, home, AT, KEPT)
    assert isinstance(step, dg.SensorResult)
    [request] = step.run_requests or []
    assert request.run_key is not None
    assert request.run_key.startswith("finish 20240601T050000-archive-visits-")
    assert request.run_config["ops"]["move_tiers"]["config"]["partitions"] == []
    assert step.cursor == KEPT
    again = tick(lake, home, AT + timedelta(minutes=59), KEPT)
    assert isinstance(again, dg.SensorResult)
    assert [one.run_key for one in again.run_requests or []] == [request.run_key]
    later = tick(lake, home, AT + timedelta(hours=1), KEPT)
    assert isinstance(later, dg.SensorResult)
    assert [one.run_key for one in later.run_requests or []] != [request.run_key]


@pytest.mark.parametrize("gone", ["data/", "manifests/"])
def test_a_restore_of_what_is_gone_is_left_to_a_run_that_tells_it(lake: Lakehouse, home: Settings, gone: str) -> None:
    put(lake, [(1, FIRST)])
    carry_out(lake, begun("archive", "visits", [(FIRST,)], AT))
    Journal(lake.stores.archive).begin(begun("restore", "visits", [(FIRST,)], AT))
    lake.stores.archive.delete([found.key for found in lake.stores.archive.list(gone)])
    step = wait(lake, home, AT)
    assert isinstance(step, dg.SensorResult)
    with pytest.raises(FileNotFoundError):
        list(finish_pending(lake))


def test_while_a_run_moves_no_other_is_asked_for(lake: Lakehouse, home: Settings) -> None:
    put(lake, [(1, FIRST)])
    Journal(lake.stores.archive).begin(begun("archive", "visits", [(FIRST,)], AT))
    look(lake, decided(1))
    with exclusive(home, "tiers", timeout=0):
        assert skipped(tick(lake, home, AT, None)) == "a run is moving partitions of visits"


def test_no_budget_holds_up_what_is_to_be_deleted_and_what_it_holds_up_is_told(lake: Lakehouse, home: Settings) -> None:
    policy(home, apply=True, budget=1)
    dear = {"move_cost": Decimal(3)}
    look(lake, decided(1, "expire", **dear), decided(2, "expire", **dear), decided(3, **dear))
    assert [(batch["action"], len(batch["partitions"])) for _key, batch in batches(lake, home)] == [("expire", 2)]
    look(lake, decided(3, **dear))
    assert skipped(tick(lake, home, AT, None)).endswith("; 1 cost more to move than the budget of 1 USD")


def test_another_budget_makes_other_batches_and_none_is_passed_over(lake: Lakehouse, home: Settings) -> None:
    look(lake, *(decided(m, move_cost=Decimal(2)) for m in range(3)))
    policy(home, apply=True, budget=2)
    first = tick(lake, home, AT, None)
    assert isinstance(first, dg.SensorResult)
    policy(home, apply=True, budget=6)
    second = tick(lake, home, AT, first.cursor)
    assert isinstance(second, dg.SensorResult)
    [request] = second.run_requests or []
    assert len(request.run_config["ops"]["move_tiers"]["config"]["partitions"]) == 3


def restored(lake: Lakehouse, *days: date, due: date) -> None:
    moved = [(day,) for day in days]
    carry_out(lake, begun("archive", "visits", moved, AT))
    carry_out(lake, begun("restore", "visits", moved, AT, due=due))


def returning(step: dg.SensorResult | dg.SkipReason) -> tuple[str | None, Sequence[str]]:
    """The run key and the days that a tick sends back."""
    assert isinstance(step, dg.SensorResult), step
    [request] = step.run_requests or []
    batch = request.run_config["ops"]["move_tiers"]["config"]
    assert (batch["table"], batch["action"]) == ("visits", "return")
    return request.run_key, [json.loads(values)[0]["date"] for values in batch["partitions"]]


def test_what_was_restored_goes_back_on_its_day_and_not_before(lake: Lakehouse, home: Settings) -> None:
    put(lake, [(1, FIRST), (2, SECOND), (3, THIRD)])
    restored(lake, FIRST, SECOND, due=date(2024, 6, 8))
    assert skipped(wait(lake, home, AT)) == "no restore is under way, and no restored partition is due"
    assert skipped(wait(lake, home, datetime(2024, 6, 7, 23, 59))).endswith("no restored partition is due")
    key, days = returning(wait(lake, home, datetime(2024, 6, 8)))
    assert days == ["2024-03-01", "2024-03-02"]
    assert returning(wait(lake, home, datetime(2024, 6, 8, 23)))[0] == key
    # tomorrow it is asked for again, and so is what a first batch left over on the same day
    assert returning(wait(lake, home, datetime(2024, 6, 9)))[0] != key
    carry_out(lake, begun("return", "visits", [(FIRST,)], AT))
    other, days = returning(wait(lake, home, datetime(2024, 6, 8, 23)))
    assert days == ["2024-03-02"]
    assert other != key


def test_a_dry_run_sends_nothing_back_and_says_what_is_due(lake: Lakehouse, home: Settings) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    restored(lake, FIRST, due=date(2024, 6, 8))
    policy(home, apply=False)
    told = skipped(wait(lake, home, datetime(2024, 6, 9)))
    assert told == "dry run: restored partitions are due to go back (1 of visits); set `apply: true` in storage.yaml"


def test_a_restored_partition_that_got_rows_keeps_no_other_from_going_back(lake: Lakehouse, home: Settings) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    restored(lake, FIRST, SECOND, due=date(2024, 6, 8))
    put(lake, [(3, FIRST)], append=True)
    assert returning(wait(lake, home, datetime(2024, 6, 9)))[1] == ["2024-03-02"]
    carry_out(lake, begun("return", "visits", [(SECOND,)], AT))
    assert isinstance(wait(lake, home, datetime(2024, 6, 9)), dg.SkipReason)


def test_each_table_with_due_partitions_gets_a_run_of_its_own(lake: Lakehouse, home: Settings) -> None:
    other = dataclasses.replace(VISITS, name="calls")
    for spec in (VISITS, other):
        with lake.session() as session:
            session.publish(spec, visits((1, FIRST)))
        carry_out(lake, begun("archive", spec.name, [(FIRST,)], AT))
        carry_out(lake, begun("restore", spec.name, [(FIRST,)], AT, due=date(2024, 6, 8)))
    step = wait(lake, home, datetime(2024, 6, 8))
    assert isinstance(step, dg.SensorResult)
    asked = [request.run_config["ops"]["move_tiers"]["config"]["table"] for request in step.run_requests or []]
    assert asked == ["calls", "visits"]
    assert len({request.run_key for request in step.run_requests or []}) == 2


def test_a_restore_that_a_run_left_is_finished_by_the_sensor_that_waits_for_it(lake: Lakehouse, home: Settings) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    carry_out(lake, begun("archive", "visits", [(FIRST,)], AT))
    Journal(lake.stores.archive).begin(begun("restore", "visits", [(FIRST,)], AT, due=date(2024, 6, 8)))
    step = wait(lake, home, AT)
    assert isinstance(step, dg.SensorResult)
    [request] = step.run_requests or []
    assert (request.run_key or "").startswith("ready 20240601T050000-restore-visits-")
    assert request.run_config["ops"]["move_tiers"]["config"]["partitions"] == []
    # the other one leaves restores alone
    look(lake, decided(1, "stay"))
    assert isinstance(tick(lake, home, AT, None), dg.SkipReason)


def test_the_sensors_themselves_look_through_their_resources(lake: Lakehouse, home: Settings) -> None:
    look(lake, decided(1))
    definitions = {sensor.name: sensor for sensor in storage_sensors(home, lambda: AT, dg.DefaultSensorStatus.STOPPED)}
    tiering, restoring = definitions["storage_tiering_sensor"], definitions["storage_restore_sensor"]
    context = dg.build_sensor_context(cursor=None, resources={"lakehouse": lake})
    found = tiering.evaluate_tick(context)
    [request] = found.run_requests or []
    expected = tick(lake, home, AT, None)
    assert isinstance(expected, dg.SensorResult)
    assert [request.run_key] == [one.run_key for one in expected.run_requests or []]
    assert found.cursor == expected.cursor
    context = dg.build_sensor_context(cursor=found.cursor, resources={"lakehouse": lake})
    assert tiering.evaluate_tick(context).skip_message == "all 1 batches decided on 2024-06-01 04:00 were started"
    idle = restoring.evaluate_tick(dg.build_sensor_context(resources={"lakehouse": lake}))
    assert idle.skip_message == "no restore is under way, and no restored partition is due"


def test_a_run_that_a_sensor_asks_for_is_one_that_its_job_accepts(lake: Lakehouse, home: Settings) -> None:
    look(lake, decided(1))
    step = tick(lake, home, AT, None)
    assert isinstance(step, dg.SensorResult)
    [request] = step.run_requests or []
    repository = build_definitions(home, clock=lambda: AT.replace(tzinfo=UTC)).get_repository_def()
    for name in ("storage_tiering_sensor", "storage_restore_sensor"):
        sensor = repository.get_sensor_def(name)
        assert dg.validate_run_config(repository.get_job(sensor.job_name), request.run_config)
