"""What moves data by itself: a sensor that follows the decisions, and one that waits for restores."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg

from cdap_assets.storage.tables import STORAGE_TIERS
from cdap_assets.tiering.assets import COMPACT, STAY
from cdap_assets.tiering.moves import run_config, tier_partitions, within_budget
from cdap_assets.tiering.storage_policy import FILE, StoragePolicy, read_storage_policy
from resources.clock import Clock
from resources.iceberg.catalog import Partition
from resources.iceberg.placement import encoded, placed_now
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from resources.stores.lock import is_free
from resources.tiers.classes import is_readable
from resources.tiers.inventory import holdings
from resources.tiers.journal import Journal, Move
from resources.tiers.moving import archived_files

EVERY = 3600  # seconds between two ticks of the sensor
OUTDATED = timedelta(days=2)
MOST = 50  # partitions in one run: a run is finished or told of before the next begins
STAYING = (STAY, COMPACT)


def storage_sensors(settings: Settings, clock: Clock, status: dg.DefaultSensorStatus) -> list[dg.SensorDefinition]:
    """The sensors of storage."""
    return [tiering_sensor(settings, clock, status), restore_sensor(settings, clock, status)]


def tiering_sensor(settings: Settings, clock: Clock, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Has one batch at a time moved as it was decided."""

    @dg.sensor(
        name="storage_tiering_sensor",
        job_name=tier_partitions.name,
        minimum_interval_seconds=EVERY,
        default_status=status,
        required_resource_keys={"lakehouse"},
        description="Moves partitions to the tier that the newest look at storage decided, if storage.yaml lets it.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return tick(context.resources.lakehouse, settings, clock(), context.cursor)

    return sensor


def tick(lakehouse: Lakehouse, settings: Settings, at: datetime, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    """One look at ``at`` (UTC): at most one run, or why there is none.

    The cursor holds the instant of the decisions that were followed last, the budget that made batches of them, and
    how many were started. Every run first finishes what an earlier one left.
    """
    left = [move for move in Journal(lakehouse.stores.archive).pending() if move.kind != "restore"]
    if left and not is_free(settings, "tiers"):
        return dg.SkipReason(f"a run is moving partitions of {left[0].table}")
    followed = _follow(lakehouse, settings, at, cursor)
    if left and isinstance(followed, dg.SkipReason):  # else the next batch's run finishes it first
        return _run(run_config(), f"finish {left[0].id} {at:%Y-%m-%dT%H}", cursor)
    return followed


def _follow(
    lakehouse: Lakehouse, settings: Settings, at: datetime, cursor: str | None
) -> dg.SensorResult | dg.SkipReason:
    decided = decisions(lakehouse)
    as_of = max((row["as_of"] for row in decided), default=None)
    if as_of is None or at - as_of > OUTDATED:
        last = f"is of {as_of:%Y-%m-%d %H:%M}" if as_of else "was never taken"
        return dg.SkipReason(
            f"the last look at storage {last}: nothing moves by old decisions; `cdap storage review` looks anew"
        )
    policy = read_storage_policy(settings.home)
    told = {"as_of": as_of.isoformat(), "budget": str(policy.budget)}
    known = json.loads(cursor) if cursor else {}
    followed = int(known["followed"]) if told.items() <= known.items() else 0
    batches = batched([row for row in decided if row["decision"] != STAY], policy)
    if not policy.apply:
        return dg.SkipReason(dry_run(decided))
    if followed >= len(batches):
        return dg.SkipReason(why_nothing(decided, followed, as_of, policy))
    config = batches[followed]
    return _run(config, _hash(config, as_of.isoformat()), json.dumps({**told, "followed": followed + 1}))


def decisions(lakehouse: Lakehouse) -> list[dict[str, Any]]:
    """The rows of ``storage_tiers``, without counting as a read of it."""
    with lakehouse.in_process() as session:
        rows: list[dict[str, Any]] = session.read(STORAGE_TIERS).to_pyarrow().to_pylist()
        session.reads.clear()
    return rows


def batched(rows: Sequence[Mapping[str, Any]], policy: StoragePolicy) -> list[dict[str, Any]]:
    """The run configuration of each batch: one table, one action, the largest savings first.

    What is deleted comes first, and what is to be compacted before what moves: it is decided on again afterwards.
    """
    order = {"expire": 0, COMPACT: 1}
    groups: dict[tuple[int, str, str, str], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (-row["saving"], row["table_name"], row["partition"])):
        action = row["decision"]
        groups.setdefault((order.get(action, 2), action, row["table_name"], row["to_class"]), []).append(row)
    batches = []
    for (_order, action, table, storage_class), group in sorted(groups.items(), key=lambda item: item[0]):
        for part in within_budget(group, policy.budget, MOST):
            more = f"; and {len(part) - 1} more alike" if len(part) > 1 else ""
            values = [row["partition_values"] for row in part]
            seen = min(row["seen"] for row in part)
            batches.append(run_config(table, values, action, storage_class, f"{part[0]['reason']}{more}", seen))
    return batches


def dry_run(rows: Sequence[Mapping[str, Any]]) -> str:
    """What would be moved if storage.yaml said so."""
    moves = [row for row in rows if row["decision"] not in STAYING]
    if not moves:
        return f"nothing would move: {_grouped(rows)}"
    saving = sum((row["saving"] for row in moves), Decimal(0))
    cost = sum((row["move_cost"] for row in moves), Decimal(0))
    return (
        f"dry run: {len(moves)} partitions would move, {saving:.4f} {moves[0]['currency']} a month saved for "
        f"{cost:.4f} once; set `apply: true` in storage.yaml"
    )


def why_nothing(rows: Sequence[Mapping[str, Any]], followed: int, as_of: datetime, policy: StoragePolicy) -> str:
    """Why no partition moves now."""
    dear = [row for row in rows if row["decision"] not in (*STAYING, "expire") and row["move_cost"] > policy.budget]
    held_up = (
        f"; {len(dear)} cost more to move than the budget of {policy.budget} {dear[0]['currency']}" if dear else ""
    )
    if followed:
        return f"all {followed} batches decided on {as_of:%Y-%m-%d %H:%M} were started{held_up}"
    return f"nothing moves: {_grouped(rows)}{held_up}"


def _grouped(rows: Sequence[Mapping[str, Any]]) -> str:
    # what the reasons of many partitions share: the figures of each stand before it
    reasons = Counter(re.split(": " if ": " in row["reason"] else ", ", row["reason"])[-1] for row in rows)
    told = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(4))
    return f"{len(rows)} partitions ({told})" if rows else "there is no partition yet"


def _hash(config: Mapping[str, Any], of: str = "") -> str:
    return hashlib.sha256(f"{of} {json.dumps(config, sort_keys=True)}".encode()).hexdigest()[:32]


def _run(config: Mapping[str, Any], key: str, cursor: str | None) -> dg.SensorResult:
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=key, run_config=config)], cursor=cursor)


