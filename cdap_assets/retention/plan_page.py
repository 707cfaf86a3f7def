"""The plan's page: the draft and what people decided, as the figures that the page needs, and its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date
from decimal import Decimal
from typing import TYPE_CHECKING

from cdap_assets.models import lapse_model, lifetime_value_model
from cdap_assets.retention.ledger import (
    DRAFT,
    PARTLY,
    ModelVersions,
    PlanState,
    arms_of,
    contacts_of,
    plan_rows,
    plan_states,
)
from cdap_assets.retention.plan_id import PlanId
from cdap_assets.retention.retention_policy import RetentionPolicy
from cdap_assets.retention.tables import CONTACT, CONTROL, HOLDOUT
from ml.experiment import detectable_effect_proportion
from pages.formats import Figure
from pages.plan import (
    Arms,
    Champion,
    Contact,
    CurvePoint,
    Exclusion,
    PlanChange,
    PlanFigures,
    Reason,
    plan_page,
)
from pages.plan import PlanState as PageState
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Session
from resources.registry.model_registry import ModelRegistry
from resources.stores.object_store import readable

if TYPE_CHECKING:
    import pandas as pd

CURVE_POINTS = 100
CAVEATS = (
    "Value at stake is what may be lost, not what a contact saves: no effect is claimed before an experiment of this "
    "programme has measured one.",
    "Most customers who pause for four weeks come back by themselves.",
)
NOT_KEPT = (
    "This plan was drafted before model versions were kept with a plan: how well its models predict is not shown."
)


def page_name(plan_id: PlanId) -> str:
    """The file of a plan's page."""
    return f"plan-{plan_id}.html"


def write_plan_page(
    lakehouse: Lakehouse, registry: ModelRegistry, plan_id: PlanId, policy: RetentionPolicy, data_ends: date | None
) -> str:
    """Write the page of a plan as it stands now; where it is."""
    with lakehouse.in_process() as session:
        figures = plan_figures(session, registry, plan_id, policy, data_ends)
    pages = lakehouse.stores.pages
    pages.write(page_name(plan_id), plan_page(figures).encode())
    return readable(pages.location(page_name(plan_id)))


def plan_figures(
    session: Session, registry: ModelRegistry, plan_id: PlanId, policy: RetentionPolicy, data_ends: date | None
) -> PlanFigures:
    """Everything that the page says of a plan, after its edits."""
    states = plan_states(session)
    state, rows = states[plan_id], plan_rows(session, plan_id)
    contacts = contacts_of(rows, state)
    margin, cost = _sum(contacts["expected_margin"]), _sum(contacts["cost"])
    arms = list(arms_of(rows, contacts, partial=state.state == PARTLY).values())
    controls = arms.count(CONTROL)
    champions = _champions(registry, rows)
    return PlanFigures(
        plan_id=str(plan_id),
        snapshot_date=state.snapshot,
        data_ends=data_ends,
        horizon_days=policy.horizon_days,
        currency=str(rows["currency"].iloc[0]),
        state=PageState(
            state.state,  # type: ignore[arg-type]
            state.by if not state.open else None,
            state.at.replace(tzinfo=UTC) if state.at and not state.open else None,
            state.note or None,
        ),
        champions=champions,
        reviewed=bool(rows["reviewed"].all()),
        contacts=tuple(_contact(row) for row in contacts.to_dict("records")),
        budget=policy.budget,
        break_even_effect=float(cost / margin) if margin else None,
        detectable_effect=detectable_effect(contacts, arms.count(CONTACT), controls),
        curve=_curve(rows),
        change=_change(session, states, state, contacts),
        arms=Arms(len(contacts), controls, int((rows["decision"] == HOLDOUT).sum())),
        exclusions=_exclusions(rows, state),
        caveats=CAVEATS if champions else (*CAVEATS, NOT_KEPT),
        whole_list=f"table retention_plan, plan_id {plan_id}; cdap plan show {plan_id} --all",
    )


