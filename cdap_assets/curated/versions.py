"""Rows as they were known: which version of a row was believed when, and aggregates of what was believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import ibis

if TYPE_CHECKING:
    import ibis.expr.types as ir


def versions(rows: ibis.Table, by: Sequence[str]) -> ibis.Table:
    """Give each delivered row the instants between which it was the valid one of its key ``by``.

    ``rows`` carry ``known_at``, ``until`` (when the row itself was withdrawn, null if never) and
    ``delivered_at``. At any instant the valid row is the one known last among those not withdrawn, so a
    withdrawn correction lets the row before it become valid again, as a row of its own. Two deliveries with
    one assumed ``known_at`` are decided by ``delivered_at``. The result has ``superseded_at`` (null while
    valid) in place of ``until``; all instants are UTC.
    """
    keyed = rows.mutate(_withdrawn=rows.until.max().over(group_by=list(by)))
    steady = _latest(keyed.filter(keyed._withdrawn.isnull()), [*by, "known_at"], "delivered_at")
    steady = steady.mutate(superseded_at=_following(steady, by, "known_at"))
    disputed = keyed.filter(keyed._withdrawn.notnull())
    points = _points(disputed, by, "until")
    valid = points.join(
        disputed,
        [
            *(points[column] == disputed[column] for column in by),
            disputed.known_at <= points.point,
            disputed.until.isnull() | (disputed.until > points.point),
        ],
    ).drop([f"{column}_right" for column in by])
    for instant in ("known_at", "delivered_at"):
        valid = _latest(valid, [*by, "point"], instant)
    valid = valid.mutate(known_at=valid.point)
    columns = [*(c for c in rows.columns if c != "until"), "superseded_at"]
    return steady.select(columns).union(valid.select(columns))


def as_known(rows: ibis.Table, by: Sequence[str], measures: dict[str, ir.Value]) -> ibis.Table:
    """Aggregates of ``rows`` by ``by``, one row for each time that what was known of them changed.

    ``rows`` carry ``known_at`` and ``superseded_at``; so does the result. ``measures`` are deferred
    expressions over the rows. Where nothing is left of a group, it has no row from then on.
    """
    points = _points(rows, by, "superseded_at")
    visible = points.rename(next_point="superseded_at").join(
        rows,
        [
            *(points[column] == rows[column] for column in by),
            rows.known_at <= points.point,
            rows.superseded_at.isnull() | (rows.superseded_at > points.point),
        ],
        rname="{name}_of_row",
    )
    grouped = visible.group_by([*by, "point", "next_point"]).aggregate(**measures)
    return grouped.rename(known_at="point", superseded_at="next_point")


def known_at(rows: ibis.Table, instant: ir.TimestampValue) -> ir.BooleanValue:
    """Whether a row was known and not superseded at ``instant`` (UTC)."""
    return (rows.known_at <= instant) & (rows.superseded_at.isnull() | (rows.superseded_at > instant))


def _points(rows: ibis.Table, by: Sequence[str], end: str) -> ibis.Table:
    begins = rows.select(*by, point=rows.known_at)
    ends = rows.filter(rows[end].notnull()).select(*by, point=rows[end])
    points = begins.union(ends).distinct()
    return points.mutate(superseded_at=_following(points, by, "point"))


def _latest(rows: ibis.Table, by: Sequence[str], instant: str) -> ibis.Table:
    marked = rows.mutate(_latest=rows[instant].max().over(group_by=list(by)))
    return marked.filter(marked[instant] == marked._latest).drop("_latest")


def _following(rows: ibis.Table, by: Sequence[str], column: str) -> ir.TimestampColumn:
    return rows[column].lead().over(group_by=list(by), order_by=column)
