"""The jobs that move partitions: to another tier, back, into fewer files, or away for good."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, get_args

import dagster as dg
from pydantic import Field

from cdap_assets.lineage import Lineage, read_lineage
from cdap_assets.storage.costs import Holding
from cdap_assets.storage.prices import PriceError, Prices, RestoreSpeed, Tier
from cdap_assets.tiering.state import offer, states
from cdap_assets.tiering.storage_policy import (
    StoragePolicy,
    StoragePolicyError,
    prices_of,
    read_storage_policy,
    rules_by_table,
)
from resources.clock import Clock
from resources.iceberg.catalog import Partition
from resources.iceberg.errors import NotMoved
from resources.iceberg.placement import decoded, named_partitions, partition_text, placed_now
from resources.lake.lakehouse import Lakehouse
from resources.stores.busy import Busy
from resources.tiers.inventory import holdings
from resources.tiers.journal import Kind
from resources.tiers.moving import Moved, begun, carry_out, due_day, finish_pending

ACTIONS: Mapping[str, Kind] = {
    "cool": "cool",
    "archive": "archive",
    "warm": "warm",
    "return": "return",
    "compact": "compact",
}

TIER_OF: Mapping[str, Tier] = {"cool": "cool", "archive": "archived"}


class Refused(ValueError):
    """What was asked of storage cannot be done; the message says why and what to do. Nothing was moved."""


class Batch(dg.Config):
    """Partitions of one table to move together; without any, only what an earlier run left is finished."""

    table: str = Field("", description="the table")
    partitions: list[str] = Field(
        [], description='the values of each partition as JSON, such as \'[{"date": "2024-03-01"}]\''
    )


class TierBatch(Batch):
    """A batch, and what becomes of it."""

    action: str = Field("", description="cool, archive, warm, compact, expire, or return: what was restored goes back")
    storage_class: str = Field("", description="as the price book names it")
    reason: str = Field("", description="why it was decided, or who asks")
    seen: int | None = Field(
        None, description="the table's sequence number when it was decided; what was written since does not move"
    )


class RestoreBatch(Batch):
    """A batch to restore."""

    speed: str = Field("", description="Expedited, Standard or Bulk; empty: as storage.yaml says")
    days: int = Field(0, description="after which it goes back; 0: as storage.yaml says")


def tier(
    lakehouse: Lakehouse,
    lineage: Lineage,
    table: str,
    partitions: Sequence[Partition],
    action: str,
    storage_class: str,
    at: datetime,
    reason: str = "",
    seen: int | None = None,
) -> Moved:
    """Move partitions of a table to another tier, or make them fit for it.

    Raises :class:`Refused` while storage.yaml is a dry run or for a move that its rules do not allow, and
    :class:`~resources.iceberg.errors.NotMoved`, also for a partition written since the sequence number ``seen``.
    """
    policy = applied(lakehouse)
    rules = rules_by_table(lineage, policy).get(table)
    if action not in ACTIONS or rules is None:
        raise Refused(f"{action!r} of {table!r} is no move; use one of {', '.join(ACTIONS)} and a table of the lake")
    if action == "archive" and not rules.may_archive:
        raise Refused(
            f"{table} may not be archived: something reads all of it, or storage.yaml or its contract says so"
        )
    prices = prices_of(lakehouse.settings, policy)
    if action in TIER_OF and prices.of(storage_class).tier != TIER_OF[action]:
        fitting = ", ".join(prices.in_tier(TIER_OF[action]))
        raise Refused(f"{action} puts nothing into {storage_class}, only into {fitting}")
    return carry_out(
        lakehouse,
        begun(
            ACTIONS[action],
            table,
            partitions,
            at,
            storage_class=storage_class,
            offer=_offer(lakehouse, table, partitions, storage_class, prices, policy) if action == "archive" else "",
            sought_by=lineage.specs[table].sought_by,
            reason=reason,
            seen=seen,
        ),
    )


def restore(
    lakehouse: Lakehouse, table: str, partitions: Sequence[Partition], speed: str, days: int, at: datetime
) -> Moved:
    """Bring archived partitions back for ``days``; what needs hours in S3 is finished by a later run.

    Raises :class:`Refused` for a speed that there is not, and :class:`~resources.iceberg.errors.NotMoved` for a
    partition that is not archived.
    """
    own = read_storage_policy(lakehouse.settings.home).restore
    if speed and speed not in get_args(RestoreSpeed):
        raise Refused(f"there is no speed {speed!r}; a restore is {', '.join(get_args(RestoreSpeed))}")
    move = begun("restore", table, partitions, at, speed=speed or own.speed, due=due_day(at, days or own.days))
    return carry_out(lakehouse, move)


def expire(
    lakehouse: Lakehouse,
    lineage: Lineage,
    table: str,
    partitions: Sequence[Partition],
    at: datetime,
    reason: str = "",
    seen: int | None = None,
) -> Moved:
    """Delete partitions whose retention has ended; their files go when no snapshot that is kept needs them.

    Raises :class:`Refused` while storage.yaml is a dry run, for a table without retention or under legal hold, and
    for a partition whose time is not over, whatever was decided under an earlier policy.
    """
    policy = applied(lakehouse)
    rules = rules_by_table(lineage, policy).get(table)
    if rules is None or rules.retention_days is None or rules.legal_hold:
        raise Refused(f"{table!r} has no retention that would delete rows, or is under legal hold")
    found = states(lakehouse, {table: rules}, prices_of(lakehouse.settings, policy), at)
    early = [
        state.partition
        for state in found
        if state.held.partition in partitions and state.decision is not None and state.decision.action != "expire"
    ]
    if early:
        raise Refused(f"{table}: {named_partitions(early)} is kept for {rules.retention_days} days, which are not over")
    return carry_out(lakehouse, begun("expire", table, partitions, at, reason=reason, seen=seen))


def applied(lakehouse: Lakehouse) -> StoragePolicy:
    """The policy. Raises :class:`Refused` while it is a dry run."""
    policy = read_storage_policy(lakehouse.settings.home)
    if not policy.apply:
        raise Refused("storage.yaml is a dry run: set `apply: true` in it to have partitions moved")
    return policy


def chosen(lakehouse: Lakehouse, table: str, texts: Iterable[str]) -> list[Partition]:
    """The partitions that people write as ``month=2024-03-01``. Raises :class:`Refused` naming those there are."""
    found = lakehouse.load(table)
    if found is None:
        raise Refused(f"there is no table {table}; there are {', '.join(lakehouse.names())}")
    known = {partition_text(held.columns, held.partition): held.partition for held in holdings(lakehouse, table)}
    if unknown := [text for text in texts if text not in known]:
        placed = [partition_text([f.name for f in found.spec().fields], one) for one in placed_now(found)]
        told = ", ".join(sorted(placed)) or "none"
        raise Refused(f"table {table} has no partition {', '.join(unknown)}; those that are not hot: {told}")
    return [known[text] for text in texts]


def _offer(
    lakehouse: Lakehouse,
    table: str,
    partitions: Sequence[Partition],
    storage_class: str,
    prices: Prices,
    policy: StoragePolicy,
) -> str:
    """What restoring the largest of the partitions takes: a message may name any of them."""
    held = [held.sizes for held in holdings(lakehouse, table) if held.partition in partitions]
    sizes = max(held, key=sum, default=())
    day = prices.date
    largest = Holding(table, (), sizes, "hot", prices.hot, day, day, {}, None)
    return offer(largest, storage_class, prices, policy.restore)


def _carried_out(
    context: dg.OpExecutionContext, lakehouse: Lakehouse, batch: Batch, move: Callable[[Sequence[Partition]], Moved]
) -> None:
    """Finish what an earlier run left, then ``move`` a batch. Raises ``dg.Failure`` with the reason of a refusal.

    A move of an earlier run that fails again holds up no batch: the run fails for it at its end.
    """
    try:
        failed = _finished(context, lakehouse)
        moved = move(_decoded(batch)) if batch.partitions else None
    except (Busy, Refused, NotMoved, StoragePolicyError, PriceError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    if moved is not None:
        context.add_output_metadata(
            {
                "table": moved.move.table,
                "partitions": len(moved.move.partitions),
                "files": moved.files,
                "rows": moved.rows,
                "bytes_before": moved.bytes_before,
                "bytes_after": moved.bytes_after,
                "waiting": moved.waiting,
            }
        )
    if failed is not None:
        raise dg.Failure(
            f"a move of an earlier run cannot be finished: {failed}. It is tried again by every run; what to do stands "
            "in docs/storage.md under `cdap storage give-up`.",
            allow_retries=False,
        ) from failed


def _finished(context: dg.OpExecutionContext, lakehouse: Lakehouse) -> Exception | None:
    """Finish what an earlier run left; the first error of what cannot be finished. Raises :class:`Busy`."""
    try:
        for left in finish_pending(lakehouse):
            if left.given_up:
                context.log.warning("%s is given up: %s", left.move.id, left.given_up)
            else:
                state = "waits for S3" if left.waiting else "done"
                context.log.info("%s of %s: %s", left.move.kind, left.move.table, state)
    except Busy:
        raise
    except Exception as error:  # noqa: BLE001  whatever S3 or the catalog made of it; told when the batch is done
        return error
    return None


def _decoded(batch: Batch) -> list[Partition]:
    try:
        return [decoded(json.loads(text)) for text in batch.partitions]
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(
            f'partitions of {batch.table}: {error}; expected each as JSON, such as \'[{{"date": "2024-03-01"}}]\''
        ) from error


@dg.op(description="Finishes what an earlier run left, then moves a batch to another tier.")
def move_tiers(
    context: dg.OpExecutionContext,
    config: TierBatch,
    lakehouse: dg.ResourceParam[Lakehouse],
    clock: dg.ResourceParam[Clock],
) -> None:
    """Raises ``dg.Failure`` with the reason of a refusal."""
    lineage, at = read_lineage(lakehouse.settings), clock()

    def move(partitions: Sequence[Partition]) -> Moved:
        if config.action == "expire":
            return expire(lakehouse, lineage, config.table, partitions, at, config.reason, config.seen)
        action, storage_class = config.action, config.storage_class
        return tier(lakehouse, lineage, config.table, partitions, action, storage_class, at, config.reason, config.seen)

    _carried_out(context, lakehouse, config, move)


@dg.op(description="Finishes restores that S3 has made ready, then asks for a batch.")
def move_back(
    context: dg.OpExecutionContext,
    config: RestoreBatch,
    lakehouse: dg.ResourceParam[Lakehouse],
    clock: dg.ResourceParam[Clock],
) -> None:
    """Raises ``dg.Failure`` with the reason of a refusal."""

    def move(partitions: Sequence[Partition]) -> Moved:
        return restore(lakehouse, config.table, partitions, config.speed, config.days, clock())

    _carried_out(context, lakehouse, config, move)


@dg.op(description="Writes many small files of partitions as few large ones.")
def compact(
    context: dg.OpExecutionContext,
    config: Batch,
    lakehouse: dg.ResourceParam[Lakehouse],
    clock: dg.ResourceParam[Clock],
) -> None:
    """Raises ``dg.Failure`` with the reason of a refusal."""

    def move(partitions: Sequence[Partition]) -> Moved:
        lineage = read_lineage(lakehouse.settings)
        return tier(lakehouse, lineage, config.table, partitions, "compact", "", clock())

    _carried_out(context, lakehouse, config, move)


@dg.op(description="Deletes partitions whose retention has ended.")
def delete_expired(
    context: dg.OpExecutionContext,
    config: Batch,
    lakehouse: dg.ResourceParam[Lakehouse],
    clock: dg.ResourceParam[Clock],
) -> None:
    """Raises ``dg.Failure`` with the reason of a refusal."""

    def move(partitions: Sequence[Partition]) -> Moved:
        return expire(lakehouse, read_lineage(lakehouse.settings), config.table, partitions, clock())

    _carried_out(context, lakehouse, config, move)


@dg.job(description="Move partitions of a table to the tier that storage_tiers decided, or finish what a run left.")
def tier_partitions() -> None:
    """One batch."""
    move_tiers()


@dg.job(description="Bring archived partitions back; from a cold class of S3 in hours, which a sensor waits for.")
def restore_partitions() -> None:
    """One batch."""
    move_back()


@dg.job(description="Write the small files of partitions as few large ones, with the same rows.")
def compact_table() -> None:
    """One batch."""
    compact()


@dg.job(description="Delete partitions whose retention has ended, from the table and the archive.")
def expire_partitions() -> None:
    """One batch."""
    delete_expired()


JOBS = (tier_partitions, restore_partitions, compact_table, expire_partitions)


def run_config(
    table: str = "",
    partitions: Sequence[str] = (),
    action: str = "",
    to_class: str = "",
    reason: str = "",
    seen: int | None = None,
) -> dict[str, Any]:
    """The run configuration of ``tier_partitions`` for one batch; of none, to finish only what a run left."""
    config = {
        "table": table,
        "partitions": list(partitions),
        "action": action,
        "storage_class": to_class,
        "reason": reason,
        "seen": seen,
    }
    return {"ops": {"move_tiers": {"config": config}}}


def within_budget(rows: Sequence[Mapping[str, Any]], budget: Decimal, most: int) -> Iterator[list[Mapping[str, Any]]]:
    """``rows`` in runs of at most ``most`` whose ``move_cost`` stays within a budget; a dearer one is left out.

    What is deleted costs no money that waiting would save, and no budget holds it up.
    """
    part: list[Mapping[str, Any]] = []
    spent = Decimal(0)
    for row in rows:
        cost = Decimal(0) if row["decision"] == "expire" else row["move_cost"]
        if cost > budget:
            continue
        if part and (len(part) == most or spent + cost > budget):
            yield part
            part, spent = [], Decimal(0)
        part.append(row)
        spent += cost
    if part:
        yield part
