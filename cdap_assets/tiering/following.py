"""Decisions followed: the next batch that is to move, or why nothing moves; and all of it in one go."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg

from cdap_assets.tiering.batches import JOB, batch_of, batched, key_of, run_request
from cdap_assets.tiering.look import STAY, STAYING, counted_by_kind, decisions
from cdap_assets.tiering.moves import EXPIRE
from cdap_assets.tiering.restores import wait
from cdap_assets.tiering.storage_policy import FILE, StoragePolicy, read_storage_policy
from cdap_assets.work.jobs import REVIEW
from cdap_assets.work.stages import Stage
from resources.clock import Clock
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from resources.stores.lock import is_free
from resources.tiers.journal import Journal

OUTDATED = timedelta(days=2)


def tick(lakehouse: Lakehouse, settings: Settings, at: datetime, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    """One look at ``at`` (UTC): at most one run, or why there is none.

    The cursor holds the instant of the decisions that were followed last, the budget that made batches of them, and
    how many were started. Every run first finishes what an earlier one left.
    """
    left = [move for move in Journal(lakehouse.stores.archive).pending() if move.kind != "restore"]
    if left and not is_free(settings, "tiers"):
        return dg.SkipReason(f"a run is moving partitions of {left[0].table}")
    followed = _next(lakehouse, settings, at, cursor)
    if left and isinstance(followed, dg.SkipReason):  # else the next batch's run finishes it first
        return dg.SensorResult(run_requests=[run_request(f"finish {left[0].id} {at:%Y-%m-%dT%H}")], cursor=cursor)
    return followed


def _next(
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
    batch = batches[followed]
    request = run_request(key_of(batch, as_of.isoformat()), batch)
    return dg.SensorResult(run_requests=[request], cursor=json.dumps({**told, "followed": followed + 1}))


def dry_run(rows: Sequence[Mapping[str, Any]]) -> str:
    """What would be moved if storage.yaml said so."""
    moves = [row for row in rows if row["decision"] not in STAYING]
    if not moves:
        return f"nothing would move: {counted_by_kind(rows)}"
    saving = sum((row["saving"] for row in moves), Decimal(0))
    cost = sum((row["move_cost"] for row in moves), Decimal(0))
    return (
        f"dry run: {len(moves)} partitions would move, {saving:.4f} {moves[0]['currency']} a month saved for "
        f"{cost:.4f} once; set `apply: true` in {FILE}"
    )


def why_nothing(rows: Sequence[Mapping[str, Any]], followed: int, as_of: datetime, policy: StoragePolicy) -> str:
    """Why no partition moves now."""
    dear = [row for row in rows if row["decision"] not in (*STAYING, EXPIRE) and row["move_cost"] > policy.budget]
    held_up = (
        f"; {len(dear)} cost more to move than the budget of {policy.budget} {dear[0]['currency']}" if dear else ""
    )
    if followed:
        return f"all {followed} batches decided on {as_of:%Y-%m-%d %H:%M} were started{held_up}"
    return f"nothing moves: {counted_by_kind(rows)}{held_up}"


def review_stage() -> Stage:
    """A look at storage."""
    return Stage(REVIEW, "storage", "what is where, how it is used, and where it should be")


def follow(lakehouse: Lakehouse, settings: Settings, clock: Clock) -> Iterator[Stage]:
    """Runs to execute, each before the next is asked for: restores that wait, a look, and what was decided then."""
    at = clock()
    waited = wait(lakehouse, settings, at)
    if isinstance(waited, dg.SensorResult):
        yield from _stages(waited)
    yield review_stage()
    cursor: str | None = None
    asked: set[str | None] = set()
    while isinstance(step := tick(lakehouse, settings, clock(), cursor), dg.SensorResult):
        keys = {request.run_key for request in step.run_requests or ()}
        if keys <= asked:
            break  # a move that cannot be finished: it is tried again the next time
        yield from _stages(step)
        cursor, asked = step.cursor, asked | keys
    if asked:
        yield review_stage()


def _stages(result: dg.SensorResult) -> Iterator[Stage]:
    for request in result.run_requests or ():
        config = dict(request.run_config)
        batch = batch_of(config)
        what = f"{batch.action} {len(batch.partitions)} partitions of {batch.table}" if batch else "what a run left"
        yield Stage(JOB, "moves", what, config=config)
