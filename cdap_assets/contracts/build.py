"""Builds a parsed expression into an Ibis value that means the same on every engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.types as ir
from sqlglot import exp

from cdap_assets.contracts.document import did_you_mean
from cdap_assets.contracts.expression import Expression, ExpressionError, column_name, position_of
from resources.engines import builtins
from resources.iceberg.table import INSTANT

_WIDEST = 38  # digits of the widest decimal on DuckDB, Trino and Iceberg
_LONG = 18  # digits of the widest decimal of 64 bits
_BEYOND_64_BITS = 19
_QUOTIENT = dt.Decimal(_WIDEST, 10)
_INT64 = 2**63
_NUMBERS = ("whole number", "decimal", "float")
_ORDERED = (*_NUMBERS, "text", "date", "instant")
_COMPARE: dict[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.EQ: lambda a, b: a == b,
    exp.NEQ: lambda a, b: a != b,
    exp.LT: lambda a, b: a < b,
    exp.LTE: lambda a, b: a <= b,
    exp.GT: lambda a, b: a > b,
    exp.GTE: lambda a, b: a >= b,
}
# Texts are matched before they are cast, for engines read '7.0' or '2017-1-1' differently.
_WHOLE = r"[+-]?[0-9]{1,18}"
_DECIMAL = r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)"
# no year 0000, which is no year of Python's, and no hour 24, which is the next day's to one engine alone
_DATE = r"([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-[0-9]{2}-[0-9]{2}"
_TIMESTAMP = _DATE + r" ([01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?"


def cast_exactly(value: ir.Value, to: dt.DataType | str) -> ir.Value:
    """A cast that is always written: Ibis drops one where it infers the type, and it infers decimals wrongly."""
    return ops.Cast(value, dt.dtype(to)).to_expr()


def decimal_of_float(value: ir.Value, to: dt.Decimal) -> ir.Value:
    """A float as a decimal, halves away from zero; beyond 18 digits as the engine has it."""
    if to.precision > _LONG:
        return cast_exactly(value, to)
    # engines cast a float by its shortest digits or by its exact value: as a whole number it has only one
    whole = (value.cast("float64") * 10.0**to.scale).round()
    unit = ibis.literal(Decimal(1).scaleb(-to.scale), type=dt.Decimal(_BEYOND_64_BITS, to.scale))
    return cast_exactly(cast_exactly(whole, dt.Decimal(_BEYOND_64_BITS, 0)) * unit, to)


def rounded_float(value: ir.Value, digits: int) -> ir.Value:
    """A float to ``digits`` decimals as :func:`decimal_of_float` has them; a large one has no more to lose."""
    scaled = value.cast("float64") * 10.0**digits
    return ibis.ifelse(scaled.abs() < 2.0**53, scaled.round().cast("float64") / 10.0**digits, value.cast("float64"))


def kind_of(value: ir.Value) -> str:
    """What a value is in a contract author's words: text, whole number, decimal, float, date, instant, ..."""
    kinds = {
        dt.Integer: "whole number",
        dt.Decimal: "decimal",
        dt.Floating: "float",
        dt.String: "text",
        dt.Boolean: "boolean",
        dt.Date: "date",
        dt.Timestamp: "instant",
        dt.Null: "null",
    }
    type_ = value.type()
    return next((kind for family, kind in kinds.items() if isinstance(type_, family)), str(type_))


def build(
    expression: Expression,
    columns: Mapping[str, ir.Value],
    timezone: str,
    aggregated: Mapping[str, ir.Value] | None = None,
) -> ir.Value:
    """The Ibis value of an expression.

    ``columns`` gives the value of each name, those of a joined source as ``source.column``. ``timezone``
    (IANA) is that of days: a cast between a date and an instant means local midnight, or the local day.
    ``aggregated`` gives values that stand for aggregates already computed, by their ``sql``.
    Raises ExpressionError for an unknown column and for types that do not fit.
    """
    return Builder(expression.text, columns, timezone, aggregated or {}).build(expression.node)


