"""The one place where settings, contracts, assets, automation and resources meet."""

from __future__ import annotations

import warnings

import dagster as dg

from cdap_assets.automation import automation, sensor_status, with_policy
from cdap_assets.checks import table_checks
from cdap_assets.jobs import jobs
from cdap_assets.lineage import read_lineage
from cdap_assets.models.champion import champion
from cdap_assets.models.lapse_model import lapse_model
from cdap_assets.models.lifetime_value_model import lifetime_value_model
from cdap_assets.models.monitoring import monitoring_checks
from cdap_assets.models.scores import scores_asset
from cdap_assets.models.training import DataEnds
from cdap_assets.raw.assets import broken_asset, raw_asset
from cdap_assets.retention.deciding import decide_plan
from cdap_assets.retention.plan import plan_asset
from cdap_assets.snapshots import weekly
from cdap_assets.storage.assets import storage_assets
from cdap_assets.storage.checks import storage_checks
from cdap_assets.storage.moves import JOBS
from cdap_assets.storage.policy import refusal
from cdap_assets.storage.sensors import storage_sensors
from cdap_assets.storage.sweeping import sweep_lake
from cdap_assets.table_metadata import table_spec_asset
from resources.clock import Clock, utc_now
from resources.lakehouse import Lakehouse
from resources.model_registry import ModelRegistry
from resources.settings import Settings


def build_definitions(settings: Settings | None = None, *, clock: Clock = utc_now) -> dg.Definitions:
    """Fresh definitions for an installation. Reads its contracts; opens no database and no network.

    A contract that cannot be read becomes a failing asset with the reason; the rest works.
    """
    with warnings.catch_warnings():
        # one pass over many snapshots needs a backfill policy, which Dagster calls beta
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _definitions(settings or Settings.load(), clock)


def _definitions(settings: Settings, clock: Clock) -> dg.Definitions:
    lineage = read_lineage(settings)
    partitions = weekly(settings.first_snapshot, lineage.closed, settings.timezone)
    specs = lineage.specs
    refused = refusal(settings, lineage)
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
        *(raw_asset(contract) for contract in lineage.contracts.values()),
        *(broken_asset(name, str(error)) for name, error in lineage.broken.items()),
        *(asset.definition(specs, partitions) for asset in lineage.tables),
        lapse_model,
        lifetime_value_model,
        champion,
        scores_asset(partitions),
        plan_asset(partitions, specs),
        *(table_spec_asset(specs[name], "retention") for name in ("plan_events", "arms")),
        storage_assets(lineage, refused),
        sweep_lake,
    ]
    scheduled, sensors = automation(settings, lineage, clock)
    if refused is None:
        sensors += storage_sensors(settings, clock, sensor_status(settings))
    return dg.Definitions(
        assets=with_policy(assets, lineage, settings.engine),
        asset_checks=[*table_checks(specs), *monitoring_checks(specs), *([] if refused else storage_checks())],
        jobs=[*jobs(), decide_plan, *JOBS],
        schedules=scheduled,
        sensors=sensors,
        resources={
            "lakehouse": Lakehouse(settings, clock),
            "registry": ModelRegistry(settings),
            "clock": clock,
            "data_ends": DataEnds(lineage.closed),
        },
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster's tools load: the definitions of ``CDAP_HOME``."""
    return build_definitions()
