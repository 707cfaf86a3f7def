"""What lands is taken once, refused with a reason, taken back and read again; the ledger says all of it."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import ibis
import pytest

from cdap_assets.contracts.contract import History, SourceColumn
from cdap_assets.raw import deliveries, ingestion
from cdap_assets.raw.tables import DELIVERIES
from resources.stores.busy import Busy
from resources.stores.lock import exclusive
from tests.processes import fresh
from tests.raw.shop import COLUMNS, CONTRACT, HEADER, LAGGED, MONDAY, TUESDAY, WEDNESDAY, Shop, line, naive


def delivery_id(shop: Shop, number: int = 0) -> str:
    return shop.ledger()[number].delivery.id


def test_a_file_becomes_rows_that_say_when_they_happened_and_when_we_knew(shop: Shop) -> None:
    shop.land("a.csv", HEADER + line(1, paid_at="2024-03-01 00:30:00") + line(2))
    taken = shop.take()
    assert (taken.ingested["till/a.csv"].rows, taken.refused) == (2, {})
    first, second = shop.rows()
    assert (first["row_number"], second["row_number"]) == (1, 2)
    assert str(first["occurred_at"]) == "2024-02-29 23:30:00"
    assert (first["local_date"], first["month"]) == (date(2024, 3, 1), date(2024, 3, 1))
    assert first["known_at"] == first["delivered_at"] == naive(MONDAY)
    assert (first["known_assumed"], first["retracted_at"]) == (True, None)  # the first of a source
    assert shop.quarantine() == []


def test_nothing_landed_is_nothing_taken(shop: Shop) -> None:
    assert shop.take() == deliveries.Taken({}, {})
    assert shop.ledger() == []


def test_the_same_bytes_under_another_name_change_nothing(shop: Shop) -> None:
    shop.land("a.csv", HEADER + line(1))
    shop.take()
    before = shop.lake.state("raw_till").snapshot_id
    shop.land("again/b.csv", HEADER + line(1))
    assert shop.take(TUESDAY).ingested == {}
    assert shop.lake.state("raw_till").snapshot_id == before
    assert (shop.events(), [entry.event for entry in shop.ledger()]) == (["accepted", "seen"], ["accepted"])
    assert shop.take(WEDNESDAY).ingested == {}
    assert shop.events() == ["accepted", "seen"]  # noted once, and not read again


def test_a_file_that_lies_as_the_ledger_knows_it_is_not_read_again(shop: Shop) -> None:
    path = shop.land("a.csv", HEADER + line(1))
    shop.take()
    written = path.stat()
    shop.land("a.csv", HEADER + line(2))
    os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))
    assert shop.take(TUESDAY) == deliveries.Taken({}, {})
    assert shop.events() == ["accepted"]
    os.utime(path)
    assert list(shop.take(WEDNESDAY).ingested) == ["till/a.csv"]


def test_a_ledger_from_before_it_noted_versions_reads_each_file_once_more(shop: Shop) -> None:
    path = shop.land("a.csv", HEADER + line(1))
    shop.take()
    [known] = shop.ledger()
    old = dataclasses.replace(DELIVERIES, columns=tuple(c for c in DELIVERIES.columns if c.name != "version"))
    home = Shop(shop.settings.home.with_name("old"))
    with home.lake.session() as session:
        entry = {**dataclasses.asdict(known), **dataclasses.asdict(known.delivery), "delivery_id": known.delivery.id}
        session.publish(
            old, ibis.memtable([{name: entry[name] for name in old.names}], schema=old.schema()), append=True
        )
    home.land("a.csv", path.read_bytes())
    assert home.take(TUESDAY) == home.take(WEDNESDAY) == deliveries.Taken({}, {})
    assert home.events() == ["accepted", "seen"]


def test_two_copies_landed_together_are_one_delivery(shop: Shop) -> None:
    for name in ("a.csv", "b.csv"):
        shop.land(name, HEADER + line(1))
    assert list(shop.take().ingested) == ["till/a.csv"]
    assert len(shop.rows()) == 1


def test_a_changed_file_is_a_new_delivery_beside_the_old(shop: Shop) -> None:
    shop.land("a.csv", HEADER + line(1, amount="1"))
    shop.take()
    shop.land("a.csv", HEADER + line(1, amount="2"))
    shop.take(TUESDAY)
    assert [(row["amount"], row["known_at"]) for row in shop.rows()] == [(1, naive(MONDAY)), (2, naive(TUESDAY))]
    assert len({row["delivery_id"] for row in shop.rows()}) == 2


def test_of_two_files_in_one_pass_the_later_name_is_known_later(shop: Shop) -> None:
    shop.land("2.csv", HEADER + line(1, amount="2"))
    shop.land("1.csv", HEADER + line(1, amount="1"))
    shop.take()
    assert [row["amount"] for row in shop.rows()] == [1, 2]
    assert shop.rows()[0]["known_at"] < shop.rows()[1]["known_at"]


def test_hidden_and_unfinished_files_wait(shop: Shop) -> None:
    for name in (".a.csv", "b.csv.part", "c.csv.TMP", ".git/d.csv"):
        shop.land(name, HEADER + line(1))
    assert shop.take() == deliveries.Taken({}, {})


def test_a_refused_file_costs_no_other_file_and_stores_nothing(shop: Shop) -> None:
    shop.land("1.csv", HEADER + line("Zacharias") + line("Zacharias") + line(3))
    shop.land("2.csv", HEADER + line(4))
    taken = shop.take()
    assert list(taken.ingested) == ["till/2.csv"]
    told = taken.refused["till/1.csv"]
    assert "2 of 3 rows break contract till 1.0.0, more than its maxQuarantinedShare of 50%" in told
    assert "receipt is no int64" in told
    assert "Zacharias" not in told
    assert [row["receipt"] for row in shop.rows()] == [4]
    assert shop.quarantine() == []
    [refused] = [entry for entry in shop.ledger() if entry.event == "refused"]
    assert (refused.note, refused.accepted) == (told, 0)


def test_a_refused_file_is_tried_again_only_by_another_contract_version(shop: Shop) -> None:
    shop.land("a.csv", HEADER + line(1, shop="C"))
    assert shop.take().refused
    assert shop.take(TUESDAY) == deliveries.Taken({}, {})
    columns = tuple(dataclasses.replace(c, enum=(*c.enum, "C")) if c.name == "shop" else c for c in COLUMNS)
    shop.change(columns=columns)
    assert list(shop.take(WEDNESDAY).ingested) == ["till/a.csv"]
    assert shop.rows()[0]["known_at"] == naive(WEDNESDAY)


def test_a_missing_column_names_file_column_expected_and_found(shop: Shop) -> None:
    shop.land("a.csv", "receipt,card,shop,paid_at\n1,c1,A,2024-03-01 12:00\n")
    told = shop.take().refused["till/a.csv"]
    for word in ("a.csv", "column amount is missing", "has receipt, card, shop, paid_at", "contract till 1.0.0"):
        assert word in told


def test_a_withdrawn_delivery_keeps_its_rows_and_says_when(shop: Shop) -> None:
    shop.land("a.csv", HEADER + line(1))
    shop.land("b.csv", HEADER + line(2))
    shop.take()
    shop.retract(delivery_id(shop), TUESDAY)
    assert [(row["receipt"], row["retracted_at"]) for row in shop.rows()] == [(1, naive(TUESDAY)), (2, None)]
    assert shop.take(WEDNESDAY).ingested == {}  # the file still lies there
    with pytest.raises(ValueError, match="was retracted already"):
        shop.retract(next(e.delivery.id for e in shop.ledger() if e.event == "retracted"), WEDNESDAY)
    with pytest.raises(ValueError, match="is not in the ledger"):
        shop.retract("till-0000", WEDNESDAY)
    assert shop.events()[-1] == "retracted"


def lenient(shop: Shop, *allowed: str) -> None:
    """Mend the contract: more shops are known."""
    columns = tuple(dataclasses.replace(c, enum=("A", "B", *allowed)) if c.name == "shop" else c for c in COLUMNS)
    shop.change(columns=columns, version=f"2.{len(allowed)}.0")


def test_a_replay_dates_only_the_rows_that_leave_quarantine(shop: Shop) -> None:
    shop.land("a.csv", HEADER + line(1) + line(2, shop="C") + line(3, shop="D") + line(4) + line(5))
    shop.take()
    assert [row["row_number"] for row in shop.quarantine()] == [2, 3]
    lenient(shop, "C")
    assert shop.replay(delivery_id(shop), TUESDAY) == ingestion.Ingested(5, 4, 1)
    lenient(shop, "C", "D")
    shop.replay(delivery_id(shop), WEDNESDAY)
    dated = {row["receipt"]: (row["known_at"], row["delivered_at"]) for row in shop.rows()}
    times = {1: MONDAY, 2: TUESDAY, 3: WEDNESDAY, 4: MONDAY, 5: MONDAY}
    assert dated == {receipt: (naive(at), naive(at)) for receipt, at in times.items()}
    assert shop.quarantine() == []
    assert shop.events() == ["accepted", "replayed", "replayed"]


def test_a_replay_of_history_follows_the_contract_but_for_rows_that_leave_quarantine(shop: Shop) -> None:
    shop.contract = LAGGED
    shop.land("a.csv", HEADER + line(1) + line(2, shop="C"))
    shop.take()
    columns = tuple(dataclasses.replace(c, enum=("A", "B", "C")) if c.name == "shop" else c for c in COLUMNS)
    shop.change(columns=columns, history=History(lag=timedelta(hours=3)))
    shop.replay(delivery_id(shop), TUESDAY)
    first, second = sorted(shop.rows(), key=lambda row: row["receipt"])
    assert (first["known_at"], first["known_assumed"]) == (first["occurred_at"] + timedelta(hours=3), True)
    assert first["delivered_at"] == naive(MONDAY)
    assert (second["known_at"], second["known_assumed"]) == (naive(TUESDAY), False)
    shop.replay(delivery_id(shop), WEDNESDAY)
    assert sorted(row["known_at"] for row in shop.rows()) == [first["known_at"], naive(TUESDAY)]


def test_a_replay_of_a_refused_history_file_is_its_first_taking(shop: Shop) -> None:
    shop.contract = LAGGED
    shop.land("a.csv", HEADER + line(1, shop="C"))
    assert shop.take().refused
    columns = tuple(dataclasses.replace(c, enum=("C",)) if c.name == "shop" else c for c in COLUMNS)
    shop.change(columns=columns)
    shop.replay(delivery_id(shop), TUESDAY)
    [row] = shop.rows()
    assert (row["known_at"], row["known_assumed"]) == (row["occurred_at"] + timedelta(hours=2), True)


def test_a_replay_needs_the_file_as_it_was(shop: Shop) -> None:
    path = shop.land("a.csv", HEADER + line(1))
    shop.take()
    path.write_text(HEADER + line(2))
    with pytest.raises(ValueError, match="gone or has changed"):
        shop.replay(delivery_id(shop), TUESDAY)
    path.unlink()
    with pytest.raises(ValueError, match="gone or has changed"):
        shop.replay(delivery_id(shop), TUESDAY)
    with pytest.raises(ValueError, match="not in the ledger"):
        shop.replay("till-0000", TUESDAY)


def test_the_first_files_of_a_source_are_history_and_later_ones_are_not(shop: Shop) -> None:
    shop.contract = LAGGED
    shop.land("a.csv", HEADER + line(1))
    shop.take()
    shop.land("b.csv", HEADER + line(2))
    shop.land("history/c.csv", HEADER + line(3))
    shop.take(TUESDAY)
    found = {row["receipt"]: (row["known_at"] - row["occurred_at"], row["known_assumed"]) for row in shop.rows()}
    lag = timedelta(hours=2)
    assert (found[1], found[3]) == ((lag, True), (lag, True))
    late = next(row for row in shop.rows() if row["receipt"] == 2)
    assert (late["known_at"], late["known_assumed"]) == (naive(TUESDAY), False)


def test_history_is_never_known_later_than_it_was_delivered(shop: Shop) -> None:
    shop.contract = LAGGED
    just_now = naive(MONDAY) + timedelta(minutes=30)  # in Berlin, half an hour before the delivery
    shop.land("a.csv", HEADER + line(1, paid_at=just_now.isoformat()))
    shop.take()
    assert shop.rows()[0]["known_at"] == naive(MONDAY)


def test_undated_reference_data_is_known_from_the_day_the_contract_says(shop: Shop) -> None:
    shop.change(columns=COLUMNS[:3], event_time=None, version="1.0.0", history=History(valid_from=date(2020, 7, 1)))
    shop.land("a.csv", "receipt,card,shop\n1,c1,A\n")
    shop.take()
    [row] = shop.rows()
    assert (str(row["known_at"]), row["known_assumed"]) == ("2020-06-30 22:00:00", True)
    assert (row["occurred_at"], row["month"]) == (None, None)


def test_a_crash_before_the_ledger_heals_on_the_next_take(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.land("a.csv", HEADER + line(1) + line(2, shop="C"))
    with monkeypatch.context() as patch:
        patch.setattr(ingestion, "record", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            shop.take()
    assert shop.events() == []
    shop.take(TUESDAY)
    [row] = shop.rows()
    assert row["known_at"] == naive(MONDAY)  # others may have read it since
    assert len(shop.quarantine()) == 1
    assert shop.events() == ["accepted"]


def take_in_a_process(home: Path, gate: multiprocessing.Barrier) -> None:  # type: ignore[valid-type]
    shop = Shop(home)
    with shop.lake.session("a-run") as session:
        session.snapshot_id("raw_till")  # pinned before the other takes
        gate.wait(60)  # type: ignore[attr-defined]
        deliveries.take(session, shop.settings, shop.contract, MONDAY)


def test_two_takes_of_one_source_at_once_do_not_double_rows(shop: Shop) -> None:
    for number in range(3):
        shop.land(f"{number}.csv", HEADER + line(number))
    context = fresh()
    gate = context.Barrier(2)
    processes = [context.Process(target=take_in_a_process, args=(shop.settings.home, gate)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [row["receipt"] for row in shop.rows()] == [0, 1, 2]
    assert shop.events() == ["accepted"] * 3


def test_a_source_that_another_process_works_on_says_who(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "WAIT", 0.1)
    with (
        exclusive(shop.settings, "raw_till", timeout=1),
        pytest.raises(Busy, match="raw_till is being worked on by process"),
    ):
        shop.take()


def test_a_take_of_one_source_does_not_make_anothers_stale(open_shop: Callable[[str], Shop]) -> None:
    till, web = open_shop("one"), open_shop("one")
    web.contract = dataclasses.replace(CONTRACT, name="web")
    till.land("a.csv", HEADER + line(1))
    web.land("a.csv", HEADER + line(1) + line(2, shop="C"))
    with till.lake.session("slow") as slow:
        slow.snapshot_id("deliveries")
        web.take()
        web.land("b.csv", HEADER + line(3))
        web.take(TUESDAY)
        deliveries.take(slow, till.settings, till.contract, WEDNESDAY)
    assert len(till.rows()) == 1
    assert len(till.quarantine()) == 1


def test_the_row_in_quarantine_is_whole_and_its_reason_hides_the_value(shop: Shop) -> None:
    shop.land("a.csv", HEADER + line(1) + 'secret,"Zoë ""Z""",C,-1,yesterday\n')
    shop.take()
    [held] = shop.quarantine()
    assert json.loads(held["row"]) == {
        "receipt": "secret",
        "card": 'Zoë "Z"',
        "shop": "C",
        "amount": "-1",
        "paid_at": "yesterday",
    }
    assert held["reasons"] == (
        "receipt is no int64; shop is none of A, B; amount is below 0; paid_at is no timestamp(6)"
    )
    assert (held["row_number"], held["source"]) == (2, "till")


