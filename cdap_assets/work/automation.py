"""What happens by itself: sensors, schedules, and the policy laid over every asset by one transform."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from cdap_assets.installation import Installation
from cdap_assets.lineage import Lineage
from cdap_assets.work.jobs import REVIEW, SWEEP
from cdap_assets.work.main_job_sensor import main_job_sensor
from resources.engines.engine import IN_PROCESS
from resources.settings import Settings

FRESH_WITHIN = timedelta(days=8)  # a weekly rhythm and a day of grace
MODEL_KINDS = {"mlflow", "scikitlearn"}
COMPUTED_GROUPS = {"curated", "identity", "profiles", "features"}
MODELS_GROUP_TABLES = {"customer_scores"}
REVIEW_CRON = "0 4 * * *"
SWEEP_CRON = "0 5 * * *"


def with_policy(
    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec], lineage: Lineage, settings: Settings
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Owners, tags, kinds and freshness for every asset, in one place."""

    def policy(spec: dg.AssetSpec) -> dg.AssetSpec:
        group = spec.group_name or ""
        is_model = group == "models" and spec.key.to_user_string() not in MODELS_GROUP_TABLES
        computed_by = settings.engine if group in COMPUTED_GROUPS else IN_PROCESS
        changes: dict[str, Any] = {"kinds": MODEL_KINDS if is_model else {"iceberg", computed_by}}
        if not spec.owners:
            changes["owners"] = [settings.owner_of(group)]
        if (
            lineage.closed is None
            and group in ("curated", "profiles")
            and spec.key.to_user_string() != "customer_links"
        ):
            changes["freshness_policy"] = dg.FreshnessPolicy.time_window(fail_window=FRESH_WITHIN)
        return spec.replace_attributes(**changes).merge_attributes(tags=settings.tags)

    return list(dg.map_asset_specs(policy, assets))


def automation(
    home: Installation, stages: Sequence[dg.UnresolvedAssetJobDefinition]
) -> tuple[list[dg.ScheduleDefinition], list[dg.SensorDefinition]]:
    """Schedules and sensors of an installation, with the jobs of its stages: all stopped unless ``CDAP_AUTOMATION``."""
    status = sensor_status(home.settings)
    sensors = [main_job_sensor(home, stages, status), failure_sensor(home.settings, home.clock, status)]
    return [reviewing(home.settings), sweeping(home.settings)], sensors


def failure_sensor(
    settings: Settings, clock: Callable[[], datetime], status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    """Notes every failed run in `failures.jsonl` of the home, which `cdap status` shows."""

    @dg.run_failure_sensor(
        name="failure_sensor", default_status=status, description="Notes failed runs for `cdap status`."
    )
    def sensor(context: dg.RunFailureSensorContext) -> None:
        entry = {
            "at": clock().isoformat(timespec="seconds"),
            "run_id": context.dagster_run.run_id,
            "job": context.dagster_run.job_name,
            "error": (context.failure_event.message or "").splitlines()[:1],
        }
        with (settings.home / "failures.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    return sensor


def sensor_status(settings: Settings) -> dg.DefaultSensorStatus:
    """Whether sensors run by themselves in an installation."""
    return dg.DefaultSensorStatus.RUNNING if settings.automation else dg.DefaultSensorStatus.STOPPED


def schedule_status(settings: Settings) -> dg.DefaultScheduleStatus:
    """Whether schedules run by themselves in an installation."""
    return dg.DefaultScheduleStatus.RUNNING if settings.automation else dg.DefaultScheduleStatus.STOPPED


def reviewing(settings: Settings) -> dg.ScheduleDefinition:
    """Each day at four (UTC): what the lake holds, and where each partition should be."""
    return dg.ScheduleDefinition(
        name="storage_review",
        job_name=REVIEW,
        cron_schedule=REVIEW_CRON,
        default_status=schedule_status(settings),
        description="Looks at storage, before the sweep; the tiering sensor follows what was decided.",
    )


def sweeping(settings: Settings) -> dg.ScheduleDefinition:
    """Each day at five (UTC): what nothing refers to any more goes."""
    return dg.ScheduleDefinition(
        name="sweep",
        job_name=SWEEP,
        cron_schedule=SWEEP_CRON,
        default_status=schedule_status(settings),
        description="Lets go of old snapshots that nothing needs, and of files that nothing refers to.",
    )
