"""How fresh tables are to be, and what is noted of runs that failed."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cdap_assets.definitions import build_definitions
from cdap_assets.work.automation import FRESH_WITHIN
from resources.settings import Settings
from tests.shop import CONTRACT

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # MLflow's own
    pytest.mark.filterwarnings("ignore:Parameter `include_sources`"),  # of Dagster's own tester
]
NOON = datetime(2026, 1, 4, 12)
LIVE = "\n".join(
    line for line in CONTRACT.splitlines() if "property: live" not in line and "property: ends" not in line
)


def shop(home: Path, contract: str = LIVE, **settings: Any) -> Settings:
    """A home with one contract: a living shop, or the closed data set."""
    (home / "contracts").mkdir(parents=True, exist_ok=True)
    (home / "landing" / "orders").mkdir(parents=True, exist_ok=True)
    (home / "contracts" / "orders.yaml").write_text(contract, encoding="utf-8")
    return Settings(home=home, first_snapshot=date(2023, 1, 1), **settings)


def sensor(settings: Settings, name: str) -> dg.SensorDefinition:
    return build_definitions(settings, clock=lambda: NOON).get_repository_def().get_sensor_def(name)


def test_freshness_is_asked_of_living_data_alone(tmp_path: Path) -> None:
    def fresh(settings: Settings) -> dict[str, Any]:
        specs = build_definitions(settings).resolve_all_asset_specs()
        return {spec.key.to_user_string(): spec.freshness_policy for spec in specs if spec.freshness_policy}

    policy = dg.FreshnessPolicy.time_window(fail_window=FRESH_WITHIN)
    assert fresh(shop(tmp_path / "live"))["customer_profile"] == policy
    assert fresh(shop(tmp_path / "closed", CONTRACT)) == {}


def test_a_failed_run_is_noted_for_the_status(tmp_path: Path) -> None:
    settings = shop(tmp_path, LIVE.replace("transformLogic: amount", "transformLogic: amout"))
    definitions = build_definitions(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("refresh_lake").execute_in_process(
            asset_selection=[dg.AssetKey("raw_orders")], instance=instance, raise_on_error=False
        )
        assert not result.success
        [failure] = [event for event in result.all_events if event.is_run_failure]
        context = dg.build_run_status_sensor_context(
            "failure_sensor", failure, instance, result.dagster_run
        ).for_run_failure()
        sensor(settings, "failure_sensor")(context)
    [line] = (settings.home / "failures.jsonl").read_text().splitlines()
    noted = json.loads(line)
    assert (noted["job"], noted["at"], noted["run_id"]) == ("refresh_lake", NOON.isoformat(), result.run_id)
    assert "raw_orders" in noted["error"][0]
