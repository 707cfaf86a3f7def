"""Column lineage: which input columns each output column of an Ibis expression is computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ibis
    import ibis.expr.operations as ops


def column_lineage(expression: ibis.Table, table_of: Callable[[str], str]) -> dict[str, list[tuple[str, str]]]:
    """(table, column) pairs per output column, by walking the expression's operations.

    ``table_of`` turns a relation's name into the table it reads. Row filters are not lineage of a column.
    """
    import ibis.expr.operations as ops

    seen: dict[tuple[ops.Relation, str], frozenset[tuple[str, str]]] = {}

    def origins(relation: ops.Relation, column: str) -> frozenset[tuple[str, str]]:
        key = (relation, column)
        if key not in seen:
            seen[key] = frozenset()  # a relation never reads itself; this only ends a walk that would
            seen[key] = frozenset(_origins(relation, column))
        return seen[key]

    def _origins(relation: ops.Relation, column: str) -> set[tuple[str, str]]:
        if isinstance(relation, ops.InMemoryTable):
            return set()
        if isinstance(relation, ops.PhysicalTable):
            return {(table_of(relation.name), column)}
        if isinstance(relation, ops.Set):
            return set(origins(relation.left, column) | origins(relation.right, column))
        if isinstance(relation, ops.JoinReference | ops.SelfReference):
            return set(origins(relation.parent, column))
        value = relation.values.get(column)
        if value is None:
            return set()
        found: set[tuple[str, str]] = set()
        for field in value.find(ops.Field, filter=ops.Value):
            found |= origins(field.rel, field.name)
        return found

    root = expression.op()
    return {column: sorted(origins(root, column)) for column in expression.columns}