class Builder:
    """Builds the nodes of one expression; every ``build_*`` method gives one form its meaning."""

    def __init__(
        self, text: str, columns: Mapping[str, ir.Value], timezone: str, aggregated: Mapping[str, ir.Value]
    ) -> None:
        self.text = text
        self.columns = columns
        self.timezone = timezone
        self.aggregated = aggregated

    def build(self, node: exp.Expr) -> ir.Value:
        if self.aggregated and isinstance(node, exp.Sum | exp.Min | exp.Max | exp.Count):
            return self.aggregated[Expression(self.text, node).sql]
        if isinstance(node, tuple(_COMPARE)):
            left, right = self.alike(node, self.build(node.this), self.build(node.expression), compared=True)
            return _COMPARE[type(node)](left, right)
        return getattr(self, f"build_{node.key}")(node)

    def error(self, node: exp.Expr, message: str) -> ExpressionError:
        return ExpressionError(self.text, position_of(node), message)

    def of_kind(self, node: exp.Expr, *kinds: str) -> Any:
        """The built node, which must be of one of ``kinds``."""
        value = self.build(node)
        if kind_of(value) not in kinds:
            raise self.error(node, f"expected {' or '.join(kinds)}, found {kind_of(value)}")
        return value

    def alike(self, node: exp.Expr, *values: ir.Value, compared: bool = False) -> list[ir.Value]:
        """The values in their one common type; null takes any type, unless it is compared."""
        kinds = {kind_of(value) for value in values}
        if "null" in kinds and compared:
            raise self.error(node, "nothing equals null; write is null")
        kinds.discard("null")
        if len(kinds) > 1 and not kinds <= set(_NUMBERS):
            raise self.error(node, f"{' and '.join(sorted(kinds))} do not go together; cast one of them")
        if not kinds:
            return list(values)
        given = [value for value in values if kind_of(value) != "null"]
        common = given[0].type()
        if "float" in kinds:
            common = dt.float64
        elif "decimal" in kinds:
            common = _widest([_decimal_type(value) for value in given])
        elif "whole number" in kinds:
            common = dt.int64
        return [value if value.type() == common else value.cast(common) for value in values]

    # leaves

    def build_column(self, node: exp.Column) -> ir.Value:
        name = column_name(node)
        if name not in self.columns:
            raise self.error(node, f"unknown column {name}; {did_you_mean(name, list(self.columns))}")
        return self.columns[name]

    def build_literal(self, node: exp.Literal) -> ir.Value:
        if node.is_string:
            return ibis.literal(node.name, type="string")
        digits = node.name.strip(".")
        if "." not in digits and "." not in node.name:
            if int(digits) >= _INT64:
                raise self.error(node, "the whole number exceeds 64 bits")
            return ibis.literal(int(digits), type="int64")
        number = Decimal(node.name)
        scale = max(-int(number.as_tuple().exponent), 0)
        precision = max(len(number.as_tuple().digits), scale, 1)
        if precision > _WIDEST:
            raise self.error(node, f"a decimal has at most {_WIDEST} digits")
        return ibis.literal(number, type=dt.Decimal(precision, scale))

    def build_boolean(self, node: exp.Boolean) -> ir.Value:
        return ibis.literal(bool(node.this), type="boolean")

    def build_null(self, _: exp.Null) -> ir.Value:
        return ibis.null()

    def build_paren(self, node: exp.Paren) -> ir.Value:
        return self.build(node.this)

    # arithmetic: decimals stay decimals, in the type that SQL gives them

    def numbers(self, node: exp.Expr) -> tuple[Any, Any]:
        """Both sides in the type of their sum."""
        left, right = self.of_kind(node.this, *_NUMBERS), self.of_kind(node.expression, *_NUMBERS)
        if kind_of(left) == kind_of(right) == "whole number":
            return left.cast("int64"), right.cast("int64")
        if "float" in (kind_of(left), kind_of(right)):
            return left.cast("float64"), right.cast("float64")
        common = _widest((_decimal_type(left), _decimal_type(right)), carry=1)
        return cast_exactly(left, common), cast_exactly(right, common)

    def build_add(self, node: exp.Add) -> ir.Value:
        left, right = self.numbers(node)
        return cast_exactly(left + right, left.type())

    def build_sub(self, node: exp.Sub) -> ir.Value:
        left, right = self.numbers(node)
        return cast_exactly(left - right, left.type())

    def build_mul(self, node: exp.Mul) -> ir.Value:
        left, right = self.of_kind(node.this, *_NUMBERS), self.of_kind(node.expression, *_NUMBERS)
        if "float" in (kind_of(left), kind_of(right)):
            return left.cast("float64") * right.cast("float64")
        if kind_of(left) == kind_of(right) == "whole number":
            return left * right
        types = _decimal_type(left), _decimal_type(right)
        scale = types[0].scale + types[1].scale
        if scale > _WIDEST:
            raise self.error(node, f"the product has {scale} decimals, more than {_WIDEST}; cast or round before")
        precision = min(sum(type_.precision for type_ in types), _WIDEST)
        # Ibis multiplies decimals of one precision only; DuckDB keeps the product of two that fit 64 bits in 64.
        common = max(precision, _BEYOND_64_BITS)
        left = cast_exactly(left, dt.Decimal(common, types[0].scale))
        right = cast_exactly(right, dt.Decimal(common, types[1].scale))
        return cast_exactly(left * right, dt.Decimal(precision, scale))

    def build_div(self, node: exp.Div) -> ir.Value:
        """Null where the divisor is zero; ten decimals, of sides with at most ten, unless a side is a float."""
        left, right = self.of_kind(node.this, *_NUMBERS), self.of_kind(node.expression, *_NUMBERS)
        if "float" in (kind_of(left), kind_of(right)):
            return left.cast("float64") / right.cast("float64").nullif(0.0)
        over, under = cast_exactly(left, _QUOTIENT), cast_exactly(right, _QUOTIENT)
        return cast_exactly(builtins.quotient(over, under.nullif(ibis.literal(0, type=_QUOTIENT))), _QUOTIENT)

    def build_neg(self, node: exp.Neg) -> ir.Value:
        value = self.of_kind(node.this, *_NUMBERS)
        return cast_exactly(-value, value.type()) if kind_of(value) == "decimal" else -value

    def build_abs(self, node: exp.Abs) -> ir.Value:
        value = self.of_kind(node.this, *_NUMBERS)
        return cast_exactly(value.abs(), value.type()) if kind_of(value) == "decimal" else value.abs()

    def build_round(self, node: exp.Round) -> ir.Value:
        """Halves away from zero."""
        value = self.of_kind(node.this, *_NUMBERS)
        digits = int(node.args["decimals"].name) if node.args.get("decimals") is not None else 0
        if kind_of(value) == "float":
            return rounded_float(value, digits)
        if kind_of(value) == "whole number" or value.type().scale <= digits:
            return value
        whole = value.type().precision - value.type().scale
        return cast_exactly(value, dt.Decimal(min(whole + digits + 1, _WIDEST), digits))

    # logic

    def build_and(self, node: exp.And) -> ir.Value:
        return self.of_kind(node.this, "boolean") & self.of_kind(node.expression, "boolean")

    def build_or(self, node: exp.Or) -> ir.Value:
        return self.of_kind(node.this, "boolean") | self.of_kind(node.expression, "boolean")

    def build_not(self, node: exp.Not) -> ir.Value:
        return ~self.of_kind(node.this, "boolean")

    def build_is(self, node: exp.Is) -> ir.Value:
        return self.build(node.this).isnull()

    def build_in(self, node: exp.In) -> ir.Value:
        value, *choices = self.alike(
            node, self.build(node.this), *(self.build(choice) for choice in node.expressions), compared=True
        )
        return value.isin(choices)

    def build_between(self, node: exp.Between) -> ir.Value:
        parts = (self.build(part) for part in (node.this, node.args["low"], node.args["high"]))
        value, low, high = self.alike(node, *parts, compared=True)
        return (value >= low) & (value <= high)

    def build_coalesce(self, node: exp.Coalesce) -> ir.Value:
        return ibis.coalesce(*self.alike(node, *map(self.build, (node.this, *node.expressions))))

    def build_nullif(self, node: exp.Nullif) -> ir.Value:
        value, other = self.alike(node, self.build(node.this), self.build(node.expression), compared=True)
        return value.nullif(other)

    def build_case(self, node: exp.Case) -> ir.Value:
        conditions = [self.condition(node, branch) for branch in node.args["ifs"]]
        default = node.args.get("default")
        results = [self.build(branch.args["true"]) for branch in node.args["ifs"]]
        *results, otherwise = self.alike(node, *results, ibis.null() if default is None else self.build(default))
        return ibis.cases(*zip(conditions, results, strict=True), else_=otherwise)

    def condition(self, case: exp.Case, branch: exp.If) -> ir.Value:
        if case.this is None:
            return self.of_kind(branch.this, "boolean")
        left, right = self.alike(branch, self.build(case.this), self.build(branch.this), compared=True)
        return left == right

    # texts

    def text_of(self, node: exp.Expr) -> ir.StringValue:
        value = self.build(node)
        if kind_of(value) in ("float", "instant"):
            raise self.error(node, f"engines write a {kind_of(value)} differently; cast it to decimal or date first")
        type_ = value.type()
        if isinstance(type_, dt.Decimal) and type_.precision == type_.scale < _WIDEST:
            # with no digit before the point, DuckDB would write .5
            value = cast_exactly(value, dt.Decimal(type_.precision + 1, type_.scale))
        return value.cast("string")

    def joined_texts(self, nodes: Sequence[exp.Expr]) -> ir.Value:
        """Null where a part is null, as ``||``; some engines' concat would skip it."""
        first, *others = map(self.text_of, nodes)
        for other in others:
            first = first + other
        return first

    def build_concat(self, node: exp.Concat) -> ir.Value:
        return self.joined_texts(node.expressions)

    def build_dpipe(self, node: exp.DPipe) -> ir.Value:
        return self.joined_texts((node.this, node.expression))

    def build_trim(self, node: exp.Trim) -> ir.Value:
        return self.of_kind(node.this, "text").strip()

    def build_lower(self, node: exp.Lower) -> ir.Value:
        return self.of_kind(node.this, "text").lower()

    def build_upper(self, node: exp.Upper) -> ir.Value:
        return self.of_kind(node.this, "text").upper()

    def build_substring(self, node: exp.Substring) -> ir.Value:
        length = node.args.get("length")
        bounds = (int(node.args["start"].name) - 1, *([int(length.name)] if length is not None else []))
        return self.of_kind(node.this, "text").substr(*bounds)

    # casts

    def build_cast(self, node: exp.Cast) -> ir.Value:
        """A text that is not of the wanted form casts to null."""
        to = self.target(node)
        if isinstance(to, dt.Date | dt.Timestamp) and isinstance(node.this, exp.Literal) and node.this.is_string:
            return self.moment(node.this, to)
        value: Any = self.build(node.this)
        kind = kind_of(value)
        if kind == "null":
            return value.cast(to)
        if isinstance(to, dt.String):
            return self.text_of(node.this)
        if kind == "text":
            return self.read_text(value, to)
        if to.is_numeric() and kind in _NUMBERS:
            if kind == "float" and to.is_integer():
                value = value.round(0)
            if kind == "float" and to.is_decimal():
                return decimal_of_float(value, to)
            return cast_exactly(value, to)
        if isinstance(to, dt.Date) and kind in ("date", "instant"):
            return value if kind == "date" else builtins.local_time(value, self.timezone).date()
        if isinstance(to, dt.Timestamp) and kind in ("date", "instant"):
            return value if kind == "instant" else self.instant(value.cast(INSTANT))
        raise self.error(node, f"a {kind} cannot be cast to {to}")

    def read_text(self, text: Any, to: dt.DataType) -> ir.Value:
        pattern = _WHOLE if to.is_integer() else _DECIMAL if to.is_numeric() else _DATE if to.is_date() else _TIMESTAMP
        # not $, which to some engines ends a line before a line feed
        is_read = text.re_search(rf"^(?:{pattern})\z")
        value = ibis.cases((is_read, text.try_cast(to)), else_=ibis.null(to))
        return self.instant(value) if to.is_timestamp() else value

    def instant(self, local: ir.Value) -> ir.Value:
        return cast_exactly(builtins.utc_time(local, self.timezone), INSTANT)

    def target(self, node: exp.Cast) -> dt.DataType:
        declared = node.args["to"]
        sizes = [int(size.name) for size in declared.expressions if _is_size(size)]
        match declared.this:
            case exp.DType.TEXT | exp.DType.VARCHAR if not declared.expressions:
                return dt.string
            case exp.DType.INT | exp.DType.BIGINT if not declared.expressions:
                return dt.int64
            case exp.DType.DATE:
                return dt.date
            case exp.DType.TIMESTAMP:
                return dt.dtype(INSTANT)
            case exp.DType.DECIMAL if len(sizes) == 2 and 0 <= sizes[1] <= sizes[0] <= _WIDEST and sizes[0] > 0:
                return dt.Decimal(*sizes)
        raise self.error(node, "cast takes string, int, decimal(precision, scale), date or timestamp")

    def moment(self, node: exp.Literal, to: dt.DataType) -> ir.Value:
        pattern, example = (_DATE, "2017-12-31") if to.is_date() else (_TIMESTAMP, "2017-12-31 23:59:59")
        try:
            if not re.fullmatch(pattern, node.name):
                raise ValueError(node.name)
            moment = datetime.fromisoformat(node.name)
        except ValueError as error:
            raise self.error(node, f"expected a moment such as '{example}', found '{node.name}'") from error
        if to.is_date():
            return ibis.literal(date(moment.year, moment.month, moment.day), type="date")
        return self.instant(ibis.literal(moment, type=INSTANT))

    # aggregates

    def of_rows(self, node: exp.Expr, *kinds: str) -> Any:
        """The built node, which must have a value for each row."""
        value = self.of_kind(node, *kinds) if kinds else self.build(node)
        if isinstance(value, ir.Scalar):
            raise self.error(node, "expected a column to aggregate, found a literal")
        return value

    def build_sum(self, node: exp.Sum) -> ir.Value:
        value = self.of_rows(node.this, *_NUMBERS)
        if kind_of(value) == "decimal":
            return cast_exactly(value.sum(), dt.Decimal(_WIDEST, value.type().scale))
        return cast_exactly(value.sum(), "int64" if kind_of(value) == "whole number" else "float64")

    def build_min(self, node: exp.Min) -> ir.Value:
        return self.of_rows(node.this, *_ORDERED).min()

    def build_max(self, node: exp.Max) -> ir.Value:
        return self.of_rows(node.this, *_ORDERED).max()

    def build_count(self, node: exp.Count) -> ir.Value:
        if isinstance(node.this, exp.Distinct):
            return self.of_rows(node.this.expressions[0]).nunique()
        return self.of_rows(node.this).count()


def _is_size(node: exp.Expr) -> bool:
    return isinstance(node.this, exp.Literal) and node.this.name.isdecimal() and len(node.this.name) < 3


def _decimal_type(value: ir.Value) -> dt.Decimal:
    type_ = value.type()
    return type_ if isinstance(type_, dt.Decimal) else dt.Decimal(19, 0)


def _widest(types: Sequence[dt.Decimal], carry: int = 0) -> dt.Decimal:
    scale = max(type_.scale for type_ in types)
    whole = max(type_.precision - type_.scale for type_ in types)
    return dt.Decimal(min(whole + scale + carry, _WIDEST), scale)
