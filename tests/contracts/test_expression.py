"""The closed grammar: what it means on an engine, and what it refuses where."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import ibis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdap_assets.contracts.build import build
from cdap_assets.contracts.expression import ExpressionError, parse
from resources.engines.engine import Engine
from tests.examples import examples

# Ibis 12 asks DuckDB 2 for a table's schema in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

TYPES = {
    "id": "int64",
    "amount": "decimal(18, 4)",
    "name": "string",
    "weight": "float64",
    "day": "date",
    "at": "timestamp(6)",
    "ok": "boolean",
    "none": "string",
}


@pytest.fixture(scope="module")
def row(engine: Engine) -> ibis.Table:
    table = engine.backend.create_table("row", schema=ibis.schema(TYPES))
    engine.backend.raw_sql(
        "INSERT INTO row VALUES (7, 1.2345, ' Ab ', 0.5, '2017-01-02', '2017-01-02 03:00:00', true, NULL)"
    )
    return table


def value(text: str, row: ibis.Table, engine: Engine) -> Any:
    built = build(parse(text), {name: row[name] for name in row.columns}, "America/New_York")
    return engine.backend.to_pyarrow(row.select(result=built))["result"][0].as_py()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id + 1", 8),
        ("amount * amount", Decimal("1.52399025")),
        ("amount + id", Decimal("8.2345")),
        ("amount * id", Decimal("8.6415")),
        ("200000.0000 * 900000.0000", Decimal(180000000000)),
        ("-amount - 0.05", Decimal("-1.2845")),
        ("abs(-amount)", Decimal("1.2345")),
        ("round(amount, 2)", Decimal("1.23")),
        ("id / 2", Decimal("3.5")),
        ("id / 0", None),
        ("weight * id", 3.5),
        ("concat(id, '-', name)", "7- Ab "),
        ("concat(id, none)", None),
        ("id || '''x'", "7'x"),
        ("upper(trim(name))", "AB"),
        ("lower(substring(name, 2, 1))", "a"),
        ("case when id > 5 then 'many' else 'few' end", "many"),
        ("case id when 7 then 1 else 2.5 end", Decimal("1.0")),
        ("case when id > 7 then name end", None),
        ("coalesce(none, 'x')", "x"),
        ("nullif(id, 7)", None),
        ("none is null and name is not null", True),
        ("id in (1, 7) and not id in (2)", True),
        ("day between date '2017-01-01' and date '2017-01-02'", True),
        ("cast('12.50' as decimal(10,1))", Decimal("12.5")),
        ("cast('7.0' as int)", None),
        ("cast(name as int)", None),
        ("cast('42' as int)", 42),
        ("cast(id as string)", "7"),
    ],
)
def test_a_form_means_the_same_as_in_sql_with_exact_decimals(
    text: str, expected: Any, row: ibis.Table, engine: Engine
) -> None:
    assert value(text, row, engine) == expected


def test_days_and_instants_convert_by_the_local_clock(row: ibis.Table, engine: Engine) -> None:
    assert str(value("cast(at as date)", row, engine)) == "2017-01-01"
    assert str(value("cast(day as timestamp)", row, engine)) == "2017-01-02 05:00:00"
    assert str(value("timestamp '2017-07-01 00:00:00'", row, engine)) == "2017-07-01 04:00:00"


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("amount + random()", 9, "not allowed"),
        ("id + (select 1)", 13, "subquery"),
        ("id; drop table x", 2, "expected one expression"),
        ("sum(sum(id))", 4, "aggregate within an aggregate"),
        ("sum(id) over ()", 0, "window"),
        ("substring(name, id, 1)", 10, "literal bounds"),
        ("id in (amount)", 0, "literals only"),
        ("amount * 1e5", 9, "write the number out"),
        ("trim(both 'x' from name)", 10, "not allowed in trim"),
        ("current_date", 0, "not allowed"),
        ("'open", 0, "quotation mark"),
        ("", 0, "found nothing"),
    ],
)
def test_what_the_grammar_does_not_hold_is_refused_with_its_position(text: str, position: int, says: str) -> None:
    with pytest.raises(ExpressionError, match=says) as refused:
        parse(text)
    assert refused.value.position == position


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("id + amuont", 5, "did you mean amount"),
        ("id + name", 5, "expected whole number or decimal or float, found text"),
        ("id = null", 0, "write is null"),
        ("day > at", 0, "date and instant do not go together"),
        ("date '2017-02-30'", 5, "found '2017-02-30'"),
        ("concat('x', weight)", 12, "cast it to decimal"),
        ("cast(id as varchar(3))", 5, "cast takes"),
    ],
)
def test_what_does_not_fit_the_columns_is_refused_with_its_position(
    text: str, position: int, says: str, row: ibis.Table
) -> None:
    with pytest.raises(ExpressionError, match=says) as refused:
        build(parse(text), {name: row[name] for name in row.columns}, "UTC")
    assert refused.value.position == position


def test_deep_nesting_is_an_error_and_no_recursion() -> None:
    for text in ("(" * 900 + "1" + ")" * 900, "- " * 900 + "1", "+".join(["1"] * 900), "not " * 400 + "true"):
        with pytest.raises(ExpressionError):
            parse(text)


WORDS = (
    "a b.c 1 2.5 'x' ( ) + - * / || = <> < in is not null and or case when then else end cast as int decimal "
    "date timestamp sum count distinct select from over , . ; :: [ ] { } @ ? $ -- /* */ interval '1' \" "
    "coalesce concat trim substring round between lambda -> array map row values with exists show set"
)
PIECES = st.sampled_from(WORDS.split())


@examples(400)
@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map(" ".join)))
def test_any_text_is_read_or_refused_with_an_expression_error(text: str) -> None:
    columns = {"a": ibis.table({"a": "int64"}, name="t")["a"]}
    position = 0
    try:
        build(parse(text), columns, "UTC")
    except ExpressionError as error:
        position = error.position
    assert 0 <= position <= len(text)


MONEY = st.decimals(min_value=0, max_value=9999, places=4)
NUMBERS = st.one_of(
    MONEY.map(lambda number: (f"{number:f}", number)), st.integers(0, 99).map(lambda n: (str(n), Decimal(n)))
)


def combined(parts: st.SearchStrategy[tuple[str, Decimal]]) -> st.SearchStrategy[tuple[str, Decimal]]:
    def combine(drawn: tuple[tuple[str, Decimal], str, tuple[str, Decimal]]) -> tuple[str, Decimal]:
        (left, a), operator, (right, b) = drawn
        return f"({left} {operator} {right})", {"+": a + b, "-": a - b, "*": a * b}[operator]

    return st.tuples(parts, st.sampled_from("+-*"), parts).map(combine)


@examples(60)
@given(st.recursive(NUMBERS, combined, max_leaves=4))
def test_arithmetic_equals_decimal_arithmetic_to_the_last_digit(engine: Engine, drawn: tuple[str, Decimal]) -> None:
    text, expected = drawn
    found = engine.backend.to_pyarrow(build(parse(text), {}, "UTC")).as_py()
    assert Decimal(found) == expected
