"""One way to decide about a plan: what follows a decision, what may fail after it, and who may ask for it."""

from __future__ import annotations

import os
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from typer.testing import CliRunner

from cdap_assets.cli import app
from cdap_assets.retention import decisions, ledger
from cdap_assets.retention.decide_plan import decide_plan
from cdap_assets.retention.decisions import Desk, Unfinished
from cdap_assets.retention.ledger import APPROVED, PARTLY, REJECTED, PlanState
from cdap_assets.retention.plan_id import PlanId, PlanRefused
from cdap_assets.retention.retention_policy import RetentionPolicyError
from cdap_assets.retention.tables import CONTACT
from resources.clock import Calendar
from resources.lake.lakehouse import Lakehouse
from resources.registry.model_registry import ModelRegistry
from tests.retention.lake import NOON, PlanLake, later, policy


@pytest.fixture
def lake(tmp_path: Path) -> PlanLake:
    """A home with scored customers that the commands take for an installation."""
    lake = PlanLake(tmp_path / "home")
    (lake.home / "settings.env").write_text("")
    lake.settings.retention_file.write_text(policy().model_dump_json())  # JSON is YAML
    return lake


@pytest.fixture
def desk(lake: PlanLake) -> Desk:
    return desk_of(lake)


@pytest.fixture
def _variables_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CDAP_HOME", "DAGSTER_HOME", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


def desk_of(lake: PlanLake) -> Desk:
    seconds = count(1)
    return Desk(
        Lakehouse(lake.settings), ModelRegistry(lake.settings), lambda: NOON + timedelta(seconds=next(seconds)), None
    )


def state(lake: PlanLake, plan: PlanId) -> PlanState:
    with lake.session() as session:
        return ledger.plan_state(session, plan)


def contacts(lake: PlanLake, plan: PlanId) -> list[str]:
    with lake.session() as session:
        rows = ledger.plan_rows(session, plan)
    return list(rows.loc[rows["decision"] == CONTACT, "customer_id"])


def test_an_approval_writes_the_files_and_its_page_says_who(lake: PlanLake, desk: Desk) -> None:
    plan = lake.draft_before()
    decided = decisions.approve(desk, plan, by="Ann", first=5, note="a trial")
    assert (decided.state.state, decided.state.approved_contacts) == (PARTLY, 5)
    page = Path(decided.page).read_text(encoding="utf-8")
    for told in ("Partly approved", "Ann", "a trial"):
        assert told in page
    assert decided.export is not None
    assert set(pd.read_parquet(decided.export.parquet)["customer_id"]) == set(contacts(lake, plan)[:5])
    assert len(state(lake, plan).exports) == 1
    again = decisions.export(desk, plan, by="Bea")
    assert again.rows == decided.export.rows
    assert len(state(lake, plan).exports) == 2


def test_edits_and_a_rejection_renew_the_page_and_write_no_files(lake: PlanLake, desk: Desk) -> None:
    plan = lake.draft_before()
    gone = contacts(lake, plan)[0]
    edited = decisions.edit(desk, plan, drop=[gone], by="Ann", reason="moved")
    assert edited.state.dropped == {gone: "moved"}
    assert "dropped by a person" in Path(edited.page).read_text(encoding="utf-8")
    rejected = decisions.reject(desk, plan, by="Ann", reason="prices change")
    assert (rejected.state.state, rejected.export) == (REJECTED, None)
    assert "prices change" in Path(rejected.page).read_text(encoding="utf-8")
    assert not lake.settings.exports.exists()


def test_an_approval_may_leave_the_files_for_later(lake: PlanLake, desk: Desk) -> None:
    plan = lake.draft_before()
    assert decisions.approve(desk, plan, by="Ann", with_files=False).export is None
    assert not lake.settings.exports.exists()
    assert decisions.export(desk, plan, by="Ann").rows == len(contacts(lake, plan))


def test_a_policy_that_cannot_be_read_refuses_before_anything_is_decided(lake: PlanLake, desk: Desk) -> None:
    plan = lake.draft_before()
    lake.settings.retention_file.write_text("currency: EUR\n")
    with pytest.raises(RetentionPolicyError, match="margin: Field required"):
        decisions.approve(desk, plan, by="Ann")
    with pytest.raises(RetentionPolicyError, match="margin: Field required"):
        decisions.reject(desk, plan, by="Ann", reason="no")
    assert state(lake, plan).untouched
    assert lake.arms(plan) == []


def test_limits_are_those_of_the_policy_as_it_is_now(lake: PlanLake, desk: Desk) -> None:
    plan = lake.draft_before()
    lake.settings.retention_file.write_text(policy(budget="1").model_dump_json())
    with pytest.raises(PlanRefused, match=r"over the budget of 1\.00"):
        decisions.approve(desk, plan, by="Ann")