def restore_sensor(settings: Settings, clock: Clock, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Finishes restores that S3 has made ready, and sends restored partitions back when their days are over."""

    @dg.sensor(
        name="storage_restore_sensor",
        job_name=tier_partitions.name,
        minimum_interval_seconds=900,
        default_status=status,
        required_resource_keys={"lakehouse"},
        description="Waits for restores, and sends restored partitions back when their days are over.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return wait(context.resources.lakehouse, settings, clock())

    return sensor


def wait(lakehouse: Lakehouse, settings: Settings, at: datetime) -> dg.SensorResult | dg.SkipReason:
    """One look at ``at`` (UTC) at restores under way and restored partitions that are due."""
    waiting = [move for move in Journal(lakehouse.stores.archive).pending() if move.kind == "restore"]
    ready = [move for move in waiting if _ready(lakehouse, move)]
    if ready and not is_free(settings, "tiers"):
        return dg.SkipReason(f"a run is moving partitions of {ready[0].table}")
    if ready:
        return _run(run_config(), f"ready {ready[0].id} {at:%Y-%m-%dT%H}", None)
    applied = read_storage_policy(settings.home).apply
    due_of = {name: due for name in lakehouse.names() if (due := _due(lakehouse, name, at))}
    if due_of and not applied:
        told = ", ".join(f"{len(due)} of {name}" for name, due in due_of.items())
        return dg.SkipReason(f"dry run: restored partitions are due to go back ({told}); set `apply: true` in {FILE}")
    requests = []
    for name, due in due_of.items():
        values = [json.dumps(encoded(partition)) for partition in due[:MOST]]
        config = run_config(name, values, "return", reason="its days are over")
        # one request a table: one that cannot go back holds up no other
        requests.append(dg.RunRequest(run_key=f"return {_hash(config)} {at:%Y-%m-%d}", run_config=config))
    if requests:
        return dg.SensorResult(run_requests=requests)
    if waiting:
        return dg.SkipReason(f"{len(waiting)} restores wait for S3, the first of {waiting[0].table}")
    return dg.SkipReason("no restore is under way, and no restored partition is due")


def _due(lakehouse: Lakehouse, name: str, at: datetime) -> list[Partition]:
    """Restored partitions of a table whose days are over. One that got rows since stays, and is decided on anew."""
    table = lakehouse.load(name)
    placed = placed_now(table).values() if table else ()
    due = {one.partition: one.rows for one in placed if one.tier == "restored" and one.due and one.due <= at.date()}
    if not due:
        return []
    return [held.partition for held in holdings(lakehouse, name) if held.rows == due.get(held.partition)]


def _ready(lakehouse: Lakehouse, move: Move) -> bool:
    """Whether a restore waits for S3 no longer; one of a table or a file that is gone is for its run to tell."""
    table = lakehouse.load(move.table)
    if table is None:
        return True
    placed = placed_now(table)
    asked = {one: placed[one] for one in move.partitions if one in placed and placed[one].tier == "archived"}
    try:
        keys = [file.key for _partition, file in archived_files(lakehouse, table, asked)]
    except FileNotFoundError:
        return True
    archive = lakehouse.stores.archive
    return not any(archive.exists(key) and not is_readable(archive, key) for key in keys)
