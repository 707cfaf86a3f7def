"""The retention plan of a snapshot: drafted from scores, for people to edit, approve or reject."""

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import dagster as dg
import ibis

from cdap_assets.curated.versions import known_at
from cdap_assets.identity.customer_xref import CUSTOMER_XREF, resolve
from cdap_assets.models.scores import CUSTOMER_SCORES
from cdap_assets.models.training import DataEnds
from cdap_assets.profiles.segments import CUSTOMER_SEGMENTS
from cdap_assets.retention.ledger import (
    APPROVED,
    PARTLY,
    assign_holdout,
    contacts_of,
    deciding,
    fixed_arms,
    plan_basis,
    plan_rows,
    plan_states,
    record_draft,
)
from cdap_assets.retention.plan_id import PlanId
from cdap_assets.retention.retention_policy import RetentionPolicy, RetentionPolicyError, read_policy
from cdap_assets.retention.tables import CONTACT, CONTROL, RETENTION_PLAN
from cdap_assets.table_assets.snapshots import cutoff
from cdap_assets.table_assets.table_asset import requested_keys
from cdap_assets.table_assets.table_metadata import publish_metadata
from resources.clock import Clock
from resources.iceberg.table import TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Published, Session
from resources.registry.model_registry import ModelRegistry

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from cdap_assets.retention.drafting import Candidates

VERSION = "1"


class NothingToPlan(ValueError):
    """A snapshot without scored regulars, or in another currency than the policy's."""


def plan_asset(partitions: dg.PartitionsDefinition[str], specs: "Mapping[str, TableSpec]") -> dg.AssetsDefinition:
    """The asset ``retention_plan``, one partition per snapshot date."""

    @dg.asset(
        name=RETENTION_PLAN.name,
        group_name="retention",
        deps=["customer_scores", "customer_segments", "touches", "consents"],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=VERSION,
        description=RETENTION_PLAN.description,
        metadata={"cdap/table": RETENTION_PLAN.name},
    )
    def retention_plan(
        context: dg.AssetExecutionContext,
        lakehouse: dg.ResourceParam[Lakehouse],
        registry: dg.ResourceParam[ModelRegistry],
        clock: dg.ResourceParam[Clock],
        data_ends: dg.ResourceParam[DataEnds],
    ) -> dg.MaterializeResult:
        from cdap_assets.retention.plan_page import page_name, write_plan_page

        keys = requested_keys(context)
        if len(keys) != 1:
            raise dg.Failure("a plan is drafted for one snapshot date; this run names none", allow_retries=False)
        snapshot, settings = date.fromisoformat(keys[0]), lakehouse.settings
        try:
            policy = read_policy(settings.retention_file)
        except RetentionPolicyError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        # what people decided is read as it is now: this run's pins are older than the lock
        with (
            deciding(settings),
            lakehouse.in_process() as decided,
            lakehouse.in_process(context.run.run_id) as session,
        ):
            try:
                plan_id, rows, published = write_draft(
                    session, decided, specs, snapshot, policy, clock(), settings.zone
                )
            except NothingToPlan as error:
                raise dg.Failure(str(error), allow_retries=False) from error
            metadata = publish_metadata(RETENTION_PLAN, published, ibis.memtable(rows), session)
        contacts = rows[rows["decision"] == CONTACT]
        write_plan_page(lakehouse, registry, plan_id, policy, data_ends.day)
        cost, stake = float(contacts["cost"].sum() or 0), float(contacts["value_at_stake"].sum() or 0)
        return dg.MaterializeResult(
            metadata={
                **metadata,
                "plan": str(plan_id),
                "page": dg.MetadataValue.url(settings.page_url(page_name(plan_id))),
                "contacts": len(contacts),
                "cost": cost,
                "value_at_stake": stake,
                "decisions": dg.MetadataValue.md(_decisions(rows["decision"].value_counts().to_dict())),
                "reviewed": bool(rows["reviewed"].all()),
            }
        )

    return retention_plan


def write_draft(
    session: Session,
    decided: Session,
    specs: "Mapping[str, TableSpec]",
    snapshot: date,
    policy: RetentionPolicy,
    now: datetime,
    zone: ZoneInfo,
) -> "tuple[PlanId, pd.DataFrame, Published]":
    """Draft the plan of a snapshot and publish it: its id and rows, and what was published.

    Scores are read in ``session``, plans and arms in ``decided``. Raises :class:`NothingToPlan`.
    """
    from cdap_assets.retention.drafting import draft

    plan_id = next_plan_id(decided, snapshot)
    candidates = candidates_of(session, decided, specs, snapshot, policy, now, zone)
    rows = draft(candidates, policy, plan_id).assign(snapshot_date=snapshot)[list(RETENTION_PLAN.names)]
    published = session.publish(
        RETENTION_PLAN,
        ibis.memtable(rows),
        replace={"plan_id": [str(plan_id)]},
        provenance={"code_version": VERSION, "plan_id": str(plan_id)},
        inputs=session.read_so_far(CUSTOMER_SCORES.name),
    )
    scored = candidates.scores.iloc[0]
    versions = int(scored["lapse_model_version"]), int(scored["value_model_version"])
    basis = plan_basis(*versions, bool(scored["reviewed"]), policy)
    record_draft(decided, plan_id, int((rows["decision"] == CONTACT).sum()), now, basis)
    return plan_id, rows, published