def test_files_that_cannot_be_written_are_told_of_with_the_approval_that_stands(lake: PlanLake, desk: Desk) -> None:
    plan = lake.draft_before()
    lake.settings.exports.write_text("in the way of the folder")
    told = (
        rf"plan {plan} is approved, but its files are not written \(`cdap plan export {plan} --by NAME` writes them\)"
    )
    with pytest.raises(Unfinished, match=told) as failed:
        decisions.approve(desk, plan, by="Ann")
    assert failed.value.state.approved_contacts == len(contacts(lake, plan))
    assert state(lake, plan).state == APPROVED
    (page,) = lake.settings.pages.iterdir()
    assert "Approved" in page.read_text(encoding="utf-8")
    lake.settings.exports.unlink()
    assert decisions.export(desk, plan, by="Ann").rows == len(contacts(lake, plan))


def test_a_page_that_cannot_be_written_is_told_of_with_the_decision_that_stands(lake: PlanLake, desk: Desk) -> None:
    plan = lake.draft_before()
    lake.settings.pages.write_text("in the way of the folder")
    with pytest.raises(Unfinished, match=f"plan {plan} is rejected, but its page shows it as it was before: "):
        decisions.reject(desk, plan, by="Ann", reason="no")
    assert state(lake, plan).state == REJECTED


@pytest.mark.usefixtures("_variables_are_put_back")
def test_the_command_line_and_the_job_decide_alike_and_refuse_with_one_message(lake: PlanLake) -> None:
    plans = {"command": lake.draft_before(), "job": lake.draft_before(later(8))}
    assert "is not the id of a plan: one looks like 2024-03-03-1" in refusal(lake, "plan", "show", "2024-03-03")
    assert "is not the id of a plan: one looks like 2024-03-03-1" in job(lake, "2024-03-03", "approve")
    for decide in ("approve", "reject"):
        extra = ["--reason", "x"] if decide == "reject" else []
        assert "there is no plan 2024-03-03-9" in refusal(lake, "plan", decide, "2024-03-03-9", "--by", "Ann", *extra)
        assert "there is no plan 2024-03-03-9" in job(lake, "2024-03-03-9", decide, reason="x")

    plan = plans["command"]
    edited = ask(lake, "plan", "edit", str(plan), "--drop", contacts(lake, plan)[0], "--reason", "x", "--by", "Ann")
    assert f"plan {plan}: 1 dropped, 0 added so far" in edited.stdout
    approved = ask(lake, "plan", "approve", str(plan), "--by", "Ann", "--first", "5")
    assert f"plan {plan} is partly approved by Ann: 5 contacts" in approved.stdout
    assert "5 rows in " in approved.stdout
    assert job(lake, str(plans["job"]), "approve", first=5) == ""
    assert {state(lake, one).state for one in plans.values()} == {PARTLY}
    assert len(list(lake.settings.exports.iterdir())) == len(list(lake.settings.pages.iterdir())) == 2
    for one in plans.values():
        assert f"plan {one} is partly approved by Ann already" in refusal(
            lake, "plan", "reject", str(one), "--by", "Bob", "--reason", "late"
        )
        assert f"plan {one} is partly approved by Ann already" in job(lake, str(one), "reject", reason="late")
    assert "5 rows in " in ask(lake, "plan", "export", str(plan), "--by", "Bea").stdout
    assert ask(lake, "plan", "diff", str(plans["job"]), str(plan)).stdout.startswith("kept ")


def ask(lake: PlanLake, *arguments: str) -> Any:
    done = CliRunner(env={"CDAP_HOME": str(lake.home), "CDAP_THREADS": "1", "COLUMNS": "300"}).invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done


def refusal(lake: PlanLake, *arguments: str) -> str:
    done = CliRunner(env={"CDAP_HOME": str(lake.home), "CDAP_THREADS": "1", "COLUMNS": "300"}).invoke(app, arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    return " ".join(done.stderr.split())


def job(lake: PlanLake, plan: str, decision: str, **config: Any) -> str:
    """The reason for which the job failed; empty when it did not."""
    desk = desk_of(lake)
    with dg.DagsterInstance.ephemeral() as instance:
        result = decide_plan.execute_in_process(
            run_config={"ops": {"decide": {"config": {"plan_id": plan, "decision": decision, "by": "Ann", **config}}}},
            resources={
                "lakehouse": desk.lakehouse,
                "registry": desk.registry,
                "installation": Calendar(desk.clock),
            },
            instance=instance,
            raise_on_error=False,
        )
    if result.success:
        return ""
    (event,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    return failure.description or ""
