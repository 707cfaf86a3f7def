"""What a query will scan, before it runs: the column chunks that it reads of the files that it cannot skip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlglot.expressions as sge

from resources.engines.dialect import DIALECT, compiled

if TYPE_CHECKING:
    import ibis
    from pyiceberg.manifest import DataFile
    from sqlglot.optimizer.scope import Scope

FOOTER = 48 * 1024  # bytes at a file's end that Trino asks for before it knows the size of the footer
LONGEST_GAP = 1 << 20  # bytes between two column chunks that one request reads along
LONGEST_REQUEST = 8 << 20  # bytes of one request that reads several chunks
USD_PER_TB = 5.0  # Athena, list price in most regions
TB = 10**12
LEAST_BILLED = 10 * 10**6  # bytes of any query

Scan = tuple[str, frozenset[str]]


@dataclass(frozen=True)
class Group:
    """Row groups of one file: how many, the bytes of a column in each in the order of the file, and its footer's."""

    count: int
    columns: Mapping[str, float]
    footer: int


@dataclass(frozen=True)
class Footprint:
    """What a table's planned files hold, and how many they are."""

    groups: Sequence[Group]
    files: int

    @property
    def columns(self) -> Mapping[str, int]:
        """Bytes of each column's chunks."""
        sizes: Counter[str] = Counter()
        for group in self.groups:
            sizes.update({name: round(size * group.count) for name, size in group.columns.items()})
        return sizes


def footprint(files: Sequence[DataFile], columns: Mapping[str, int]) -> Footprint:
    """Sizes from Iceberg manifests; a file whose writer told no column sizes counts evenly by column."""
    order = sorted(columns, key=lambda name: columns[name])  # columns are only ever added at the end
    groups = []
    for file in files:
        count = len(file.split_offsets or ()) or 1
        told = file.column_sizes or {}
        evenly = 0 if told else file.file_size_in_bytes / len(columns)
        sizes = {name: told.get(columns[name], evenly) / count for name in order}
        groups.append(Group(count, sizes, min(FOOTER, file.file_size_in_bytes)))
    return Footprint(groups, len(files))


def cost_of(scanned_bytes: int) -> float:
    """What Athena asks for a query, in USD: by bytes scanned, and never less than for 10 MB."""
    return max(scanned_bytes, LEAST_BILLED) * USD_PER_TB / TB


def estimated_scan(expression: ibis.Expr, footprints: Mapping[str, Footprint]) -> int:
    """Bytes that computing ``expression`` scans; ``footprints`` are those of its relations by name.

    A relation counts once for every place that reads it: Trino and Athena compute a common table expression
    anew wherever it is named. Filters beyond the partitions that were planned are not counted on.
    """
    read = scans(expression)
    return sum(
        count * _bytes(footprints[name], columns) for (name, columns), count in read.items() if name in footprints
    )


def _bytes(sizes: Footprint, columns: frozenset[str]) -> int:
    # row groups are read apart, each after another look at the footer
    return sum(group.count * (group.footer + round(_read(group.columns, columns))) for group in sizes.groups)


def _read(sizes: Mapping[str, float], wanted: frozenset[str]) -> float:
    """Bytes of the wanted chunks of a row group, and of what lies between two that are near enough for one read."""
    found = request = gap = 0.0
    for name, size in sizes.items():
        if name not in wanted:
            gap += size
        elif request and gap <= LONGEST_GAP and request + gap + size <= LONGEST_REQUEST:
            found, request, gap = found + gap + size, request + gap + size, 0.0
        else:
            found, request, gap = found + size, size, 0.0
    return found


def scans(expression: ibis.Expr) -> Counter[Scan]:
    """How often each relation is read, by the columns that are needed of it."""
    import ibis.expr.operations as ops
    from sqlglot.optimizer.pushdown_projections import pushdown_projections
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    schema: dict[str, object] = {
        table.name: dict.fromkeys(table.schema, "varchar") for table in expression.op().find(ops.PhysicalTable)
    }
    tree = qualify(
        compiled(expression), schema=schema, dialect=DIALECT, validate_qualify_columns=False, quote_identifiers=False
    )
    root = build_scope(pushdown_projections(tree))
    return _scans(root, {}) if root else Counter()


def _scans(scope: Scope, known: dict[int, Counter[Scan]]) -> Counter[Scan]:
    if id(scope) in known:
        return known[id(scope)]
    found: Counter[Scan] = Counter()
    for alias, (_node, source) in scope.selected_sources.items():
        if isinstance(source, sge.Table):
            read = frozenset(column.name for column in scope.columns if column.table == alias)
            found[source.name, read] += 1
        else:
            found += _scans(source, known)
    for inner in (*scope.subquery_scopes, *scope.set_operation_scopes):
        found += _scans(inner, known)
    known[id(scope)] = found
    return found
