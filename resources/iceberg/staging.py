"""Checks on written rows before a commit makes them visible: non-null, unique key, invariants, partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.iceberg.errors import InvariantViolated, OutsidePartitions
from resources.iceberg.table import TableSpec, Tried

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir

SAMPLE_ROWS = 5
Replace = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class StagedFigures:
    """Rows written, what each statement of the promises was tried on, and a few rows without personal data."""

    rows: int
    tried: dict[str, Tried]
    sample: list[dict[str, Any]]


def check_staged(spec: TableSpec, staged: ibis.Table, replace: Replace | None) -> StagedFigures:
    """Raise :class:`InvariantViolated` or :class:`OutsidePartitions` unless the staged rows keep every promise."""
    names = [*_promises(spec, staged), *_outside(staged, replace)]
    row = counts(spec, staged, replace).to_pyarrow().to_pylist()[0]
    rows = int(row["rows"])
    broken = {name: int(row[f"broken_{n}"]) for n, name in enumerate(names) if row[f"broken_{n}"]}
    for column in replace or {}:
        if broken.pop(column, 0):
            told = staged.filter(_outside(staged, replace)[column]).select(column).distinct().order_by(column).limit(5)
            raise OutsidePartitions(
                f"table {spec.name}: the result holds rows of {column} "
                f"{', '.join(str(value) for value in told.to_pyarrow()[column].to_pylist())}, "
                "which was not to be replaced. Nothing was published."
            )
    tried = {name: Tried(rows, broken.get(name, 0)) for name in names if name not in (replace or {})}
    if spec.key:
        tried[_unique(spec)] = Tried(rows, rows - int(row["unique"]))
    if any(one.broken for one in tried.values()):
        raise InvariantViolated(
            f"table {spec.name}: {told_broken(tried)}. Nothing was published; the table is as before.",
            table=spec.name,
            tried=tried,
        )
    shown = sample(spec, staged) if rows else None
    rows_shown = shown.to_pyarrow().to_pylist() if shown is not None else []
    return StagedFigures(rows, tried, rows_shown)


def told_broken(tried: Mapping[str, Tried]) -> str:
    """The statements that rows break, in words."""
    return "; ".join(
        f"{statement}: {one.broken:,} of {one.rows:,} rows break it" for statement, one in tried.items() if one.broken
    )


def without_rows(spec: TableSpec) -> StagedFigures:
    """The figures of a result without rows: it keeps every promise."""
    statements = [statement for promise in spec.promises for statement in promise.statements]
    return StagedFigures(0, dict.fromkeys(statements, Tried(0)), [])


def counts(spec: TableSpec, staged: ibis.Table, replace: Replace | None) -> ibis.Table:
    """One row: the rows, their different keys, and how many break each promise or lie outside the replaced."""
    tried = [*_promises(spec, staged).values(), *_outside(staged, replace).values()]
    told = {f"broken_{n}": broken.cast("int64").sum().coalesce(0) for n, broken in enumerate(tried)}
    figures = staged.aggregate(rows=staged.count(), **told)
    if not spec.key:
        return figures
    return figures.cross_join(staged.select(*spec.key).distinct().aggregate(unique=lambda keys: keys.count()))


def sample(spec: TableSpec, staged: ibis.Table) -> ibis.Table | None:
    """A few rows to show, without columns that point at a person; ``None`` when no column is left."""
    shown = [column.name for column in spec.columns if column.personal == "none"]
    return staged.select(*shown).limit(SAMPLE_ROWS) if shown else None


def _unique(spec: TableSpec) -> str:
    [statement] = next(promise.statements for promise in spec.promises if promise.name == "key")
    return statement


def _promises(spec: TableSpec, staged: ibis.Table) -> dict[str, ir.BooleanValue]:
    filled = {statement: staged[name].isnull() for name, statement in spec.required.items()}
    return filled | {one.statement: one.violates(staged) for one in spec.invariants}


def _outside(staged: ibis.Table, replace: Replace | None) -> dict[str, ir.BooleanValue]:
    import ibis

    outside = {}
    for column, wanted in (replace or {}).items():
        known = [value for value in wanted if value is not None]
        other = staged[column].notin(known) if known else ibis.literal(True)
        is_null = staged[column].isnull()
        outside[column] = ibis.ifelse(is_null, None not in wanted, other)
    return outside
