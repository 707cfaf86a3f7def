"""The jobs of the lineage: what belongs to one run. Assets of one job have at most one partitioning.

Those that change tables of the lineage have no executor of their own: theirs is that of the definitions, which holds
the installation (:mod:`cdap_assets.work.executor`).
"""

from __future__ import annotations

import dagster as dg

from cdap_assets.models.monitoring import MONITORED
from cdap_assets.storage.tables import STORAGE_TABLES
from cdap_assets.work.stages import UNPARTITIONED

REVIEW = "review_storage"
SWEEP = "sweep"


def stage_jobs() -> list[dg.UnresolvedAssetJobDefinition]:
    """The stages of the main job: refresh_lake, build_snapshots, train_models, score_and_plan, measure_outcomes."""
    return [
        dg.define_asset_job(
            "refresh_lake",
            dg.AssetSelection.groups(*UNPARTITIONED),
            description="Take what has landed and bring every table up to it.",
        ),
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
            "measure_outcomes",
            dg.AssetSelection.assets("campaign_outcomes"),
            description="Read every approved plan against its arms.",
        ),
    ]


def other_jobs() -> list[dg.UnresolvedAssetJobDefinition]:
    """What runs beside the main job, for it changes no table of the lineage: monitor_models, review_storage, sweep."""
    return [
        dg.define_asset_job(
            "monitor_models",
            # promises are enforced with the scores themselves, and by no run of their own
            dg.AssetSelection.checks(*(dg.AssetCheckKey(dg.AssetKey("customer_scores"), name) for name in MONITORED)),
            description="Compare the newest scores with training, and past scores with what came true.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            REVIEW,
            dg.AssetSelection.assets(*(spec.name for spec in STORAGE_TABLES)),
            description="What the lake holds, where each partition should be, and what that costs.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            SWEEP,
            dg.AssetSelection.assets("sweep_lake"),
            description="Let go of old snapshots that nothing needs, and of files that nothing refers to.",
            executor_def=dg.in_process_executor,
        ),
    ]
