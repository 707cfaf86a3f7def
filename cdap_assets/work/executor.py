"""The executor of every run that changes tables: all its steps in one process, which holds the installation.

Jobs that change no table of the lineage (decisions about plans, storage) have another executor, and take no lock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.errors import raise_execution_interrupts

from cdap_assets.installation import Installation
from cdap_assets.work.run_lock import holding
from resources.stores.busy import Busy, LockLost

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode
    from dagster._core.execution.step_dependency_config import StepDependencyConfig

PATIENCE = 6 * 3600.0  # seconds: longer than any run
LOOK_AGAIN = 5.0  # seconds, after which a waiting run can be ended


def one_run_at_a_time(home: Installation) -> dg.ExecutorDefinition:
    """All steps of a run in one process, once nobody else works on ``home``."""

    @dg.executor(name="one_run_at_a_time", config_schema=dg.in_process_executor.config_schema.as_field())
    def executor(context: dg.InitExecutorContext) -> dg.Executor:
        return _Holding(home, dg.in_process_executor.executor_creation_fn(context))  # type: ignore[misc]

    return executor


class _Holding(dg.Executor):
    """Runs steps as ``inner`` does, once nobody else works on the installation."""

    def __init__(self, home: Installation, inner: dg.Executor) -> None:
        self.home = home
        self.inner = inner

    @property
    def retries(self) -> RetryMode:
        """Those of ``inner``."""
        return self.inner.retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        """That of ``inner``."""
        return self.inner.step_dependency_config

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Wait, hold, run. Raises :class:`~resources.stores.busy.Busy` after :data:`PATIENCE`."""
        run = plan_context.dagster_run
        who = f"Dagster run {run.run_id[:8]}, {run.job_name}"
        began, told = time.monotonic(), ""
        with ExitStack() as held:
            while True:
                try:
                    with raise_execution_interrupts():
                        held.enter_context(holding(self.home, who, patience=LOOK_AGAIN))
                    break
                except Busy as error:
                    if isinstance(error, LockLost) or time.monotonic() - began > PATIENCE:
                        raise
                    if told != (told := error.holder):
                        plan_context.instance.report_engine_event(f"Waiting for {told}, which runs this home.", run)
            yield from self.inner.execute(plan_context, execution_plan)
