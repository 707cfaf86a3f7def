"""What people decided about plans: the state of each, editing, approval, rejection, and the arms they fix."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import ibis

from cdap_assets.identity.customer_xref import CUSTOMER_XREF, resolve
from cdap_assets.retention.plan_id import PlanId, PlanRefused
from cdap_assets.retention.tables import ARMS, CONTACT, CONTROL, HOLDOUT, NOT_SELECTED, PLAN_EVENTS, RETENTION_PLAN
from resources.iceberg.table import TableSpec
from resources.lake.session import Session
from resources.settings import Settings
from resources.stores.busy import Busy
from resources.stores.lock import confirm, exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from cdap_assets.retention.retention_policy import RetentionPolicy

DRAFT, APPROVED, PARTLY, REJECTED = "draft", "approved", "partly approved", "rejected"
# events of one instant, in the order in which they can have happened
ORDER = ("drafted", "dropped", "added", APPROVED, PARTLY, REJECTED, "exported")
PLANS = "plans"  # the lock and the pool of whoever drafts a plan or decides about one
LOCK_SECONDS = 30.0


@dataclass(frozen=True)
class PlanState:
    """A plan as it stands: its state, by whom, and the edits on top of the draft."""

    plan_id: PlanId
    state: str = DRAFT
    by: str = ""
    at: datetime | None = None
    note: str = ""
    approved_contacts: int | None = None
    dropped: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    exports: tuple[str, ...] = ()
    basis: str = ""

    @property
    def snapshot(self) -> date:
        """The snapshot date that the plan is for."""
        return self.plan_id.snapshot

    @property
    def open(self) -> bool:
        """Whether people may still change it."""
        return self.state == DRAFT

    @property
    def untouched(self) -> bool:
        """Whether nobody has done anything to the draft."""
        return self.open and not self.dropped and not self.added


def plan_states(session: Session) -> dict[PlanId, PlanState]:
    """Every plan by id, oldest first."""
    rows = session.read(PLAN_EVENTS).to_pyarrow().to_pylist()
    states: dict[PlanId, PlanState] = {}
    for row in sorted(rows, key=lambda row: (row["at"], ORDER.index(row["event"]), row["customer_id"] or "")):
        plan_id = PlanId.parse(row["plan_id"])
        states[plan_id] = _after(states.get(plan_id, PlanState(plan_id)), row)
    return dict(sorted(states.items()))


def plan_state(session: Session, plan_id: PlanId) -> PlanState:
    """How a plan stands. Raises :class:`PlanRefused` for one that is not there."""
    state = plan_states(session).get(plan_id)
    if state is None:
        raise _unknown(plan_id)
    return state


def _unknown(plan_id: PlanId) -> PlanRefused:
    return PlanRefused(f"there is no plan {plan_id}; see `cdap plan list`")


def _after(state: PlanState, row: dict[str, Any]) -> PlanState:
    event, customer = row["event"], row["customer_id"]
    if event == "dropped":
        added = {key: why for key, why in state.added.items() if key != customer}
        return replace(state, dropped={**state.dropped, customer: row["note"]}, added=added)
    if event == "added":
        dropped = {key: why for key, why in state.dropped.items() if key != customer}
        return replace(state, added={**state.added, customer: row["note"]}, dropped=dropped)
    if event in (APPROVED, PARTLY, REJECTED):
        return replace(
            state, state=event, by=row["by"], at=row["at"], note=row["note"] or "", approved_contacts=row["contacts"]
        )
    if event == "exported":
        return replace(state, exports=(*state.exports, row["note"] or ""))
    return PlanState(state.plan_id, at=row["at"], by=row["by"], basis=row["note"] or "")


def plan_rows(session: Session, plan_id: PlanId) -> pd.DataFrame:
    """The rows of a draft, by rank. Raises :class:`PlanRefused` for a plan that is not there."""
    rows = session.read(RETENTION_PLAN, {"plan_id": [str(plan_id)]}).order_by(["rank", "customer_id"]).to_pandas()
    if rows.empty:
        raise _unknown(plan_id)
    return rows


@dataclass(frozen=True)
class ModelVersions:
    """The versions of the two models behind a plan."""

    lapse: int
    value: int

    def __str__(self) -> str:
        return f"lapse_model v{self.lapse}, lifetime_value_model v{self.value}"

    @classmethod
    def of(cls, rows: pd.DataFrame) -> ModelVersions | None:
        """The versions in a plan's rows or in scores; ``None`` for a plan with which they were not kept."""
        versions = rows[["lapse_model_version", "value_model_version"]].iloc[0]
        return None if versions.isna().any() else cls(*map(int, versions))


