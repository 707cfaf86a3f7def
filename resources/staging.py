"""Checks on written files before a commit makes them visible: non-null, unique key, invariants, partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.table import TableSpec

if TYPE_CHECKING:
    import ibis

SAMPLE_ROWS = 5


@dataclass(frozen=True)
class StagedFigures:
    """Rows written, rows each invariant was tried on, and a few rows of columns without personal data."""

    rows: int
    invariants: dict[str, int]
    sample: list[dict[str, Any]]


def check_staged(spec: TableSpec, staged: ibis.Table, replace: Mapping[str, Sequence[Any]] | None) -> StagedFigures:
    """Raise :class:`InvariantViolated` or :class:`OutsidePartitions` unless the staged rows keep every promise."""
    from resources.lakehouse import InvariantViolated, OutsidePartitions

    tried = {
        f"{column.name} is never null": staged[column.name].isnull() for column in spec.columns if not column.nullable
    }
    tried |= {f"{invariant.name}: {invariant.description}": invariant.violates(staged) for invariant in spec.invariants}
    names = list(tried)
    counts = staged.aggregate(
        rows=staged.count(),
        **{f"broken_{n}": tried[name].cast("int64").sum().coalesce(0) for n, name in enumerate(names)},
    )
    row = counts.to_pyarrow().to_pylist()[0]
    rows = int(row["rows"])
    broken = {name: int(row[f"broken_{n}"]) for n, name in enumerate(names) if row[f"broken_{n}"]}
    if spec.key and rows:
        unique = staged.select(*spec.key).distinct().count().to_pyarrow().as_py()
        if unique < rows:
            broken[f"({', '.join(spec.key)}) is unique"] = rows - unique
        names.append(f"({', '.join(spec.key)}) is unique")
    if broken:
        told = "; ".join(f"{name}: {count:,} of {rows:,} rows break it" for name, count in broken.items())
        raise InvariantViolated(f"table {spec.name}: {told}. Nothing was published; the table is as before.")
    for column, wanted in (replace or {}).items():
        written = staged.select(column).distinct().to_pyarrow()[column].to_pylist()
        if outside := sorted(set(written) - set(wanted), key=str):
            raise OutsidePartitions(
                f"table {spec.name}: the result holds rows of {column} {', '.join(map(str, outside[:5]))}, "
                "which was not to be replaced. Nothing was published."
            )
    shown = [column.name for column in spec.columns if column.personal == "none"]
    sample = staged.select(*shown).limit(SAMPLE_ROWS).to_pyarrow().to_pylist() if shown else []
    return StagedFigures(rows, dict.fromkeys(names, rows), sample)
