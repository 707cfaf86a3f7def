"""Plan ids: text and back, in the order in which drafts are made, and one message for what is not an id."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdap_assets.retention.plan_id import PlanId, PlanRefused

IDS = st.builds(PlanId, st.dates(), st.integers(1, 10**6))


@given(IDS)
def test_an_id_is_read_from_its_text_as_it_was_written(plan_id: PlanId) -> None:
    assert PlanId.parse(str(plan_id)) == plan_id


@given(IDS, IDS)
def test_ids_are_in_the_order_of_their_dates_and_then_of_their_numbers(one: PlanId, other: PlanId) -> None:
    assert (one < other) == ((one.snapshot, one.number) < (other.snapshot, other.number))
    assert one < one.next
    assert one.next.snapshot == one.snapshot


def test_the_tenth_draft_comes_after_the_ninth() -> None:
    texts = ["2024-03-03-10", "2024-03-10-1", "2024-03-03-9"]
    assert [str(one) for one in sorted(map(PlanId.parse, texts))] == ["2024-03-03-9", "2024-03-03-10", "2024-03-10-1"]


@pytest.mark.parametrize(
    "text",
    [
        "", "2024-03-03", "2024-03-03-0", "2024-03-03-01", "2024-02-30-1", "2024-03-03-1 ", "2024-03-03-1\n",
        "20240303-1", "2024-03-03--1", "2024-03-03-x", "2024-03-03-٣", "plan-2024-03-03-1",
    ],
)  # fmt: skip
def test_text_that_is_not_an_id_is_refused_with_what_an_id_looks_like(text: str) -> None:
    with pytest.raises(PlanRefused, match="is not the id of a plan: one looks like 2024-03-03-1") as told:
        PlanId.parse(text)
    assert repr(text) in str(told.value)


@given(st.text())
def test_any_text_is_an_id_or_refused(text: str) -> None:
    with suppress(PlanRefused):
        assert str(PlanId.parse(text)) == text


def test_drafts_are_numbered_from_one() -> None:
    with pytest.raises(ValueError, match="numbered from 1, found 0"):
        PlanId(date(2024, 3, 3), 0)