def contacts_of(rows: pd.DataFrame, state: PlanState) -> pd.DataFrame:
    """The customers that the plan contacts after its edits and a partial approval, by rank; added ones come last."""
    import pandas as pd

    kept = rows[(rows["decision"] == CONTACT) & ~rows["customer_id"].isin(state.dropped)]
    added = rows[rows["customer_id"].isin(state.added)]
    contacts = pd.concat([kept, added[~added["customer_id"].isin(kept["customer_id"])]], ignore_index=True)
    return contacts.head(state.approved_contacts) if state.state == PARTLY else contacts


def edit(
    session: Session,
    plan_id: PlanId,
    *,
    drop: Sequence[str] = (),
    add: Sequence[str] = (),
    by: str,
    reason: str,
    at: datetime,
) -> PlanState:
    """Take customers out of a draft, or put some in, in the name of a person and with a reason.

    Raises :class:`PlanRefused` for a plan that is decided, a person or reason not given, a customer who is
    not in the plan, or one who may not be contacted (holdout, control, excluded).
    """
    state = _open_plan(session, plan_id)
    _named(by)
    if not reason.strip():
        raise PlanRefused("say why (--reason): whoever reviews the plan will ask")
    rows = plan_rows(session, plan_id).set_index("customer_id")
    if both := sorted({*drop} & {*add}):
        raise PlanRefused(f"customer {both[0]} is to be dropped and added at once; choose one")
    for customer in (*drop, *add):
        if customer not in rows.index:
            raise PlanRefused(f"customer {customer} is not among the regulars of plan {plan_id}")
    contacted = set(contacts_of(rows.reset_index(), state)["customer_id"])
    for customer in drop:
        if customer not in contacted:
            raise PlanRefused(f"customer {customer} is not contacted by plan {plan_id}; there is nothing to drop")
    for customer in add:
        if customer in contacted:
            raise PlanRefused(f"customer {customer} is contacted by plan {plan_id} already")
    for customer in add:
        decision = rows.loc[customer, "decision"]
        if decision not in (CONTACT, NOT_SELECTED):
            why = rows.loc[customer, "why_not"] or decision
            raise PlanRefused(f"customer {customer} cannot be added: {why}")
    events = [_event(plan_id, "dropped", by, at, note=reason, customer=customer) for customer in drop]
    events += [_event(plan_id, "added", by, at, note=reason, customer=customer) for customer in add]
    _write(session, events)
    for event in events:
        state = _after(state, event)
    return state


