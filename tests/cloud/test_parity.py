"""The same deliveries give the same tables on AWS as here: every asset of the lineage, value by value."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import dagster as dg
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cdap_assets.definitions import build_definitions
from cdap_assets.installation import EXAMPLE_PACKAGE, make_home
from cdap_assets.lineage import read_lineage
from cdap_assets.raw.tables import DELIVERIES
from cdap_assets.scan_cost import scan_costs
from cdap_assets.snapshots import weeks_between
from resources.lakehouse import Lakehouse
from resources.settings import Settings
from tests.cloud.account import Aws
from tests.cloud.parity import differences, every_table, on_aws
from tests.shop import make_shop, run_shop

# what libraries warn of in passing is not what these tests are about
pytestmark = pytest.mark.filterwarnings("default")
HOUSEHOLDS = 40
SNAPSHOTS = [date(2017, 7, 2), date(2017, 9, 24), date(2017, 12, 31)]
AFTER = datetime(2018, 1, 2)


@pytest.fixture(scope="module")
def _aws_environment(aws: Aws) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment.items():
            patch.setenv(name, value)
        yield


@pytest.mark.usefixtures("_aws_environment")
def test_the_shops_main_job_ends_in_the_same_tables_scores_and_plan(tmp_path: Path, aws: Aws, bucket: str) -> None:
    local = make_shop(tmp_path / "local")
    cloud = on_aws(make_shop(tmp_path / "aws"), aws, bucket)
    assert run_shop(cloud) == run_shop(local)
    found = every_table(cloud)
    assert differences(every_table(local), found) == []
    assert len(found["customer_scores"]) == 240
    assert found["retention_plan"]
    # nothing is left of what only a publish knows
    assert Lakehouse(cloud).catalog.list_tables(f"{cloud.database}_staging") == []
    with Lakehouse(cloud).in_process() as session:
        last = session.last_publish("customer_features")
    assert last is not None
    # a second run finds nothing to do, as it does here
    assert run_shop(cloud) == run_shop(local) == []


def sample_of_the_example(home: Path) -> Settings:
    """A home of the example panel with the receipts of a few households."""
    make_home(home, example=True, timezone="America/New_York", first_snapshot=date(2017, 1, 1))
    settings = Settings.load(home)
    for path in settings.landing.rglob("*.parquet"):
        rows = pq.read_table(path)
        if "household_id" in rows.column_names:
            rows = rows.filter(pc.less_equal(pc.cast(rows["household_id"], "int64"), HOUSEHOLDS))
        path.unlink()
        pq.write_table(rows, path)
    return settings


def materialize(settings: Settings) -> dict[str, dict[str, object]]:
    """Every table of the lineage up to features and labels by Dagster; what each materialization told."""
    definitions = build_definitions(settings, clock=lambda: AFTER)
    told: dict[str, dict[str, object]] = {}
    with dg.DagsterInstance.ephemeral() as instance:
        for job in ("refresh_lake", "build_snapshots"):
            tags = {}
            if job == "build_snapshots":
                begin, end = SNAPSHOTS[0].isoformat(), SNAPSHOTS[-1].isoformat()
                tags = {"dagster/asset_partition_range_start": begin, "dagster/asset_partition_range_end": end}
            result = definitions.resolve_job_def(job).execute_in_process(instance=instance, tags=tags)
            assert result.success
            for event in result.get_asset_materialization_events():
                materialized = event.step_materialization_data.materialization
                name = materialized.asset_key.to_user_string()
                told[name] = {key: value.value for key, value in materialized.metadata.items()}
    return told


@pytest.mark.skipif(importlib.util.find_spec(EXAMPLE_PACKAGE) is None, reason="the example data is not installed")
@pytest.mark.usefixtures("_aws_environment")
def test_the_example_panel_gives_the_same_profiles_features_and_labels(tmp_path: Path, aws: Aws, bucket: str) -> None:
    local = sample_of_the_example(tmp_path / "local")
    shutil.copytree(local.home, tmp_path / "aws")
    cloud = on_aws(Settings.load(tmp_path / "aws").model_copy(update={"threads": 1}), aws, bucket)
    materialize(local)
    told = materialize(cloud)
    found = every_table(cloud)
    assert differences(every_table(local), found) == []
    assert len(found["customer_profile"]) > 30
    assert {row["snapshot_date"] for row in found["customer_features"]} >= set(SNAPSHOTS)

    # what Athena was asked, took and costs stands on each table's materialization
    built = [asset.name for asset in read_lineage(cloud).tables if asset.name != "campaign_outcomes"]
    for name in built:
        assert told[name]["scanned_bytes"] > 0 or not found[name], name
        assert told[name]["query_cost_usd"] > 0
        assert str(told[name]["query_ids"]).count("`") >= 2
    assert len(found[DELIVERIES.name]) == 6

    # and `cdap cost` says it beforehand, from the tables' metadata alone
    weeks = weeks_between(SNAPSHOTS[0], SNAPSHOTS[-1])
    costs = {cost.asset: cost for cost in scan_costs(read_lineage(cloud), Lakehouse(cloud), weeks, anew=True)}
    expected = {name: costs[name].bytes for name in built}
    scanned = {name: int(str(told[name]["scanned_bytes"])) for name in built}
    table = "\n".join(f"{name}: {expected[name]:,} expected, {scanned[name]:,} scanned" for name in built)
    assert sum(expected.values()) == pytest.approx(sum(scanned.values()), rel=0.2), table
