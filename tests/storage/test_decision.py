import time
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdap_assets.storage.costs import Holding, leaving_cost, move_cost, restore_cost, storage_of, total_cost
from cdap_assets.storage.decision import KINDS, Decision, Rules, decide, kind_in_words
from cdap_assets.storage.demand import Demand, expected_demand
from cdap_assets.storage.prices import PriceError, read_prices

TODAY = date(2026, 6, 1)
BOOK = read_prices()
AWS = BOOK.region("us-east-1")
KB, MB, GB = 1 << 10, 1 << 20, 1 << 30
COLDER = {name: [*BOOK.region(name).classes].index for name in BOOK.regions}


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def holding(
    *,
    sizes: tuple[int, ...] = (256 * MB,) * 40,
    written: int = 420,
    since: int | None = None,
    reads: dict[int, float] | None = None,
    observed: int | None = 1000,
    storage_class: str = "STANDARD",
    region: str = "us-east-1",
) -> Holding:
    """Days are days ago."""
    return Holding(
        table="order_lines",
        partition=(2025, 4),
        sizes=sizes,
        tier=BOOK.region(region).of(storage_class).tier,
        storage_class=storage_class,
        since=ago(written if since is None else since),
        written=ago(written),
        reads={ago(day): count for day, count in (reads or {}).items()},
        observed_since=None if observed is None else ago(observed),
    )


def decided(here: Holding, rules: Rules | None = None, region: str = "us-east-1") -> Decision:
    return decide(here, rules or Rules(may_archive=True), BOOK.region(region), TODAY)


def test_an_unread_partition_is_archived_and_the_reason_says_what_that_saves():
    decision = decided(holding())
    assert (decision.action, decision.tier, decision.storage_class) == ("archive", "archived", "DEEP_ARCHIVE")
    assert decision.move_cost == 40 * Decimal("0.0512") / 1000
    assert decision.monthly["hot"] == pytest.approx(Decimal("0.230"), abs=Decimal("0.001"))
    assert decision.reason == "420 days unread, 10.0 GB in 40 objects: saves $0.21 a month after $0.002 to move"


def test_a_table_that_may_not_be_archived_is_cooled():
    decision = decided(holding(), Rules(may_archive=False))
    assert (decision.action, decision.storage_class) == ("cool", "GLACIER_IR")


def test_a_partition_read_about_monthly_goes_to_the_class_that_is_cheap_to_read():
    decision = decided(holding(reads=dict.fromkeys(range(5, 420, 45), 1)), Rules(may_archive=False))
    assert (decision.action, decision.storage_class) == ("cool", "STANDARD_IA")


def test_a_partition_read_often_stays_hot_or_comes_back():
    often = dict.fromkeys(range(1, 400, 7), 1)
    assert decided(holding(reads=often)).action == "stay"
    back = decided(holding(reads=often, storage_class="GLACIER_IR", since=100))
    assert (back.action, back.tier, back.storage_class) == ("warm", "hot", "STANDARD")
    assert back.reason.startswith("48 reads expected in 365 days, 10.0 GB in 40 objects: saves $")


def test_a_partition_is_not_archived_before_its_season_when_that_costs_more():
    season = {365 - day: 1.0 for day in range(5, 33)}
    here = holding(written=600, reads=season)
    assert decided(here).tier == "hot"
    assert decided(replace(here, reads={})).action == "archive"
    one_report = decided(replace(here, reads={ago(365 - 20): 1.0}))
    assert one_report.action == "archive", "one restore a year is cheaper than a year of readable storage"


def test_what_is_archived_out_of_a_cool_class_is_retrieved_twice_and_billed_beside_its_copy():
    one = holding(sizes=(GB,), storage_class="GLACIER_IR", written=500, since=300)
    move = 2 * (Decimal("0.03") + Decimal("0.01") / 1000) + (Decimal("0.05") + Decimal("0.0004")) / 1000
    assert move_cost(one, "DEEP_ARCHIVE", AWS, TODAY) == move
    none = Demand(0.0, 0.0)
    costs = [total_cost(one, "DEEP_ARCHIVE", AWS, none, 365, TODAY, days) for days in (0, 30)]
    assert costs[1] - costs[0] == Decimal("0.004")
    assert total_cost(one, "STANDARD", AWS, none, 365, TODAY, 30) == total_cost(
        one, "STANDARD", AWS, none, 365, TODAY, 0
    )


