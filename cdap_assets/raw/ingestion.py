"""Ingestion of one delivered file: every row ends in the raw table or in quarantine, then the ledger says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import ibis

from cdap_assets.contracts.contract import Contract
from cdap_assets.raw.tables import DELIVERIES, QUARANTINE, raw_table
from cdap_assets.raw.values import event_columns, problem, typed
from resources.engines.builtins import json_text, local_time
from resources.engines.file_format import UnreadableFile
from resources.lake.session import InProcess

CLOCK_SKEW = timedelta(days=1)  # an event may be stamped by a clock that is ahead; beyond this it is wrong


class DeliveryRefused(ValueError):
    """A file that cannot be taken as a delivery of its source; nothing of it was stored."""


@dataclass(frozen=True)
class Delivery:
    """A delivered file, known by its content."""

    source: str
    path: str
    sha256: str
    bytes: int
    version: str | None = None  # of the file where it lies; unknown of what was delivered before it was noted

    @property
    def id(self) -> str:
        """Source and content name a delivery, so the same file twice is one delivery."""
        return f"{self.source}-{self.sha256[:16]}"


@dataclass(frozen=True)
class Ingested:
    """What became of a delivery's rows."""

    rows: int
    accepted: int
    quarantined: int


def ingest(
    session: InProcess,
    contract: Contract,
    delivery: Delivery,
    file: Path,
    *,
    at: datetime,
    history: bool,
    event: str = "accepted",
    late_rows: Sequence[int] = (),
) -> Ingested:
    """Read ``file``, check every row, publish the good and the bad ones, then write the ledger.

    The ledger entry comes last: a run that dies before it leaves a delivery that the next run takes again,
    replacing its own rows. Rows that the table holds already keep their known and delivered times;
    ``late_rows`` are known only from ``at`` (they came out of quarantine), whatever the delivery's history.
    Raises :class:`DeliveryRefused` for a file of another shape, or of which too
    large a share fails.
    """
    delivered, unsplit = _delivered(session, contract, delivery, file)
    checked = _checked(session, contract, delivered, at, history=history)
    good = checked.filter(checked.reasons.isnull())
    bad = checked.filter(checked.reasons.notnull())
    counts = checked.aggregate(rows=checked.count(), bad=checked.reasons.count()).to_pyarrow().to_pylist()[0]
    rows, quarantined = int(counts["rows"]) + len(unsplit), int(counts["bad"]) + len(unsplit)
    if rows and quarantined / rows > contract.max_quarantined_share:
        raise DeliveryRefused(
            f"{delivery.path}: {quarantined:,} of {rows:,} rows break contract {contract.name} "
            f"{contract.version}, more than its maxQuarantinedShare of {contract.max_quarantined_share:.0%}. "
            f"Most often: {_most_often(bad) or unsplit[0][1]}. Nothing was stored. Mend the file or the contract, "
            "or raise the share, and run again."
        )
    spec = raw_table(contract)
    stored = _dated(session.read(spec, {"delivery_id": [delivery.id]}), good, at, late_rows, history=history)
    session.publish(
        QUARANTINE,
        _quarantined(contract, delivery, bad, delivered, unsplit, at),
        replace={"delivery_id": [delivery.id]},
        inputs={},
    )
    session.publish(
        spec,
        stored.mutate(delivery_id=ibis.literal(delivery.id), retracted_at=ibis.null("timestamp(6)")),
        replace={"delivery_id": [delivery.id]},
        inputs={},  # the file alone makes these rows: a delivery of another source is no newer input
        provenance={"contract_version": contract.version, "delivery_id": delivery.id},
    )
    result = Ingested(rows, rows - quarantined, quarantined)
    record(session, contract, [delivery], event, result, at=at, history=history)
    return result


def _dated(
    before: ibis.Table, good: ibis.Table, at: datetime, late_rows: Sequence[int], *, history: bool
) -> ibis.Table:
    """``good`` with known and delivered times; rows that stand in ``before`` were known and delivered then.

    Where the known time was assumed, it follows the contract of today.
    """
    now = ibis.literal(at).cast("timestamp(6)")
    kept = before.filter(before.retracted_at.isnull()).select(
        "row_number", was_known=before.known_at, was_assumed=before.known_assumed, was_delivered=before.delivered_at
    )
    rows = good.left_join(kept, "row_number").drop("row_number_right")
    is_new = rows.was_known.isnull()
    late = is_new & rows.row_number.isin(list(late_rows)) if late_rows else ibis.literal(False)
    delivered = rows.was_delivered.coalesce(now)
    return rows.mutate(
        known_at=ibis.cases(
            (~is_new & ~rows.was_assumed, rows.was_known),
            (late, now),
            else_=ibis.least(rows.known_at, delivered),
        ),
        known_assumed=rows.was_assumed.coalesce(~late) if history else ibis.literal(False),
        delivered_at=delivered,
    )


def record(
    session: InProcess,
    contract: Contract,
    deliveries: Sequence[Delivery],
    event: str,
    result: Ingested,
    *,
    at: datetime,
    history: bool,
    note: str | None = None,
) -> None:
    """Add one event to the ledger for each of some deliveries."""
    entries = [
        {
            "delivery_id": delivery.id,
            "source": delivery.source,
            "path": delivery.path,
            "sha256": delivery.sha256,
            "bytes": delivery.bytes,
            "version": delivery.version,
            "event": event,
            "rows": result.rows,
            "accepted": result.accepted,
            "quarantined": result.quarantined,
            "contract_version": contract.version,
            "history": history,
            "note": note,
            "at": at.astimezone(UTC).replace(tzinfo=None),
        }
        for delivery in deliveries
    ]
    session.publish(DELIVERIES, ibis.memtable(entries, schema=DELIVERIES.schema()), append=True)


