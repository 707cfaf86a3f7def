"""A home that only Dagster's automation touched is the home that only `cdap run` touched."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from cdap_assets.commands.running import run
from cdap_assets.definitions import definitions_of
from cdap_assets.models.lapse_model import judging
from cdap_assets.retention.ledger import plan_states
from cdap_assets.work.main_job_sensor import NAME
from cdap_assets.work.stages import chosen_snapshot
from tests.shop import FIRST
from tests.work.living_shop import HISTORY, MENDED, LivingShop, week

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # MLflow's own
    pytest.mark.filterwarnings("ignore:Parameter `"),  # of Dagster's own: partition ranges are beta
]
# what is another one in each home: Iceberg's id of what was read, and when a file was written to the disk
OWN = {"customer_scores": {"features_snapshot_id"}, "deliveries": {"version"}}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
MOST_TICKS = 12


def day(number: int) -> Any:
    return FIRST + timedelta(days=7 * number)


def mended_and_late(shop: LivingShop) -> None:
    shop.contract(MENDED)
    shop.deliver("late.csv", day(36), day(37), every=5)


# what happens at which time; between the last two nobody looks for three weeks
STORY: list[tuple[Any, Callable[[LivingShop], None]]] = [
    (week(HISTORY), lambda shop: shop.deliver("history.csv", FIRST, day(36))),
    (week(37), lambda shop: shop.deliver("week36.csv", day(36), day(37), but=5)),
    (week(38), mended_and_late),
    (week(41) + timedelta(days=1), lambda shop: shop.deliver("weeks37to40.csv", day(37), day(41))),
]


class Automation:
    """Dagster's daemon for one home: ticks of the sensor, and a run of its own for what each asks for."""

    def __init__(self, shop: LivingShop) -> None:
        self.shop = shop
        self.cursor: str | None = None
        self.asked: list[str] = []

    def until_it_rests(self, instance: dg.DagsterInstance) -> str:
        """Tick and run until a tick asks for nothing; what that tick said."""
        definitions = definitions_of(self.shop.installation)
        repository = definitions.get_repository_def()
        for _ in range(MOST_TICKS):
            with dg.build_sensor_context(
                instance=instance, cursor=self.cursor, repository_def=repository, resources=definitions.resources
            ) as context:
                found = repository.get_sensor_def(NAME).evaluate_tick(context)
            self.cursor = found.cursor
            if not found.run_requests:
                return str(found.skip_message)
            [request] = found.run_requests
            self.asked.append(str(request.job_name))
            self.run(request, instance)
        raise AssertionError(f"it asks without end: {self.asked}")

    def run(self, request: dg.RunRequest, instance: dg.DagsterInstance) -> None:
        """What a run's own process does, with the executor of the job."""
        arguments = (str(self.shop.home), self.shop.now.isoformat(), request.job_name)
        job = dg.build_reconstructable_job("tests.work.living_shop", "job_of", arguments)
        partition = {"dagster/partition": request.partition_key} if request.partition_key else {}
        config, tags = {**request.run_config, **QUIET}, {**request.tags, **partition}
        with dg.execute_job(job, instance, run_config=config, tags=tags, raise_on_error=True) as result:
            assert result.success


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> tuple[LivingShop, LivingShop, list[str], list[str]]:
    """Both homes at the end of the story, with the jobs that ran in each."""
    root = tmp_path_factory.mktemp("either")
    ran, automated = LivingShop(root / "ran"), LivingShop(root / "automated")
    automation, jobs = Automation(automated), []
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        # 80 customers are too few for these two gates; what passes them is not the subject here
        patch.setattr(judging, "MOST_CALIBRATION_ERROR", 0.3)
        patch.setattr(judging, "FEWEST_LAPSES", 50)
        for at, happens in STORY:
            for shop in (ran, automated):
                shop.now = at
                happens(shop)
            patch.setenv("DAGSTER_HOME", str(ran.home / "dagster"))
            jobs += [part.job for stage in run(ran.installation, None).stages for part in stage.runs]
            patch.setenv("DAGSTER_HOME", str(automated.home / "dagster"))
            with dg.DagsterInstance.get() as instance:
                told = automation.until_it_rests(instance)
            assert told.startswith(
                f"everything is up to date for {chosen_snapshot(automated.installation, None)}. Next"
            )
    return ran, automated, jobs, automation.asked


def rows(shop: LivingShop, name: str) -> list[tuple[str, ...]]:
    home = shop.installation
    spec = home.lineage.specs[name]
    kept = [column for column in spec.names if column not in OWN.get(name, set())]
    with home.lakehouse.looking() as session:
        found = session.read(spec).select(*kept).to_pyarrow().to_pylist()
    return sorted(tuple(str(row[column]) for column in kept) for row in found)


def test_both_did_the_same_in_the_same_order(homes: tuple[LivingShop, LivingShop, list[str], list[str]]) -> None:
    _ran, _automated, jobs, asked = homes
    assert asked == jobs
    assert jobs.count("train_models") == 2  # again after three weeks in which nobody looked
    assert jobs.count("score_and_plan") >= 3


def test_every_table_of_both_is_the_same_row_by_row(
    homes: tuple[LivingShop, LivingShop, list[str], list[str]],
) -> None:
    ran, automated, _jobs, _asked = homes
    different = [name for name in ran.installation.lineage.specs if rows(ran, name) != rows(automated, name)]
    assert different == []
    for name in ("order_lines", "customer_profile", "customer_features", "lapse_labels", "customer_scores"):
        assert len(rows(ran, name)) > 50


def test_both_drafted_a_plan_for_the_newest_snapshot(
    homes: tuple[LivingShop, LivingShop, list[str], list[str]],
) -> None:
    for shop in homes[:2]:
        with shop.installation.lakehouse.looking() as session:
            newest = list(plan_states(session).values())[-1]
        assert newest.snapshot == chosen_snapshot(shop.installation, None) == day(41)
        assert newest.open
