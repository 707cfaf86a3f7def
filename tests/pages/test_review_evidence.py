"""The review shows where a model is off, what acting on it would find, what it may read, and what has changed."""

from __future__ import annotations

import pytest

from ml.evaluation import Decile
from pages.review import (
    Change,
    Columns,
    Gate,
    Importance,
    ModelReview,
    Profit,
    Segment,
    Shift,
    Source,
    review_page,
)
from tests.pages.reading import Reading
from tests.pages.samples import lapse_review


def full() -> ModelReview:
    """A review with everything that a training run can tell."""
    return lapse_review(
        against_champion="against version 2, the champion: log loss -0.004 [-0.006, -0.002].",
        weak=("recency 28 days and more: it says 37 % where 48 % came",),
        segments=(
            Segment("recency", "below 7 days", 7389, 0.047, 0.054, -0.014, 0.0, False),
            Segment("recency", "28 days and more", 1240, 0.37, 0.48, -0.15, -0.07, True),
        ),
        segment_bar="8 percentage points",
        found_of="lapses",
        deciles=tuple(Decile(n, 100, 0.5 / n, 0.48 / n, 3.7 / n, 1 - 0.62**n) for n in range(1, 11)),
        profit=Profit(
            ((0.0, 0.0), (0.1, 40.0), (0.2, 55.0), (1.0, -300.0)), 0.2, 0.25, "per 1,000 regulars", "costs 1, saves 3"
        ),
        changes=(Change("features", "17", "18, with responses"), Change("auc", "0.851", "0.854")),
        drift_since="against the customers that version 2 learned from last",
        drift=(Shift("recency", 0.31, "far"), Shift("T", 0.02, "steady")),
        columns=Columns(("recency", "T"), (("demographics.age", "age is sensitive"),)),
        importances=(Importance("recency", 0.6, "more raises risk"),),
        lineage=(Source("customer_features", 123, 120415),),
    )


def test_a_segment_that_is_badly_off_is_called_so_beside_its_interval() -> None:
    read = Reading(review_page(full()))
    assert read.tables["segments-table"] == [
        ["recency below 7 days", "7,389", "4.7 %", "5.4 %", "−1.4 % to 0.0 %", "within noise"],
        ["recency 28 days and more", "1,240", "37.0 %", "48.0 %", "−15.0 % to −7.0 %", "badly off"],
    ]
    assert "more than 8 percentage points apart" in read.sections["reliability"]
    assert "It says 37 % where 48 % came." in read.sections["weak"].replace("Recency 28 days and more: it", "It")


def test_tenths_and_profit_are_drawn_and_told_with_their_terms() -> None:
    read = Reading(review_page(full()))
    assert read.tables["deciles-table"][0] == ["1, highest", "100", "50.0 %", "48.0 %", "3.70", "38.0 %"]
    assert read.tables["deciles-table"][-1][0] == "10, lowest"
    assert "Costs 1, saves 3." in read.sections["profit"]
    assert "The effect is an assumption" in read.sections["profit"]
    assert "everyone above break-even, 25.0 % of customers" in read.sections["profit"]
    assert read.tags.count("svg") == 5


def test_what_was_used_held_back_and_changed_is_listed_with_the_reason() -> None:
    read = Reading(review_page(full()))
    assert read.tables["held-back"] == [["demographics.age", "Age is sensitive."]]
    assert "recency, more raises risk" in read.sections["features"]
    assert read.tables["changes-table"][0] == ["features", "17", "18, with responses"]
    assert read.tables["drift-table"] == [["recency", "0.310", "far"], ["T", "0.020", "steady"]]
    assert "Against version 2, the champion" in read.text
    assert "customer_features 123 120,415" in read.sections["lineage"]
    assert "cdap reproduce lapse_model 3" in read.sections["lineage"]


def test_a_note_of_a_gate_is_shown_even_when_it_passed() -> None:
    noted = Gate("no leak", True, "overdue", "nothing", "figures are worth nothing", "look where overdue comes from")
    assert "Look where overdue comes from." in Reading(review_page(lapse_review(gates=(noted,)))).sections["gates"]


def test_nothing_held_back_and_no_champion_are_said() -> None:
    bare = lapse_review(columns=Columns(("recency",), ()), drift_since="There is no champion to measure against.")
    read = Reading(review_page(bare))
    assert "Nothing: no contract limits" in read.sections["features"]
    assert "There is no champion to measure against." in read.sections["change"]
    assert "changes-table" not in read.tables


def test_figures_that_are_not_finite_are_refused_by_segment() -> None:
    with pytest.raises(ValueError, match=r"segment recency old.*nan"):
        Segment("recency", "old", 1, float("nan"), 0.1, 0.0, 0.1, False)