def test_the_hand_made_bill_of_a_month_of_storage_and_of_leaving_too_early():
    one = holding(sizes=(GB,), storage_class="GLACIER_IR", written=50, since=10)
    assert leaving_cost(one, AWS, TODAY) == Decimal("0.004") * 80 / 30
    gets = Decimal("0.01") / 1000
    assert move_cost(one, "STANDARD", AWS, TODAY) == pytest.approx(
        Decimal("0.03") + gets + Decimal("0.005") / 1000 + Decimal("0.004") * 80 / 30
    )
    assert move_cost(one, "GLACIER_IR", AWS, TODAY) == 0


def test_small_objects_stay_hot_in_a_cool_class_and_archived_ones_are_billed_with_their_index():
    small = decided(holding(sizes=(8 * KB,) * 1024), Rules(may_archive=False, restored_until=TODAY))
    assert small.monthly["hot"] == pytest.approx(Decimal("0.023") / 128, rel=Decimal("0.05"))
    assert small.monthly["cool"] == small.monthly["hot"]
    mixed = holding(sizes=(8 * KB,) * 1024 + (GB,), storage_class="GLACIER_IR", since=100)
    assert storage_of(mixed, "GLACIER_IR", AWS) == Decimal("0.004") + Decimal("0.023") / 128
    assert move_cost(mixed, "STANDARD", AWS, TODAY) == move_cost(replace(mixed, sizes=(GB,)), "STANDARD", AWS, TODAY)
    assert small.monthly["archived"] > (Decimal("0.023") * 8 + Decimal("0.00099") * 32) / 1024


def test_a_restore_costs_its_requests_its_bytes_and_a_week_of_a_copy():
    here = holding(sizes=(GB,) * 10, storage_class="DEEP_ARCHIVE", since=200)
    copy = 10 * Decimal("0.023") * 7 / 30
    assert restore_cost(here, AWS, "Bulk") == 10 * Decimal("0.0025") + 10 * Decimal("0.025") / 1000 + copy
    assert restore_cost(here, AWS, "Standard") > restore_cost(here, AWS, "Bulk")
    with pytest.raises(KeyError):
        restore_cost(here, AWS, "Expedited")


def test_objects_too_small_to_move_ask_for_compaction():
    decision = decided(holding(sizes=(64 * KB,) * 4000))
    assert (decision.action, decision.compact) == ("stay", True)
    assert (
        decision.reason
        == "420 days unread, 250.0 MB in 4,000 objects: too small to move at a profit, compact them first"
    )


@pytest.mark.parametrize(
    ("here", "rules", "kind", "reason"),
    [
        (
            {"observed": None},
            {},
            "never observed",
            "reads of order_lines were never observed: its use is unknown, so it does not move",
        ),
        ({"observed": 12}, {}, "observed too briefly", "reads observed for 12 days, a decision needs 30"),
        ({"written": 12}, {}, "written recently", "written 12 days ago, stays for 30"),
        ({"written": 120}, {"min_hot_days": 200}, "written recently", "written 120 days ago, stays for 200"),
        (
            {},
            {"restored_until": date(2026, 6, 9)},
            "restored",
            "kept where it can be read: restored until 2026-06-09",
        ),
        ({}, {"restored_until": date.max}, "restored", "kept where it can be read: restored"),
        ({"sizes": ()}, {}, "no objects", "has no objects"),
        (
            {"sizes": (MB,)},
            {},
            "no saving",
            "420 days unread, 1.0 MB in 1 object: no move saves more than $0.001 a month",
        ),
        (
            {"storage_class": "DEEP_ARCHIVE", "since": 100, "reads": dict.fromkeys(range(1, 60), 9.0)},
            {},
            "archived",
            "archived since 2026-02-21: comes back when somebody asks for a restore",
        ),
        (
            {"written": 50, "reads": dict.fromkeys(range(1, 40), 1)},
            {},
            "young",
            "14 reads expected in 365 days, 10.0 GB in 40 objects: still young, "
            "waits to be archived without a stop in a cool class",
        ),
    ],
)
def test_what_stays_says_why(here, rules, kind, reason):
    decision = decided(holding(**here), Rules(may_archive=True, **rules))
    assert (decision.action, decision.kind) == ("stay", kind)
    assert decision.reason == reason
    assert (decision.move_cost, decision.saving) == (0, 0)