def next_plan_id(session: Session, snapshot: date) -> PlanId:
    """A draft that nobody has touched is drafted anew under its id; otherwise the next number."""
    mine = [state for state in plan_states(session).values() if state.snapshot == snapshot]
    if not mine:
        return PlanId(snapshot, 1)
    newest = mine[-1]
    # arms without a decision are an approval that was cut short: somebody has touched that draft
    untouched = newest.untouched and not fixed_arms(session, newest.plan_id)
    return newest.plan_id if untouched else newest.plan_id.next


def candidates_of(
    session: Session,
    decided: Session,
    specs: "Mapping[str, TableSpec]",
    snapshot: date,
    policy: RetentionPolicy,
    now: datetime,
    zone: ZoneInfo,
) -> "Candidates":
    """Scored regulars with whoever a rule leaves out; plans and arms are read in the session ``decided``.

    Raises :class:`NothingToPlan`.
    """
    from cdap_assets.retention.drafting import Candidates

    at = cutoff(snapshot, zone)
    scores = session.read(CUSTOMER_SCORES, {"snapshot_date": [snapshot]})
    regulars = scores.filter(scores.eligible).order_by("customer_id").to_pandas()
    if regulars.empty:
        raise NothingToPlan(f"no scored regular at snapshot {snapshot}; build and score it first (`cdap run`)")
    currencies = sorted(set(regulars["currency"]))
    if currencies != [policy.currency]:
        raise NothingToPlan(
            f"retention.yaml counts in {policy.currency}, the customers spend {', '.join(currencies)}: costs and "
            "values of different currencies are not compared. Set currency and amounts in retention.yaml."
        )
    excluded: dict[str, str] = {}
    xref = session.read(CUSTOMER_XREF)
    if policy.require_consent:
        for purpose in policy.require_consent:
            granted = _consented(session.read(specs["consents"]), xref, purpose, at)
            excluded |= {c: f"no consent to {purpose}" for c in regulars["customer_id"] if c not in granted}
    if policy.exclude_segments:
        segments = session.read(CUSTOMER_SEGMENTS)
        hit = segments.filter(segments.segment.isin(list(policy.exclude_segments)))
        for row in hit.select("customer_id", "segment").to_pyarrow().to_pylist():
            excluded.setdefault(row["customer_id"], f"segment {row['segment']} is excluded")
    touches = session.read(specs["touches"])
    since = at - timedelta(days=policy.min_days_between_contacts)
    recent = touches.filter(
        known_at(touches, ibis.literal(at)), touches.sent_at >= ibis.literal(since), touches.sent_at < ibis.literal(at)
    )
    span = f"in the last {policy.min_days_between_contacts} days"
    sent = set(resolve(recent, xref, at).customer_id.to_pyarrow().to_pylist())
    planned, controls = measured_since(decided, snapshot - timedelta(days=policy.min_days_between_contacts), snapshot)
    excluded = {
        **dict.fromkeys(sorted(controls), f"control of a plan {span}"),
        **dict.fromkeys(sorted(sent | planned), f"contacted {span}"),
        **excluded,
    }
    holdout = assign_holdout(decided, list(regulars["customer_id"]), policy.holdout_share, now)
    return Candidates(regulars, holdout, excluded)


def measured_since(session: Session, after: date, until: date) -> tuple[set[str], set[str]]:
    """Contacts and controls of the approved plans of snapshots after ``after`` up to ``until``.

    Deliveries tell of contacts only later; and a control that the next plan contacts is none.
    """
    contacted: set[str] = set()
    controls: set[str] = set()
    for state in plan_states(session).values():
        if state.state in (APPROVED, PARTLY) and after < state.snapshot <= until:
            contacted |= set(contacts_of(plan_rows(session, state.plan_id), state)["customer_id"])
            arms = fixed_arms(session, state.plan_id)
            controls |= {customer for customer, arm in arms.items() if arm == CONTROL}
    return contacted, controls


def _consented(consents: ibis.Table, xref: ibis.Table, purpose: str, at: datetime) -> set[str]:
    mine = consents.filter(
        consents.purpose == purpose, known_at(consents, ibis.literal(at)), consents["at"] < ibis.literal(at)
    )
    mine = resolve(mine, xref, at)
    newest = mine.mutate(newest=mine["at"].max().over(group_by="customer_id"))
    # of a grant and a refusal at one instant, the refusal counts
    latest = (
        newest.filter(newest["at"] == newest.newest)
        .group_by("customer_id")
        .aggregate(granted=lambda t: t.granted.all())
    )
    return set(latest.filter(latest.granted).customer_id.to_pyarrow().to_pylist())


def _decisions(counts: dict[str, int]) -> str:
    return "\n".join(["| decision | customers |", "|---|---:|", *(f"| {name} | {n:,} |" for name, n in counts.items())])
