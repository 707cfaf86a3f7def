"""`cdap run`: the main job in this process, stage by stage, with what happens shown as it happens."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cdap_assets.commands.home import console
from cdap_assets.commands.instance import collect_seldom, open_instance
from cdap_assets.installation import Installation
from cdap_assets.work import stages
from cdap_assets.work.run_lock import LOCK, holding
from cdap_assets.work.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import dagster as dg

POLL_SECONDS = 0.5


class RunFailed(RuntimeError):
    """A stage failed; the message is what the failing step said."""


@dataclass(frozen=True)
class Outcome:
    """What a run of the main job did."""

    snapshot: date
    stages: tuple[Stage, ...]
    seconds: float


def run(home: Installation, asked: date | None) -> Outcome:
    """Run what is left to do for a snapshot date, one stage after another.

    Raises :class:`RunFailed` with the failing step's message, :class:`stages.NoSnapshot`, or
    :class:`~resources.stores.busy.Busy` when another run holds the home.
    """
    started = time.perf_counter()
    target = stages.chosen_snapshot(home, asked)
    done: list[Stage] = []
    with holding(home, "`cdap run`"), ExitStack() as stack:
        runner: Runner | None = None
        for stage in stages.due(home, target):
            # Dagster is loaded only when there is something to run
            runner = runner or stack.enter_context(_runner(home, LOCK))
            runner.execute(stage)
            done.append(stage)
    return Outcome(target, tuple(done), time.perf_counter() - started)


@dataclass
class _Seen:
    """How far a run has come: its steps that are done, those at work, and the last event that was looked at."""

    done: int = 0
    at_work: list[str] = field(default_factory=list)
    cursor: str | None = None


class Runner:
    """Executes stages as Dagster runs in this process, recorded in the home's instance."""

    def __init__(
        self,
        definitions: dg.Definitions,
        instance: dg.DagsterInstance,
        broken: Iterable[str] = (),
        lock: str | None = None,
    ) -> None:
        self.definitions = definitions
        self.instance = instance
        self.lock = lock
        self.broken = {f"raw_{name}" for name in broken}

    def execute(self, stage: Stage) -> None:
        """Run a stage, showing each asset as it is done. Raises :class:`RunFailed`."""
        console.print(f"[bold]{stage.title}[/]: {stage.why}")
        for run in stage.runs:
            self._execute(run)

    def _execute(self, stage: Stage) -> None:
        import dagster as dg
        from sqlalchemy.exc import SQLAlchemyError

        from cdap_assets.commands.run_origin import run_tags

        job = self.definitions.resolve_job_def(stage.job)
        run_id = str(uuid.uuid4())
        options: dict[str, Any] = {"run_id": run_id, "instance": self.instance, "raise_on_error": False}
        assets = {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
        if self.broken & assets:
            # the asset that stands for a broken contract would only fail, and keep the rest from going on
            options["asset_selection"] = [dg.AssetKey(name) for name in sorted(assets - self.broken)]
        options["run_config"] = {**stage.config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        options["tags"] = run_tags(stage, self.lock)
        options["partition_key"] = stage.partition_key
        results: list[Any] = []
        broke: list[Exception] = []

        def work() -> None:
            try:
                results.append(job.execute_in_process(**options))
            except (OSError, SQLAlchemyError, dg.DagsterError) as error:
                broke.append(error)  # what Dagster cannot note as a failed step, such as a full disk

        worker = threading.Thread(target=work, daemon=True)
        steps = len(job.graph.nodes) - len(self.broken & assets)
        seen = _Seen()
        with _progress() as progress:
            task = progress.add_task("", total=steps, now="")
            worker.start()
            while worker.is_alive():
                worker.join(POLL_SECONDS)
                # whether the run goes on is its own to say: left alone, it would go on behind the error
                with suppress(SQLAlchemyError):
                    self._look(run_id, seen)
                progress.update(task, completed=seen.done, now=", ".join(seen.at_work))
        if broke:
            raise RunFailed(f"{stage.title}: Dagster could not go on: {str(broke[0]).splitlines()[0]}") from broke[0]
        if not results or not results[0].success:
            raise RunFailed(self._failure(run_id))

    def _look(self, run_id: str, seen: _Seen) -> None:
        """Take in what happened since the last look."""
        import dagster as dg

        if seen.cursor is None and not self.instance.has_run(run_id):
            return
        kinds = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS}
        found = self.instance.get_records_for_run(run_id, cursor=seen.cursor, of_type=kinds)
        seen.cursor = found.cursor
        for record in found.records:
            event = record.event_log_entry.dagster_event
            if event is None:
                continue
            if event.event_type == dg.DagsterEventType.STEP_START:
                seen.at_work.append(event.step_key or "")
            else:
                seen.at_work.remove(event.step_key or "")
                seen.done += 1

    def _failure(self, run_id: str) -> str:
        import dagster as dg

        found = self.instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
        for record in found:
            event = record.event_log_entry.dagster_event
            if event is not None:
                failure = event.step_failure_data
                told = failure.user_failure_data.description if failure.user_failure_data else None
                error = failure.error
                while error is not None and error.cause is not None:
                    error = error.cause
                return f"{event.step_key}: {told or (error.message.strip() if error else event.message)}"
        return f"run {run_id} failed before its first step; see `cdap ui`"


def execute(home: Installation, stage: Stage) -> None:
    """Run one stage beside the main job. Raises :class:`RunFailed`."""
    with _runner(home) as runner:
        runner.execute(stage)


@contextmanager
def _runner(home: Installation, lock: str | None = None) -> Iterator[Runner]:
    """A runner, in a process that holds ``lock`` for as long."""
    from cdap_assets.commands.run_origin import end_dead_runs, give_origin
    from cdap_assets.definitions import definitions_of

    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    with open_instance(home.settings.home) as instance:
        definitions = definitions_of(home)
        collect_seldom()
        give_origin(instance, definitions.get_repository_def().name)
        if lock is not None:
            end_dead_runs(instance, lock)
        yield Runner(definitions, instance, home.lineage.broken, lock)


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[now]}"),
        console=console,
    )


def backfill(home: Installation, first: date, last: date) -> list[date]:
    """Build features and labels of every snapshot from ``first`` to ``last`` anew, in one pass."""
    from cdap_assets.table_assets.snapshots import weeks_between

    last = stages.chosen_snapshot(home, last)
    weeks = weeks_between(max(first, home.settings.first_snapshot), last)
    if not weeks:
        raise stages.NoSnapshot(f"there is no snapshot from {first} to {last}")
    with holding(home, "`cdap backfill`"), _runner(home, LOCK) as runner:
        runner.execute(Stage("build_snapshots", "features", f"{len(weeks)} snapshots anew", tuple(weeks)))
    return weeks
