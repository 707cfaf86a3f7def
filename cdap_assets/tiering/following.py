"""What the sensors of storage would start, one run after another, for who has no daemon."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from cdap_assets.tiering.sensors import tick, wait
from cdap_assets.work.jobs import REVIEW
from cdap_assets.work.stages import Stage
from resources.clock import Clock
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings


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
        batch = config["ops"]["move_tiers"]["config"]
        what = f"{batch['action']} {len(batch['partitions'])} partitions of {batch['table']}"
        yield Stage("tier_partitions", "moves", what if batch["table"] else "what a run left", config=config)
