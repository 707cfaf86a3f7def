"""What happens by itself: sensors, schedules, and the policy laid over every asset by one transform."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

from cdap_assets.lineage import Lineage
from cdap_assets.models.serving import MODELS
from cdap_assets.table_assets.snapshots import WEEK, last_sunday
from cdap_assets.work.jobs import REVIEW
from cdap_assets.work.landing_sensors import landing_sensors
from resources.engines.engine import IN_PROCESS
from resources.settings import Settings

RETRAIN_WEEKS = 4
FIRST_TRAINING_WEEK = date(2024, 1, 7)  # any Sunday: weeks are counted from it
FRESH_WITHIN = timedelta(days=8)  # a weekly rhythm and a day of grace
MODEL_KINDS = {"mlflow", "scikitlearn"}
COMPUTED_GROUPS = {"curated", "identity", "profiles", "features"}
MODELS_GROUP_TABLES = {"customer_scores"}
REVIEW_CRON = "0 4 * * *"
SWEEP_CRON = "0 5 * * *"


def with_policy(
    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec], lineage: Lineage, engine: str
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Owners, kinds, automation and freshness for every asset, in one place; ``engine`` computes tables of tables."""

    def policy(spec: dg.AssetSpec) -> dg.AssetSpec:
        group = spec.group_name or ""
        is_model = group == "models" and spec.key.to_user_string() not in MODELS_GROUP_TABLES
        computed_by = engine if group in COMPUTED_GROUPS else IN_PROCESS
        changes: dict[str, Any] = {"kinds": MODEL_KINDS if is_model else {"iceberg", computed_by}}
        if not spec.owners:
            changes["owners"] = ["team:data"] if group not in ("models", "retention") else ["team:retention"]
        condition = condition_of(spec.key.to_user_string(), group)
        if condition is not None:
            changes["automation_condition"] = condition
        if (
            lineage.closed is None
            and group in ("curated", "profiles")
            and spec.key.to_user_string() != "customer_links"
        ):
            changes["freshness_policy"] = dg.FreshnessPolicy.time_window(fail_window=FRESH_WITHIN)
        return spec.replace_attributes(**changes)

    return list(dg.map_asset_specs(policy, assets))


def condition_of(asset: str, group: str) -> dg.AutomationCondition[Any] | None:
    """When an asset follows its inputs by itself.

    Tables follow at once, and an input that was never built keeps none waiting: it reads as empty. Scores and
    plans concern the latest snapshot only; a plan follows new scores alone, or every file that lands would
    draft another beside one that a person has decided. Training, features and labels are scheduled.
    """
    eager = dg.AutomationCondition.eager()
    if group in ("curated", "identity", "profiles") or asset == "campaign_outcomes":
        return eager.without(~dg.AutomationCondition.any_deps_missing())
    if asset == "customer_scores":
        return eager
    if asset == "retention_plan":
        return eager.allow(dg.AssetSelection.assets("customer_scores"))
    if asset == "sweep_lake":
        return dg.AutomationCondition.on_cron(SWEEP_CRON)
    return None


def automation(
    settings: Settings, lineage: Lineage, clock: Callable[[], datetime]
) -> tuple[list[dg.ScheduleDefinition], list[dg.SensorDefinition]]:
    """Schedules and sensors of an installation: all stopped unless ``CDAP_AUTOMATION`` is on."""
    status = sensor_status(settings)
    sensors = [
        *landing_sensors(settings, lineage, status),
        champion_sensor(clock, status),
        failure_sensor(settings, clock, status),
        dg.AutomationConditionSensorDefinition(
            "automation_sensor",
            target=dg.AssetSelection.all(),
            default_status=status,
            description="Has tables, scores and plans follow what they are made of.",
        ),
    ]
    return [weekly_snapshots(settings, lineage), retraining(settings, lineage), reviewing(settings)], sensors


def champion_sensor(clock: Callable[[], datetime], status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Sees a champion made in MLflow or on the command line, and has the asset ``champion`` follow it."""

    @dg.sensor(
        name="champion_sensor",
        target=dg.AssetSelection.assets("champion"),
        minimum_interval_seconds=60,
        default_status=status,
        required_resource_keys={"registry"},
        description="Follows the `champion` alias of the models in MLflow.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        from cdap_assets.models.serving import serving
        from resources.registry.model_decisions import record_decisions

        record_decisions(context.resources.registry, MODELS, clock())
        champions = serving(context.resources.registry)
        if len(champions) < len(MODELS):
            return dg.SkipReason("not every model has a champion yet")
        now = ", ".join(f"{v.name}:{v.version}:{v.reviewed}" for v in champions.values())
        if now == context.cursor:
            return dg.SkipReason(f"still {now}")
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=now)], cursor=now)

    return sensor


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


def weekly_snapshots(settings: Settings, lineage: Lineage) -> dg.ScheduleDefinition:
    """Each Sunday at six: features of the snapshot whose cut-off has just passed, and labels that closed."""

    @dg.schedule(
        name="weekly_snapshots",
        job_name="build_snapshots",
        cron_schedule="0 6 * * 0",
        execution_timezone=settings.timezone,
        default_status=schedule_status(settings),
        description="Features of the new week's snapshot, and labels of those whose window has closed by it.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        from cdap_assets.features.labels import LAPSE_HORIZON, VALUE_HORIZON

        today = context.scheduled_execution_time.astimezone(settings.zone).date()
        if lineage.closed is not None and today > lineage.closed + WEEK:
            yield dg.SkipReason(f"the data set is closed; it ends on {lineage.closed}")
            return
        newest = last_sunday(today)
        wanted = {
            "customer_features": newest,
            "lapse_labels": newest - timedelta(days=LAPSE_HORIZON),
            "value_labels": newest - timedelta(days=VALUE_HORIZON),
        }
        for asset, day in wanted.items():
            if day >= settings.first_snapshot:
                yield dg.RunRequest(
                    run_key=f"{asset}-{day}", partition_key=day.isoformat(), asset_selection=[dg.AssetKey(asset)]
                )

    return schedule


def retraining(settings: Settings, lineage: Lineage) -> dg.ScheduleDefinition:
    """Every fourth Sunday at seven, after the week's labels."""

    @dg.schedule(
        name="retraining",
        job_name="train_models",
        cron_schedule="0 7 * * 0",
        execution_timezone=settings.timezone,
        default_status=schedule_status(settings),
        description=f"Trains challengers every {RETRAIN_WEEKS * 7} days.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        today = context.scheduled_execution_time.astimezone(settings.zone).date()
        if lineage.closed is not None and today > lineage.closed + RETRAIN_WEEKS * WEEK:
            return dg.SkipReason(f"the data set is closed; it ends on {lineage.closed}")
        week = (last_sunday(today) - FIRST_TRAINING_WEEK) // WEEK
        if week % RETRAIN_WEEKS:
            return dg.SkipReason(f"the next training is in {RETRAIN_WEEKS - week % RETRAIN_WEEKS} weeks")
        return dg.RunRequest(run_key=f"training-{today}")

    return schedule


def reviewing(settings: Settings) -> dg.ScheduleDefinition:
    """Each day at four (UTC): what the lake holds, and where each partition should be."""
    return dg.ScheduleDefinition(
        name="storage_review",
        job_name=REVIEW,
        cron_schedule=REVIEW_CRON,
        default_status=schedule_status(settings),
        description="Looks at storage, before the sweep; the tiering sensor follows what was decided.",
    )
