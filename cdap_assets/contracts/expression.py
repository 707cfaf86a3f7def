"""The closed grammar of a contract's expressions: what may be written, and where it is refused.

Columns (``name``, or ``joined_source.name``), texts, whole and decimal numbers, true, false, null, dates and
timestamps; ``+ - * /``, comparisons, and, or, not, is null, in, between; case, coalesce, nullif, concat and
``||``, trim, lower, upper, substring, abs, round, cast; and sum, min, max, count, count(distinct ...) where an
output groups. Texts are parsed by sqlglot and never reach an engine as SQL: Ibis builds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import sqlglot
import sqlglot.errors
from sqlglot import exp

_LONGEST = 2_000
_DEEPEST = 60  # keeps every later walk far from Python's recursion limit

_BINARY = frozenset({"this", "expression"})
_ONE = frozenset({"this"})
_AGGREGATES = (exp.Sum, exp.Min, exp.Max, exp.Count)

# Each allowed form with the parts it may have; a part that is not named here is refused, not ignored.
_FORMS: dict[type[exp.Expr], frozenset[str]] = {
    **dict.fromkeys((exp.Add, exp.Sub, exp.Mul, exp.Div, exp.DPipe, exp.And, exp.Or, exp.Nullif), _BINARY),
    **dict.fromkeys((exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Is), _BINARY),
    **dict.fromkeys((exp.Neg, exp.Not, exp.Paren, exp.Trim, exp.Lower, exp.Upper, exp.Abs), _ONE),
    **dict.fromkeys((*_AGGREGATES, exp.Literal, exp.Boolean, exp.Identifier, exp.DataTypeParam), _ONE),
    exp.Null: frozenset(),
    exp.Column: frozenset({"this", "table"}),
    exp.In: frozenset({"this", "expressions"}),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.Coalesce: frozenset({"this", "expressions"}),
    exp.Concat: frozenset({"expressions"}),
    exp.Case: frozenset({"this", "ifs", "default"}),
    exp.If: frozenset({"this", "true"}),
    exp.Round: frozenset({"this", "decimals"}),
    exp.Substring: frozenset({"this", "start", "length"}),
    exp.Cast: frozenset({"this", "to"}),
    exp.DataType: frozenset({"this", "expressions"}),
    exp.Distinct: frozenset({"expressions"}),
}
# Forms that have a meaning only inside another.
_ONLY_WITHIN: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.DataType: exp.Cast,
    exp.DataTypeParam: exp.DataType,
    exp.Identifier: exp.Column,
    exp.If: exp.Case,
    exp.Distinct: exp.Count,
}
# How a dialect means a form; the builder gives each form one meaning of its own.
_DIALECT_NOTES = frozenset({"safe", "coalesce", "typed", "big_int", "nested", "is_string", "quoted", "_type", "joined"})
_ALLOWED = (
    "columns, texts, numbers, true, false, null, date '...', timestamp '...', + - * /, comparisons, and, or, not, "
    "is null, in, between, case, coalesce, nullif, concat, ||, trim, lower, upper, substring, abs, round, cast, "
    "sum, min, max, count"
)


class ExpressionError(ValueError):
    """An expression that is refused: its ``text``, the 0-based ``position`` in it, and what to write instead."""

    def __init__(self, text: str, position: int, message: str) -> None:
        super().__init__(f"{message} (character {position + 1} of: {text})")
        self.text = text
        self.position = position
        self.message = message


@dataclass(frozen=True)
class Expression:
    """A parsed expression; ``parse`` is the only way to make one."""

    text: str
    node: exp.Expr

    @property
    def sql(self) -> str:
        """The expression written in one way: without comments, needless spaces or letter case of keywords."""
        return self.node.sql(dialect="trino", comments=False)

    def aggregates(self) -> tuple[Expression, ...]:
        """Its sums, minima, maxima and counts, each as an expression."""
        return tuple(Expression(self.text, node) for node in self.node.find_all(*_AGGREGATES, bfs=False))

    def placed_columns(self) -> Iterator[tuple[str, int]]:
        """Each mention of a column with its position."""
        for node in self.node.find_all(exp.Column, bfs=False):
            yield column_name(node), position_of(node)

    def outside_aggregates(self) -> Iterator[tuple[str, int]]:
        """The columns that no aggregate encloses, each with its position."""
        for node in self.node.find_all(exp.Column, bfs=False):
            if not _enclosing_aggregate(node):
                yield column_name(node), position_of(node)


def parse(text: str) -> Expression:
    """Read an expression; raises ExpressionError with the position of whatever the grammar does not hold."""
    if not text.strip():
        raise ExpressionError(text, 0, "expected an expression, found nothing")
    if len(text) > _LONGEST:
        raise ExpressionError(text[:80], _LONGEST, f"an expression has at most {_LONGEST} characters")
    try:
        statements = sqlglot.parse(text, dialect="trino")
    except sqlglot.errors.ParseError as error:
        raise ExpressionError(
            text, _parse_position(text, error), f"this cannot be read; allowed are {_ALLOWED}"
        ) from error
    except sqlglot.errors.TokenError as error:
        raise ExpressionError(text, 0, "a quotation mark is not closed, or a character is unknown") from error
    except RecursionError as error:
        raise ExpressionError(text, 0, "the expression is nested too deeply") from error
    if len(statements) != 1 or statements[0] is None:
        raise ExpressionError(text, max(text.find(";"), 0), "expected one expression")
    node = statements[0]
    _check(text, node, 0)
    return Expression(text, node)


def column_name(node: exp.Column) -> str:
    """``name``, or ``source.name`` for a column of a joined source."""
    return f"{node.table}.{node.name}" if node.table else node.name


def position_of(node: exp.Expr) -> int:
    """Where the leftmost part of ``node`` that sqlglot placed begins, 0-based."""
    starts = [part.meta["start"] for part in node.walk() if "start" in part.meta]
    return min(starts, default=0)


def _check(text: str, node: exp.Expr, depth: int) -> None:
    if depth > _DEEPEST:
        raise ExpressionError(text, position_of(node), f"the expression is nested deeper than {_DEEPEST} levels")
    parts = _FORMS.get(type(node))
    if parts is None or not isinstance(node.parent, _ONLY_WITHIN.get(type(node), object)):
        name = type(node).__name__.lower()
        raise ExpressionError(text, position_of(node), f"{name} is not allowed; allowed are {_ALLOWED}")
    for part, value in node.args.items():
        if part not in parts and part not in _DIALECT_NOTES and value:
            raise ExpressionError(text, position_of(node), f"{part} is not allowed in {node.key}")
        if part == "_type":
            continue
        for child in value if isinstance(value, list) else (value,):
            if isinstance(child, exp.Expr):
                _check(text, child, depth + 1)
    _check_form(text, node)


def _check_form(text: str, node: exp.Expr) -> None:
    def refuse(message: str) -> ExpressionError:
        return ExpressionError(text, position_of(node), message)

    if isinstance(node, exp.Literal) and not node.is_string and not re.fullmatch(r"\d*\.?\d*", node.name):
        raise refuse("write the number out in digits, such as 100000 or 0.25")
    if isinstance(node, exp.Column) and not isinstance(node.this, exp.Identifier):
        raise refuse(f"expected a column; allowed are {_ALLOWED}")
    if isinstance(node, exp.Is) and not isinstance(node.expression, exp.Null):
        raise refuse("only is null and is not null are allowed")
    if isinstance(node, exp.In) and not all(_is_literal(value) for value in node.expressions):
        raise refuse("in (...) takes literals only")
    if isinstance(node, _AGGREGATES) and _enclosing_aggregate(node):
        raise refuse("an aggregate within an aggregate has no meaning")
    if isinstance(node, exp.Distinct) and len(node.expressions) != 1:
        raise refuse("distinct is allowed only as count(distinct column)")
    if isinstance(node, exp.Substring) and not _has_literal_bounds(node):
        raise refuse("substring takes literal bounds: substring(text, first character from 1, length)")
    if isinstance(node, exp.Round) and node.args.get("decimals") is not None:
        digits = node.args["decimals"]
        if not (_is_whole(digits) and int(digits.name) <= 18):
            raise refuse("round takes a literal number of decimals from 0 to 18")


def _is_literal(node: exp.Expr) -> bool:
    inner = node.this if isinstance(node, exp.Neg | exp.Cast) else node
    return isinstance(inner, exp.Literal | exp.Boolean)


def _is_whole(node: exp.Expr | None) -> bool:
    return isinstance(node, exp.Literal) and not node.is_string and node.name.isdecimal() and len(node.name) < 7


def _has_literal_bounds(node: exp.Substring) -> bool:
    start, length = node.args.get("start"), node.args.get("length")
    return _is_whole(start) and int(start.name) >= 1 and (length is None or _is_whole(length))  # type: ignore[union-attr]


def _enclosing_aggregate(node: exp.Expr) -> exp.Expr | None:
    return node.find_ancestor(*_AGGREGATES)


def _parse_position(text: str, error: sqlglot.errors.ParseError) -> int:
    details = error.errors[0] if error.errors else {}
    line, column = details.get("line") or 1, details.get("col") or 1
    before = sum(len(row) + 1 for row in text.split("\n")[: line - 1])
    highlight = details.get("highlight") or ""
    return max(0, min(before + column - max(len(highlight), 1), len(text)))
