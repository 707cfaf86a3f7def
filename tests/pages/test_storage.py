"""The storage page says what the figures say, whatever they are."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from pages.storage import (
    ActualCost,
    ArchivedPartition,
    ClassPrice,
    Move,
    OtherPolicy,
    PriceSource,
    Proposal,
    Stay,
    StorageFigures,
    TierDay,
    WaitingRestore,
    storage_page,
)
from tests.pages.reading import Reading

GB, MB = 1 << 30, 1 << 20
NOW = datetime(2026, 11, 28, 6, 30, tzinfo=UTC)
TODAY = NOW.date()


def month(back: int) -> date:
    """The first day of the month so many months before this one."""
    whole = TODAY.year * 12 + TODAY.month - 1 - back
    return date(whole // 12, whole % 12 + 1, 1)


def tier_day(day: date, tier: str, gigabytes: float, cost: str, hot: str | None = None) -> TierDay:
    return TierDay(day, tier, 40, 320, int(gigabytes * GB), Decimal(cost), Decimal(hot or cost))  # type: ignore[arg-type]


def history() -> tuple[TierDay, ...]:
    """A year by weeks in which more and more of a growing lake cools and is archived."""
    rows = []
    for week in range(53):
        day = TODAY - timedelta(weeks=52 - week)
        total = 420 + 9 * week
        archived, cool = max(0, week - 20) * 8, max(0, week - 8) * 3
        for tier, size, price in (
            ("hot", total - archived - cool, 0.023),
            ("cool", cool, 0.0129),
            ("archived", archived, 0.001),
        ):
            if size:
                rows.append(tier_day(day, tier, size, f"{size * price:.6f}", f"{size * 0.023:.6f}"))
    return tuple(rows)


def proposal(rank: int, **changes: object) -> Proposal:
    """The `rank`-th best proposal; what it saves falls with the rank."""
    size, files = 3 * GB - rank * 40 * MB, 9 + rank % 5
    saving, cost = Decimal("0.38") / (rank + 1), Decimal("0.0009") * (rank % 3 + 1)
    archive = rank % 3 != 0
    fields: dict[str, object] = {
        "table": "order_lines" if archive else "visits",
        "partition": f"month={month(16 + rank)}",
        "action": "archive" if archive else "cool",
        "tier": "hot",
        "storage_class": "STANDARD",
        "to_class": "DEEP_ARCHIVE" if archive else "STANDARD_IA",
        "bytes": size,
        "objects": files,
        "written": month(15 + rank),
        "last_read": None if rank % 4 == 2 else month(14 - rank % 3),
        "saving": saving,
        "cost": cost,
        "reason": f"{420 + 30 * rank} days unread, {size / GB:.1f} GB in {files} objects: "
        f"saves ${saving:.2g} a month after ${cost:.2g} to move",
        **changes,
    }
    return Proposal(**fields)  # type: ignore[arg-type]


def move(rank: int, **changes: object) -> Move:
    """The `rank`-th latest move."""
    fields: dict[str, object] = {
        "at": NOW - timedelta(days=1 + 7 * rank, hours=3),
        "table": "order_lines",
        "partition": f"month={month(28 + rank)}",
        "kind": "archive",
        "bytes_before": 2 * GB + rank * 60 * MB,
        "bytes_after": None,
        "saving": Decimal("0.044"),
        "cost": Decimal("0.0004"),
        "reason": "560 days unread, 2.0 GB in 8 objects: saves $0.044 a month after $0.0004 to move",
        **changes,
    }
    return Move(**fields)  # type: ignore[arg-type]


def storage(**changes: object) -> StorageFigures:
    """Storage of a lake of about 900 GB as a dry run, with something in every section."""
    fields: dict[str, object] = {
        "as_of": NOW,
        "currency": "USD",
        "apply": False,
        "horizon_days": 365,
        "budget": Decimal(5),
        "days": history(),
        "moves": (
            move(1),
            move(0, kind="compact", table="visits", bytes_after=1_700 * MB, saving=None, reason="4,000 small objects"),
            move(2, kind="restore", saving=None, cost=Decimal("0.06"), reason="asked back by Ana Ruiz"),
        ),
        "proposals": (*(proposal(rank) for rank in range(12)),),
        "stays": (
            Stay("written too recently", 31, 77 * GB, "written 12 days ago, stays for 90"),
            Stay("its use is unknown", 12, 190 * GB, "reads of events were never observed: its use is unknown"),
            Stay("read by another asset", 140, 310 * GB, "kept where it can be read: read by customer_days"),
            Stay("no move pays", 214, 4 * GB),
        ),
        "policies": (
            OtherPolicy("30/90/180 days by age", 210, Decimal("-1.92"), Decimal("3.10"), "what a lifecycle rule does"),
            OtherPolicy("archive nothing", 88, Decimal("0.71"), Decimal("0.09")),
        ),
        "actual_costs": (
            ActualCost(date(2026, 9, 1), Decimal("9.91"), Decimal("10.42"), "the bill"),
            ActualCost(date(2026, 10, 1), Decimal("9.80"), Decimal("9.61"), "the bill"),
        ),
        "restores": (
            WaitingRestore(
                "order_lines",
                "month=2024-05-01",
                2 * GB,
                NOW - timedelta(hours=2),
                NOW + timedelta(hours=10),
                "Standard",
                "Ana Ruiz",
            ),
        ),
        "archived": tuple(
            ArchivedPartition(
                "order_lines",
                f"month={month(back)}",
                2 * GB + back * MB,
                month(back - 18),
                "up to 12 hours by Standard, about 0.047 USD as of 2026-06-20",
            )
            for back in range(29, 36)
        ),
        "prices": PriceSource(
            "2026-11",
            "us-east-1",
            date(2026, 6, 20),
            "published price guides of May and June 2026",
            (
                ClassPrice("STANDARD", "hot", Decimal("0.023"), 0),
                ClassPrice("STANDARD_IA", "cool", Decimal("0.0125"), 30),
                ClassPrice("DEEP_ARCHIVE", "archived", Decimal("0.00099"), 180),
            ),
        ),
        **changes,
    }
    return StorageFigures(**fields)  # type: ignore[arg-type]


def empty() -> StorageFigures:
    """Before anything was looked at."""
    lists = ("days", "moves", "proposals", "stays", "policies", "actual_costs", "restores", "archived", "caveats")
    prices = PriceSource("2026-11", "local", date(2026, 11, 28), "notional")
    return storage(**dict.fromkeys(lists, ()), prices=prices, budget=None)


def test_the_headline_says_what_is_kept_what_it_costs_and_what_the_proposals_save() -> None:
    figures = storage()
    text = Reading(storage_page(figures)).text
    assert f"The lake holds {figures.bytes / GB:.1f} GB in 960 files" in text
    assert f"cost about USD {sum(e.monthly_cost for e in figures.now):.2f} a month to keep" in text
    assert f"would save USD {sum(p.saving for p in figures.proposals):.2f} a month, after USD 0.022 once" in text


def test_only_the_last_day_counts_as_now() -> None:
    figures = storage(days=(tier_day(TODAY, "archived", 1, "1"), tier_day(TODAY - timedelta(1), "hot", 9, "9")))
    assert (figures.bytes, figures.monthly_cost) == (GB, Decimal(1))


def test_a_dry_run_says_that_nothing_moved_and_how_to_move() -> None:
    text = Reading(storage_page(storage(moves=()))).text
    assert "Nothing was moved: this is a dry run. Set apply: true in storage.yaml" in text
    assert "Moves are on." not in text


def test_a_dry_run_after_real_moves_speaks_of_the_proposals_alone() -> None:
    text = Reading(storage_page(storage())).text
    assert "Nothing of what is proposed was moved: this is a dry run." in text
    assert "Nothing was moved" not in text


def test_with_apply_the_next_runs_move_within_their_budget() -> None:
    read = Reading(storage_page(storage(apply=True)))
    assert "the next runs carry out what is proposed, each for USD 5.00 at most" in read.text
    assert "dry run" not in read.text
    assert "What will move, and why" in read.sections["proposed"]
    assert "there is nothing to do" in Reading(storage_page(storage(apply=True, proposals=()))).text


def test_the_sections_follow_the_order_of_the_questions() -> None:
    sections = ["cost", "moved", "proposed", "stays", "policies", "actual", "archived", "prices"]
    assert list(Reading(storage_page(storage())).sections) == sections
    assert list(Reading(storage_page(empty())).sections) == sections


def test_before_the_first_look_every_section_is_a_sentence_and_no_table() -> None:
    read = Reading(storage_page(empty()))
    assert not read.tables
    assert "svg" not in read.tags
    for section, told in {
        "cost": "fills this page",
        "moved": "Nothing has moved yet.",
        "proposed": "nothing is proposed",
        "stays": "Nothing was looked at.",
        "policies": "No other policy was tried.",
        "actual": "the forecasts are unchecked",
        "archived": "No restore is waiting. Nothing is archived.",
        "prices": "region local , as of 28 November 2026",
    }.items():
        assert told in read.sections[section]
    assert "Nobody has looked at storage yet" in read.text


def test_a_lake_without_anything_to_do_says_so() -> None:
    read = Reading(storage_page(storage(proposals=(), stays=())))
    assert "Every partition is where it should be" in read.text
    assert "no move would save more than it costs" in read.sections["proposed"]
    assert "Nothing stays" in read.sections["stays"]


def test_tiers_are_drawn_over_time_beside_the_cost_of_never_moving() -> None:
    page = storage_page(storage())
    read = Reading(page)
    assert page.count("<svg") == 2
    assert "29 November 2025 to 28 November 2026" in read.sections["cost"]
    assert "had nothing ever moved" in read.sections["cost"]
    assert [row[0] for row in read.tables["tiers"]] == ["hot", "cool", "archived"]


def test_a_single_day_is_drawn_as_bars() -> None:
    page = storage_page(storage(days=(tier_day(TODAY, "hot", 0.09, "0.00047"),)))
    read = Reading(page)
    assert page.count("<svg") == 2
    assert "the first day on record" in read.sections["cost"]
    assert "had nothing ever moved" not in read.text
    assert "cost about USD 0.00047 a month" in read.text


def test_a_tier_that_comes_and_goes_and_a_long_history_are_drawn() -> None:
    days = [tier_day(TODAY - timedelta(n), "hot", 5, "1") for n in range(2_000)]
    days += [tier_day(TODAY - timedelta(n), "archived", 1, "0.1") for n in range(0, 2_000, 7)]
    assert len(storage_page(storage(days=tuple(days))).encode()) < 150_000


def test_a_day_of_nothing_is_drawn() -> None:
    days = tuple(TierDay(TODAY - timedelta(n), "hot", 0, 0, 0, Decimal(0), Decimal(0)) for n in range(2))
    assert "The lake holds 0 bytes in 0 files" in Reading(storage_page(storage(days=days))).text


def test_moves_are_told_latest_first_with_what_they_did() -> None:
    rows = Reading(storage_page(storage())).tables["moves"]
    assert [row[2] for row in rows] == ["compacted", "archived", "restored"]
    assert rows[0][3:] == ["2.0 GB now 1.7 GB", "–", "0.0004"]
    assert rows[1][0] == "20 November 2026"
    assert rows[1][1].startswith(f"order_lines month={month(29)} 560 days unread, 2.0 GB in 8 objects: saves")
    assert rows[2][1].endswith("Asked back by Ana Ruiz.")


def test_earlier_moves_are_counted_not_shown() -> None:
    read = Reading(storage_page(storage(moves=tuple(move(rank) for rank in range(42)))))
    assert len(read.tables["moves"]) == 30
    assert "The last 30; 12 earlier moves not shown." in read.sections["moved"]


def test_a_proposal_says_what_where_to_what_it_saves_and_why() -> None:
    one = proposal(1, partition="n=1", written=date(2024, 4, 2), last_read=None)
    row = Reading(storage_page(storage(proposals=(one,)))).tables["proposals"][0]
    assert row == [
        "order_lines n=1 450 days unread, 3.0 GB in 10 objects: saves $0.19 a month after $0.0018 to move.",
        "3.0 GB 10 files",
        "2 April 2024 unknown",
        "hot → archived STANDARD → DEEP_ARCHIVE",
        "0.19",
        "0.0018",
    ]


def test_fifty_proposals_are_listed_by_saving_and_the_rest_is_counted_and_summed() -> None:
    every = tuple(proposal(0, partition=f"n={n}", saving=Decimal(n) / 100) for n in range(170))
    read = Reading(storage_page(storage(proposals=every)))
    savings = [Decimal(row[4]) for row in read.tables["proposals"]]
    assert len(savings) == 50
    assert savings == sorted(savings, reverse=True)
    assert savings[0] == Decimal("1.69")
    left = sum(Decimal(n) / 100 for n in range(120))
    assert f"120 more save USD {left:.2f} a month together" in read.sections["proposed"]


def test_a_deletion_is_announced_whatever_the_cap() -> None:
    gone = proposal(0, action="expire", to_class="", table="visits", saving=Decimal("0.01"), bytes=GB)
    read = Reading(storage_page(storage(proposals=(*(proposal(0, partition=f"n={n}") for n in range(60)), gone))))
    assert "1 partition would be deleted , 1.0 GB of visits" in read.text
    assert "does not come back" in read.text
    alone = Reading(storage_page(storage(proposals=(gone,)))).tables["proposals"][0]
    assert alone[3] == "hot → deleted STANDARD"


def test_merging_small_files_is_no_move() -> None:
    merge = proposal(0, action="compact", to_class="STANDARD", saving=Decimal(0), cost=Decimal(0))
    read = Reading(storage_page(storage(proposals=(merge,))))
    assert read.tables["proposals"][0][3] == "hot → larger files STANDARD"
    assert read.tables["other-policies"][0][1] == "0"
    assert "they are merged first" in read.sections["proposed"]


def test_what_stays_is_counted_by_reason_largest_first() -> None:
    rows = Reading(storage_page(storage())).tables["staying"]
    assert rows[0] == [
        "Read by another asset. Such as: Kept where it can be read: read by customer_days.",
        "140",
        "310.0 GB",
    ]
    assert rows[-1] == ["All that stays", "397", "581.0 GB"]


def test_other_policies_stand_beside_this_one_and_a_loss_is_explained() -> None:
    read = Reading(storage_page(storage()))
    rows = read.tables["other-policies"]
    assert rows[0][:2] == ["This one storage.yaml as it is.", "12"]
    assert rows[1] == ["30/90/180 days by age What a lifecycle rule does.", "210", "−1.92", "3.10"]
    assert "A saving below zero is a cost" in read.sections["policies"]
    gain = OtherPolicy("p", 1, Decimal(1), Decimal(0))
    assert "below zero" not in Reading(storage_page(storage(policies=(gain,)))).text


def test_forecasts_stand_beside_actual_costs_with_their_error() -> None:
    rows = Reading(storage_page(storage())).tables["actual-costs"]
    assert [row[0] for row in rows] == ["October 2026", "September 2026"]
    assert [row[3] for row in rows] == ["+2.0 %", "−4.9 %"]
    free = ActualCost(date(2026, 9, 1), Decimal(1), Decimal(0), "the bill")
    assert free.off_by is None


def test_waiting_restores_say_when_they_come_and_which_are_overdue() -> None:
    waiting = storage().restores[0]
    row = Reading(storage_page(storage())).tables["restores"][0]
    assert row[3:] == ["Ana Ruiz", "Standard", "28 November 2026, 16:30 UTC"]
    late = replace(waiting, expected=NOW - timedelta(hours=1))
    unknown = replace(waiting, partition="month=2024-06-01", expected=None, by="", speed="")
    rows = Reading(storage_page(storage(restores=(late, unknown)))).tables["restores"]
    assert rows[0][5].endswith("overdue")
    assert rows[1][3:] == ["–", "–", "not known"]


def test_each_archived_partition_has_its_command_and_many_are_capped() -> None:
    one = ArchivedPartition("order_lines", "month=2024-03-01", GB, date(2026, 1, 2), "up to 12 hours")
    rows = Reading(storage_page(storage(archived=(one,)))).tables["in-archive"]
    assert rows == [
        ["cdap storage restore order_lines --partition month=2024-03-01 Up to 12 hours.", "1.0 GB", "2 January 2026"]
    ]
    read = Reading(storage_page(storage(archived=tuple(replace(one, partition=f"n={n}") for n in range(90)))))
    assert len(read.tables["in-archive"]) == 30
    assert "30 of 90 partitions; the others are in storage_tiers" in read.sections["archived"]


def test_a_partition_with_an_evil_value_is_one_word_to_a_shell() -> None:
    evil = ArchivedPartition("t", "city=L'Aquila; rm -rf ~", GB, TODAY)
    assert evil.command == """cdap storage restore t --partition 'city=L'"'"'Aquila; rm -rf ~'"""


def test_the_price_book_tells_where_it_is_from_and_what_it_leaves_out() -> None:
    prices = Reading(storage_page(storage(caveats=("the log of reads began in May",)))).sections["prices"]
    assert "Price book 2026-11, region us-east-1 , as of 20 June 2026." in prices
    assert "Published price guides of May and June 2026." in prices
    assert "DEEP_ARCHIVE archived 0.00099 180 days" in prices
    assert "estimates at list prices" in prices
    assert "The log of reads began in May." in prices
    assert "more than a year old" not in prices
    old = replace(storage().prices, date=date(2025, 9, 14))
    assert "more than a year old" in Reading(storage_page(storage(prices=old))).text


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "0.00"),
        ("1234.5", "1,234.50"),
        ("0.38", "0.38"),
        ("0.0954", "0.095"),
        ("0.00047", "0.00047"),
        ("0.00000004", "<0.0001"),
        ("-0.00000004", "−<0.0001"),
        ("-0.0012", "−0.0012"),
    ],
)
def test_small_amounts_keep_two_digits_and_others_are_exact_to_the_cent(amount: str, shown: str) -> None:
    one = proposal(0, saving=Decimal(amount))
    assert Reading(storage_page(storage(proposals=(one,)))).tables["proposals"][0][4] == shown


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 bytes"), (1, "1 byte"), (1023, "1,023 bytes"), (1536, "1.5 KB"), (5 << 40, "5.0 TB")]
)
def test_sizes_are_written_as_the_reasons_write_them(size: int, shown: str) -> None:
    assert Reading(storage_page(storage(proposals=(proposal(0, bytes=size),)))).tables["proposals"][0][1] == (
        f"{shown} 9 files"
    )


def test_markup_in_any_text_is_shown_and_never_run() -> None:
    evil = "<script>alert('x')</script><img src=x onerror=1>"
    figures = storage(
        currency="</text><script>1</script>",
        moves=(move(0, table=evil, partition=evil, reason=evil),),
        proposals=(
            proposal(0, table=evil, partition=evil, storage_class=evil, to_class=evil + "2", reason=evil),
            proposal(0, table=evil, action="expire", to_class=""),
        ),
        stays=(Stay(evil, 1, 1, evil),),
        policies=(OtherPolicy(evil, 1, Decimal(1), Decimal(1), evil),),
        actual_costs=(ActualCost(TODAY, Decimal(1), Decimal(1), evil),),
        restores=(WaitingRestore(evil, evil, 1, NOW, None, evil, evil),),
        archived=(ArchivedPartition(evil, evil, 1, TODAY, evil),),
        prices=PriceSource(evil, evil, TODAY, evil, (ClassPrice(evil, "hot", Decimal(1), 0),)),
        whole_list=evil,
        caveats=(evil,),
    )
    read = Reading(storage_page(figures))
    assert not {"script", "img"} & set(read.tags)
    assert not [name for _, name, _ in read.attributes if name.startswith("on")]
    for section in ("moved", "proposed", "stays", "policies", "actual", "archived", "prices"):
        assert evil in read.sections[section]


@pytest.mark.parametrize("figures", [storage(), storage(apply=True), empty()])
def test_the_page_stands_alone_without_scripts_or_outside_addresses(figures: StorageFigures) -> None:
    page = storage_page(figures)
    read = Reading(page)
    assert not {"script", "link", "iframe", "object", "embed", "img"} & set(read.tags)
    assert not [a for a in read.attributes if a[1] in ("src", "href", "xlink:href", "srcset")]
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page)
    assert ("html", "lang", "en") in read.attributes


@pytest.mark.parametrize("number", [Decimal("Infinity"), Decimal("NaN")])
@pytest.mark.parametrize(
    ("make", "owner"),
    [
        (lambda n: proposal(0, saving=n), "proposal for visits"),
        (lambda n: proposal(0, cost=n), "proposal for visits"),
        (lambda n: move(0, saving=n), "move of order_lines"),
        (lambda n: TierDay(TODAY, "hot", 1, 1, 1, n, Decimal(0)), "hot on 2026-11-28"),
        (lambda n: OtherPolicy("p", 1, n, Decimal(0)), "policy 'p'"),
        (lambda n: ActualCost(TODAY, n, Decimal(0), ""), "cost of November 2026"),
        (lambda n: ClassPrice("STANDARD", "hot", n, 0), "price of STANDARD"),
        (lambda n: storage(budget=n), "the budget of a run"),
    ],
)
def test_what_is_not_finite_is_refused_by_name(make: Callable[[Decimal], object], owner: str, number: Decimal) -> None:
    with pytest.raises(ValueError, match=f"{owner}.*expected finite numbers"):
        make(number)


def test_negative_sizes_unknown_tiers_doubled_days_and_naive_instants_are_refused() -> None:
    with pytest.raises(ValueError, match="archived t p: expected counts and sizes of zero and more, found -1"):
        ArchivedPartition("t", "p", -1, TODAY)
    with pytest.raises(ValueError, match="expired on 2026-11-28: expected a tier of hot, cool, archived"):
        tier_day(TODAY, "expired", 1, "1")
    with pytest.raises(ValueError, match="each tier once a day, found 2 rows for 1 of them"):
        storage(days=(tier_day(TODAY, "hot", 1, "1"),) * 2)
    with pytest.raises(ValueError, match="needs its time zone"):
        storage_page(storage(as_of=datetime(2026, 11, 28)))
    with pytest.raises(ValueError, match=r"proposal for visits month=.*: money must be a Decimal, found 0\.5"):
        proposal(0, saving=0.5)