def test_a_partition_past_its_retention_expires_unless_it_is_held():
    for storage_class in ("STANDARD", "DEEP_ARCHIVE"):
        here = holding(storage_class=storage_class, since=100 if storage_class == "DEEP_ARCHIVE" else None)
        decision = decided(here, Rules(may_archive=True, retention_days=420))
        assert decision.action == "expire"
        assert decision.reason == "420 days old, kept for 420: its time is over"
        assert decided(here, Rules(may_archive=True, retention_days=420, legal_hold=True)).action != "expire"
    assert decision.move_cost == leaving_cost(here, AWS, TODAY) > 0


def test_a_partition_that_will_expire_soon_is_not_moved_into_a_long_minimum():
    assert decided(holding(), Rules(may_archive=True, retention_days=425)).action == "stay"


def test_more_restores_than_allowed_are_not_archived_however_cheap():
    reads = dict.fromkeys(range(20, 400, 60), 1)
    assert decided(holding(region="local", storage_class="disk", reads=reads), region="local").tier == "cool"
    generous = Rules(may_archive=True, max_restores=60)
    assert decided(holding(region="local", storage_class="disk", reads=reads), generous, "local").tier == "archived"


def test_what_was_read_within_a_fortnight_is_not_archived_however_seldom_that_was():
    once = holding(written=85, reads={10: 1.0})
    assert decided(replace(once, reads={})).action == "archive"
    assert decided(once).action == "stay"
    assert decided(replace(once, reads={ago(15): 1.0})).action == "archive"


def test_a_laptop_cools_and_archives_too():
    here = holding(region="local", storage_class="disk")
    assert decided(here, Rules(may_archive=False), "local").storage_class == "disk_recompressed"
    assert decided(here, region="local").storage_class == "archive_directory"


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="STANDARD is hot, not cool"):
        decided(replace(holding(), tier="cool"))
    with pytest.raises(PriceError, match="no class 'STANDARD' in local"):
        decided(holding(), region="local")
    with pytest.raises(ValueError, match="sizes must be >= 0, found -1"):
        holding(sizes=(3, -1))
    with pytest.raises(ValueError, match="before its last write"):
        holding(storage_class="GLACIER_IR", written=10, since=20)
    with pytest.raises(ValueError, match="margin must be >= 0, found -1"):
        Rules(may_archive=True, margin=Decimal(-1))
    with pytest.raises(ValueError, match="horizon_days must be at least 1, found 0"):
        Rules(may_archive=True, horizon_days=0)


READS = st.dictionaries(st.integers(1, 700), st.floats(0, 5), max_size=30)


@st.composite
def cases(draw) -> tuple[Holding, Rules, str]:
    region = draw(st.sampled_from(sorted(BOOK.regions)))
    storage_class = draw(st.sampled_from(list(BOOK.region(region).classes)))
    written = draw(st.integers(0, 900))
    here = holding(
        region=region,
        storage_class=storage_class,
        sizes=tuple(draw(st.lists(st.integers(0, 1 << 31), max_size=8))) * draw(st.sampled_from((1, 50))),
        written=written,
        since=draw(st.integers(0, written)),
        reads=draw(READS),
        observed=draw(st.one_of(st.none(), st.integers(0, 900))),
    )
    rules = Rules(
        may_archive=draw(st.booleans()),
        restored_until=draw(st.sampled_from((None, None, TODAY))),
        legal_hold=draw(st.booleans()),
        min_hot_days=draw(st.integers(0, 90)),
        retention_days=draw(st.one_of(st.none(), st.integers(1, 1500))),
        margin=draw(st.decimals(0, 1, places=4)),
        horizon_days=draw(st.integers(1, 730)),
        max_restores=draw(st.floats(0, 50)),
    )
    return here, rules, region