def approve(
    session: Session,
    plan_id: PlanId,
    *,
    by: str,
    at: datetime,
    first: int | None = None,
    note: str = "",
    budget: Decimal | None = None,
    max_contacts: int | None = None,
) -> PlanState:
    """Approve a plan in the name of a person, whole or its ``first`` contacts by rank, and fix its arms.

    The arms are written before the approval: if the process dies between, approving again finds them.
    Raises :class:`PlanRefused` for a decided plan, one from unreviewed models, one that edits have brought
    over ``budget`` or ``max_contacts``, one that contacts nobody, or one whose arms an approval that was cut
    short has fixed otherwise.
    """
    state = _open_plan(session, plan_id)
    _named(by)
    rows = plan_rows(session, plan_id)
    if not bool(rows["reviewed"].all()):
        versions = ModelVersions.of(rows)
        named = f" ({versions})" if versions else ""
        raise PlanRefused(
            f"plan {plan_id} comes from models that nobody has reviewed{named}. Read their review pages, "
            "approve them with `cdap models approve NAME VERSION --reviewer YOU --note WHY`, and run "
            "`cdap run` again."
        )
    if first is not None and first < 1:
        raise PlanRefused(f"--first is the number of contacts to approve, at least 1, found {first}")
    contacts = contacts_of(rows, state)
    whole = len(contacts)
    contacts = contacts if first is None else contacts.head(first)
    if contacts.empty:
        raise PlanRefused(f"plan {plan_id} contacts nobody; reject it, or change retention.yaml and run again")
    cost = sum(contacts["cost"])
    if budget is not None and cost > budget:
        raise PlanRefused(
            f"after its edits plan {plan_id} costs {cost:,.2f}, over the budget of {budget:,.2f}; drop some"
        )
    if max_contacts is not None and len(contacts) > max_contacts:
        raise PlanRefused(
            f"after its edits plan {plan_id} contacts {len(contacts):,}, more than max_contacts {max_contacts:,}; "
            "drop some"
        )
    arms = arms_of(rows, contacts, partial=len(contacts) < whole)
    fixed = fixed_arms(session, plan_id)
    if fixed and fixed != arms:
        reached = sum(arm == CONTACT for arm in fixed.values())
        raise PlanRefused(
            f"an approval of plan {plan_id} that was cut short fixed its arms with {reached:,} contacts, and arms "
            "are never changed; approve just these (--first, edits undone), or reject it"
        )
    if arms and not fixed:
        _append(session, ARMS, [_arm(customer, arm, plan_id, at) for customer, arm in arms.items()])
    kind = APPROVED if len(contacts) == whole else PARTLY
    event = _event(plan_id, kind, by, at, note=note, contacts=len(contacts))
    _write(session, [event])
    return _after(state, event)


def reject(session: Session, plan_id: PlanId, *, by: str, reason: str, at: datetime) -> PlanState:
    """Reject a plan in the name of a person. Raises :class:`PlanRefused` as :func:`edit`."""
    state = _open_plan(session, plan_id)
    _named(by)
    if not reason.strip():
        raise PlanRefused("say why (--reason): the next plan should do better")
    event = _event(plan_id, REJECTED, by, at, note=reason, contacts=0)
    _write(session, [event])
    return _after(state, event)


def arms_of(rows: pd.DataFrame, contacts: pd.DataFrame, *, partial: bool) -> dict[str, str]:
    """The arm of each customer by whom a plan with these contacts is measured.

    Two arms must differ by chance alone: whom a person put in is contacted but not measured, and a plan that
    is approved down to some customer is compared with the controls down to the same.
    """
    measured = contacts[contacts["decision"] == CONTACT]
    control = rows[rows["decision"] == CONTROL]
    if partial:
        last = max(_places(measured), default=None)
        places = zip(control["customer_id"], _places(control), strict=True)
        controls = [customer for customer, found in places if last is not None and found <= last]
    else:
        controls = list(control["customer_id"])
    return dict.fromkeys(measured["customer_id"], CONTACT) | dict.fromkeys(controls, CONTROL)


def _places(rows: pd.DataFrame) -> list[tuple[Decimal, str]]:
    from cdap_assets.retention.drafting import place

    return [place(*pair) for pair in zip(rows["value_at_stake"], rows["customer_id"], strict=True)]


def fixed_arms(session: Session, plan_id: PlanId) -> dict[str, str]:
    """The arm of each customer that an approval has written for a plan; none before it."""
    arms = session.read(ARMS)
    rows = arms.filter(arms.plan_id == str(plan_id)).to_pyarrow().to_pylist()
    return {row["customer_id"]: row["arm"] for row in rows}


def _open_plan(session: Session, plan_id: PlanId) -> PlanState:
    state = plan_state(session, plan_id)
    if not state.open:
        raise PlanRefused(f"plan {plan_id} is {state.state} by {state.by} already; a new run drafts a new one")
    return state


def _named(by: str) -> None:
    if not by.strip():
        raise PlanRefused("a person decides: give a name with --by")


