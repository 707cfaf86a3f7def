"""What a table promises, as asset checks that are reported with the materialization that enforced them.

The lakehouse counts the rows of a result before its commit. The checks tell those counts and ask nothing of their own.
"""

import re
from collections.abc import Iterator

import dagster as dg

from resources.iceberg.errors import InvariantViolated
from resources.iceberg.publish_record import LastPublish
from resources.iceberg.staging import told_broken
from resources.iceberg.table import Promise, TableSpec
from resources.lake.session import Session

ENFORCED = "Nothing is published while a row breaks it."


def promise_specs(spec: TableSpec) -> list[dg.AssetCheckSpec]:
    """A check per promise of a table: ``key``, ``required``, and each invariant by its name."""
    return [
        dg.AssetCheckSpec(
            _check_name(promise), asset=spec.name, description=f"{promise.description}. {ENFORCED}", blocking=True
        )
        for promise in spec.promises
    ]


def kept_promises(spec: TableSpec, session: Session) -> list[dg.AssetCheckResult]:
    """Each promise with the rows that this session tried it on, or since when it holds if it published nothing."""
    counted = session.kept.get(spec.name)
    if counted is None:
        last = session.last_publish(spec.name)
        return [_since(spec, promise, last) for promise in spec.promises]
    return [
        _result(spec, promise, metadata={"rows": counted[promise.statements[0]], "broken": 0})
        for promise in spec.promises
    ]


def broken_promises(spec: TableSpec, error: InvariantViolated) -> Iterator[dg.AssetCheckResult]:
    """Each promise of a result that was refused; nothing where it was another table's.

    A row counts as broken once for each column that it should fill.
    """
    if error.table != spec.name:
        return
    for promise in spec.promises:
        tried = {statement: error.tried[statement] for statement in promise.statements}
        broken = sum(one.broken for one in tried.values())
        yield _result(
            spec,
            promise,
            passed=not broken,
            description=f"{told_broken(tried) or 'holds for this result'}; nothing of it was published",
            metadata={"rows": tried[promise.statements[0]].rows, "broken": broken},
        )


def _since(spec: TableSpec, promise: Promise, last: LastPublish | None) -> dg.AssetCheckResult:
    if last is None:
        return _result(spec, promise, description="no row was published yet", metadata={"rows": 0, "broken": 0})
    if not all(statement in last.kept for statement in promise.statements):
        return _result(
            spec,
            promise,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description="the rows that are there were not tried on it: it is newer, and is tried once they are rebuilt",
        )
    told = f"holds for the rows that are there since the publish of {last.at:%Y-%m-%d %H:%M} UTC, which enforced it"
    return _result(spec, promise, description=told, metadata={"snapshot_id": str(last.told_by)})


def _result(
    spec: TableSpec,
    promise: Promise,
    *,
    passed: bool = True,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    description: str | None = None,
    metadata: dict[str, int | str] | None = None,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=spec.name,
        check_name=_check_name(promise),
        passed=passed,
        severity=severity,
        description=description,
        metadata=metadata,
    )


def _check_name(promise: Promise) -> str:
    return re.sub(r"\W", "_", promise.name, flags=re.ASCII)  # what Dagster takes for a name