@given(cases())
def test_the_same_inputs_give_the_same_decision(case):
    here, rules, region = case
    again = replace(here, sizes=tuple(reversed(here.sizes)), reads=dict(reversed(here.reads.items())))
    assert decided(here, rules, region) == decided(again, rules, region)


@given(cases())
def test_a_move_is_never_dearer_than_staying_over_the_horizon(case):
    here, rules, region = case
    decision = decided(here, rules, region)
    if decision.storage_class == here.storage_class:
        return
    days = rules.horizon_days
    if rules.retention_days is not None and not rules.legal_hold:
        days = min(days, rules.retention_days - (TODAY - here.written).days)
    demand = expected_demand(
        here.reads, written=here.written, observed_since=here.observed_since, today=TODAY, horizon_days=days
    )
    prices = BOOK.region(region)
    kept = rules.time_travel_days
    staying = total_cost(here, here.storage_class, prices, demand, days, TODAY, kept)
    moving = total_cost(here, decision.storage_class, prices, demand, days, TODAY, kept)
    assert staying - moving > rules.margin * days / 30
    assert decision.saving == (staying - moving) * 30 / days


@given(cases())
def test_costs_are_never_negative_and_told_for_every_tier(case):
    decision = decided(*case)
    assert set(decision.monthly) == {"hot", "cool", "archived"}
    assert min(*decision.monthly.values(), decision.move_cost, decision.saving) >= 0
    assert decision.reason
    assert "\n" not in decision.reason


@given(cases())
def test_the_kind_of_a_decision_says_whether_something_is_done(case):
    decision = decided(*case)
    done = {"saves": {"cool", "archive", "warm"}, "retention ended": {"expire"}}
    assert decision.action in done.get(decision.kind, {"stay"})
    assert kind_in_words(decision.kind) == KINDS[decision.kind]


def test_a_decision_that_was_written_without_a_kind_has_other_reasons():
    assert kind_in_words(None) == "other reasons"


def test_many_reads_are_told_without_an_exponent():
    often = decided(holding(reads=dict.fromkeys(range(1, 400), 1)))
    assert often.reason.startswith("330 reads expected in 365 days, ")


@given(cases(), READS)
def test_more_reads_never_make_a_partition_colder(case, more):
    here, rules, region = case
    reads = {**here.reads}
    for day, count in more.items():
        reads[ago(day)] = reads.get(ago(day), 0) + count
    less, greater = decided(here, rules, region), decided(replace(here, reads=reads), rules, region)
    assert COLDER[region](greater.storage_class) <= COLDER[region](less.storage_class)


@given(cases())
def test_a_legal_hold_never_expires_and_an_archive_only_stays_or_expires(case):
    here, rules, region = case
    assert decided(here, replace(rules, legal_hold=True), region).action != "expire"
    if here.tier == "archived":
        assert decided(here, rules, region).action in ("stay", "expire")


@given(cases())
def test_unknown_reads_a_restore_and_a_table_that_may_not_be_archived_hold(case):
    here, rules, region = case
    rules = replace(rules, retention_days=None)
    assert decided(replace(here, observed_since=None), rules, region).action == "stay"
    assert decided(here, replace(rules, restored_until=TODAY), region).action == "stay"
    if here.tier != "archived":
        assert decided(here, replace(rules, may_archive=False), region).tier != "archived"


@given(cases(), st.integers(2, 5))
def test_a_partition_of_several_times_the_objects_costs_as_many_times_as_much(case, times):
    here, rules, region = case
    small = decided(here, replace(rules, restored_until=TODAY), region).monthly
    large = decided(replace(here, sizes=here.sizes * times), replace(rules, restored_until=TODAY), region).monthly
    assert {tier: large[tier] for tier in small} == pytest.approx({tier: small[tier] * times for tier in small})


def test_a_lake_of_100_000_objects_is_decided_within_seconds():
    lake = [
        replace(holding(reads=dict.fromkeys(range(1 + n % 50, 700, 20), 0.5)), partition=(n,), sizes=(n * MB,) * 100)
        for n in range(1000)
    ]
    start = time.process_time()
    assert {decided(here).action for here in lake} >= {"stay"}
    assert time.process_time() - start < 5
