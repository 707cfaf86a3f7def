"""Who may be contacted at a snapshot: its scored regulars, with whom a rule leaves out and who is in the holdout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import ibis

from cdap_assets.curated.entities import ENTITIES
from cdap_assets.curated.versions import known_at
from cdap_assets.identity.customer_xref import CUSTOMER_XREF, resolve
from cdap_assets.models.tables import CUSTOMER_SCORES
from cdap_assets.profiles.segments import CUSTOMER_SEGMENTS
from cdap_assets.retention.drafting import Candidates
from cdap_assets.retention.ledger import (
    APPROVED,
    PARTLY,
    assign_holdout,
    contacts_of,
    fixed_arms,
    plan_rows,
    plan_states,
)
from cdap_assets.retention.tables import CONTROL
from cdap_assets.table_assets.snapshots import cutoff
from resources.lake.session import Session

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

    from cdap_assets.retention.retention_policy import RetentionPolicy

Reasons = Mapping[str, str]  # customer id -> why a rule leaves the customer out


class NothingToPlan(ValueError):
    """A snapshot without scored regulars, or in another currency than the policy's."""


@dataclass(frozen=True)
class DraftInputs:
    """What a draft is made from.

    Scores, segments, touches and consents are read in ``session``, as the run has pinned them; plans and arms in
    ``decided``, as they are ``now`` (UTC): a run's pins are older than the lock under which people decide.
    """

    snapshot: date
    policy: RetentionPolicy
    session: Session
    decided: Session
    now: datetime

    @cached_property
    def cutoff(self) -> datetime:
        """The instant of the snapshot (UTC): what was known then decides."""
        return cutoff(self.snapshot, self.session.tables.settings.zone)

    @cached_property
    def xref(self) -> ibis.Table:
        """Who is who."""
        return self.session.read(CUSTOMER_XREF)

    @property
    def quiet(self) -> timedelta:
        """How long a customer is left alone after a contact."""
        return timedelta(days=self.policy.min_days_between_contacts)


def candidates_of(inputs: DraftInputs) -> Candidates:
    """Whom a draft considers. Whoever is considered for the first time is drawn for the universal holdout.

    Raises :class:`NothingToPlan`.
    """
    regulars = scored_regulars(inputs)
    customers = list(regulars["customer_id"])
    rules = (
        *measured_lately(inputs),
        in_segments(inputs),
        *(without_consent(inputs, purpose, customers) for purpose in inputs.policy.require_consent),
    )
    excluded = {customer: why for rule in rules for customer, why in rule.items()}  # of two reasons, the later rule's
    holdout = assign_holdout(inputs.decided, customers, inputs.policy.holdout_share, inputs.now)
    return Candidates(regulars, holdout, excluded)


def scored_regulars(inputs: DraftInputs) -> pd.DataFrame:
    """The eligible rows of customer_scores at the snapshot. Raises :class:`NothingToPlan`."""
    scores = inputs.session.read(CUSTOMER_SCORES, {"snapshot_date": [inputs.snapshot]})
    regulars = scores.filter(scores.eligible).order_by("customer_id").to_pandas()
    if regulars.empty:
        raise NothingToPlan(f"no scored regular at snapshot {inputs.snapshot}; build and score it first (`cdap run`)")
    currencies = sorted(set(regulars["currency"]))
    if currencies != [inputs.policy.currency]:
        raise NothingToPlan(
            f"retention.yaml counts in {inputs.policy.currency}, the customers spend {', '.join(currencies)}: costs "
            "and values of different currencies are not compared. Set currency and amounts in retention.yaml."
        )
    return regulars


def measured_lately(inputs: DraftInputs) -> tuple[Reasons, Reasons]:
    """Controls of approved plans, and customers contacted by them or by a campaign that was delivered.

    Deliveries tell of contacts only later, so approved plans count; and a control that the next plan contacts
    is a control no more.
    """
    contacted, controls = _touched(inputs), set[str]()
    for plan_id, state in plan_states(inputs.decided).items():
        lately = inputs.snapshot - inputs.quiet < plan_id.snapshot <= inputs.snapshot
        if state.state in (APPROVED, PARTLY) and lately:
            contacted |= set(contacts_of(plan_rows(inputs.decided, plan_id), state)["customer_id"])
            arms = fixed_arms(inputs.decided, plan_id)
            controls |= {customer for customer, arm in arms.items() if arm == CONTROL}
    span = f"in the last {inputs.policy.min_days_between_contacts} days"
    return dict.fromkeys(controls, f"control of a plan {span}"), dict.fromkeys(contacted, f"contacted {span}")


def _touched(inputs: DraftInputs) -> set[str]:
    touches, at = inputs.session.read(ENTITIES["touches"].table), ibis.literal(inputs.cutoff)
    since = ibis.literal(inputs.cutoff - inputs.quiet)
    recent = touches.filter(known_at(touches, at), touches.sent_at >= since, touches.sent_at < at)
    return _customers(resolve(recent, inputs.xref, inputs.cutoff))


def in_segments(inputs: DraftInputs) -> Reasons:
    """Customers of the segments that the policy excludes."""
    if not inputs.policy.exclude_segments:
        return {}
    segments = inputs.session.read(CUSTOMER_SEGMENTS)
    hit = segments.filter(segments.segment.isin(list(inputs.policy.exclude_segments)))
    rows = hit.select("customer_id", "segment").to_pyarrow().to_pylist()
    return {row["customer_id"]: f"segment {row['segment']} is excluded" for row in rows}


def without_consent(inputs: DraftInputs, purpose: str, customers: list[str]) -> Reasons:
    """Those of the ``customers`` whose newest statement by the cut-off does not grant the purpose, or who made none."""
    consents, at = inputs.session.read(ENTITIES["consents"].table), ibis.literal(inputs.cutoff)
    mine = consents.filter(consents.purpose == purpose, known_at(consents, at), consents["at"] < at)
    mine = resolve(mine, inputs.xref, inputs.cutoff)
    newest = mine.mutate(newest=mine["at"].max().over(group_by="customer_id"))
    # of a grant and a refusal at one instant, the refusal counts
    latest = (
        newest.filter(newest["at"] == newest.newest)
        .group_by("customer_id")
        .aggregate(granted=lambda t: t.granted.all())
    )
    granted = _customers(latest.filter(latest.granted))
    return {customer: f"no consent to {purpose}" for customer in customers if customer not in granted}


def _customers(rows: ibis.Table) -> set[str]:
    return set(rows.customer_id.to_pyarrow().to_pylist())