def _event(
    plan_id: PlanId,
    event: str,
    by: str,
    at: datetime,
    *,
    note: str = "",
    customer: str | None = None,
    contacts: int | None = None,
    file_sha256: str | None = None,
) -> dict[str, Any]:
    return {
        "plan_id": str(plan_id),
        "event": event,
        "customer_id": customer,
        "by": by,
        "note": note,
        "contacts": contacts,
        "file_sha256": file_sha256,
        "at": at,
    }


def _arm(customer: str, arm: str, plan_id: PlanId | None, at: datetime) -> dict[str, Any]:
    return {"customer_id": customer, "arm": arm, "plan_id": None if plan_id is None else str(plan_id), "at": at}


def _write(session: Session, events: list[dict[str, Any]]) -> None:
    if events:
        _append(session, PLAN_EVENTS, events, event=", ".join(dict.fromkeys(event["event"] for event in events)))


def _append(session: Session, spec: TableSpec, rows: list[dict[str, Any]], **recorded: str) -> None:
    """Add rows of one plan, or of the universal holdout; the snapshot tells the plan."""
    confirm()  # whoever lost the lock has read what another one has decided since
    provenance = {"plan_id": rows[0]["plan_id"] or "", **recorded}
    session.publish(spec, ibis.memtable(rows, schema=spec.schema()), provenance=provenance, append=True)


def plan_basis(lapse_version: int, value_version: int, reviewed: bool, policy: RetentionPolicy) -> str:
    """What a draft is made of, in words: a plan whose basis has changed is drafted anew."""
    seen = "reviewed" if reviewed else "unreviewed"
    return f"{ModelVersions(lapse_version, value_version)}, {seen}, policy {policy.digest}"


def record_draft(session: Session, plan_id: PlanId, contacts: int, at: datetime, basis: str = "") -> None:
    """Note that a plan was drafted, or drafted anew, and from what (:func:`plan_basis`)."""
    _write(session, [_event(plan_id, "drafted", "cdap", at, contacts=contacts, note=basis)])


def record_export(
    session: Session, plan_id: PlanId, *, by: str, file: str, sha256: str, rows: int, at: datetime
) -> None:
    """Note an exported file: who, what, how many rows."""
    _write(session, [_event(plan_id, "exported", by, at, note=file, contacts=rows, file_sha256=sha256)])


def assign_holdout(session: Session, customers: Sequence[str], share: float, at: datetime) -> frozenset[str]:
    """The universal holdout among ``customers``. Whoever is considered for the first time is assigned now.

    The lot is drawn once per person from the whole holdout so far: only members are written, and members
    stay. A changed share concerns those who were never considered before.
    """
    from ml.experiment import assign

    known = session.read(ARMS)
    held = set(known.filter(known.arm == HOLDOUT).customer_id.to_pyarrow().to_pylist())
    seen = set(session.read(RETENTION_PLAN).customer_id.to_pyarrow().unique().to_pylist()) | held
    new = sorted(set(customers) - seen)
    drawn = [customer for customer, chosen in zip(new, assign(new, "universal holdout", share), strict=True) if chosen]
    if drawn:
        _append(session, ARMS, [_arm(customer, HOLDOUT, None, at) for customer in drawn])
    return frozenset((held | _merged(session, held) | set(drawn)) & set(customers))


def _merged(session: Session, held: set[str]) -> set[str]:
    """Whoever now holds a key that a member of the holdout ever held: a promise to leave alone outlives a merge."""
    xref = session.read(CUSTOMER_XREF)
    members = xref.filter(xref.customer_id.isin(sorted(held))).select("key_space", "customer_key").distinct()
    return set(resolve(members, xref, None).customer_id.to_pyarrow().to_pylist()) if held else set()


@contextmanager
def deciding(settings: Settings) -> Iterator[None]:
    """One process decides about plans at a time. Raises :class:`PlanRefused` when another one does.

    What is decided is written only while the lock is this process's own still.
    """
    try:
        with exclusive(settings, PLANS, timeout=LOCK_SECONDS):
            yield
    except Busy as error:
        raise PlanRefused(str(error)) from error
