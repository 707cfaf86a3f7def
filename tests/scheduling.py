"""In which order test processes take modules: the longest first, so that none of them waits alone for a late one."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]
# modules that take from a few seconds to some minutes, those of AWS first, for Trino wants time to start
LONGEST = (
    "cloud/test_parity.py",
    "cloud/test_edge_deliveries.py",
    "test_faults.py",
    "test_example.py",
    "work/test_same_either_way.py",
    "test_own_data.py",
    "cloud/test_tiers.py",
    "cloud/test_publishing.py",
    "cloud/test_faults.py",
    "models/test_shop.py",
    "cloud/test_other_sets.py",
    "cloud/test_transformations.py",
    "test_cli.py",
    "resources/tiers/test_crashes.py",
    "cloud/test_landing.py",
    "ml/test_forecast.py",
    "curated/test_canonical.py",
    "resources/registry/test_model_registry.py",
    "retention/test_ledger.py",
    "curated/test_archived_months.py",
    "commands/test_backtesting.py",
    "resources/tiers/test_overtaken.py",
    "cloud/test_lease.py",
    "cloud/test_dagster_on_aws.py",
    "raw/test_deliveries.py",
    "tiering/test_moves.py",
    "cloud/test_remote_engine.py",
    "cloud/test_testbed.py",
    "raw/test_files.py",
    "cloud/test_mlflow_on_aws.py",
    "resources/tiers/test_properties.py",
    "cloud/test_seaweedfs.py",
    "resources/lake/test_concurrency.py",
    "commands/test_storage.py",
    "ml/test_churn.py",
    "work/test_scan_cost.py",
    "cloud/test_object_files.py",
)
# modules that share what is dear to make, of which each process would make one
TOGETHER = {
    f"tests/models/{module}.py": "the shop that ran"
    for module in ("test_monitoring", "test_reproducing", "test_scores", "test_shop")
}


def longest_first(items: list[pytest.Item]) -> None:
    """Sort tests by their modules; those of one group, and of one module, stay together in their order."""
    turns = {group(f"tests/{module}"): turn for turn, module in enumerate(LONGEST)}
    items.sort(key=lambda item: turns.get(group(item.nodeid), len(turns)))


def group(nodeid: str) -> str:
    """What one process takes as a whole with that test."""
    module = nodeid.partition("::")[0]
    return TOGETHER.get(module, module)


class LongestFirst(LoadScopeScheduling):
    """xdist's distribution of whole modules, in the order of the tests."""

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
