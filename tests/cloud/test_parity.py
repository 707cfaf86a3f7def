"""The same deliveries give the same tables on AWS as here: every asset of the lineage, value by value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from cdap_assets.commands.instance import open_instance
from cdap_assets.lineage import read_lineage
from cdap_assets.table_assets.snapshots import weeks_between
from cdap_assets.work.scan_cost import scan_costs
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.cloud.account import Aws
from tests.cloud.parity import differences, every_table, on_aws
from tests.shop import SNAPSHOT, make_shop, run_shop

# what libraries warn of in passing is not what these tests are about
pytestmark = pytest.mark.filterwarnings("default")
JOBS = ["refresh_lake", "build_snapshots", "train_models", "score_and_plan", "measure_outcomes"]


@pytest.fixture(scope="module")
def _aws_environment(aws: Aws) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment.items():
            patch.setenv(name, value)
        yield


@pytest.mark.usefixtures("_aws_environment")
def test_the_shops_main_job_ends_in_the_same_tables_scores_and_plan(
    finished_shop: Settings, tmp_path: Path, aws: Aws, bucket: str
) -> None:
    cloud = on_aws(make_shop(tmp_path / "aws"), aws, bucket)
    assert run_shop(cloud) == JOBS
    found = every_table(cloud)
    assert differences(every_table(finished_shop), found) == []
    assert len(found["customer_scores"]) == 240
    assert found["retention_plan"]
    # nothing is left of what only a publish knows
    assert Lakehouse(cloud).catalog.list_tables(f"{cloud.database}_staging") == []
    with Lakehouse(cloud).in_process() as session:
        last = session.last_publish("customer_features")
    assert last is not None

    # a table that no contract fills is not there at all; what Athena was asked, took and costs stands on each other
    # table's materialization
    lineage = read_lineage(cloud)
    assert "contacts" in lineage.unfilled
    assert not lineage.unfilled & set(Lakehouse(cloud).names())
    built = [asset.name for asset in lineage.assets if asset.name != "campaign_outcomes"]
    told = {name: materialized(cloud, name) for name in built}
    for name in built:
        assert told[name]["scanned_bytes"] > 0 or not found[name], name
        assert told[name]["query_cost_usd"] > 0
        assert str(told[name]["query_ids"]).count("`") >= 2

    # and `cdap cost` says it beforehand, from the tables' metadata alone: of files as small as these, whose footers
    # and pages weigh as much as their columns, at most too much
    weeks = weeks_between(cloud.first_snapshot, SNAPSHOT)
    costs = {cost.asset: cost for cost in scan_costs(lineage, Lakehouse(cloud), weeks, anew=True)}
    expected = {name: costs[name].bytes for name in built}
    scanned = {name: int(str(told[name]["scanned_bytes"])) for name in built}
    table = "\n".join(f"{name}: {expected[name]:,} expected, {scanned[name]:,} scanned" for name in built)
    assert 0.9 < sum(expected.values()) / sum(scanned.values()) < 1.6, table

    # a second run finds nothing to do, as it does here
    assert run_shop(cloud) == []


def materialized(settings: Settings, name: str) -> dict[str, object]:
    """What the newest materialization of a table told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(settings.home / "dagster"))
        with open_instance(settings.home) as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey(name))
    assert event is not None, name
    assert event.asset_materialization is not None
    return {key: value.value for key, value in event.asset_materialization.metadata.items()}
