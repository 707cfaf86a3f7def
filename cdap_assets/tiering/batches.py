"""What was decided, cut into batches that one run each moves, and the run that is asked for a batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import dagster as dg

from cdap_assets.tiering.jobs import tier_partitions
from cdap_assets.tiering.look import COMPACT
from cdap_assets.tiering.moves import EXPIRE, Batch
from cdap_assets.tiering.storage_policy import StoragePolicy
from resources.iceberg.placement import decoded, encoded

JOB = tier_partitions.name
OP = "move_tiers"
MOST = 50  # partitions in one run: a run is finished or told of before the next begins
FIRST = {EXPIRE: 0, COMPACT: 1}  # what is to be compacted is decided on again afterwards


def batched(rows: Sequence[Mapping[str, Any]], policy: StoragePolicy) -> list[Batch]:
    """Batches of the rows of ``storage_tiers`` that say to move: one table, one action, the largest savings first.

    What is deleted comes first, and what is to be compacted before what moves.
    """
    groups: dict[tuple[int, str, str, str], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (-row["saving"], row["table_name"], row["partition"])):
        action = row["decision"]
        groups.setdefault((FIRST.get(action, 2), action, row["table_name"], row["to_class"]), []).append(row)
    return [
        Batch(
            table=table,
            partitions=tuple(decoded(json.loads(row["partition_values"])) for row in part),
            action=action,
            storage_class=storage_class,
            reason=part[0]["reason"] + (f"; and {len(part) - 1} more alike" if len(part) > 1 else ""),
            seen=min(row["seen"] for row in part),
        )
        for (_order, action, table, storage_class), group in sorted(groups.items(), key=lambda item: item[0])
        for part in within_budget(group, policy.budget, MOST)
    ]


def within_budget(rows: Sequence[Mapping[str, Any]], budget: Decimal, most: int) -> Iterator[list[Mapping[str, Any]]]:
    """``rows`` in runs of at most ``most`` whose ``move_cost`` stays within a budget; a dearer one is left out.

    What is deleted costs no money that waiting would save, and no budget holds it up.
    """
    part: list[Mapping[str, Any]] = []
    spent = Decimal(0)
    for row in rows:
        cost = Decimal(0) if row["decision"] == EXPIRE else row["move_cost"]
        if cost > budget:
            continue
        if part and (len(part) == most or spent + cost > budget):
            yield part
            part, spent = [], Decimal(0)
        part.append(row)
        spent += cost
    if part:
        yield part


def run_config(batch: Batch | None = None) -> dict[str, Any]:
    """The run configuration of ``tier_partitions`` for a batch; of none, to finish only what a run left."""
    batch = batch or Batch("", ())
    config = {
        "table": batch.table,
        "partitions": [json.dumps(encoded(partition)) for partition in batch.partitions],
        "action": batch.action,
        "storage_class": batch.storage_class,
        "reason": batch.reason,
        "seen": batch.seen,
    }
    return {"ops": {OP: {"config": config}}}


def batch_of(config: Mapping[str, Any]) -> Batch | None:
    """The batch of what :func:`run_config` gave; None where it only finishes what a run left."""
    told = config["ops"][OP]["config"]
    partitions = tuple(decoded(json.loads(text)) for text in told["partitions"])
    return Batch(**{**told, "partitions": partitions}) if partitions else None


def run_request(key: str, batch: Batch | None = None) -> dg.RunRequest:
    """A run of a batch; under a key that was asked for before, Dagster starts none."""
    return dg.RunRequest(run_key=key, run_config=run_config(batch))


def key_of(batch: Batch, of: str = "") -> str:
    """What names a batch of the same content, ``of`` the same decisions."""
    return hashlib.sha256(f"{of} {json.dumps(run_config(batch), sort_keys=True)}".encode()).hexdigest()[:32]
