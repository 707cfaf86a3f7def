"""Old snapshots go only where storage.yaml is applied, and never those that a model version or a rebuild needs."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from cdap_assets.tiering.moves import restore
from cdap_assets.tiering.sweeping import sweep_lake
from resources.clock import Calendar
from resources.iceberg.errors import PartitionsArchived
from resources.lake.table_snapshots import keep, release
from tests.curated.till import rebuilt
from tests.tiering.conftest import APPLIED, FEBRUARY, JANUARY, MARCH, AgeingShop, line


def sweep(shop: AgeingShop) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        resources = {"lakehouse": shop.lakehouse, "installation": Calendar(shop.clock)}
        return dg.materialize([sweep_lake], resources=resources, instance=instance, raise_on_error=False)


def told(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    assert result.success
    [event] = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def snapshots(shop: AgeingShop, table: str = "order_lines") -> set[int]:
    found = shop.lakehouse.load(table)
    assert found is not None
    return {one.snapshot_id for one in found.snapshots()}


def test_old_snapshots_go_only_when_applied_and_what_is_needed_stays(shop: AgeingShop) -> None:
    first = shop.lakehouse.state("order_lines").snapshot_id
    assert first is not None
    keep(shop.lakehouse, "order_lines", first, "lapse_model-1")
    shop.move("cool", "order_lines", FEBRUARY, to_class="drawer")
    shop.deliver("till", 2, [line("new2", "03-09", "9")])
    assert shop.refresh("order_lines", "orders").success
    shop.archive("order_lines", JANUARY)
    shop.deliver("till", 3, [line("new3", "03-10", "9")])
    assert shop.refresh("order_lines").success  # orders is behind: it was made from the snapshot before the move
    before = snapshots(shop)

    shop.policy(**{**APPLIED, "apply": False})
    shop.pass_days(100)
    assert told(sweep(shop))["snapshots"] == 0
    assert snapshots(shop) == before
    shop.policy(**APPLIED, time_travel_days=120)
    assert told(sweep(shop))["snapshots"] == 0

    shop.policy(**APPLIED, time_travel_days=30)
    assert told(sweep(shop))["snapshots"] > 0
    after = snapshots(shop)
    assert first in after  # a version of a model was trained on it
    assert after < before
    # orders still knows which months changed, and reads on
    assert rebuilt(shop.refresh("orders"), "orders") == "1 months that changed in order_lines"
    # what the tag keeps is readable to the last file, January too
    table = shop.lakehouse.load("order_lines")
    assert table is not None
    assert len(table.scan(snapshot_id=first).to_arrow()) == 120

    release(shop.lakehouse, "lapse_model-1")
    assert told(sweep(shop))["files"] > 0
    assert first not in snapshots(shop)
    # the archive is no snapshot's: it is there for the restore
    with pytest.raises(PartitionsArchived):
        shop.month("order_lines", JANUARY)
    restore(shop.lakehouse, "order_lines", [(JANUARY,)], shop.at)
    assert len(shop.month("order_lines", JANUARY, FEBRUARY, MARCH)) == 122


def test_a_wrong_storage_yaml_lets_no_snapshot_go(shop: AgeingShop) -> None:
    shop.move("cool", "order_lines", FEBRUARY, to_class="drawer")
    shop.move("warm", "order_lines", FEBRUARY, to_class="desk")
    before = snapshots(shop)
    shop.policy(apply=True, time_travel_days=0)
    shop.pass_days(100)
    assert told(sweep(shop))["snapshots"] == 0
    assert snapshots(shop) == before
