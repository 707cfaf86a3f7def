"""A table that is made of tables as a Dagster asset, with its promises as checks.

What makes no such table (a model, a plan, an export) is an asset of its own and does not go through this factory.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date

import dagster as dg

from cdap_assets.table_assets.figures import figures_metadata
from cdap_assets.table_assets.promises import broken_promises, kept_promises, promise_specs
from cdap_assets.table_assets.snapshots import snapshot_rows
from cdap_assets.table_assets.table_asset import TableAsset
from cdap_assets.table_assets.table_metadata import publish_metadata
from resources.iceberg.errors import InvariantViolated
from resources.iceberg.table import TableSpec
from resources.lake.lakehouse import Lakehouse


def dagster_asset(
    asset: TableAsset,
    specs: Mapping[str, TableSpec],
    partitions: dg.PartitionsDefinition[str] | None = None,
    unfilled: Collection[str] = (),
) -> dg.AssetsDefinition:
    """The Dagster asset; ``specs`` declares every input by name, ``unfilled`` are inputs that are no assets.

    ``partitions`` are the snapshot dates, of which an asset of that scope wants some.
    """
    by_snapshot = asset.scope == "snapshot"

    @dg.asset(
        name=asset.name,
        group_name=asset.group,
        deps=[name for name in asset.inputs if name not in unfilled],
        description=asset.table.description,
        code_version=asset.version,
        partitions_def=partitions if by_snapshot else None,
        backfill_policy=dg.BackfillPolicy.single_run() if by_snapshot else None,
        metadata={"cdap/table": asset.name},
        check_specs=promise_specs(asset.table),
    )
    def build(
        context: dg.AssetExecutionContext, lakehouse: dg.ResourceParam[Lakehouse]
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        try:
            yield _built(asset, context, lakehouse, specs, unfilled)
        except InvariantViolated as error:
            yield from broken_promises(asset.table, error)
            raise

    return build


def _built(
    asset: TableAsset,
    context: dg.AssetExecutionContext,
    lakehouse: Lakehouse,
    specs: Mapping[str, TableSpec],
    unfilled: Collection[str],
) -> dg.MaterializeResult:
    started = time.perf_counter()
    with lakehouse.session(context.run.run_id) as session:
        dates = [date.fromisoformat(key) for key in requested_keys(context)]
        if asset.scope == "snapshot" and not dates:
            raise dg.Failure(
                f"{asset.name} is built per snapshot date, and this run names none: choose partitions.",
                allow_retries=False,
            )
        work = asset.work(session, dates)
        if not work.needed:
            state = lakehouse.state(asset.name)
            return dg.MaterializeResult(
                metadata={"rebuilt": work.why, "dagster/row_count": state.rows},
                check_results=kept_promises(asset.table, session),
            )
        tables = {name: session.read(specs[name], work.only.get(name)) for name in asset.inputs}
        if asset.scope == "snapshot":
            tables = {"snapshots": snapshot_rows(dates, lakehouse.settings.zone), **tables}
        expression = asset.expression(tables)
        published = session.publish(
            asset.table,
            expression,
            replace=work.replace,
            provenance={"code_version": asset.version, "rebuilt": work.why},
            owed=work.owed,
            outside=asset.outside_now(),
        )
        context.log.info("%s: %s rows, %s", asset.name, published.rows, work.why)
        metadata = publish_metadata(asset.table, published, expression, session, unfilled)
        promises = kept_promises(asset.table, session)
    if asset.figures and published.total_rows:
        metadata = {**figures_metadata(lakehouse, asset.table, asset.figures), **metadata}
    return dg.MaterializeResult(
        metadata={**metadata, "rebuilt": work.why, "seconds": round(time.perf_counter() - started, 2)},
        check_results=promises,
    )


def requested_keys(context: dg.AssetExecutionContext) -> Sequence[str]:
    """The partition keys that a run names; none when it names none."""
    return context.partition_keys if context.has_partition_key_range or context.has_partition_key else ()
