"""Ibis expressions as SQL of Trino and Athena: pinned tables by name, and our builtins spelled out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlglot as sg
import sqlglot.expressions as sge

from resources.iceberg.table import TableSpec

if TYPE_CHECKING:
    import ibis

DIALECT = "trino"


class NotOnThisEngine(ValueError):
    """An expression that only the engine in this process computes."""


@dataclass(frozen=True)
class Relation:
    """A table of the catalog at one snapshot; ``None`` for its newest."""

    database: str
    table: str
    snapshot_id: int | None = None


@dataclass(frozen=True)
class NoRows:
    """A table that was never built: its declared columns and nothing in them."""

    spec: TableSpec


def compiled(expression: ibis.Expr) -> sge.Query:
    """An expression as Trino's SQL, its relations still under their names in this session."""
    from ibis.backends.sql.compilers.trino import compiler

    return compiler.to_sqlglot(expression)


def placed(query: sge.Query, relations: Mapping[str, Relation | NoRows], catalog: str) -> sge.Query:
    """The same with tables of the catalog for its relations, and Trino's functions for our builtins."""
    tree = query.copy()
    for table in list(tree.find_all(sge.Table)):
        relation = relations.get(table.name)
        if isinstance(relation, NoRows):
            table.replace(_no_rows(table, relation))
        elif relation is not None:
            table.replace(_pinned(table, relation, catalog))
    # innermost first: one may be an argument of another
    for node in reversed(list(tree.find_all(sge.Anonymous, sge.Upper, bfs=True))):
        if isinstance(node, sge.Upper):
            node.replace(_upper(node))
        elif node.name.lower().startswith("cdap_"):
            node.replace(_builtin(node))
    return tree


def insert_of(spec: TableSpec, query: sge.Query, into: Relation, catalog: str) -> sge.Insert:
    """INSERT of a query's rows in the declared types; a value that does not fit is the engine's error."""
    columns = [sg.to_identifier(name, quoted=True) for name in spec.names]
    rows = sg.select(*(sge.cast(sg.column(column.name, quoted=True), type_of(column.type)) for column in spec.columns))
    return sge.insert(rows.from_(query.subquery("r")), table_of(into, catalog), columns)


def within(query: sge.Query, partitions: Sequence[Mapping[str, object]], types: Mapping[str, str]) -> sge.Query:
    """The rows of a query that lie in one of ``partitions``, each a value per column; ``None`` is a value too."""

    def same(name: str, value: object) -> sge.Expr:
        column = sg.column(name, quoted=True)
        if value is None:
            return column.is_(sge.null())
        return column.eq(sge.cast(sge.Literal.string(str(value)), type_of(types[name])))

    any_of = sg.or_(*(sg.and_(*(same(name, value) for name, value in one.items())) for one in partitions))
    return sg.select("*").from_(query.subquery("r")).where(any_of)


def distinct_of(query: sge.Query, columns: Sequence[str]) -> sge.Query:
    """The distinct values of some columns of a query."""
    chosen = [sg.column(name, quoted=True) for name in columns]
    return sg.select(*chosen).distinct().from_(query.subquery("r"))


def type_of(name: str) -> sge.DataType:
    """Trino's type of a declared Ibis type name."""
    import ibis.expr.datatypes as dt
    from ibis.backends.sql.compilers.trino import compiler

    return compiler.type_mapper.from_ibis(dt.dtype(name))


def table_of(relation: Relation, catalog: str) -> sge.Table:
    """A relation's name in the catalog, unpinned: what an INSERT writes to."""
    return sg.table(relation.table, db=relation.database, catalog=catalog or None, quoted=True)


def _pinned(node: sge.Table, relation: Relation, catalog: str) -> sge.Table:
    table = table_of(relation, catalog)
    if relation.snapshot_id is not None:
        version = sge.Literal.number(relation.snapshot_id)
        table.set("version", sge.Version(this="VERSION", kind="AS OF", expression=version))
    table.set("alias", _alias(node))
    return table


def _no_rows(node: sge.Table, relation: NoRows) -> sge.Subquery:
    nulls = (sge.cast(sge.null(), type_of(c.type)).as_(c.name, quoted=True) for c in relation.spec.columns)
    rows = sg.select(*nulls).where(sge.false())
    return sge.Subquery(this=rows, alias=_alias(node))


def _alias(node: sge.Table) -> sge.TableAlias:
    return node.args.get("alias") or sge.TableAlias(this=sg.to_identifier(node.name, quoted=True))


def _builtin(node: sge.Func) -> sge.Expr:
    values = node.expressions
    match node.name.lower():
        case "cdap_local_time":
            return _moved(values[0], sge.Literal.string("UTC"), values[1])
        case "cdap_utc_time":
            return _instant(values[0], values[1])
        case "cdap_sha256":
            digest = sg.func("sha256", sg.func("to_utf8", values[0], dialect=DIALECT), dialect=DIALECT)
            return sg.func("lower", sg.func("to_hex", digest, dialect=DIALECT), dialect=DIALECT)
        case "cdap_quotient":
            # of two decimals: exact, in the larger scale of the two, rounded half away from zero
            return sge.Div(this=values[0], expression=values[1], typed=True)
    raise NotOnThisEngine(f"{node.name} is computed in this process only, where deliveries are read")


def _upper(node: sge.Upper) -> sge.Expr:
    # Java leaves the one small letter whose capital came late to Unicode as it is
    return sg.func("replace", node.copy(), sge.Literal.string("ß"), sge.Literal.string("ẞ"), dialect=DIALECT)


def _instant(wall: sge.Expr, zone: sge.Expr) -> sge.Expr:
    # of a doubled hour Trino takes the second east of UTC; three hours after that of three hours before is the first
    utc, hours = sge.Literal.string("UTC"), sge.Interval(this=sge.Literal.string("3"), unit=sge.var("HOUR"))
    wall = sge.cast(wall, "timestamp(6)", dialect=DIALECT)
    first = sge.Paren(this=_moved(sge.Sub(this=wall, expression=hours), zone, utc) + hours)
    is_wall = sge.EQ(this=_moved(first, utc, zone), expression=wall)
    return sge.Case(ifs=[sge.If(this=is_wall, true=first.copy())], default=_moved(wall, zone, utc))


def _moved(wall: sge.Expr, from_zone: sge.Expr, to_zone: sge.Expr) -> sge.Expr:
    zoned = sge.Anonymous(
        this="with_timezone", expressions=[sge.cast(wall, "timestamp(6)", dialect=DIALECT), from_zone]
    )
    moved = sge.Anonymous(this="at_timezone", expressions=[zoned, to_zone])
    return sge.cast(moved, sge.DataType.build("timestamp(6)", dialect=DIALECT))
