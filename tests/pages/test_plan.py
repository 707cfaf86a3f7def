"""The plan page says what the figures say, whatever they are."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pages.plan import Arms, Champion, CurvePoint, PlanFigures, PlanState, Reason, plan_page
from tests.pages.reading import Reading
from tests.pages.samples import contact, plan

APPROVED = PlanState("approved", by="Ana Ruiz", at=datetime(2018, 1, 2, 9, 5, tzinfo=UTC), note="for January")


def test_the_headline_sums_the_contacts_and_compares_the_cost_with_the_budget() -> None:
    figures = plan()
    text = Reading(plan_page(figures)).text
    assert figures.cost == sum(entry.cost for entry in figures.contacts)
    assert f"contacts 214 customers for USD {figures.cost:,.2f}, within a budget of USD 250.00" in text
    assert f"USD {figures.value_at_stake:,.2f} of their expected margin over the next 28 days" in text
    assert "1.4 in 100" in text
    assert "6.3 in 100" in text


def test_the_sections_follow_the_order_of_a_marketing_managers_questions() -> None:
    sections = list(Reading(plan_page(plan())).sections)
    assert sections == ["stake", "who", "why", "change", "arms", "excluded", "uncertain", "next"]


def test_fifty_customers_are_listed_by_value_at_stake_and_the_rest_is_pointed_to() -> None:
    figures = plan()
    read = Reading(plan_page(replace(figures, contacts=figures.contacts[::-1])))
    rows = read.tables["customers"]
    values = [Decimal(row[6].replace(",", "")) for row in rows]
    assert len(rows) == 50
    assert values == sorted(values, reverse=True)
    assert values[0] == round(max(entry.value_at_stake for entry in figures.contacts), 2)
    assert "164 more are in the plan; the whole list is in retention_plan" in read.sections["who"]


def test_the_change_since_the_last_plan_is_counted_in_full_and_listed_in_part() -> None:
    change = Reading(plan_page(plan())).sections["change"]
    assert "47 customers entered, 11 left, 167 stayed" in change
    assert "and 27 more" in change


def test_a_closed_data_set_says_when_it_ends_and_a_living_one_says_nothing() -> None:
    assert "This panel ends on 2017-12-31" in Reading(plan_page(plan())).text
    assert "panel ends" not in Reading(plan_page(plan(data_ends=None))).text


def test_a_plan_from_an_unreviewed_model_cannot_be_approved_and_says_how_to_review_it() -> None:
    lapse, value = Champion("lapse_model", "1", False, None), Champion("lifetime_value_model", "2", False, None)
    read = Reading(plan_page(plan(champions=(lapse, value), reviewed=False)))
    assert "lapse_model 1 and lifetime_value_model 2, which passed" in read.text
    assert "cdap models approve lifetime_value_model 2 --reviewer NAME --note WHY" in read.text
    assert "Cannot be approved yet" in read.text
    assert "cdap models approve lapse_model 1 --reviewer NAME --note WHY" in read.text
    assert "calibration of lapse_model 1 has not been measured" in read.sections["uncertain"]
    assert "cdap plan approve" not in read.text
    assert "Cannot be approved yet" not in Reading(plan_page(plan())).text


def test_the_commands_name_the_plan_by_its_id_or_else_its_date() -> None:
    commands = Reading(plan_page(plan())).sections["next"]
    assert "cdap plan edit 2017-12-31-2 --drop CUSTOMER --by NAME --reason" in commands
    assert "cdap plan approve 2017-12-31-2 --by NAME" in commands
    assert "cdap plan reject 2017-12-31-2 --by NAME --reason" in commands
    assert "approve 2017-12-31 --by" in Reading(plan_page(plan(plan_id=None))).sections["next"]


def test_a_decided_plan_names_who_decided_and_when_and_offers_no_second_approval() -> None:
    read = Reading(plan_page(plan(state=APPROVED)))
    assert "Approved by Ana Ruiz on 2 January 2018, 09:05 UTC" in read.text
    assert "“for January”" in read.text
    assert "cdap plan export 2017-12-31-2 --by NAME" in read.sections["next"]
    assert "cdap plan approve" not in read.text
    rejected = Reading(plan_page(plan(state=replace(APPROVED, status="rejected"))))
    assert "Rejected by Ana Ruiz" in rejected.text
    assert "cdap plan export" not in rejected.text


def test_a_decision_without_a_person_is_refused() -> None:
    with pytest.raises(ValueError, match="names by whom and when"):
        PlanState("approved")


def test_no_uplift_is_claimed_and_a_gain_the_holdout_cannot_show_is_pointed_out() -> None:
    uncertain = Reading(plan_page(plan())).sections["uncertain"]
    assert "No uplift is claimed." in uncertain
    assert "between 1.4 in 100 and 6.3 in 100 would pay for itself" in uncertain
    assert "0.010 (95 % interval 0.007 to 0.016)" in uncertain
    strong = Reading(plan_page(plan(detectable_effect=0.01))).sections["uncertain"]
    assert "would pay for itself" not in strong


def test_a_plan_without_a_control_says_that_it_cannot_be_measured() -> None:
    arms = Reading(plan_page(plan(arms=Arms(10, 0, 0)))).sections["arms"]
    assert "This plan has no control." in arms


def test_exclusions_are_counted_and_summed() -> None:
    excluded = Reading(plan_page(plan())).sections["excluded"]
    assert "opted out of marketing 131" in excluded
    assert "All left out 1,708" in excluded


def test_an_empty_plan_still_makes_a_page() -> None:
    empty = plan(
        contacts=(),
        curve=(),
        change=None,
        exclusions=(),
        caveats=(),
        budget=None,
        break_even_effect=None,
        detectable_effect=None,
        arms=Arms(0, 0, 0),
    )
    read = Reading(plan_page(empty))
    assert "The plan contacts nobody" in read.text
    assert "This is the first plan" in read.sections["change"]
    assert "no budget set" in read.text
    assert "svg" not in read.tags


def test_a_budget_of_nothing_divides_nothing() -> None:
    assert "USD 0.00" in Reading(plan_page(plan(budget=Decimal(0)))).text


def test_markup_in_any_text_is_shown_and_never_run() -> None:
    evil = "<script>alert('x')</script><img src=x onerror=1>"
    # "</text>" and quotes try to leave the chart's label, "\u2028" and "\x0b" the page's encoding.
    reason = Reason("</text>\"'\\\x0b\u2028<script>1</script>", evil)
    figures = plan(
        contacts=(contact(1, customer_id=evil, reasons=(reason,), channel=evil),),
        state=replace(APPROVED, by=evil, note=evil),
        champions=(Champion(evil, evil, reviewed=False, calibration=None),),
        reviewed=False,
        caveats=(evil,),
        whole_list=evil,
    )
    read = Reading(plan_page(figures))
    assert "script" not in read.tags
    assert "img" not in read.tags
    assert not [name for _, name, _ in read.attributes if name.startswith("on")]
    assert evil in read.sections["who"]
    assert evil + "." in read.sections["uncertain"]


def test_reasons_keep_their_script_and_are_counted_by_theme_once_per_customer() -> None:
    reasons = (Reason("Длинная пауза 🛒", "买了三次"), Reason("Длинная пауза 🛒", "قبل 20 يوما"))
    figures = plan(contacts=(contact(1, reasons=reasons), contact(2, reasons=reasons[:1])))
    assert figures.reason_counts == [("Длинная пауза 🛒", 2)]
    read = Reading(plan_page(figures))
    assert "Длинная пауза 🛒" in read.sections["why"]
    assert "买了三次" in read.sections["who"]
    assert "قبل 20 يوما" in read.sections["who"]


def test_huge_amounts_are_written_out() -> None:
    huge = Decimal("98765432109876543210.55")
    figures = plan(
        contacts=(contact(1, cost=huge, expected_margin=huge, value_at_stake=huge),),
        budget=huge * 2,
        curve=(CurvePoint(1, huge, huge),),
        currency="JPY",
    )
    text = Reading(plan_page(figures)).text
    assert "JPY 98,765,432,109,876,543,211" in text


def test_a_long_curve_is_thinned_and_the_page_stays_small() -> None:
    curve = tuple(CurvePoint(n, Decimal(n), Decimal(n).sqrt()) for n in range(1, 50_001))
    assert len(plan_page(plan(curve=curve)).encode()) < 120_000


@pytest.mark.parametrize("figures", [plan(), plan(contacts=())])
def test_the_page_stands_alone_without_scripts_or_outside_addresses(figures: PlanFigures) -> None:
    page = plan_page(figures)
    read = Reading(page)
    assert not {"script", "link", "iframe", "object", "embed", "img"} & set(read.tags)
    assert not [a for a in read.attributes if a[1] in ("src", "href", "xlink:href", "srcset")]
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page)
    assert ("html", "lang", "en") in read.attributes


def test_a_lapse_probability_outside_0_to_1_names_the_customer() -> None:
    with pytest.raises(ValueError, match=r"customer c_07919: .* found 1.2"):
        contact(1, lapse_probability=1.2)
