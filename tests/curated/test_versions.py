"""What was believed when, against a walk over every instant in plain Python."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import ibis
from hypothesis import given
from hypothesis import strategies as st

from cdap_assets.curated.versions import as_known, versions
from tests.examples import examples
from tests.rows import found

DELIVERED = ibis.schema(
    {
        "key": "string",
        "value": "int64",
        "known_at": "timestamp(6)",
        "until": "timestamp(6)",
        "delivered_at": "timestamp(6)",
    }
)
KNOWN = ibis.schema({"key": "string", "value": "int64", "known_at": "timestamp(6)", "superseded_at": "timestamp(6)"})
Row = dict[str, Any]
HOURS = 9


def at(hour: int) -> datetime:
    return datetime(2017, 1, 1) + timedelta(hours=hour)


def delivered(*rows: tuple[str, int, int, int | None, int]) -> list[Row]:
    return [
        {
            "key": key,
            "value": value,
            "known_at": at(known),
            "until": None if until is None else at(until),
            "delivered_at": at(order),
        }
        for key, value, known, until, order in rows
    ]


def believed(rows: list[Row], key: str, hour: int) -> int | None:
    """The value of ``key`` at an instant: known last (then delivered last) among known and not withdrawn."""
    held = [
        row
        for row in rows
        if row["key"] == key and row["known_at"] <= at(hour) and (row["until"] is None or row["until"] > at(hour))
    ]
    return max(held, key=lambda row: (row["known_at"], row["delivered_at"]))["value"] if held else None


def valid_at(result: list[Row], key: str, hour: int) -> list[int]:
    return [
        row["value"]
        for row in result
        if row["key"] == key
        and row["known_at"] <= at(hour)
        and (row["superseded_at"] is None or row["superseded_at"] > at(hour))
    ]


def run(rows: list[Row]) -> list[Row]:
    return found(versions(ibis.memtable(rows, schema=DELIVERED), ["key"]))


@st.composite
def deliveries(draw: st.DrawFn) -> list[Row]:
    count = draw(st.integers(1, 8))
    rows = []
    for number in range(count):
        known = draw(st.integers(0, HOURS - 2))
        until = draw(st.none() | st.integers(known + 1, HOURS))
        rows.append((draw(st.sampled_from("ab")), number, known, until, number))
    return delivered(*rows)


@examples(40)
@given(deliveries())
def test_at_every_instant_the_valid_row_is_the_one_known_last_and_not_withdrawn(rows: list[Row]) -> None:
    result = run(rows)
    for key in "ab":
        for hour in range(-1, HOURS + 2):
            expected = believed(rows, key, hour)
            assert valid_at(result, key, hour) == ([] if expected is None else [expected])


@examples(12)
@given(deliveries(), st.randoms(use_true_random=False))
def test_the_order_in_which_rows_are_read_changes_nothing(rows: list[Row], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert run(shuffled) == run(rows)


def test_a_withdrawn_correction_lets_the_row_before_it_become_valid_again() -> None:
    result = run(delivered(("a", 1, 0, None, 0), ("a", 2, 3, 5, 3)))
    spans = [(row["value"], row["known_at"], row["superseded_at"]) for row in result]
    assert sorted(spans, key=str) == sorted([(1, at(0), at(3)), (2, at(3), at(5)), (1, at(5), None)], key=str)


def test_a_withdrawn_correction_of_the_same_assumed_instant_gives_way_to_the_row_it_hid() -> None:
    result = run(delivered(("a", 1, 0, None, 1), ("a", 2, 0, 5, 2)))
    assert valid_at(result, "a", 1) == [2]
    assert valid_at(result, "a", 6) == [1]


def test_of_two_rows_with_one_assumed_instant_the_later_delivery_holds() -> None:
    result = run(delivered(("a", 1, 0, None, 1), ("a", 2, 0, None, 2)))
    assert [row["value"] for row in result] == [2]


def intervals(rows: list[tuple[str, int, int, int | None]]) -> list[Row]:
    return [
        {"key": k, "value": v, "known_at": at(known), "superseded_at": None if end is None else at(end)}
        for k, v, known, end in rows
    ]


@examples(40)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(-5, 5), st.integers(0, 4), st.none() | st.integers(5, HOURS)),
        min_size=1,
        max_size=8,
    )
)
def test_what_was_known_of_a_group_is_the_sum_of_its_visible_rows_at_every_instant(
    drawn: list[tuple[str, int, int, int | None]],
) -> None:
    rows = intervals(drawn)
    known = ibis.memtable(rows, schema=KNOWN)
    result = found(as_known(known, ["key"], {"value": ibis._.value.sum(), "rows": ibis._.count()}))
    for key in "ab":
        for hour in range(-1, HOURS + 2):
            visible = valid_at(rows, key, hour)
            seen = [row for row in result if valid_at([row], key, hour)]
            assert [(row["value"], row["rows"]) for row in seen] == ([(sum(visible), len(visible))] if visible else [])


def test_a_group_of_which_nothing_is_left_has_no_row_from_then_on() -> None:
    known = ibis.memtable(intervals([("a", 4, 0, 5)]), schema=KNOWN)
    result = found(as_known(known, ["key"], {"value": ibis._.value.sum()}))
    assert [(row["known_at"], row["superseded_at"]) for row in result] == [(at(0), at(5))]
