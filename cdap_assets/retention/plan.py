"""The retention plan of a snapshot: drafted from scores, for people to edit, approve or reject."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
import ibis

from cdap_assets.models.tables import CUSTOMER_SCORES
from cdap_assets.retention.ledger import PLANS, deciding, fixed_arms, plan_basis, plan_states, record_draft
from cdap_assets.retention.materializations import report
from cdap_assets.retention.plan_id import PlanId
from cdap_assets.retention.retention_policy import RetentionPolicy, RetentionPolicyError, read_policy
from cdap_assets.retention.tables import CONTACT, RETENTION_PLAN
from cdap_assets.table_assets.dagster_asset import requested_keys
from cdap_assets.table_assets.promises import broken_promises, kept_promises, promise_specs
from cdap_assets.table_assets.table_metadata import publish_metadata
from resources.clock import Calendar
from resources.iceberg.errors import InvariantViolated
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Published, Session
from resources.registry.model_registry import ModelRegistry

if TYPE_CHECKING:
    import pandas as pd

    from cdap_assets.retention.candidates import DraftInputs

VERSION = "1"
READ = ("customer_scores", "customer_segments", "touches", "consents")


@dataclass(frozen=True)
class Draft:
    """A plan that was drafted: its id, a row for each regular, and what was published."""

    plan_id: PlanId
    rows: "pd.DataFrame"
    published: Published

    @property
    def contacts(self) -> "pd.DataFrame":
        """The rows that are to be contacted."""
        return self.rows[self.rows["decision"] == CONTACT]


def plan_asset(partitions: dg.PartitionsDefinition[str], unfilled: Collection[str] = ()) -> dg.AssetsDefinition:
    """The asset ``retention_plan``, one partition per snapshot date; ``unfilled`` are tables that are no assets."""

    @dg.asset(
        name=RETENTION_PLAN.name,
        group_name="retention",
        deps=[name for name in READ if name not in unfilled],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=VERSION,
        pool=PLANS,
        description=RETENTION_PLAN.description,
        metadata={"cdap/table": RETENTION_PLAN.name},
        check_specs=promise_specs(RETENTION_PLAN),
    )
    def retention_plan(
        context: dg.AssetExecutionContext,
        lakehouse: dg.ResourceParam[Lakehouse],
        registry: dg.ResourceParam[ModelRegistry],
        installation: dg.ResourceParam[Calendar],
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        from cdap_assets.retention.candidates import DraftInputs, NothingToPlan
        from cdap_assets.retention.plan_page import page_name, write_plan_page

        keys = requested_keys(context)
        if len(keys) != 1:
            raise dg.Failure(
                f"a plan is drafted for one snapshot date; this run names {len(keys)}", allow_retries=False
            )
        snapshot, settings = date.fromisoformat(keys[0]), lakehouse.settings
        try:
            policy = read_policy(settings.retention_file)
            with (
                deciding(settings),
                lakehouse.in_process() as decided,
                lakehouse.in_process(context.run.run_id) as session,
            ):
                drafted = write_draft(DraftInputs(snapshot, policy, session, decided, installation.now()))
                report(lakehouse, context.instance, context.log_event)
                metadata = publish_metadata(RETENTION_PLAN, drafted.published, ibis.memtable(drafted.rows), session)
                promises = kept_promises(RETENTION_PLAN, session)
        except InvariantViolated as error:
            yield from broken_promises(RETENTION_PLAN, error)
            raise
        except (RetentionPolicyError, NothingToPlan) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        write_plan_page(lakehouse, registry, drafted.plan_id, policy, installation.data_ends)
        contacts = drafted.contacts
        yield dg.MaterializeResult(
            metadata={
                "page": dg.MetadataValue.url(settings.page_url(page_name(drafted.plan_id))),
                **metadata,
                "plan": str(drafted.plan_id),
                "contacts": len(contacts),
                "cost": float(contacts["cost"].sum() or 0),
                "value_at_stake": float(contacts["value_at_stake"].sum() or 0),
                "decisions": dg.MetadataValue.md(_decisions(drafted.rows["decision"].value_counts().to_dict())),
                "reviewed": bool(drafted.rows["reviewed"].all()),
            },
            check_results=promises,
        )

    return retention_plan


def write_draft(inputs: "DraftInputs") -> Draft:
    """Draft the plan of a snapshot and publish it. Raises :class:`~cdap_assets.retention.candidates.NothingToPlan`."""
    from cdap_assets.retention.candidates import candidates_of
    from cdap_assets.retention.drafting import draft

    plan_id = next_plan_id(inputs.decided, inputs.snapshot)
    candidates = candidates_of(inputs)
    rows = draft(candidates, inputs.policy, plan_id).assign(snapshot_date=inputs.snapshot)[list(RETENTION_PLAN.names)]
    published = inputs.session.publish(
        RETENTION_PLAN,
        ibis.memtable(rows),
        replace={"plan_id": [str(plan_id)]},
        provenance={"code_version": VERSION, "plan_id": str(plan_id)},
        inputs=inputs.session.read_so_far(CUSTOMER_SCORES.name),
    )
    drafted = Draft(plan_id, rows, published)
    record_draft(inputs.decided, plan_id, len(drafted.contacts), inputs.now, _basis(candidates.scores, inputs.policy))
    return drafted


def _basis(scores: "pd.DataFrame", policy: RetentionPolicy) -> str:
    scored = scores.iloc[0]
    versions = int(scored["lapse_model_version"]), int(scored["value_model_version"])
    return plan_basis(*versions, bool(scored["reviewed"]), policy)


def next_plan_id(session: Session, snapshot: date) -> PlanId:
    """A draft that nobody has touched is drafted anew under its id; otherwise the next number."""
    mine = [state for state in plan_states(session).values() if state.snapshot == snapshot]
    if not mine:
        return PlanId(snapshot, 1)
    newest = mine[-1]
    # arms without a decision are an approval that was cut short: somebody has touched that draft
    untouched = newest.untouched and not fixed_arms(session, newest.plan_id)
    return newest.plan_id if untouched else newest.plan_id.next


def _decisions(counts: dict[str, int]) -> str:
    return "\n".join(["| decision | customers |", "|---|---:|", *(f"| {name} | {n:,} |" for name, n in counts.items())])
