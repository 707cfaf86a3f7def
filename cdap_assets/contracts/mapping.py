"""From a source's raw tables to the rows of a canonical table: joins, filter, grouping, expressions, types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from cdap_assets.contracts.contract import Contract, Output
from cdap_assets.contracts.expression import Expression, ExpressionError, parse
from resources.iceberg.table import INSTANT, Column

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir

# The life of a row over all sides of a join; a column name has no dot, so nothing collides.
_LIFE = {"known_at": ".known_at", "until": ".until", "delivered_at": ".delivered_at"}
_START, _NEVER = datetime(1, 1, 1), datetime(9999, 1, 1)

# Kinds of value that a target takes without a cast in the contract: nothing is lost or guessed.
_FITS = {
    "string": ("text", "whole number"),
    "int64": ("whole number",),
    "float64": ("float", "decimal", "whole number"),
    "decimal": ("decimal", "whole number", "float"),
    "boolean": ("boolean",),
    "date": ("date",),
    "timestamp": ("instant",),
}


def with_defaults(
    mapped: Mapping[str, Expression], entity: tuple[Column, ...], currency: str | None
) -> dict[str, Expression]:
    """``mapped`` and what a contract need not write: the one place where a target is filled unasked.

    ``currency`` is the contract's, ``local_date`` the raw row's. Of money, ``gross - discount = net`` gives
    whichever of gross and discount is left out (gross = net, discount = 0 when both are), and a row is a
    refund when its net is negative.
    """
    net, gross, discount = (
        f"({mapped[name].sql})" if name in mapped else None for name in ("net", "gross", "discount")
    )
    texts = {"local_date": "local_date"}
    if currency:
        texts["currency"] = f"'{currency}'"
    if net:
        texts["gross"] = f"{net} + {discount}" if discount else net
        texts["discount"] = f"{gross} - {net}" if gross else "0"
        texts["is_refund"] = f"{net} < 0"
    names = {column.name for column in entity}
    return dict(mapped) | {name: parse(text) for name, text in texts.items() if name in names - mapped.keys()}


def build_output(
    output: Output, contract: Contract, tables: Mapping[str, ibis.Table], columns: tuple[Column, ...]
) -> ibis.Table:
    """The rows of ``output``, as a pure expression over the raw ``tables`` (by source name).

    ``columns`` are the entity's mapped columns. The result has ``source``, ``key_space`` where there is a
    customer_key, ``columns`` in their declared order and types (null where nothing is mapped), ``month``
    where there is a local_date, and the instants (UTC) of all raw rows that went into one: ``known_at`` and
    ``delivered_at`` the latest, ``until`` (when one was withdrawn or replaced) the earliest. A row of a join
    whose sides were never valid together is left out.
    Raises ExpressionError when an expression does not fit the tables, KeyError when a table is missing.
    """
    import ibis

    from cdap_assets.contracts.build import cast_exactly

    rows = Rows(output, contract, tables)
    result = {"source": ibis.literal(contract.name)}
    if any(column.name == "customer_key" for column in columns):
        result["key_space"] = ibis.literal(contract.key_space)
    for column in columns:
        result[column.name] = rows.target(column)
    if "local_date" in result:
        result["month"] = cast_exactly(result["local_date"].truncate("M"), "date")
    result |= {name: rows.table[place].cast(INSTANT) for name, place in _LIFE.items()}
    return rows.table.select(**result).filter(lambda row: row.until.isnull() | (row.until > row.known_at))


class Rows:
    """The joined, filtered and grouped rows that an output's expressions read, with their life (``_LIFE``)."""

    def __init__(self, output: Output, contract: Contract, tables: Mapping[str, ibis.Table]) -> None:
        self.output = output
        self.timezone = contract.timezone
        joined = _join(output, tables[contract.name], tables)
        self.table = joined.mutate(**_life(output, joined))
        self.columns: dict[str, ir.Value] = {name: self.table[name] for name in joined.columns}
        self.aggregated: dict[str, ir.Value] = {}
        if output.where is not None:
            self.table = self.table.filter(self.condition(output.where))
            self.columns = {name: self.table[name] for name in joined.columns}
        if output.group_by:
            self._group()

    def condition(self, where: Expression) -> ir.BooleanValue:
        from cdap_assets.contracts.build import build, kind_of

        value = build(where, self.columns, self.timezone)
        if kind_of(value) != "boolean":
            raise ExpressionError(where.text, 0, f"expected a condition, found {kind_of(value)}")
        return value

    def target(self, column: Column) -> ir.Value:
        """The value of a target column in its declared type; a typed null when the output does not map it."""
        import ibis
        import ibis.expr.datatypes as dt

        from cdap_assets.contracts.build import build, cast_exactly, decimal_of_float, kind_of

        expression = self.output.columns.get(column.name)
        if expression is None:
            return ibis.null(column.type)
        value = build(expression, self.columns, self.timezone, self.aggregated)
        fits = _FITS[column.type.partition("(")[0]]
        if kind_of(value) not in (*fits, "null"):
            message = f"{column.name} is {column.type}, the expression a {kind_of(value)}; cast it"
            raise ExpressionError(expression.text, 0, message)
        target = dt.dtype(column.type)
        if kind_of(value) == "float" and isinstance(target, dt.Decimal):
            return decimal_of_float(value, target)
        return cast_exactly(value, target)

    def _group(self) -> None:
        from cdap_assets.contracts.build import build

        metrics = {}
        for expression in self.output.columns.values():
            for aggregate in expression.aggregates():
                metrics[aggregate.sql] = build(aggregate, self.columns, self.timezone)
        keys = [self.columns[name] for name in self.output.group_by]
        named = {f"aggregate {number}": value for number, value in enumerate(metrics.values())}
        known, until, delivered = (self.table[place] for place in _LIFE.values())
        life = dict(zip(_LIFE.values(), (known.max(), until.min(), delivered.max()), strict=True))
        self.table = self.table.group_by(keys).aggregate(**named, **life)
        self.columns = {name: self.table[name] for name in self.output.group_by}
        self.aggregated = dict(zip(metrics, (self.table[name] for name in named), strict=True))


def _join(output: Output, home: ibis.Table, tables: Mapping[str, ibis.Table]) -> ibis.Table:
    """Home's columns keep their names; those of a joined source become ``source.column``."""
    joined = home
    for join in output.joins:
        side = tables[join.source]
        side = side.select(**{f"{join.source}.{name}": side[name] for name in side.columns})
        pairs = [joined[left] == side[f"{join.source}.{right}"] for left, right in join.on]
        joined = joined.join(side, pairs, how=join.how).select(
            **{name: joined[name] for name in joined.columns}, **{name: side[name] for name in side.columns}
        )
    return joined


def _life(output: Output, joined: ibis.Table) -> dict[str, ir.Value]:
    import ibis

    def over_sides(name: str, choose: Callable[..., ir.Value], absent: ir.Value) -> ir.Value:
        # a left join may find nothing, and engines disagree whether greatest() passes over a null
        own = joined[name].coalesce(absent)
        sides = [joined[f"{source}.{name}"].coalesce(own) for source in output.sources]
        return choose(own, *sides) if sides else own

    never = ibis.literal(_NEVER).cast(INSTANT)
    start = ibis.literal(_START).cast(INSTANT)
    return {
        _LIFE["known_at"]: over_sides("known_at", ibis.greatest, start),
        _LIFE["until"]: over_sides("until", ibis.least, never).nullif(never),
        _LIFE["delivered_at"]: over_sides("delivered_at", ibis.greatest, start),
    }
