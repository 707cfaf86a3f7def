"""Other sets of catalog, storage and engine: a self-hosted Trino over a REST catalog, and AWS without Athena."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from cdap_assets.definitions import build_definitions
from cdap_assets.lineage import read_lineage
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.cloud.account import Aws
from tests.cloud.parity import Rows, differences, every_table, on_aws
from tests.cloud.rest_catalog import rest_catalog
from tests.cloud.trino import Server, iceberg_catalog
from tests.shop import CLOCK, make_shop

pytestmark = pytest.mark.filterwarnings("default")
SNAPSHOTS = (date(2023, 8, 6), date(2023, 8, 20))


@pytest.fixture
def here(finished_shop: Settings) -> dict[str, Rows]:
    """The tables of the shop on this machine, of the snapshots that are built elsewhere."""
    first, last = SNAPSHOTS
    return {
        name: [row for row in rows if first <= row.get("snapshot_date", first) <= last]
        for name, rows in every_table(finished_shop).items()
    }


def build(settings: Settings, *groups: str) -> set[str]:
    """Build the tables of some groups by Dagster runs, features and labels after the others, and tell which."""
    definitions = build_definitions(settings, clock=lambda: CLOCK)
    begin, end = (day.isoformat() for day in SNAPSHOTS)
    tags = {"dagster/asset_partition_range_start": begin, "dagster/asset_partition_range_end": end}
    names = {asset.name for asset in read_lineage(settings).tables if asset.group in groups}
    keys = [dg.AssetKey(name) for name in ("raw_orders", *sorted(names))]
    with dg.DagsterInstance.ephemeral() as instance:
        for job, told in {"refresh_lake": {}, "build_snapshots": tags}.items():
            found = definitions.resolve_job_def(job)
            wanted = [key for key in keys if key in found.asset_layer.executable_asset_keys]
            if wanted:
                assert found.execute_in_process(instance=instance, tags=told, asset_selection=wanted).success
    return {"deliveries", "raw_orders", *names}


def test_a_trino_and_a_rest_catalog_of_ones_own_give_the_same_tables(
    tmp_path: Path, here: dict[str, Rows], aws: Aws, trino: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    with rest_catalog(aws, bucket, tmp_path) as catalog:
        rest = {"iceberg.catalog.type": "rest", "iceberg.rest-catalog.uri": catalog}
        trino.add_catalog("lake", iceberg_catalog(aws.endpoint, aws.region, **rest))
        shop = make_shop(tmp_path / "home")
        changes = {"target": "local", "catalog": "rest", "engine": "trino", "athena_workgroup": ""}
        address = f"http://cdap@{trino.uri.removeprefix('http://')}/lake"
        settings = on_aws(shop, aws, bucket, **changes, catalog_uri=catalog, trino_uri=address)
        built = build(settings, "curated", "identity", "features")  # a table of each scope, and those that they read
        found = every_table(settings)
        assert found["customer_features"]
        assert differences({name: here[name] for name in built}, {name: found[name] for name in built}) == []
        with Lakehouse(settings).session() as session:
            assert session.snapshot_id("customer_features") is not None


def test_glue_and_s3_without_athena_give_the_same_tables_and_no_bill(
    tmp_path: Path, here: dict[str, Rows], aws: Aws, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    settings = on_aws(make_shop(tmp_path / "home"), aws, bucket, engine="duckdb", athena_workgroup="")
    aws.forget_requests()
    build(settings, "curated", "identity", "profiles")
    assert "athena" not in {call["service"] for call in aws.requests()}
    found = {name: rows for name, rows in every_table(settings).items() if rows}
    assert {"raw_orders", "customer_days", "customer_profile", "cohort_retention"} <= found.keys()
    assert differences({name: here[name] for name in found}, found) == []
