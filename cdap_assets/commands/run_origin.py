"""What a run of `cdap run` tells Dagster's pages: the code location that it is of, its stage and why it was made.

Dagster itself gives no origin to a run that is made in process. Timeline leaves out a run without one, and a job's page
one without the tag that Dagster makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin  # has no public name

if TYPE_CHECKING:
    from cdap_assets.work.stages import Stage

LOCATION = "cdap"  # as templates/workspace.yaml names it to `cdap ui`
LOCK = "cdap/lock"
FINISHED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


def run_tags(stage: Stage, lock: str | None) -> Mapping[str, str]:
    """The tags of a stage's run, made while its process holds ``lock``.

    The next `cdap run` does what a failed one has left, so that Dagster is to make none in its place.
    """
    tags = {**stage.tags, "dagster/max_retries": "0"}
    return tags if lock is None else {**tags, LOCK: lock}


def give_origin(instance: dg.DagsterInstance, repository: str) -> None:
    """Have every run that this process makes in ``instance`` be of ``repository`` in the UI's code location."""
    origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), repository)
    create = instance.create_run_for_job

    def create_run_for_job(job_def: dg.JobDefinition, **named: Any) -> dg.DagsterRun:
        return create(job_def, **{"remote_job_origin": origin.get_job_origin(job_def.name), **named})

    instance.create_run_for_job = create_run_for_job  # type: ignore[method-assign, assignment]


def end_dead_runs(instance: dg.DagsterInstance, lock: str) -> list[str]:
    """Have every unfinished run that was made under ``lock`` count as failed, and tell their ids.

    Only for who holds the lock: the process of such a run has ended without a word, and Dagster would show the run as
    going on, and have others of its pools wait for it.
    """
    unfinished = [status for status in dg.DagsterRunStatus if status not in FINISHED]
    dead = instance.get_runs(dg.RunsFilter(statuses=unfinished, tags={LOCK: lock}))
    for run in dead:
        instance.report_run_failed(
            run, "The process of this run ended before the run did; the next `cdap run` goes on."
        )
    return [run.run_id for run in dead]
