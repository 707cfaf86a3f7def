"""The jobs of the lineage: what belongs to one run. Assets of one job have at most one partitioning."""

from __future__ import annotations

import dagster as dg

from cdap_assets.models.monitoring import MONITORED
from cdap_assets.storage.tables import STORAGE_TABLES

REVIEW = "review_storage"
UNPARTITIONED = ("raw", "curated", "identity", "profiles")


def jobs() -> list[dg.UnresolvedAssetJobDefinition]:
    """refresh_lake, build_snapshots, train_models, score_and_plan, monitor_models, measure_outcomes, review_storage."""
    lake = dg.AssetSelection.groups(*UNPARTITIONED)
    return [
        dg.define_asset_job("refresh_lake", lake, description="Take what has landed and bring every table up to it."),
        dg.define_asset_job(
            "build_snapshots",
            dg.AssetSelection.groups("features"),
            description="Features and labels of the chosen snapshot dates, in one pass.",
        ),
        dg.define_asset_job(
            "train_models",
            dg.AssetSelection.assets("lapse_model", "lifetime_value_model"),
            description="Train challengers on closed snapshots, test them out of time, register them for review.",
        ),
        dg.define_asset_job(
            "score_and_plan",
            dg.AssetSelection.assets("champion", "customer_scores", "retention_plan"),
            description="Score one snapshot with the champions and draft its retention plan.",
        ),
        dg.define_asset_job(
            "monitor_models",
            # promises are enforced with the scores themselves, and by no run of their own
            dg.AssetSelection.checks(*(dg.AssetCheckKey(dg.AssetKey("customer_scores"), name) for name in MONITORED)),
            description="Compare the newest scores with training, and past scores with what came true.",
        ),
        dg.define_asset_job(
            "measure_outcomes",
            dg.AssetSelection.assets("campaign_outcomes"),
            description="Read every approved plan against its arms.",
        ),
        dg.define_asset_job(
            REVIEW,
            dg.AssetSelection.assets(*(spec.name for spec in STORAGE_TABLES)),
            description="What the lake holds, where each partition should be, and what that costs.",
        ),
    ]
