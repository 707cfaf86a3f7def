"""Canonical tables that no contract fills: no assets, empty to all who read them, and rebuilt before they go."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

import cdap
from cdap_assets.commands.status import status
from cdap_assets.curated.entities import ENTITIES
from cdap_assets.definitions import definitions_of
from cdap_assets.installation import Installation
from cdap_assets.work.scan_cost import scan_costs
from cdap_assets.work.stages import lake_stage
from resources.iceberg.held_rows import tables_with_rows
from resources.settings import Settings
from resources.tiers.moving import begun, carry_out
from tests.shop import CLOCK, make_new_shop

FILLED = {"order_lines"}
GOODS = """\
apiVersion: v3.1.0
kind: DataContract
id: goods
name: goods
version: 1.0.0
status: active
description: {purpose: A test.}
customProperties:
  - {property: timezone, value: UTC}
  - {property: keySpace, value: shop}
  - {property: history, value: {validFrom: 2022-01-01}}
  - {property: format, value: {type: csv}}
schema:
  - name: goods
    physicalType: file
    properties:
      - {name: code, logicalType: string, required: true, primaryKey: true}
      - {name: kind, logicalType: string}
  - name: products
    physicalType: canonical
    properties:
      - {name: product_key, transformLogic: code}
      - {name: category, transformLogic: kind}
"""
pytestmark = pytest.mark.filterwarnings("default")


def installed(settings: Settings) -> Installation:
    """The home as a process that starts now finds it."""
    return Installation.of(settings, lambda: CLOCK)


def graph(home: Installation) -> dict[str, set[str]]:
    """Every node that Dagster draws, with what it is made of."""
    found = definitions_of(home).resolve_asset_graph()
    return {
        key.to_user_string(): {parent.to_user_string() for parent in found.get(key).parent_keys}
        for key in found.get_all_asset_keys()
    }


def refreshed(home: Installation) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions_of(home).resolve_job_def("refresh_lake").execute_in_process(instance=instance)


def with_goods(settings: Settings) -> Settings:
    """The home with a second source, which fills ``products``."""
    (settings.contracts / "goods.yaml").write_text(GOODS, encoding="utf-8")
    (settings.landing / "goods").mkdir()
    (settings.landing / "goods" / "1.csv").write_text("code,kind\na,tea\nb,coffee\n", encoding="utf-8")
    return settings


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Installation, dg.ExecuteInProcessResult]:
    """A shop that delivers nothing but order lines, and the run that took them; tests only read it."""
    home = installed(make_new_shop(tmp_path_factory.mktemp("unfilled") / "home"))
    return home, refreshed(home)


def test_what_no_contract_fills_is_not_drawn_and_what_reads_it_is_built(
    shop: tuple[Installation, dg.ExecuteInProcessResult],
) -> None:
    home, run = shop
    drawn = graph(home)
    assert set(ENTITIES) & set(drawn) == FILLED
    assert "raw_orders" in drawn["order_lines"]
    assert drawn["customer_profile"] == {"customer_xref", "customer_days", "customer_segments", "customer_categories"}
    assert drawn["retention_plan"] == {"customer_scores", "customer_segments"}
    assert run.success
    assert set(ENTITIES) & set(home.lakehouse.names()) == FILLED
    for event in run.get_asset_materialization_events():
        lineage = event.materialization.metadata.get("dagster/column_lineage")
        for origins in lineage.value.deps_by_column.values() if lineage else ():
            assert {origin.asset_key.to_user_string() for origin in origins} <= set(drawn)


def test_what_no_contract_fills_is_empty_to_all_who_read_it_and_never_due(
    shop: tuple[Installation, dg.ExecuteInProcessResult],
) -> None:
    later = installed(shop[0].settings)
    assert lake_stage(later) is None
    lake = cdap.open(later.settings.home)
    assert set(ENTITIES) <= set(lake.tables)
    assert lake.sql("select count(*) as n from touches")["n"].tolist() == [0]
    assert lake.table("touches").columns == ENTITIES["touches"].table.names
    assert lake.sql("select max(touches) as n, count(*) as c from customer_profile")["n"].tolist() == [0]
    rows = {row.name: (row.rows, row.snapshot_id) for row in status(later).tables}
    assert rows["touches"] == (0, None)
    costs = {cost.asset: cost for cost in scan_costs(later.lineage, later.lakehouse, [])}
    assert set(ENTITIES) & set(costs) == FILLED


def test_the_rows_of_a_removed_contract_go_before_its_table_does(tmp_path: Path) -> None:
    settings = with_goods(make_new_shop(tmp_path / "home"))
    home = installed(settings)
    assert "products" in graph(home)
    assert refreshed(home).success
    assert home.lakehouse.state("products").rows == 2
    (settings.contracts / "goods.yaml").unlink()
    (settings.landing / "goods" / "1.csv").unlink()
    removed = installed(settings)
    assert graph(removed)["products"] == set()
    due = lake_stage(removed)
    assert due is not None
    assert due.why.startswith("products: everything: code version ")
    assert refreshed(removed).success
    assert home.lakehouse.state("products").rows == 0
    # in that process it is an asset as before, and nothing of it is due
    assert "products" in graph(removed)
    assert lake_stage(removed) is None
    gone = installed(settings)
    assert "products" not in graph(gone)
    assert lake_stage(gone) is None
    assert cdap.open(settings.home).sql("select * from products").empty


def test_a_table_whose_rows_are_all_archived_is_still_an_asset(tmp_path: Path) -> None:
    settings = make_new_shop(tmp_path / "home")
    home = installed(settings)
    assert refreshed(home).success
    names = ["order_lines", "products"]
    assert tables_with_rows(settings, names) == {"order_lines"}
    with home.lakehouse.looking() as session:
        months = sorted(session.partitions("order_lines"))
    carry_out(home.lakehouse, begun("archive", "order_lines", months, datetime(2030, 1, 1)))
    assert home.lakehouse.state("order_lines").rows == 0
    assert tables_with_rows(settings, names) == {"order_lines"}


def test_a_catalog_that_does_not_answer_hides_no_table_and_leaves_the_definitions_alive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_new_shop(tmp_path / "home")
    (settings.lake / "catalog.db").write_text("this is no database")
    with pytest.raises(sa.exc.DatabaseError):
        installed(settings).lakehouse.names()
    assert set(ENTITIES) <= set(graph(installed(settings)))
    assert "the catalog did not say which tables hold rows" in caplog.text


def test_a_look_at_a_home_without_a_lake_makes_none(tmp_path: Path) -> None:
    settings = make_new_shop(tmp_path / "home")
    before = sorted(tmp_path.rglob("*"))
    assert tables_with_rows(settings, ["products"]) == set()
    graph(installed(settings))
    assert sorted(tmp_path.rglob("*")) == before
