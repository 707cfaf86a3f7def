"""Restores waited for at named instants: what is ready is finished, and what is due goes back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import date, datetime

import dagster as dg
import pytest

from cdap_assets.tiering.following import tick
from cdap_assets.tiering.restores import wait
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from resources.tiers.journal import Journal
from resources.tiers.moving import begun, carry_out, finish_pending
from tests.resources.visits import FIRST, SECOND, THIRD, VISITS, put, visits
from tests.tiering.decided import AT, decided, look, policy, skipped


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
