"""The sensor asks for what is due, once for each state of a home, and waits for whoever is at work."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cdap_assets.commands.running import run
from cdap_assets.definitions import definitions_of
from cdap_assets.work import executor
from cdap_assets.work.main_job_sensor import GONE, KEY, NAME
from cdap_assets.work.run_lock import holding
from cdap_assets.work.stages import due, latest_snapshot
from resources.stores.busy import Busy, Holder
from tests.shop import FIRST
from tests.work.living_shop import HISTORY, LIVE, LivingShop, week

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # MLflow's own
    pytest.mark.filterwarnings("ignore:Parameter `"),  # of Dagster's own tester
]
FEW_DAYS = FIRST + timedelta(days=30)  # with a handful of orders
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture(scope="module")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a contract and an empty registry, which takes seconds to set up; to be copied."""
    shop = LivingShop(tmp_path_factory.mktemp("sensor") / "home")
    _ = shop.installation.registry.client
    return shop.home


class Home(LivingShop):
    """A copy of the new home, with Dagster's record of runs and the sensor's cursor."""

    def __init__(self, home: Path, instance: dg.DagsterInstance) -> None:
        self.home, self.now, self.instance = home, week(HISTORY), instance
        self.cursor: str | None = None

    @property
    def definitions(self) -> dg.Definitions:
        return definitions_of(self.installation)

    def tick(self, definitions: dg.Definitions | None = None) -> dg.RunRequest | str:
        """What a tick asks for, or why it asks for nothing."""
        loaded = definitions or self.definitions
        repository = loaded.get_repository_def()
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=repository, resources=loaded.resources
        ) as context:
            found = repository.get_sensor_def(NAME).evaluate_tick(context)
        self.cursor = found.cursor
        return found.run_requests[0] if found.run_requests else str(found.skip_message)

    def asked(self) -> dg.RunRequest:
        request = self.tick()
        assert isinstance(request, dg.RunRequest), request
        return request

    def carry_out(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def(str(request.job_name)).execute_in_process(
            instance=self.instance,
            run_config=request.run_config | QUIET,
            tags=dict(request.tags),
            partition_key=request.partition_key,
            asset_selection=request.asset_selection,
            raise_on_error=False,
        )


@pytest.fixture
def shop(new_home: Path, tmp_path: Path) -> Iterator[Home]:
    shutil.copytree(new_home, tmp_path / "home")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Home(tmp_path / "home", instance)


def test_nothing_is_asked_for_while_nothing_has_landed(shop: Home) -> None:
    shop.carry_out(shop.asked())  # tables are made, empty
    assert shop.tick() == (
        "everything is up to date for 2023-09-10, without a plan: no version of lapse_model and lifetime_value_model "
        "may serve. Next is what lands, and the snapshot of 2023-09-17 once that day has begun"
    )


def test_a_file_that_lands_asks_for_the_lake_with_the_reason_and_once(shop: Home) -> None:
    shop.deliver("monday.csv", FIRST, FEW_DAYS)
    request = shop.asked()
    assert request.job_name == "refresh_lake"
    assert request.tags["cdap/reason"] == "1 new file in orders"
    assert request.run_key == request.tags[KEY]
    assert shop.asked().run_key == request.run_key  # Dagster starts one run of a key
    assert shop.carry_out(request).success
    assert shop.asked().job_name == "build_snapshots"


def test_what_failed_is_asked_for_again_once_something_has_changed_or_tomorrow(
    shop: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("cdap_assets.raw.assets.take", full)
    shop.deliver("monday.csv", FIRST, FEW_DAYS)
    failed = shop.carry_out(shop.asked())
    assert not failed.success
    assert shop.tick() == (
        f"lake (1 new file in orders) failed as run {failed.run_id[:8]}: it is asked for again once anything has "
        "changed, or tomorrow; mend what its error says, or launch its job yourself"
    )
    shop.deliver("tuesday.csv", FEW_DAYS, FEW_DAYS + timedelta(days=1))
    assert not shop.carry_out(shop.asked()).success
    assert isinstance(shop.tick(), str)
    shop.now += timedelta(days=1)
    assert isinstance(shop.tick(), dg.RunRequest)


def test_a_broken_contract_keeps_the_other_sources_from_nothing(shop: Home) -> None:
    (shop.home / "contracts" / "returns.yaml").write_text("kind: nonsense")
    shop.deliver("monday.csv", FIRST, FEW_DAYS)
    request = shop.asked()
    assert request.asset_selection is not None
    assert dg.AssetKey("raw_orders") in request.asset_selection
    assert dg.AssetKey("raw_returns") not in request.asset_selection
    assert shop.carry_out(request).success


def test_contracts_that_changed_since_they_were_loaded_are_told(shop: Home) -> None:
    loaded = shop.definitions
    shop.contract(LIVE.replace("version: 1.0.0", "version: 1.0.1"))
    assert shop.tick(loaded) == "contracts have changed since they were loaded: reload this code location"
    assert isinstance(shop.tick(), dg.RunRequest)


def test_nothing_is_asked_for_while_a_run_holds_the_home_and_who_does_is_told(shop: Home) -> None:
    shop.deliver("monday.csv", FIRST, FEW_DAYS)
    with holding(shop.installation, "`cdap run`"):
        told = shop.tick()
    assert isinstance(told, str)
    assert told.startswith(f"`cdap run` (process {os.getpid()} of ")
    assert told.endswith(" since 2023-09-10 08:00 UTC is at work")
    assert isinstance(shop.tick(), dg.RunRequest)


def test_a_run_whose_process_has_gone_is_ended_at_the_second_look_and_holds_up_nobody(shop: Home) -> None:
    shop.deliver("monday.csv", FIRST, FEW_DAYS)
    job = shop.definitions.resolve_job_def("refresh_lake")
    lost = shop.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert shop.tick() == f"Dagster run {lost.run_id[:8]}, refresh_lake, is about to begin"
    assert isinstance(shop.tick(), dg.RunRequest)
    ended = shop.instance.get_run_by_id(lost.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE


def test_a_run_that_waits_in_the_queue_is_waited_for(shop: Home) -> None:
    shop.deliver("monday.csv", FIRST, FEW_DAYS)
    job = shop.definitions.resolve_job_def("refresh_lake")
    queued = shop.instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED)
    for _ in range(3):
        assert shop.tick() == f"Dagster run {queued.run_id[:8]}, refresh_lake, is about to begin"


def in_its_own_process(shop: Home) -> dg.JobExecutionResult:
    """A run of the lake as the process of a run executes it, with the executor of the job."""
    arguments = (str(shop.home), shop.now.isoformat(), "refresh_lake")
    job = dg.build_reconstructable_job("tests.work.living_shop", "job_of", arguments)
    return dg.execute_job(job, shop.instance, run_config=QUIET)


def test_a_run_of_dagster_waits_for_cdap_run_and_says_for_whom(shop: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "LOOK_AGAIN", 0.1)
    held = threading.Event()

    def hold() -> None:
        with holding(shop.installation, "`cdap run`"):
            held.set()
            time.sleep(1)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    with in_its_own_process(shop) as result:
        holder.join()
        assert result.success
    told = [entry.message for entry in shop.instance.all_logs(result.run_id)]
    [waited] = [message for message in told if message.startswith("Waiting for ")]
    assert waited.startswith(f"Waiting for `cdap run` (process {os.getpid()} of ")
    assert waited.endswith(" since 2023-09-10 08:00 UTC, which runs this home.")


def test_cdap_run_refuses_beside_a_run_of_dagster_and_names_it(shop: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []
    execute = executor._Holding.execute

    def watched(self: executor._Holding, *given: Any) -> Iterator[dg.DagsterEvent]:
        for event in execute(self, *given):
            if event.is_step_start and not refused:
                with pytest.raises(Busy) as told:
                    run(shop.installation, None)
                refused.append(str(told.value))
            yield event

    monkeypatch.setattr(executor._Holding, "execute", watched)
    with in_its_own_process(shop) as result:
        assert result.success
    [message] = refused
    assert f"is being run by Dagster run {result.run_id[:8]}, refresh_lake (process {os.getpid()} of " in message
    assert message.endswith("since 2023-09-10 08:00 UTC; wait for it, or stop it")


def test_a_lease_that_nobody_renews_any_more_holds_up_nobody_and_one_that_is_renewed_does(
    shop: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [Holder("Dagster run 12345678, refresh_lake", "first")]
    monkeypatch.setattr("cdap_assets.work.main_job_sensor.holder_of", lambda *_: held[0])
    shop.deliver("monday.csv", FIRST, FEW_DAYS)
    at_work = "Dagster run 12345678, refresh_lake is at work"
    assert shop.tick() == at_work
    shop.now += GONE
    held[0] = Holder(held[0].name, "renewed")
    assert shop.tick() == at_work
    shop.now += GONE - timedelta(seconds=1)
    assert shop.tick() == at_work
    shop.now += timedelta(seconds=1)
    assert isinstance(shop.tick(), dg.RunRequest)


def test_where_the_landing_prefix_is_not_to_be_listed_no_delivery_is_looked_for(shop: Home) -> None:
    shop.deliver("monday.csv", FIRST, FEW_DAYS)
    target = latest_snapshot(shop.installation)
    [made] = due(shop.installation, target, look=False)
    assert made.why.endswith("everything: first build")
    [landed] = due(shop.installation, target)
    assert landed.why == "1 new file in orders"
