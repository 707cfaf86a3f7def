"""What the dagster.yaml of a new home has Dagster do: which runs it makes once more, and which wait for each other."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.test_utils import MockedRunLauncher
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

from cdap_assets.commands.new_home import make_home
from cdap_assets.commands.run_origin import give_origin
from cdap_assets.definitions import build_definitions
from resources.settings import Settings
from tests.code_location import code_location

pytestmark = pytest.mark.filterwarnings("ignore:.*environment_vars:DeprecationWarning")  # of Dagster's own snapshots
LAUNCHES_NOTHING = {"module": MockedRunLauncher.__module__, "class": MockedRunLauncher.__name__}
POOLS = {
    "training": {"lapse_model", "lifetime_value_model"},
    "plans": {"retention_plan", "decide"},
    "storage": {"look_at_storage", "sweep_lake", "move_tiers", "move_back", "compact", "delete_expired"},
}
DECISION = {"plan_id": "2024-03-03-1", "decision": "reject", "by": "Ann", "reason": "prices change"}
CONFIG = {"decide_plan": {"ops": {"decide": {"config": DECISION}}}}
Queue = Callable[[str], str]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("CDAP_HOME", str(tmp_path / "home"))
    return make_home(tmp_path / "home", example=False)


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance of a new home, whose launched runs stay as they are until a test ends them."""
    config = yaml.safe_load((settings.home / "dagster" / "dagster.yaml").read_text(encoding="utf-8"))
    with dg.instance_for_test(overrides={**config, "run_launcher": LAUNCHES_NOTHING}) as instance:
        give_origin(instance, "__repository__")
        yield instance


@pytest.fixture
def queue(settings: Settings, instance: dg.DagsterInstance) -> Queue:
    """Puts a run of a job into the queue, and gives its id."""
    definitions = build_definitions(settings)

    def put(job: str) -> str:
        found = definitions.resolve_job_def(job)
        run = instance.create_run_for_job(
            found,
            run_id=str(uuid.uuid4()),
            run_config=CONFIG.get(job, {}),
            status=dg.DagsterRunStatus.QUEUED,
            tags=found.run_tags,
        )
        return str(run.run_id)

    return put


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def let_go(instance: dg.DagsterInstance) -> None:
    """One round of the daemon that launches queued runs."""
    with code_location(instance) as workspace, QueuedRunCoordinatorDaemon(interval_seconds=1) as daemon:
        list(daemon.run_iteration(workspace))


@pytest.mark.parametrize(
    ("first", "second", "other"),
    [
        ("train_models", "train_models", "score_and_plan"),
        ("score_and_plan", "decide_plan", "review_storage"),
        ("review_storage", "tier_partitions", "train_models"),
    ],
)
def test_of_two_runs_of_one_pool_the_second_waits_for_the_first_to_end(
    instance: dg.DagsterInstance, queue: Queue, first: str, second: str, other: str
) -> None:
    starting, queued = dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.QUEUED
    # the round that first meets a pool makes its limit and does not heed it yet (Dagster 1.13.27)
    at_work = queue(first)
    let_go(instance)
    waiting, beside = queue(second), queue(other)
    let_go(instance)
    assert [status(instance, run) for run in (at_work, waiting, beside)] == [starting, queued, starting]
    ended = instance.get_run_by_id(at_work)
    assert ended is not None
    instance.report_run_failed(ended)
    let_go(instance)
    assert status(instance, waiting) == starting


def test_training_plans_and_moves_of_files_are_each_a_pool(settings: Settings) -> None:
    found: dict[str, set[str]] = {}
    definitions = build_definitions(settings)
    for job in definitions.get_repository_def().get_all_jobs():
        for node in job.nodes:
            for pool in node.definition.pools:
                found.setdefault(pool, set()).add(node.name)
    assert found == POOLS


def test_a_run_whose_process_died_is_made_once_more_and_one_of_which_a_step_failed_is_not(
    instance: dg.DagsterInstance, queue: Queue
) -> None:
    @dg.op
    def fails() -> None:
        raise dg.Failure("the policy cannot be read")

    @dg.job
    def failing() -> None:
        fails()

    died = instance.get_run_by_id(queue("refresh_lake"))
    assert died is not None
    instance.report_run_failed(died)  # as the code server does when it finds a run's process gone
    failed = failing.execute_in_process(instance=instance, raise_on_error=False)
    tags = [instance.get_run_by_id(run_id).tags for run_id in (died.run_id, failed.run_id)]  # type: ignore[union-attr]
    assert [found["dagster/will_retry"] for found in tags] == ["true", "false"]


@pytest.mark.parametrize("job", ["tier_partitions", "restore_partitions", "compact_table", "expire_partitions"])
def test_a_refused_move_is_not_made_again_whatever_the_instance_says(settings: Settings, job: str) -> None:
    tags = build_definitions(settings).resolve_job_def(job).run_tags
    assert tags["dagster/retry_on_asset_or_op_failure"] == "false"


def test_a_decision_whose_process_died_is_left_to_the_person_who_made_it(
    instance: dg.DagsterInstance, queue: Queue
) -> None:
    died = instance.get_run_by_id(queue("decide_plan"))
    assert died is not None
    instance.report_run_failed(died)
    ended = instance.get_run_by_id(died.run_id)
    assert ended is not None
    assert ended.tags["dagster/will_retry"] == "false"
