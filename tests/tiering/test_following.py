"""Decisions followed: what a tick starts, once, or says; and without a daemon all of it, restores first."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg

from cdap_assets.storage.tables import STORAGE_TIERS
from cdap_assets.tiering.assets import published
from cdap_assets.tiering.batches import MOST
from cdap_assets.tiering.following import follow, tick
from cdap_assets.tiering.moves import restore
from cdap_assets.tiering.storage_policy import FILE
from cdap_assets.work.stages import Stage
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from resources.stores.lock import exclusive
from resources.tiers.journal import Journal
from resources.tiers.moving import begun
from tests.resources.visits import FIRST, put
from tests.tiering.conftest import APPLIED, ARCHIVE, FEBRUARY, JANUARY, AgeingShop
from tests.tiering.decided import AT, LOOKED, decided, look, policy, skipped

KEPT = json.dumps({"as_of": "2024-05-31T04:00:00", "budget": "5", "followed": 3})


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
    look(lake, decided(1, "stay"), decided(2, "stay"), decided(5, "stay", kind="written recently"))
    told = skipped(tick(lake, home, AT, None))
    assert told == "nothing would move: 3 partitions (2 no move saves more than the margin; 1 written too recently)"


def test_a_look_of_before_decisions_had_a_kind_is_followed_and_tells_other_reasons(
    lake: Lakehouse, home: Settings
) -> None:
    before = dataclasses.replace(STORAGE_TIERS, columns=tuple(c for c in STORAGE_TIERS.columns if c.name != "kind"))
    with lake.in_process() as session:
        published(session, before, [decided(1, "stay")])
    assert skipped(tick(lake, home, AT, None)) == "nothing moves: 1 partitions (1 other reasons)"
    with lake.in_process() as session:
        published(session, before, [decided(1, "stay"), decided(2)])
    assert [months(batch) for _key, batch in batches(lake, home)] == [["2010-03"]]
    look(lake, decided(1, "stay", kind="young"))
    told = "nothing moves: 1 partitions (1 young: waits to be archived without a stop)"
    assert skipped(tick(lake, home, AT, None)) == told


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
    look(lake, decided(1, "stay", kind="no objects"))
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


def followed(shop: AgeingShop) -> list[Stage]:
    """The stages, each run before the next is asked for."""
    done = []
    for stage in follow(shop.lakehouse, shop.settings, shop.clock):
        assert shop.job(stage.job, stage.config).success, stage.why
        done.append(stage)
        assert len(done) < 20
    return done


def test_what_was_left_and_what_is_due_comes_before_what_is_decided(shop: AgeingShop) -> None:
    shop.policy(**APPLIED, tables={name: {"archive": False} for name in ("orders", "raw_till")})
    shop.archive("order_lines", JANUARY)
    restore(shop.lakehouse, "order_lines", [(JANUARY,)], shop.at, days=3)
    shop.pass_days(150)
    left = begun("archive", "order_lines", [(FEBRUARY,)], shop.at, storage_class=ARCHIVE)
    Journal(shop.lakehouse.stores.archive).begin(left)
    done = followed(shop)
    assert [stage.job for stage in done][:2] == ["tier_partitions", "review_storage"]
    assert done[0].why == "return 1 partitions of order_lines"
    assert [stage.why for stage in done if "order_lines" in stage.why][1:] == ["archive 1 partitions of order_lines"]
    assert [stage.job for stage in done].count("review_storage") == 2
    assert done[-1].job == "review_storage"
    tiers = {state.tier for (table, _text), state in shop.states().items() if table == "order_lines"}
    assert tiers == {"archived"}
    assert list(Journal(shop.lakehouse.stores.archive).pending()) == []

    # nothing is left to do: one look, and no second one
    shop.at += timedelta(hours=2)
    assert [stage.job for stage in followed(shop)] == ["review_storage"]


def test_a_dry_run_only_looks(tmp_path: Path) -> None:
    shop = AgeingShop(tmp_path / "home")
    shop.policy(**{**APPLIED, "apply": False})
    assert [stage.job for stage in follow(shop.lakehouse, shop.settings, shop.clock)] == ["review_storage"]
