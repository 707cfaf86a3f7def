"""The jobs that move partitions as Dagster runs them: their run configuration, and how a refusal ends a run."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import dagster as dg
from pydantic import Field

from cdap_assets.lineage import read_lineage
from cdap_assets.storage.prices import PriceError
from cdap_assets.storage.tables import GROUP
from cdap_assets.tiering.moves import EXPIRE, Batch, Refused, restore, tier
from cdap_assets.tiering.storage_policy import StoragePolicyError
from resources.clock import Calendar
from resources.iceberg.errors import NotMoved
from resources.iceberg.placement import decoded
from resources.lake.lakehouse import Lakehouse
from resources.stores.busy import Busy
from resources.tiers.moving import Moved, finish_pending


class BatchConfig(dg.Config):
    """Partitions of one table to move together; without any, only what an earlier run left is finished."""

    table: str = Field("", description="the table")
    partitions: list[str] = Field(
        [], description='the values of each partition as JSON, such as \'[{"date": "2024-03-01"}]\''
    )


class TierConfig(BatchConfig):
    """A batch, and what becomes of it."""

    action: str = Field("", description="cool, archive, warm, compact, expire, or return: what was restored goes back")
    storage_class: str = Field("", description="as the price book names it")
    reason: str = Field("", description="why it was decided, or who asks")
    seen: int | None = Field(
        None, description="the table's sequence number when it was decided; what was written since does not move"
    )


class RestoreConfig(BatchConfig):
    """A batch to restore."""

    speed: str = Field("", description="Expedited, Standard or Bulk; empty: as storage.yaml says")
    days: int = Field(0, description="after which it goes back; 0: as storage.yaml says")


C = TypeVar("C", bound=BatchConfig)


def _job(
    name: str,
    description: str,
    *,
    op: str,
    does: str,
    config: type[C],
    move: Callable[[Lakehouse, Batch, C, datetime], Moved],
) -> dg.JobDefinition:
    """A job of one op of another name, whose run configuration is that of the op."""

    @dg.op(name=op, description=does, pool=GROUP, config_schema=config.to_fields_dict())
    def work(
        context: dg.OpExecutionContext, lakehouse: dg.ResourceParam[Lakehouse], installation: dg.ResourceParam[Calendar]
    ) -> None:
        asked = config(**context.op_config)
        _carried_out(context, lakehouse, asked, lambda batch: move(lakehouse, batch, asked, installation.now()))

    @dg.job(
        name=name,
        description=description,
        executor_def=dg.in_process_executor,
        tags={"dagster/retry_on_asset_or_op_failure": "false"},
    )
    def one_batch() -> None:
        work()

    return one_batch


def _tier(lakehouse: Lakehouse, batch: Batch, config: TierConfig, at: datetime) -> Moved:
    asked = replace(
        batch,
        action=config.action,
        storage_class=config.storage_class,
        reason=config.reason,
        seen=config.seen,
    )
    return tier(lakehouse, read_lineage(lakehouse.settings), asked, at)


def _restore(lakehouse: Lakehouse, batch: Batch, config: RestoreConfig, at: datetime) -> Moved:
    return restore(lakehouse, batch.table, batch.partitions, at, speed=config.speed, days=config.days)


def _compact(lakehouse: Lakehouse, batch: Batch, _config: BatchConfig, at: datetime) -> Moved:
    return tier(lakehouse, read_lineage(lakehouse.settings), replace(batch, action="compact"), at)


def _expire(lakehouse: Lakehouse, batch: Batch, _config: BatchConfig, at: datetime) -> Moved:
    return tier(lakehouse, read_lineage(lakehouse.settings), replace(batch, action=EXPIRE), at)


def _carried_out(
    context: dg.OpExecutionContext, lakehouse: Lakehouse, config: BatchConfig, move: Callable[[Batch], Moved]
) -> None:
    """Finish what an earlier run left, then ``move`` a batch. Raises ``dg.Failure`` with the reason of a refusal.

    A move of an earlier run that fails again holds up no batch: the run fails for it at its end.
    """
    try:
        failed = _finished(context, lakehouse)
        moved = move(_decoded(config)) if config.partitions else None
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


def _decoded(config: BatchConfig) -> Batch:
    try:
        return Batch(config.table, tuple(decoded(json.loads(text)) for text in config.partitions))
    except (ValueError, TypeError, KeyError) as error:
        raise Refused(
            f'partitions of {config.table}: {error}; expected each as JSON, such as \'[{{"date": "2024-03-01"}}]\''
        ) from error


tier_partitions = _job(
    "tier_partitions",
    "Move partitions of a table to the tier that storage_tiers decided, or finish what a run left.",
    op="move_tiers",
    does="Finishes what an earlier run left, then moves a batch to another tier.",
    config=TierConfig,
    move=_tier,
)
restore_partitions = _job(
    "restore_partitions",
    "Bring archived partitions back; from a cold class of S3 in hours, which a sensor waits for.",
    op="move_back",
    does="Finishes restores that S3 has made ready, then asks for a batch.",
    config=RestoreConfig,
    move=_restore,
)
compact_table = _job(
    "compact_table",
    "Write the small files of partitions as few large ones, with the same rows.",
    op="compact",
    does="Writes many small files of partitions as few large ones.",
    config=BatchConfig,
    move=_compact,
)
expire_partitions = _job(
    "expire_partitions",
    "Delete partitions whose retention has ended, from the table and the archive.",
    op="delete_expired",
    does="Deletes partitions whose retention has ended.",
    config=BatchConfig,
    move=_expire,
)
JOBS = (tier_partitions, restore_partitions, compact_table, expire_partitions)
