"""Runs of `cdap run` in Dagster's UI: found by what Timeline and the jobs' pages ask for, and saying why they are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster_graphql.test.utils import execute_dagster_graphql

from cdap_assets.commands import running
from cdap_assets.commands.run_origin import LOCATION, end_dead_runs
from cdap_assets.installation import Installation
from cdap_assets.work.stages import LONGEST_REASON, REASON_TAG, Stage
from resources.settings import Settings
from tests.code_location import code_location
from tests.shop import CLOCK, make_new_shop

pytestmark = pytest.mark.filterwarnings("ignore:.*environment_vars:DeprecationWarning")  # of Dagster's own snapshots
WHY = "a test asks for it"
# what the pages ask for: of Timeline the part by which it leaves a run out
TIMELINE = """{ runsOrError(filter: {}) { ... on Runs { results {
    runId pipelineName status tags { key value } repositoryOrigin { repositoryName repositoryLocationName } } } } }"""
JOBS = """{ repositoryOrError(repositorySelector: {repositoryLocationName: "cdap", repositoryName: "__repository__"}) {
    ... on Repository { pipelines { name runs { runId } } } } }"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home in which one stage was run on the command line."""
    settings = make_new_shop(tmp_path_factory.mktemp("origin") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(settings.home / "dagster"))
        patch.setenv("CDAP_HOME", str(settings.home))
        running.execute(Installation.of(settings, lambda: CLOCK), Stage("refresh_lake", "lake", WHY))
        yield settings


def asked(query: str) -> dict[str, Any]:
    """What the webserver answers about the home, whose code location it has loaded under the UI's name."""
    with dg.DagsterInstance.get() as instance, code_location(instance) as webserver:
        answer: dict[str, Any] = execute_dagster_graphql(webserver.create_request_context(), query).data
        return answer


@pytest.mark.usefixtures("shop")
def test_a_run_of_the_command_line_is_in_the_timeline_with_its_stage_and_reason() -> None:
    [run] = asked(TIMELINE)["runsOrError"]["results"]
    assert (run["pipelineName"], run["status"]) == ("refresh_lake", "SUCCESS")
    assert run["repositoryOrigin"] == {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assert (tags["cdap/stage"], tags["cdap/reason"]) == ("lake", WHY)


@pytest.mark.usefixtures("shop")
def test_the_page_of_a_job_lists_its_runs_of_the_command_line() -> None:
    jobs = asked(JOBS)["repositoryOrError"]["pipelines"]
    assert {job["name"]: len(job["runs"]) for job in jobs if job["runs"]} == {"refresh_lake": 1}


def test_a_run_whose_process_died_under_the_lock_counts_as_failed_and_is_not_made_again() -> None:
    @dg.job
    def dead() -> None:
        pass

    def make(instance: dg.DagsterInstance, **tags: str) -> str:
        status = dg.DagsterRunStatus.STARTED
        made = instance.create_run_for_job(dead, run_id=str(uuid.uuid4()), status=status, tags=tags)
        return str(made.run_id)

    with dg.instance_for_test(overrides={"run_retries": {"enabled": True, "max_retries": 1}}) as instance:
        mine = make(instance, **{"cdap/lock": "run", "dagster/max_retries": "0"})
        others = make(instance), make(instance, **{"cdap/lock": "plans"})
        assert end_dead_runs(instance, "run") == [mine]
        assert end_dead_runs(instance, "run") == []
        assert instance.get_run_by_id(mine).is_failure
        assert instance.get_run_by_id(mine).tags["dagster/will_retry"] == "false"
        assert not any(instance.get_run_by_id(other).is_finished for other in others)


def test_a_long_reason_is_cut_between_words_and_a_short_one_is_whole() -> None:
    assert Stage("refresh_lake", "lake", WHY).tags[REASON_TAG] == WHY
    cut = Stage("refresh_lake", "lake", "one reason " * 100).tags[REASON_TAG]
    assert len(cut) <= LONGEST_REASON
    assert cut.endswith("reason …") or cut.endswith("one …")
