"""What Python writes is read back exactly; what cannot be read is null with a reason that hides the value."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ibis.formats.pyarrow import PyArrowType

from cdap_assets.contracts.contract import SourceColumn
from cdap_assets.raw.values import problem, typed
from resources.engines.engine import Engine
from tests.examples import examples

BERLIN = "Europe/Berlin"
few = examples(15)  # each of many values, for it is the query that takes long
# a text says nothing of which pass of a doubled hour it means, so neither does what is drawn
TIMES = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)).map(lambda drawn: drawn.replace(fold=0))


def read(
    engine: Engine, values: list[Any], column: SourceColumn, *, delivered: str = "string", zone: str = BERLIN
) -> list[tuple[Any, str | None]]:
    """(value, problem) of each delivered value."""
    type_ = PyArrowType.from_ibis(ibis.dtype(delivered))
    table = ibis.memtable(pa.table({"n": range(len(values)), "x": pa.array(values, type_)}))
    value = typed(table.x, column, zone)
    rows = engine.backend.to_pyarrow(
        table.select("n", value=value, told=problem(table.x, value, column)).order_by("n")
    ).to_pylist()
    return [(row["value"], row["told"]) for row in rows]


def values(engine: Engine, texts: list[str], type_: str, form: str | None = None, zone: str = BERLIN) -> list[Any]:
    found = read(engine, texts, SourceColumn("c", type_, format=form), zone=zone)
    assert [told for _, told in found] == [None] * len(texts)
    return [value for value, _ in found]


@few
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=20))
def test_every_int64_is_read_back(engine: Engine, numbers: list[int]) -> None:
    assert values(engine, [str(number) for number in numbers], "int64") == numbers


@few
@given(st.lists(st.decimals(Decimal("-99999999999999"), Decimal("99999999999999"), places=4), min_size=20))
def test_every_decimal_of_the_scale_is_read_back(engine: Engine, numbers: list[Decimal]) -> None:
    assert values(engine, [f"{number:f}" for number in numbers], "decimal(18, 4)") == numbers


@few
@given(st.lists(st.integers(-(10**17), 10**17), min_size=20))
def test_a_decimal_without_decimals_is_read_back(engine: Engine, numbers: list[int]) -> None:
    assert values(engine, [str(number) for number in numbers], "decimal(18, 0)") == [Decimal(n) for n in numbers]


@few
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=20))
def test_every_float_is_read_back(engine: Engine, numbers: list[float]) -> None:
    assert values(engine, [repr(number) for number in numbers], "float64") == numbers


@few
@given(st.lists(st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31)), min_size=20))
def test_every_iso_date_is_read_back(engine: Engine, days: list[dt.date]) -> None:
    assert values(engine, [day.isoformat() for day in days], "date") == days


@few
@given(st.lists(TIMES, min_size=20), st.sampled_from(["UTC", BERLIN, "America/New_York"]), st.sampled_from("T "))
def test_every_iso_timestamp_is_a_wall_clock_of_the_zone(
    engine: Engine, walls: list[dt.datetime], zone: str, between: str
) -> None:
    expected = [wall.replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC).replace(tzinfo=None) for wall in walls]
    assert values(engine, [wall.isoformat(between) for wall in walls], "timestamp(6)", zone=zone) == expected


@few
@given(st.lists(TIMES, min_size=20), st.integers(-14 * 60, 14 * 60), st.sampled_from([":", ""]))
def test_every_iso_timestamp_with_an_offset_is_that_instant(
    engine: Engine, walls: list[dt.datetime], minutes: int, between: str
) -> None:
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    texts = [f"{wall.isoformat()}{sign}{hours:02}{between}{rest:02}" for wall in walls]
    assert values(engine, texts, "timestamp(6)") == [wall - dt.timedelta(minutes=minutes) for wall in walls]


@few
@given(st.lists(TIMES, min_size=20))
def test_z_means_utc(engine: Engine, walls: list[dt.datetime]) -> None:
    assert values(engine, [f"{wall.isoformat()}Z" for wall in walls], "timestamp(6)") == walls


@few
@given(st.lists(TIMES, min_size=20))
def test_a_format_of_its_own_is_read_back(engine: Engine, walls: list[dt.datetime]) -> None:
    form = "%d.%m.%Y %H:%M:%S"
    texts = [wall.strftime(form) for wall in walls]
    expected = [
        wall.replace(microsecond=0, tzinfo=ZoneInfo(BERLIN)).astimezone(dt.UTC).replace(tzinfo=None) for wall in walls
    ]
    assert values(engine, texts, "timestamp(6)", form) == expected
    assert values(engine, texts, "date", form) == [wall.date() for wall in walls]


def test_a_format_with_an_offset_means_that_instant(engine: Engine) -> None:
    text = "01/Mar/2024:12:00:00 +0200"
    expected = dt.datetime(2024, 3, 1, 10)
    assert values(engine, [text], "timestamp(6)", "%d/%b/%Y:%H:%M:%S %z") == [expected]


JUNK = {
    "int64": ["x", "1.0", "1,000", "9223372036854775808", "0x10", "1e3", "١", "- 1", "NaN"],
    "decimal(18, 4)": ["1.00001", "1,5", "1e3", "100000000000000", "NaN", ".", "-", "€1"],
    "float64": ["nan", "inf", "1,5", "1e", "e5", "1e9999"],
    "boolean": ["maybe", "2", "tru"],
    "date": ["2024-02-30", "2024-13-01", "01.02.2024", "2024-3-1", "2024-03-01T10:00", "0000-00-00", "0000-01-01"],
    "timestamp(6)": ["2024-03-01", "2024-03-01 25:00", "2024-02-30 10:00", "now", "2024-03-01T10:00+99:00"],
}


@pytest.mark.parametrize("type_", JUNK)
def test_junk_is_null_and_the_reason_names_the_column_and_not_the_value(engine: Engine, type_: str) -> None:
    for text, (value, told) in zip(JUNK[type_], read(engine, JUNK[type_], SourceColumn("col", type_)), strict=True):
        assert (text, value, told) == (text, None, f"col is no {type_}")


@few
@given(st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), min_size=20))
def test_any_text_is_a_value_or_null_with_a_reason_that_does_not_depend_on_it(engine: Engine, texts: list[str]) -> None:
    for type_ in JUNK:
        column = SourceColumn("col", type_, required=True)
        for value, told in read(engine, texts, column):
            assert (value is None) == (told in (f"col is no {type_}", "col is required and empty"))


def test_an_empty_value_is_null_and_a_problem_only_where_it_is_required(engine: Engine) -> None:
    assert read(engine, [None], SourceColumn("c", "int64")) == [(None, None)]
    assert read(engine, [None], SourceColumn("c", "int64", required=True)) == [(None, "c is required and empty")]


def test_a_required_text_of_blanks_is_empty(engine: Engine) -> None:
    [(_, told)] = read(engine, ["   "], SourceColumn("c", "string", required=True))
    assert told == "c is required and empty"


@pytest.mark.parametrize(
    ("column", "good", "bad", "told"),
    [
        (SourceColumn("c", "string", enum=("A", "B")), "A", "secret", "c is none of A, B"),
        (SourceColumn("c", "int64", enum=(1, 2)), "2", "3", "c is none of 1, 2"),
        (SourceColumn("c", "string", pattern="[a-z]+|x9"), "abc", "abc9", "c does not match [a-z]+|x9"),
        (SourceColumn("c", "int64", minimum=1), "1", "0", "c is below 1"),
        (SourceColumn("c", "decimal(18, 4)", maximum=1.5), "1.5", "1.5001", "c is above 1.5"),
        (SourceColumn("c", "date", minimum=dt.date(2024, 1, 1)), "2024-01-01", "2023-12-31", "c is below 2024-01-01"),
    ],
)
def test_a_rule_holds_at_its_bound_and_is_told_beyond(
    engine: Engine, column: SourceColumn, good: str, bad: str, told: str
) -> None:
    (_, nothing), (_, found), (_, empty) = read(engine, [good, bad, None], column)
    assert (nothing, found, empty) == (None, told, None)


def test_the_bounds_of_an_instant_count_from_the_start_of_the_day(engine: Engine) -> None:
    column = SourceColumn("c", "timestamp(6)", minimum=dt.date(2024, 1, 1))
    assert [told for _, told in read(engine, ["2024-01-01 00:00", "2023-12-31 23:59"], column, zone="UTC")] == [
        None,
        "c is below 2024-01-01",
    ]


@pytest.mark.parametrize(
    ("delivered", "value", "type_", "expected"),
    [
        ("int64", 7, "decimal(18, 4)", Decimal(7)),
        ("float64", 0.1, "decimal(18, 4)", Decimal("0.1")),
        ("float64", 1.00001, "decimal(18, 4)", None),
        ("float64", 7.0, "int64", 7),
        ("float64", 7.5, "int64", None),
        ("float64", float("nan"), "decimal(18, 4)", None),
        ("float64", 1e30, "int64", None),
        ("decimal(38, 10)", Decimal("1.00001"), "decimal(18, 4)", None),
        ("int64", 7, "string", "7"),
        ("date", dt.date(2024, 3, 1), "date", dt.date(2024, 3, 1)),
        ("date", dt.date(2024, 3, 1), "timestamp(6)", dt.datetime(2024, 2, 29, 23)),
        ("timestamp(6)", dt.datetime(2024, 3, 1, 12), "timestamp(6)", dt.datetime(2024, 3, 1, 11)),
        (
            "timestamp('America/New_York', 6)",
            dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC),
            "timestamp(6)",
            dt.datetime(2024, 3, 1, 12),
        ),
        ("boolean", True, "boolean", True),
    ],
)
def test_a_typed_file_is_read_without_loss_or_not_at_all(
    engine: Engine, delivered: str, value: Any, type_: str, expected: Any
) -> None:
    [(found, told)] = read(engine, [value], SourceColumn("c", type_), delivered=delivered)
    assert found == expected
    assert (told is None) == (expected is not None)
