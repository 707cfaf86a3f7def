"""The invented shop as an installation: its home, and the main job's steps on it in process."""

from __future__ import annotations

import shutil
import time
import warnings
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import dagster as dg

from benchmarks.generator import FIRST_DAY, LAST_DAY, ZONE, Delivered, generate
from cdap_assets.commands.new_home import make_home
from cdap_assets.definitions import build_definitions
from cdap_assets.table_assets.snapshots import WEEK, last_sunday
from resources.settings import Settings

CONTRACTS = Path(__file__).parent / "contracts"
NOW = datetime(2025, 1, 1)  # UTC; after the last delivery
LATEST = last_sunday(LAST_DAY + WEEK / 7)
LAKE = ("raw", "curated", "identity", "profiles")
LAYERS = (*LAKE, "features")


def snapshots(count: int) -> list[date]:
    """The latest ``count`` snapshot dates, oldest first."""
    return [LATEST - WEEK * n for n in reversed(range(count))]


def open_shop(home: Path, *, scale: float) -> Delivered:
    """Make an installation with everything delivered and nothing taken yet."""
    settings = make_home(home, example=False, timezone=ZONE, first_snapshot=FIRST_DAY)
    shutil.copytree(CONTRACTS, settings.contracts, dirs_exist_ok=True)
    return generate(settings.landing, scale=scale)


@dataclass(frozen=True)
class Built:
    """Seconds of the tables of each layer, and of both runs in all: Dagster's own work makes the difference."""

    layers: dict[str, float]
    total: float


def build(home: Path, *, dates: list[date]) -> Built:
    """Ingestion to profiles, then the features and labels of ``dates``, as Dagster runs in this process.

    ``dates`` are consecutive snapshot dates; without any, only the lake is built.
    """
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    settings = Settings.load(home)
    definitions = build_definitions(settings, clock=lambda: NOW)
    assets = [asset for asset in definitions.assets or () if isinstance(asset, dg.AssetsDefinition)]
    groups = {key.to_python_identifier(): group for asset in assets for key, group in asset.group_names_by_key.items()}
    seconds: dict[str, float] = defaultdict(float)

    def run(layers: tuple[str, ...], tags: dict[str, str]) -> None:
        result = dg.materialize(
            assets,
            selection=dg.AssetSelection.groups(*layers),
            resources=definitions.resources,
            instance=instance,
            tags=tags,
        )
        for event in result.all_events:
            if event.event_type == dg.DagsterEventType.STEP_SUCCESS and event.step_key:
                seconds[groups[event.step_key]] += event.step_success_data.duration_ms / 1000

    with dg.DagsterInstance.local_temp(str(home / "dagster"), overrides=_QUIET) as instance:
        started = time.perf_counter()
        run(LAKE, {})
        if dates:
            keys = (day.isoformat() for day in (dates[0], dates[-1]))
            run(("features",), dict(zip(_RANGE, keys, strict=True)))
    return Built({layer: seconds[layer] for layer in LAYERS if layer in seconds}, time.perf_counter() - started)


_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
_QUIET = {"telemetry": {"enabled": False}, "python_logs": {"python_log_level": "WARNING"}}
