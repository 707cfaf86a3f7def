"""What Dagster shows of `plan_events` and `arms`: each decision once, however it was made, and no person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from cdap_assets.cli import app
from cdap_assets.retention import ledger
from cdap_assets.retention.decide_plan import decide_plan
from cdap_assets.retention.materializations import report
from cdap_assets.retention.plan_id import PlanId
from cdap_assets.retention.tables import CONTACT
from resources.clock import Calendar
from resources.lake.lakehouse import Lakehouse
from resources.registry.model_registry import ModelRegistry
from resources.settings import Settings
from tests.retention.lake import NOON, PlanLake, policy

VARIABLES = ("CDAP_HOME", "DAGSTER_HOME", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanLake:
    """A home with scored customers and a Dagster of its own, that the commands take for an installation."""
    lake = PlanLake(tmp_path / "home")
    (lake.home / "settings.env").write_text("")
    lake.settings.retention_file.write_text(policy().model_dump_json())
    (lake.home / "dagster").mkdir()
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # put back after what a command sets
    monkeypatch.setenv("DAGSTER_HOME", str(lake.home / "dagster"))
    return lake


@pytest.fixture
def instance(lake: PlanLake) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as instance:
        yield instance


def shown(instance: dg.DagsterInstance, name: str) -> list[dict[str, Any]]:
    """The metadata of each materialization, oldest first."""
    records = instance.fetch_materializations(dg.AssetKey(name), limit=50).records
    found = [record.asset_materialization for record in reversed(records)]
    return [{key: value.value for key, value in one.metadata.items()} for one in found if one is not None]


def tell(lake: PlanLake, instance: dg.DagsterInstance) -> None:
    report(Lakehouse(lake.settings), instance, instance.report_runless_asset_event)


def decide(lake: PlanLake, *arguments: str) -> Any:
    done = CliRunner(env={"CDAP_HOME": str(lake.home), "CDAP_THREADS": "1"}).invoke(app, ["plan", *arguments])
    assert done.exit_code == 0, done.output
    return done


def test_each_decision_of_the_command_line_is_shown_with_its_plan_and_no_person(
    lake: PlanLake, instance: dg.DagsterInstance
) -> None:
    plan = str(lake.draft_before())
    tell(lake, instance)
    gone = contacts(lake)[0]
    decide(lake, "edit", plan, "--drop", gone, "--reason", "moved", "--by", "Ann Example")
    assert decide(lake, "approve", plan, "--by", "Ann Example", "--first", "5").stderr == ""
    events = shown(instance, "plan_events")
    assert [one["event"] for one in events] == ["drafted", "dropped", "partly approved", "exported"]
    assert [one["dagster/row_count"] for one in events] == [1, 2, 3, 4]
    assert {one["plan_id"] for one in events} == {plan}
    [arms] = shown(instance, "arms")
    assert arms["plan_id"] == plan
    assert arms["dagster/row_count"] == arms["rows_written"] == len(lake.arms(PlanId.parse(plan)))
    with lake.session() as session:
        assert events[-1]["snapshot_id"] == str(session.snapshot_id("plan_events"))
    told = str([*events, arms])
    assert "Ann" not in told
    assert gone not in told


def test_what_dagster_missed_is_made_up_once_and_what_it_knows_is_not_told_again(
    lake: PlanLake, instance: dg.DagsterInstance
) -> None:
    plan = lake.draft_before()
    tell(lake, instance)
    with lake.session() as session:
        ledger.edit(session, plan, drop=contacts(lake)[:1], by="Ann", reason="moved", at=NOON)
        ledger.reject(session, plan, by="Ann", reason="late", at=NOON)
    instance.report_runless_asset_event(dg.AssetMaterialization("plan_events"))  # as by hand in the UI
    tell(lake, instance)
    tell(lake, instance)
    assert [one.get("event") for one in shown(instance, "plan_events")] == ["drafted", None, "dropped", "rejected"]
    assert shown(instance, "arms") == []


def test_a_home_that_decided_before_dagster_was_told_shows_its_newest_decision(
    lake: PlanLake, instance: dg.DagsterInstance
) -> None:
    plan = lake.draft_before()
    with lake.session() as session:
        ledger.reject(session, plan, by="Ann", reason="late", at=NOON)
    tell(lake, instance)
    assert [one["event"] for one in shown(instance, "plan_events")] == ["rejected"]


def test_a_decision_stands_where_dagster_cannot_be_opened_and_is_shown_by_the_next(lake: PlanLake) -> None:
    plan = str(lake.draft_before())
    config = lake.home / "dagster" / "dagster.yaml"
    config.write_text("storage: {postgres: {postgres_url: {env: CDAP_POSTGRES_URL}}}")
    done = decide(lake, "approve", plan, "--by", "Ann", "--no-export")
    assert f"plan {plan} is approved by Ann" in done.stdout
    assert "What was decided stands." in done.stderr
    assert "CDAP_POSTGRES_URL" in done.stderr
    config.unlink()
    assert decide(lake, "export", plan, "--by", "Ann").stderr == ""
    with dg.DagsterInstance.get() as instance:
        assert len(shown(instance, "arms")) == 1


def test_the_job_shows_its_decision_as_of_its_own_run(lake: PlanLake, instance: dg.DagsterInstance) -> None:
    plan = lake.draft_before()
    result = decide_plan.execute_in_process(
        run_config={"ops": {"decide": {"config": {"plan_id": str(plan), "decision": "approve", "by": "Ann"}}}},
        resources={
            "lakehouse": Lakehouse(lake.settings),
            "registry": ModelRegistry(lake.settings),
            "installation": Calendar(lambda: NOON),
        },
        instance=instance,
    )
    for name in ("arms", "plan_events"):
        newest = instance.get_latest_materialization_event(dg.AssetKey(name))
        assert newest is not None
        assert newest.run_id == result.run_id


def test_a_run_that_drafts_a_plan_shows_the_draft_and_the_holdout(
    finished_shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(finished_shop.home / "dagster"))
    with dg.DagsterInstance.get() as instance:
        assert [one["event"] for one in shown(instance, "plan_events")] == ["drafted"]
        [holdout] = shown(instance, "arms")
    assert holdout["rows_written"] > 0
    assert "plan_id" not in holdout


def contacts(lake: PlanLake) -> list[str]:
    with lake.session() as session:
        (plan,) = ledger.plan_states(session)
        rows = ledger.plan_rows(session, plan)
    return list(rows.loc[rows["decision"] == CONTACT, "customer_id"])
