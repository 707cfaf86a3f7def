"""The job by which a named person approves or rejects a plan from Dagster instead of the command line."""

from enum import Enum

import dagster as dg
from pydantic import Field

from cdap_assets.retention.decisions import Desk, Unfinished, approve, reject
from cdap_assets.retention.ledger import PLANS, deciding
from cdap_assets.retention.materializations import report
from cdap_assets.retention.plan_id import PlanId, PlanRefused
from cdap_assets.retention.retention_policy import RetentionPolicyError
from resources.clock import Calendar
from resources.lake.lakehouse import Lakehouse
from resources.registry.model_registry import ModelRegistry


class Verdict(Enum):
    """What is decided of a plan."""

    approve = "approve"
    reject = "reject"


class Decision(dg.Config):
    """A person's decision about a plan."""

    plan_id: str = Field(description="the plan, such as 2024-03-03-1; `cdap plan list` and the plan's page name it")
    decision: Verdict = Field(description="approve: write its arms and activation files; reject: nothing is sent")
    by: str = Field(description="the person who decides")
    reason: str = Field("", description="why; a rejection needs one")
    first: int | None = Field(None, description="approve only so many contacts, by value at stake per cost; empty: all")


@dg.op(
    out=dg.Out(dg.Nothing),
    pool=PLANS,
    description="Decides about a plan, renews its page, and exports an approved one.",
)
def decide(
    context: dg.OpExecutionContext,
    config: Decision,
    lakehouse: dg.ResourceParam[Lakehouse],
    registry: dg.ResourceParam[ModelRegistry],
    installation: dg.ResourceParam[Calendar],
) -> None:
    """What `cdap plan approve` and `cdap plan reject` do. Raises ``dg.Failure`` with the reason of a refusal."""
    desk = Desk(lakehouse, registry, installation.now, installation.data_ends)
    try:
        plan_id = PlanId.parse(config.plan_id)
        if config.decision is Verdict.reject:
            decided = reject(desk, plan_id, by=config.by, reason=config.reason)
        else:
            decided = approve(desk, plan_id, by=config.by, first=config.first, note=config.reason)
    except (PlanRefused, RetentionPolicyError, Unfinished) as error:
        if isinstance(error, Unfinished):
            _report(context, lakehouse)
        raise dg.Failure(str(error), allow_retries=False) from error
    _report(context, lakehouse)
    context.log.info("plan %s is %s by %s; page %s", plan_id, decided.state.state, config.by, decided.page)
    if decided.export:
        context.log.info("%s rows in %s", decided.export.rows, decided.export.folder)


def _report(context: dg.OpExecutionContext, lakehouse: Lakehouse) -> None:
    """Have Dagster show what was decided; where another decision is in the way, that one reports both."""
    try:
        with deciding(lakehouse.settings):
            report(lakehouse, context.instance, context.log_event)
    except PlanRefused as busy:
        context.log.warning("`plan_events` and `arms` are shown as they were until the next decision: %s", busy)


@dg.job(
    executor_def=dg.in_process_executor,
    tags={"dagster/max_retries": "0"},  # a person sees what came of a decision before it is made again
    description="Approve or reject a retention plan in the name of a person, as `cdap plan approve` does.",
)
def decide_plan() -> None:
    """One decision."""
    decide()
