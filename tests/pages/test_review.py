"""The review page gives a person what a decision about a model needs."""

import re
from dataclasses import replace
from datetime import date, timedelta

import pytest

from pages.review import (
    Gate,
    Importance,
    ModelReview,
    ReliabilityBin,
    SnapshotFigure,
    review_page,
)
from tests.pages.reading import Reading
from tests.pages.samples import lapse_review, value_review


def test_a_challenger_that_passes_may_be_approved_and_says_what_it_replaces() -> None:
    read = Reading(review_page(lapse_review()))
    assert "lapse_model, version 3" in read.text
    assert "Passed 3 gates." in read.text
    assert "would replace version 2" in read.text
    assert "cdap models approve lapse_model 3 --reviewer NAME --note WHY" in read.sections["decide"]


def test_a_failed_gate_is_named_at_the_top_and_approval_is_not_offered() -> None:
    read = Reading(review_page(value_review()))
    assert "1 of 2 gates failed: unbiased. This version cannot become champion." in read.text
    assert "cdap models approve" not in read.text
    assert "Budgets built on the total would be wrong." in read.sections["gates"]


def test_a_review_without_gates_is_no_pass() -> None:
    read = Reading(review_page(lapse_review(gates=())))
    assert "No gate was evaluated." in read.text
    assert "cdap models approve" not in read.text


def test_an_unreviewed_champion_says_what_it_may_not_do() -> None:
    read = Reading(review_page(lapse_review(stage="unreviewed champion")))
    assert "Plans from it can be drafted, not approved." in read.text
    assert "cdap models approve lapse_model 3 --reviewer NAME --note WHY" in read.sections["decide"]
    champion = Reading(review_page(lapse_review(stage="champion")))
    assert "cdap models approve" not in champion.text


def test_figures_stand_beside_the_baseline_with_their_intervals_for_both_kinds_of_model() -> None:
    lapse = Reading(review_page(lapse_review())).tables["figures-table"]
    assert lapse[0][1:] == ["0.854", "0.836 to 0.871", "0.754", "better"]
    assert lapse[2][4] == "within the interval"
    value = Reading(review_page(value_review())).tables["figures-table"]
    assert value[0][1:] == ["173.0 USD", "166.0 USD to 181.0 USD", "198.0 USD", "better"]
    assert value[1][1:] == ["−4.2 %", "−6.3 % to −2.1 %", "11.8 %", "better"]


def test_a_label_that_closes_after_its_test_snapshot_is_called_out() -> None:
    review = lapse_review()
    assert "these figures are too good" not in Reading(review_page(review)).text
    leaking = replace(review.splits[0], last_label_closed=review.splits[0].test + timedelta(days=1))
    splits = Reading(review_page(replace(review, splits=(leaking,)))).sections["splits"]
    assert "after the test snapshot: these figures are too good" in splits


def test_a_label_that_closes_at_the_cut_off_of_the_test_is_known_in_time() -> None:
    split = lapse_review().splits[0]
    assert replace(split, last_label_closed=split.test).closed_before_test


def test_the_lineage_pins_every_table_to_its_snapshot() -> None:
    lineage = Reading(review_page(lapse_review())).sections["lineage"]
    assert "features.customer_features 6012345678901234567" in lineage
    assert "code version 4f2c91a" in lineage


def test_the_label_card_counts_eligible_excluded_and_base_rate() -> None:
    card = Reading(review_page(lapse_review())).sections["label-card"]
    assert "2017-09-10 2,204 265 11.4 %" in card
    assert "455.2 USD" in Reading(review_page(value_review())).sections["label-card"]


def test_the_most_important_features_come_first_and_the_rest_is_counted() -> None:
    many = tuple(Importance(f"feature_{i}", float(i)) for i in range(40))
    features = Reading(review_page(lapse_review(importances=many))).sections["features"]
    assert features.index("feature_39") < features.index("feature_26")
    assert "feature_24 " not in features
    assert "The 15 largest of 40 features." in features


def test_a_review_with_nothing_measured_still_makes_a_page() -> None:
    bare = lapse_review(
        label_card=(),
        splits=(),
        figures=(),
        snapshots=(),
        reliability=(),
        importances=(),
        gates=(),
        lineage=(),
        caveats=(),
        data_ends=None,
    )
    read = Reading(review_page(bare))
    assert "No figures were measured." in read.text
    assert "Calibration was not measured." in read.text
    assert "svg" not in read.tags


def test_one_snapshot_without_interval_or_baseline_draws_and_warns() -> None:
    one = (SnapshotFigure(date(2017, 12, 3), 0.85, None, None, None),)
    read = Reading(review_page(lapse_review(snapshots=one)))
    assert "One snapshot shows nothing about how the figure varies over time." in read.text
    assert read.tags.count("svg") == 3


def test_extreme_figures_draw() -> None:
    extreme = lapse_review(
        unit="USD",
        snapshots=tuple(
            SnapshotFigure(date(2000, 1, 2) + timedelta(weeks=i), 1e18, 1e17, 1e19, 0.0) for i in range(150)
        ),
        reliability=(ReliabilityBin(0.0, 0.0, 1),),
        importances=(Importance("all zero", 0.0), Importance("huge", -1e30)),
    )
    assert Reading(review_page(extreme)).tags.count("svg") == 3


def test_what_is_not_finite_is_refused_where_it_is_given() -> None:
    with pytest.raises(ValueError, match=r"importance of 'recency'.*inf"):
        Importance("recency", float("inf"))
    with pytest.raises(ValueError, match=r"test snapshot 2017-12-03.*nan"):
        SnapshotFigure(date(2017, 12, 3), float("nan"), None, None, None)


def test_markup_in_any_text_is_shown_and_never_run() -> None:
    evil = "</text></svg><script>alert(1)</script>"
    review = lapse_review(
        name=evil,
        label=evil,
        measure=evil,
        importances=(Importance(evil, 1.0),),
        gates=(Gate(evil, False, evil, evil, evil),),
        caveats=(evil,),
    )
    read = Reading(review_page(review))
    assert "script" not in read.tags
    assert evil in read.sections["caveats"]
    assert evil in read.sections["features"]


@pytest.mark.parametrize("review", [lapse_review(), value_review()])
def test_the_page_stands_alone_without_scripts_or_outside_addresses(review: ModelReview) -> None:
    page = review_page(review)
    read = Reading(page)
    assert not {"script", "link", "iframe", "object", "embed", "img"} & set(read.tags)
    assert not [a for a in read.attributes if a[1] in ("src", "href", "xlink:href", "srcset")]
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page)
