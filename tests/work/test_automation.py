"""What happens by itself, tick by tick at times of the test's choosing."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from cdap_assets.definitions import build_definitions
from cdap_assets.models.serving import MODELS
from cdap_assets.work.automation import FRESH_WITHIN
from resources.registry.model_decisions import Decision, approve
from resources.registry.model_registry import ModelRegistry
from resources.settings import Settings
from tests.registered import register_and_serve
from tests.shop import CONTRACT, LAST_DAY

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


def watch(settings: Settings, cursor: str | None = None) -> tuple[list[dg.RunRequest], str]:
    """One tick of the landing sensor: what it asks for, and its cursor."""
    context = dg.build_sensor_context(cursor=cursor)
    result = sensor(settings, "landing_sensor").evaluate_tick(context)
    assert result.cursor is not None
    return list(result.run_requests or []), result.cursor


def test_a_new_file_asks_once_for_its_own_raw_table(tmp_path: Path) -> None:
    settings = shop(tmp_path)
    nothing, cursor = watch(settings)
    assert nothing == []
    (settings.landing / "orders" / "monday.csv").write_text("order_id,customer,ordered_at,amount\n")
    [request], cursor = watch(settings, cursor)
    assert request.asset_selection == [dg.AssetKey("raw_orders")]
    assert watch(settings, cursor) == ([], cursor)
    (settings.landing / "orders" / "tuesday.csv").write_text("order_id,customer,ordered_at,amount\n")
    [another], cursor = watch(settings, cursor)
    assert another.run_key != request.run_key
    assert watch(settings, cursor)[0] == []


def test_unfinished_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    settings = shop(tmp_path)
    for name in (".monday.csv", "monday.csv.part", "monday.csv.tmp", ".cache/monday.csv"):
        path = settings.landing / "orders" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    assert watch(settings)[0] == []


def test_a_mended_contract_takes_what_an_earlier_version_refused(tmp_path: Path) -> None:
    settings = shop(tmp_path)
    (settings.landing / "orders" / "monday.csv").write_text("id\n1\n")
    _asked, cursor = watch(settings)
    shop(tmp_path, LIVE.replace("version: 1.0.0", "version: 1.0.1"))
    assert len(watch(settings, cursor)[0]) == 1


def test_the_landing_cursor_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    settings = shop(tmp_path)
    sizes = []
    for many in (1, 200):
        for number in range(many):
            (settings.landing / "orders" / f"{number}.csv").write_text("id\n")
        sizes.append(len(watch(settings)[1]))
    assert sizes[0] == sizes[1] < 100


class Ticks:
    """The automation of a home, evaluated at given times with what had happened by then."""

    def __init__(self, settings: Settings) -> None:
        self.definitions = build_definitions(settings)
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: Any = None

    def built(self, *assets: str, partition: str | None = None) -> None:
        for asset in assets:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))

    def tick(self, at: datetime) -> dict[str, set[str | None]]:
        """The assets asked for, with their partitions."""
        result = dg.evaluate_automation_conditions(
            self.definitions, self.instance, evaluation_time=at, cursor=self.cursor
        )
        self.cursor = result.cursor
        asked: dict[str, set[str | None]] = {}
        for found in result.results:
            subset = found.true_subset
            if isinstance(subset.key, dg.AssetKey) and not subset.is_empty:
                partitions = subset.expensively_compute_asset_partitions()
                asked[subset.key.to_user_string()] = {partition.partition_key for partition in partitions}
        return asked


def test_tables_follow_a_delivery_down_to_the_profile(tmp_path: Path) -> None:
    ticks = Ticks(shop(tmp_path))
    assert ticks.tick(datetime(2026, 1, 5, 9, tzinfo=UTC)) == {}
    ticks.built("raw_orders")
    asked = ticks.tick(datetime(2026, 1, 5, 9, 2, tzinfo=UTC))
    assert {"order_lines", "orders", "customer_days", "customer_xref", "customer_profile"} <= set(asked)
    assert not {"products", "customer_features", "lapse_model", "retention_plan"} & set(asked)
    ticks.built(*asked)
    assert ticks.tick(datetime(2026, 1, 5, 9, 3, tzinfo=UTC)) == {}


def test_scores_and_the_plan_follow_for_the_latest_snapshot_alone(tmp_path: Path) -> None:
    ticks = Ticks(shop(tmp_path))
    ticks.built(*ticks.tick(datetime(2026, 1, 5, 9, tzinfo=UTC)))
    for week in ("2025-12-21", "2025-12-28", "2026-01-04"):
        ticks.built("customer_features", partition=week)
    ticks.tick(datetime(2026, 1, 5, 9, 1, tzinfo=UTC))
    ticks.built("champion")
    asked = ticks.tick(datetime(2026, 1, 5, 9, 2, tzinfo=UTC))
    assert asked["customer_scores"] == {"2026-01-04"}
    assert asked["retention_plan"] == {"2026-01-04"}


def test_a_file_that_lands_drafts_no_second_plan(tmp_path: Path) -> None:
    ticks = Ticks(shop(tmp_path))
    ticks.built(*ticks.tick(datetime(2026, 1, 5, 9, tzinfo=UTC)), "champion")
    for asset in ("customer_features", "customer_scores", "retention_plan"):
        ticks.built(asset, partition="2026-01-04")
    ticks.built(*ticks.tick(datetime(2026, 1, 5, 9, 1, tzinfo=UTC)))
    ticks.built("raw_orders", "customer_segments", "touches", "consents")
    asked = ticks.tick(datetime(2026, 1, 5, 9, 2, tzinfo=UTC))
    assert "order_lines" in asked
    assert not {"customer_scores", "retention_plan"} & set(asked)


def test_the_lake_is_swept_once_a_day(tmp_path: Path) -> None:
    ticks = Ticks(shop(tmp_path))
    ticks.tick(datetime(2026, 1, 5, 4, 59, tzinfo=UTC))
    assert "sweep_lake" in ticks.tick(datetime(2026, 1, 5, 5, 1, tzinfo=UTC))
    ticks.built("sweep_lake")
    assert "sweep_lake" not in ticks.tick(datetime(2026, 1, 5, 17, tzinfo=UTC))


def scheduled(settings: Settings, name: str, at: datetime) -> dg.ScheduleExecutionData:
    definitions = build_definitions(settings)
    schedule = definitions.get_repository_def().get_schedule_def(name)
    context = dg.build_schedule_context(scheduled_execution_time=at, repository_def=definitions.get_repository_def())
    return schedule.evaluate_tick(context)


def test_each_sunday_asks_for_the_new_features_and_the_labels_that_closed(tmp_path: Path) -> None:
    settings = shop(tmp_path, timezone="America/New_York")
    sunday = datetime(2026, 1, 4, 11, tzinfo=UTC)  # six in the morning there
    requests = scheduled(settings, "weekly_snapshots", sunday).run_requests or []
    asked = {
        request.asset_selection[0].to_user_string(): request.partition_key
        for request in requests
        if request.asset_selection
    }
    assert asked == {
        "customer_features": "2026-01-04",
        "lapse_labels": "2025-12-07",  # its 28 days ended as this Sunday began
        "value_labels": "2025-10-05",
    }


def test_a_young_installation_asks_for_no_snapshot_before_its_first(tmp_path: Path) -> None:
    requests = scheduled(shop(tmp_path), "weekly_snapshots", datetime(2023, 1, 8, 6, tzinfo=UTC)).run_requests or []
    assert [request.partition_key for request in requests] == ["2023-01-08"]


def test_training_is_asked_for_every_28_days(tmp_path: Path) -> None:
    settings = shop(tmp_path)
    sundays = pd.date_range("2026-01-04 07:00", periods=12, freq="7D", tz="UTC")
    asked = [bool(scheduled(settings, "retraining", day.to_pydatetime()).run_requests) for day in sundays]
    assert asked.count(True) == 3
    first = asked.index(True)
    assert [first, first + 4, first + 8] == [n for n, yes in enumerate(asked) if yes]
    waiting = scheduled(settings, "retraining", sundays[first + 1].to_pydatetime()).skip_message
    assert waiting == "the next training is in 3 weeks"


@pytest.mark.parametrize("name", ["weekly_snapshots", "retraining"])
def test_a_closed_data_set_is_left_alone_with_the_reason(tmp_path: Path, name: str) -> None:
    found = scheduled(shop(tmp_path, CONTRACT), name, datetime(2026, 1, 4, 7, tzinfo=UTC))
    assert not found.run_requests
    assert found.skip_message == f"the data set is closed; it ends on {LAST_DAY}"


def test_freshness_is_asked_of_living_data_alone(tmp_path: Path) -> None:
    def fresh(settings: Settings) -> dict[str, Any]:
        specs = build_definitions(settings).resolve_all_asset_specs()
        return {spec.key.to_user_string(): spec.freshness_policy for spec in specs if spec.freshness_policy}

    policy = dg.FreshnessPolicy.time_window(fail_window=FRESH_WITHIN)
    assert fresh(shop(tmp_path / "live"))["customer_profile"] == policy
    assert fresh(shop(tmp_path / "closed", CONTRACT)) == {}


def test_the_champion_asset_follows_the_alias_and_its_review(tmp_path: Path) -> None:
    settings = shop(tmp_path)
    registry = ModelRegistry(settings)
    watched = sensor(settings, "champion_sensor")

    def tick(cursor: str | None) -> tuple[int, str | None, str | None]:
        context = dg.build_sensor_context(cursor=cursor, resources={"registry": registry})
        found = watched.evaluate_tick(context)
        return len(found.run_requests or []), found.skip_message, found.cursor

    assert tick(None)[:2] == (0, "not every model has a champion yet")
    for name in MODELS:
        register_and_serve(registry, name)
    asked, _, cursor = tick(None)
    assert asked == 1
    assert tick(cursor)[:2] == (0, f"still {cursor}")
    approve(registry, MODELS[0], 1, Decision("Ann", NOON))
    assert tick(cursor)[0] == 1


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