def _delivered(
    session: InProcess, contract: Contract, delivery: Delivery, file: Path
) -> tuple[ibis.Table, list[tuple[int, str, str]]]:
    """The file as delivered, and lines that do not split. Raises :class:`DeliveryRefused`."""
    try:
        delivered, unsplit = session.engine.delivered(file, contract.file)
    except UnreadableFile as error:
        reason = str(error).replace(str(file), delivery.path)  # it may be read from a copy that soon is gone
        raise DeliveryRefused(f"{delivery.path}: cannot be read as {contract.file.type}: {reason}") from error
    missing = [column.name for column in contract.columns if column.name not in delivered.columns]
    if missing:
        found = ", ".join(name for name in delivered.columns if name != "row_number")
        raise DeliveryRefused(
            f"{delivery.path}: column {', '.join(missing)} is missing; the file has {found}. Expected by "
            f"contract {contract.name} {contract.version} ({contract.path.name}). Nothing was stored. Deliver the "
            "column, or change the contract and its version."
        )
    return delivered, unsplit


def _checked(
    session: InProcess, contract: Contract, delivered: ibis.Table, at: datetime, *, history: bool
) -> ibis.Table:
    """Typed rows with ``reasons`` (null for a good row), computed once."""
    zones = {contract.event_time: contract.event_time_zone}
    values = {c.name: typed(delivered[c.name], c, zones.get(c.name, contract.timezone)) for c in contract.columns}
    problems = [problem(delivered[c.name], values[c.name], c) for c in contract.columns]
    occurred, known = event_columns(contract, values, at, history=history)
    local_date = local_time(occurred, ibis.literal(contract.timezone)).cast("date")
    rows = delivered.select(
        **values,
        row_number=delivered.row_number,
        occurred_at=occurred,
        local_date=local_date,
        month=local_date.truncate("M"),
        known_at=known,
        problems=_joined(problems),
    )
    rows = session.engine.materialize(rows)
    told = [rows.problems, *_row_problems(contract, rows, at)]
    return session.engine.materialize(rows.mutate(reasons=_joined(told)))


def _row_problems(contract: Contract, rows: ibis.Table, at: datetime) -> list[ibis.Value]:
    """What is wrong with a row as a whole: its time, or that another row of the file has its key."""
    nothing = ibis.null("string")
    found = [
        ibis.ifelse(
            rows.occurred_at > ibis.literal(at + CLOCK_SKEW).cast("timestamp(6)"),
            f"{contract.event_time} lies after the delivery",
            nothing,
        )
    ]
    if contract.ends is not None:
        end = f"{contract.event_time} lies after {contract.ends}, where the contract says the data ends"
        found.append(ibis.ifelse(rows.local_date > ibis.literal(contract.ends), end, nothing))
    keys = [contract.primary_key] if contract.primary_key else []
    keys += [(column.name,) for column in contract.columns if column.unique and not column.primary_key]
    for key in keys:
        # rows that fail by themselves do not claim their key
        place = ibis.row_number().over(group_by=[rows.problems.isnull(), *key], order_by=rows.row_number)
        known = reduce(lambda a, b: a & b, (rows[name].notnull() for name in key))
        repeated = rows.problems.isnull() & known & (place > 0)
        found.append(ibis.ifelse(repeated, f"({', '.join(key)}) stands in an earlier row already", nothing))
    return found


def _joined(problems: list[Any]) -> Any:
    """The reasons that are not null, each ended by '; ' but the last; null when there is none."""
    told = reduce(lambda text, one: text + one.concat("; ").coalesce(""), problems, ibis.literal(""))
    return told.re_replace("; $", "").nullif("")


def _quarantined(
    contract: Contract,
    delivery: Delivery,
    bad: ibis.Table,
    delivered: ibis.Table,
    unsplit: list[tuple[int, str, str]],
    at: datetime,
) -> ibis.Table:
    same = {
        "delivery_id": ibis.literal(delivery.id),
        "source": ibis.literal(contract.name),
        "at": ibis.literal(at).cast("timestamp(6)"),
    }
    names = [name for name in delivered.columns if name != "row_number"]
    texts = delivered.select("row_number", row=json_text(ibis.struct({n: delivered[n].cast("string") for n in names})))
    held = bad.select("row_number", "reasons").join(texts, "row_number")
    rows = held.select(**same, row_number=held.row_number, reasons=held.reasons, row=held.row)
    if not unsplit:
        return rows
    lines = ibis.memtable(
        [
            {"row_number": line, "reasons": f"line does not split into columns: {kind}", "row": text or ""}
            for line, kind, text in unsplit
        ],
        schema={"row_number": "int64", "reasons": "string", "row": "string"},
    )
    return rows.union(lines.mutate(**same).select(rows.columns))


def _most_often(bad: ibis.Table) -> str | None:
    found = bad.group_by("reasons").aggregate(n=bad.count()).order_by(ibis.desc("n"), "reasons").limit(1)
    rows = found.to_pyarrow().to_pylist()
    return rows[0]["reasons"] if rows else None
