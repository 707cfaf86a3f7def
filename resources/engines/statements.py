"""What may be sent to Athena: SELECT, and INSERT into staging, in forms and functions that Athena documents."""

from __future__ import annotations

import sqlglot as sg
import sqlglot.expressions as sge

from resources.engines.dialect import DIALECT

LONGEST = 262_144  # bytes of one statement, Athena's limit

# Functions of Athena's engine 3 that our expressions compile to. One that is missing is added when it is documented.
FUNCTIONS = frozenset((
    "abs", "any_value", "arbitrary", "array_agg", "array_remove", "at_timezone", "avg", "bool_and", "bool_or",
    "cardinality", "ceil", "ceiling", "coalesce", "concat", "count", "count_if", "date", "date_add", "date_diff",
    "date_format", "date_trunc", "day", "day_of_week", "day_of_year", "dense_rank", "exp", "first_value", "floor",
    "format_datetime", "from_iso8601_date", "from_iso8601_timestamp", "from_iso8601_timestamp_nanos",
    "from_unixtime", "from_unixtime_nanos", "greatest", "hour", "if", "infinity", "is_finite", "is_infinite",
    "is_nan", "json_extract", "json_extract_scalar", "lag", "last_value", "lead", "least", "length", "ln", "log",
    "log10", "log2", "lower", "lpad", "ltrim", "max", "max_by", "min", "min_by", "minute", "mod", "month", "nan",
    "nth_value", "ntile", "nullif", "parse_duration", "percent_rank", "position", "pow", "power", "quarter", "rank",
    "regexp_count", "regexp_extract", "regexp_like", "regexp_replace", "replace", "reverse", "round", "row_number",
    "rpad", "rtrim", "second", "sequence", "sha256", "sign", "split", "sqrt", "starts_with", "stddev_pop",
    "stddev_samp", "strpos", "substr", "substring", "sum", "to_hex", "to_utf8", "trim", "truncate", "try",
    "try_cast", "unnest", "upper", "var_pop", "var_samp", "week", "with_timezone", "year",
))  # fmt: skip
CLAUSES = (
    sge.Select, sge.SetOperation, sge.Subquery, sge.With, sge.CTE, sge.From, sge.Join, sge.Where, sge.Group,
    sge.Having, sge.Order, sge.Ordered, sge.Limit, sge.Offset, sge.Distinct, sge.Values, sge.Tuple, sge.Table,
    sge.TableAlias, sge.Version, sge.Alias, sge.Column, sge.Identifier, sge.Star, sge.Literal, sge.Boolean, sge.Null,
    sge.Cast, sge.TryCast, sge.DataType, sge.DataTypeParam, sge.Case, sge.If, sge.Window, sge.WindowSpec, sge.Filter,
    sge.WithinGroup, sge.Interval, sge.IntervalSpan, sge.Var, sge.Paren, sge.Between, sge.In, sge.Exists, sge.Unary,
    sge.Binary, sge.Interval, sge.Schema, sge.Any, sge.AtTimeZone, sge.Array,
)  # fmt: skip


class StatementRefused(ValueError):
    """A statement of a form that is not sent; it names the form."""


def allowed(sql: str, *, insert_into: str) -> str:
    """``sql`` itself when it may be sent. ``insert_into`` is the one database that an INSERT may write to.

    Raises :class:`StatementRefused` for any other statement, form, function or target, and for a text beyond
    Athena's length. The text is parsed anew, so nothing rests on how it was put together.
    """
    if (size := len(sql.encode())) > LONGEST:
        raise StatementRefused(f"the statement has {size:,} bytes, more than the {LONGEST:,} that Athena takes")
    try:
        trees = sg.parse(sql, dialect=DIALECT)
    except sg.errors.SqlglotError as error:
        raise StatementRefused(f"the statement cannot be parsed: {str(error).splitlines()[0]}") from error
    tree = trees[0] if len(trees) == 1 else None
    if isinstance(tree, sge.Insert):
        target = tree.this.this if isinstance(tree.this, sge.Schema) else tree.this
        if not isinstance(target, sge.Table) or target.db != insert_into:
            raise StatementRefused(f"an INSERT may write to database {insert_into} only")
        if other := [key for key, value in tree.args.items() if value and key not in ("this", "expression")]:
            raise StatementRefused(f"an INSERT with {', '.join(other)} is not among the forms that are sent")
    elif not isinstance(tree, sge.Query):
        raise StatementRefused("a SELECT, or an INSERT into a staging table, is all that is sent")
    for node in tree.walk():
        if isinstance(node, sge.Insert) and node is tree:
            continue
        if isinstance(node, sge.Func) and not isinstance(node, CLAUSES):
            name = _name(node)
            if name not in FUNCTIONS:
                raise StatementRefused(f"function {name} is not among those that Athena documents")
        elif not isinstance(node, CLAUSES) and not isinstance(node, sge.Func):
            raise StatementRefused(f"form {type(node).__name__} is not among those that are sent")
    return sql


def _name(function: sge.Func) -> str:
    """A function as it is written to the engine, which may differ from what the parser calls it."""
    return function.sql(dialect=DIALECT).split("(", 1)[0].lower()
