"""The sensor that has Dagster do what `cdap run` would: it asks for the next stage that is due, one run at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from cdap_assets.installation import Installation
from cdap_assets.lineage import read_lineage
from cdap_assets.work.arrivals import arrivals
from cdap_assets.work.jobs import stage_jobs
from cdap_assets.work.run_lock import LOCK
from cdap_assets.work.stages import Stage, due, latest_snapshot, nothing_due, state
from resources.clock import Calendar
from resources.lake.lakehouse import Lakehouse
from resources.registry.model_registry import ModelRegistry
from resources.stores.lock import holder_of

NAME = "main_job"
EVERY = 30  # seconds between two looks
EVERY_SHARED = 120  # of an installation on S3, where a look costs requests
GONE = timedelta(minutes=2)  # after which a lease that nobody has renewed is taken for run out
KEY = "cdap/due"  # tag: which stage on which state a run was asked for
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def main_job_sensor(
    home: Installation, stages: Sequence[dg.UnresolvedAssetJobDefinition], status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    """The sensor of an installation; ``stages`` are their jobs."""

    @dg.sensor(
        name=NAME,
        jobs=stages,
        minimum_interval_seconds=EVERY_SHARED if home.settings.shared else EVERY,
        default_status=status,
        description=(
            "Asks for the next stage of the main job that is due, as `cdap run` would: lake, features, models, scores "
            "and plan, outcomes. Each tick says what it asked for and why, or what it waits for, as `cdap status` does."
        ),
    )
    def sensor(
        context: dg.SensorEvaluationContext,
        lakehouse: dg.ResourceParam[Lakehouse],
        registry: dg.ResourceParam[ModelRegistry],
        installation: dg.ResourceParam[Calendar],
    ) -> dg.SensorResult:
        return tick(replace(home, lakehouse=lakehouse, registry=registry, clock=installation.now), context)

    return sensor


def tick(home: Installation, context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """One look: at most one run, or why there is none.

    A stage that was run on the very state that it is due on is not asked for again. If that run failed, the stages
    after it wait with it until anything has changed, or for the next day; if it finished, it could do no more, and
    the stages after it go on.
    """
    at, seen = home.clock(), json.loads(context.cursor or "{}")
    if waits := _waits_for(home, context.instance, at, seen):
        return _none(waits, seen)
    if read_lineage(home.settings).contracts != home.lineage.contracts:
        return _none("contracts have changed since they were loaded: reload this code location", seen)
    found = arrivals(home.settings, home.lineage, at, seen)
    if found.told:
        context.log.warning(found.told)
    target = latest_snapshot(home)
    for stage in due(home, target, look=found.look):
        run = stage.runs[0]
        key = run.key(state(home, target))
        earlier = context.instance.get_runs(dg.RunsFilter(tags={KEY: key}), limit=1)
        if not earlier:
            context.log.info("%s: %s", run.title, run.why)
            return dg.SensorResult(run_requests=[_request(home, run, key, context)], cursor=json.dumps(found.seen))
        if not earlier[0].is_success:
            ended = "was ended" if earlier[0].status is dg.DagsterRunStatus.CANCELED else "failed"
            return _none(
                f"{run.title} ({run.why}) {ended} as run {earlier[0].run_id[:8]}: it is asked for again once anything "
                "has changed, or tomorrow; mend what its error says, or launch its job yourself",
                found.seen,
            )
    return _none(found.told or nothing_due(home, target), found.seen)


def _waits_for(home: Installation, instance: dg.DagsterInstance, at: datetime, seen: dict[str, Any]) -> str:
    """Who runs the installation now, empty for nobody. A run whose process has gone is ended as failed.

    ``seen`` keeps what looked as if it had gone at the last look: it may just have been about to begin, or to end.
    """
    before, seen["gone"] = seen.get("gone", {}), {}
    holder = holder_of(home.settings, LOCK)
    if holder is not None:
        since = before.get(holder.mark, at.isoformat())
        if not holder.mark or at - datetime.fromisoformat(since) < GONE:
            seen["gone"] = {holder.mark: since}
            return f"{holder.name} is at work"
    jobs = {job.name for job in stage_jobs()}
    unfinished = [run for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)) if run.job_name in jobs]
    for run in unfinished:
        if run.status is dg.DagsterRunStatus.STARTED and run.run_id in before:
            instance.report_run_failed(run, "Its process has gone: nobody holds this home any more.")
            continue
        seen["gone"][run.run_id] = at.isoformat()
        return f"Dagster run {run.run_id[:8]}, {run.job_name}, is about to begin"
    return ""


def _request(home: Installation, run: Stage, key: str, context: dg.SensorEvaluationContext) -> dg.RunRequest:
    assert context.repository_def is not None
    assets = set(context.repository_def.get_job(run.job).asset_layer.executable_asset_keys)
    broken = {dg.AssetKey(f"raw_{name}") for name in home.lineage.broken}
    return dg.RunRequest(
        run_key=key,
        job_name=run.job,
        run_config=run.config,
        tags={**run.tags, KEY: key},
        partition_key=run.partition_key,
        # the asset that stands for a broken contract would only fail, and keep the rest from going on
        asset_selection=sorted(assets - broken) if broken & assets else None,
    )


def _none(why: str, seen: dict[str, Any]) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=why, cursor=json.dumps(seen))
