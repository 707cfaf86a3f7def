"""The one place where settings, contracts, assets, automation and resources meet."""

from __future__ import annotations

import warnings

import dagster as dg

from cdap_assets.installation import Installation
from cdap_assets.models.champion import champion
from cdap_assets.models.lapse_model.asset import lapse_model
from cdap_assets.models.lifetime_value_model.asset import lifetime_value_model
from cdap_assets.models.monitoring import monitoring_checks
from cdap_assets.models.scores import scores_asset
from cdap_assets.raw.assets import broken_asset, raw_asset
from cdap_assets.retention.decide_plan import decide_plan
from cdap_assets.retention.plan import plan_asset
from cdap_assets.table_assets.dagster_asset import dagster_asset
from cdap_assets.table_assets.snapshots import weekly
from cdap_assets.table_assets.table_checks import table_checks
from cdap_assets.table_assets.table_metadata import table_spec_asset
from cdap_assets.tiering.assets import storage_assets
from cdap_assets.tiering.checks import storage_checks
from cdap_assets.tiering.jobs import JOBS
from cdap_assets.tiering.sensors import storage_sensors
from cdap_assets.tiering.storage_policy import refusal
from cdap_assets.tiering.sweeping import sweep_lake
from cdap_assets.work.automation import automation, sensor_status, with_policy
from cdap_assets.work.executor import one_run_at_a_time
from cdap_assets.work.jobs import other_jobs, stage_jobs
from resources.clock import Calendar, Clock, utc_now
from resources.dagster import resources_of
from resources.settings import Settings


def build_definitions(settings: Settings | None = None, *, clock: Clock = utc_now) -> dg.Definitions:
    """Fresh definitions for an installation. Reads its contracts, and of canonical tables that none fills
    asks the catalog whether they hold rows.

    A contract that cannot be read becomes a failing asset with the reason; the rest works.
    """
    return definitions_of(Installation.of(settings or Settings.load(), clock))


def definitions_of(home: Installation) -> dg.Definitions:
    """The same for an installation that is at hand."""
    with warnings.catch_warnings():
        # one pass over many snapshots needs a backfill policy, which Dagster calls beta
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _definitions(home)


def _definitions(home: Installation) -> dg.Definitions:
    settings, lineage, clock = home.settings, home.lineage, home.clock
    partitions = weekly(settings.first_snapshot, lineage.closed, settings.timezone)
    specs = lineage.specs
    refused = refusal(settings, lineage)
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
        *(raw_asset(contract) for contract in lineage.contracts.values()),
        *(broken_asset(name, str(error)) for name, error in lineage.broken.items()),
        *(dagster_asset(asset, specs, partitions, lineage.unfilled) for asset in lineage.assets),
        lapse_model,
        lifetime_value_model,
        champion,
        scores_asset(partitions),
        plan_asset(partitions, lineage.unfilled),
        *(table_spec_asset(specs[name], "retention") for name in ("plan_events", "arms")),
        storage_assets(lineage, refused),
        sweep_lake,
    ]
    stages = stage_jobs()
    scheduled, sensors = automation(home, stages)
    if refused is None:
        sensors += storage_sensors(settings, sensor_status(settings))
    return dg.Definitions(
        assets=with_policy(assets, lineage, settings),
        asset_checks=[
            *table_checks(specs, lineage.unfilled),
            *monitoring_checks(specs),
            *([] if refused else storage_checks()),
        ],
        jobs=[*stages, *other_jobs(), decide_plan, *JOBS],
        executor=one_run_at_a_time(home),
        schedules=scheduled,
        sensors=sensors,
        resources=resources_of(
            home.lakehouse,
            home.registry,
            Calendar(clock, lineage.closed, settings.zone),
            {source: day for source, day in lineage.order_sources.items() if day is not None},
        ),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster's tools load: the definitions of ``CDAP_HOME``."""
    return build_definitions()