def test_of_rows_with_one_key_the_first_good_one_is_taken(shop: Shop) -> None:
    shop.land("a.csv", HEADER + line(1, shop="C") + line(1, amount="2") + line(1, amount="3") + line(2))
    shop.take()
    assert [(row["receipt"], row["amount"]) for row in shop.rows()] == [(1, 2), (2, 1.5)]
    assert [row["reasons"] for row in shop.quarantine()] == [
        "shop is none of A, B",
        "(receipt) stands in an earlier row already",
    ]


def test_a_unique_column_may_be_empty_often_and_set_once(shop: Shop) -> None:
    shop.change(columns=(COLUMNS[0], SourceColumn("card", "string", unique=True), *COLUMNS[2:]))
    rows = "1,x,A,1,2024-03-01 12:00\n2,,A,1,2024-03-01 12:00\n3,,A,1,2024-03-01 12:00\n4,x,A,1,2024-03-01 12:00\n"
    shop.land("a.csv", HEADER + rows)
    shop.take()
    assert [row["receipt"] for row in shop.rows()] == [1, 2, 3]
    assert shop.quarantine()[0]["reasons"] == "(card) stands in an earlier row already"


def test_a_row_after_the_end_or_from_the_future_is_held(shop: Shop) -> None:
    shop.change(ends=date(2024, 2, 29), max_quarantined_share=0.9)
    days = ("2024-02-29 23:59", "2024-03-01 00:00", "2024-03-05 08:00", "2024-03-04 23:00")
    shop.land("a.csv", HEADER + "".join(line(number, paid_at=day) for number, day in enumerate(days)))
    shop.take()
    assert [row["receipt"] for row in shop.rows()] == [0]
    end = "paid_at lies after 2024-02-29, where the contract says the data ends"
    assert [row["reasons"] for row in shop.quarantine()] == [end, f"paid_at lies after the delivery; {end}", end]


def test_the_hour_of_a_take_counts_whatever_its_zone(shop: Shop) -> None:
    shop.land("a.csv", HEADER + line(1) + line(2, shop="C"))
    shop.take(MONDAY.astimezone(ZoneInfo("Asia/Tokyo")))
    told = {shop.rows()[0]["known_at"], shop.quarantine()[0]["at"], shop.ledger()[0].at}
    assert told == {naive(MONDAY)}


def test_a_required_column_without_a_value_holds_the_row(shop: Shop) -> None:
    shop.land("a.csv", HEADER + line("") + line(2))
    shop.take()
    assert [row["reasons"] for row in shop.quarantine()] == ["receipt is required and empty"]