def detectable_effect(contacts: pd.DataFrame, contacted: int, controls: int) -> float | None:
    """The smallest difference in the share of buyers that the two arms would show; ``None`` without arms."""
    if contacted == 0 or controls == 0:
        return None
    stay = 1 - float(contacts["lapse_probability"].mean())
    return detectable_effect_proportion(min(max(stay, 0.01), 0.99), contacted, controls)


def _champions(registry: ModelRegistry, rows: pd.DataFrame) -> tuple[Champion, ...]:
    """The models behind the rows, and whether a person has reviewed each by now; none of a plan without."""
    versions = ModelVersions.of(rows)
    if versions is None:
        return ()
    lapse = registry.version(lapse_model.NAME, versions.lapse)
    value = registry.version(lifetime_value_model.NAME, versions.value)
    low, high = lapse.metrics.get("ece_low"), lapse.metrics.get("ece_high")
    gap = "mean gap of predicted and observed"
    ece = Figure("calibration error", lapse.metrics["ece"], low, high, None, "share", "lower", gap)
    off = "predicted less actual spend of all"
    bias = Figure("bias", value.metrics["bias_percent"], None, None, None, "%", "zero", off)
    return tuple(
        Champion(version.name, str(version.version), version.reviewed, figure)
        for version, figure in ((lapse, ece), (value, bias))
    )


def _contact(row: dict[str, object]) -> Contact:
    pairs = [(row[f"theme_{n}"], row[f"reason_{n}"]) for n in (1, 2, 3)]
    return Contact(
        customer_id=str(row["customer_id"]),
        reasons=tuple(Reason(str(theme), str(text)) for theme, text in pairs if isinstance(text, str)),
        channel=str(row["channel"]),
        cost=Decimal(str(row["cost"])),
        lapse_probability=float(row["lapse_probability"]),  # type: ignore[arg-type]
        expected_margin=Decimal(str(row["expected_margin"])),
        value_at_stake=Decimal(str(row["value_at_stake"])),
    )


def _sum(values: pd.Series) -> Decimal:
    return sum((Decimal(str(value)) for value in values), Decimal(0))


def _curve(rows: pd.DataFrame) -> tuple[CurvePoint, ...]:
    """Cumulative cost and value of everyone worth a contact, in the plan's order, thinned for drawing."""
    worth = rows[rows["rank"].notna() & (rows["value_at_stake"] >= rows["cost"])].sort_values("rank")
    points, cost, stake = [], Decimal(0), Decimal(0)
    step = max(1, len(worth) // CURVE_POINTS)
    for number, row in enumerate(worth[["cost", "value_at_stake"]].itertuples(index=False), start=1):
        cost, stake = cost + row.cost, stake + row.value_at_stake
        if number % step == 0 or number == len(worth):
            points.append(CurvePoint(number, cost, stake))
    return tuple(points)


def _change(
    session: Session, states: dict[PlanId, PlanState], state: PlanState, contacts: pd.DataFrame
) -> PlanChange | None:
    earlier = [other for other in states.values() if other.snapshot < state.snapshot]
    if not earlier:
        return None
    before = contacts_of(plan_rows(session, earlier[-1].plan_id), earlier[-1])
    return changed(earlier[-1].snapshot, before, contacts)


def changed(snapshot: date, before: pd.DataFrame, now: pd.DataFrame) -> PlanChange:
    """Who entered and left between two plans' contacts."""
    old, new = set(before["customer_id"]), set(now["customer_id"])
    return PlanChange(snapshot, tuple(sorted(new - old)), tuple(sorted(old - new)), len(old & new))


def _exclusions(rows: pd.DataFrame, state: PlanState) -> tuple[Exclusion, ...]:
    out = (rows["decision"] != CONTACT) & ~rows["customer_id"].isin(state.added)
    reasons = rows[out]["why_not"].value_counts()
    found: Sequence[tuple[str, int]] = [(str(reason), int(n)) for reason, n in reasons.items()]
    if state.dropped:
        found = [*found, ("dropped by a person", len(state.dropped))]
    if state.state == PARTLY:
        beyond = len(contacts_of(rows, replace(state, state=DRAFT))) - len(contacts_of(rows, state))
        found = [*found, ("beyond what was approved", beyond)]
    return tuple(Exclusion(reason, n) for reason, n in found)
