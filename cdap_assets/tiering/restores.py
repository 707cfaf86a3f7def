"""Restores waited for: those that S3 has made ready are finished, and what was restored goes back on its day."""

from __future__ import annotations

from datetime import datetime

import dagster as dg

from cdap_assets.tiering.batches import MOST, key_of, run_request
from cdap_assets.tiering.moves import Batch
from cdap_assets.tiering.storage_policy import FILE, read_storage_policy
from resources.iceberg.catalog import Partition
from resources.iceberg.placement import placed_now
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from resources.stores.lock import is_free
from resources.tiers.classes import is_readable
from resources.tiers.inventory import holdings
from resources.tiers.journal import Journal, Move
from resources.tiers.moving import archived_files


def wait(lakehouse: Lakehouse, settings: Settings, at: datetime) -> dg.SensorResult | dg.SkipReason:
    """One look at ``at`` (UTC) at restores under way and restored partitions that are due."""
    waiting = [move for move in Journal(lakehouse.stores.archive).pending() if move.kind == "restore"]
    ready = [move for move in waiting if _ready(lakehouse, move)]
    if ready and not is_free(settings, "tiers"):
        return dg.SkipReason(f"a run is moving partitions of {ready[0].table}")
    if ready:
        return dg.SensorResult(run_requests=[run_request(f"ready {ready[0].id} {at:%Y-%m-%dT%H}")])
    applied = read_storage_policy(settings.home).apply
    due_of = {name: due for name in lakehouse.names() if (due := _due(lakehouse, name, at))}
    if due_of and not applied:
        told = ", ".join(f"{len(due)} of {name}" for name, due in due_of.items())
        return dg.SkipReason(f"dry run: restored partitions are due to go back ({told}); set `apply: true` in {FILE}")
    requests = []
    for name, due in due_of.items():
        batch = Batch(name, tuple(due[:MOST]), "return", reason="its days are over")
        # one request a table: one that cannot go back holds up no other
        requests.append(run_request(f"return {key_of(batch)} {at:%Y-%m-%d}", batch))
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
