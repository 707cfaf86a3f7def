"""Campaign outcomes: each approved plan against its arms, with an interval, or that it cannot be told yet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import ibis
from ibis import _

from cdap_assets.features.labels import covered_until
from cdap_assets.identity.customer_xref import resolve
from cdap_assets.retention.ledger import APPROVED, PARTLY
from cdap_assets.retention.tables import ARMS, CONTACT, CONTROL, PLAN_EVENTS, PLAN_ID
from cdap_assets.table_assets.table_asset import TableAsset
from resources.iceberg.table import INSTANT, Column, TableSpec
from resources.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

MEASURED, NOT_ENOUGH = "measured", "not enough data"

CAMPAIGN_OUTCOMES = TableSpec(
    "campaign_outcomes",
    (
        PLAN_ID,
        Column("approved_at", INSTANT, "when a person approved it (UTC)", nullable=False),
        Column("from_date", "date", "first day that counts: the plan's snapshot date", nullable=False),
        Column("until_date", "date", "first day that counts no more", nullable=False),
        Column("state", "string", f"{MEASURED} or {NOT_ENOUGH}", nullable=False),
        Column("why", "string", "why it cannot be told"),
        Column("contacted", "int64", "customers of the arm that was contacted", nullable=False),
        Column("control", "int64", "customers of the control", nullable=False),
        Column("left_out", "int64", "customers merged across arms", nullable=False),
        *(
            Column(f"{what}_{part}", "float64", f"{told}{unit_told}", unit=unit)
            for what, unit, unit_told in (("orders", "", ""), ("margin", "currency", ", in currency"))
            for part, told in (
                ("effect", f"more {what} per contacted customer than per control"),
                ("low", "lower end of the 95 % interval"),
                ("high", "upper end of it"),
                ("detectable", "smallest effect that these arms show with 80 % power"),
            )
        ),
    ),
    key=("plan_id",),
    description=(
        "Each approved plan read against its randomised arms over the policy's horizon: incremental orders and "
        "margin per contacted customer with a 95 % interval, or why nothing can be told yet. An interval that "
        "holds 0 is no proven effect."
    ),
)


def outcomes_asset(settings: Settings, ends: Mapping[str, date | None]) -> TableAsset:
    """The table of outcomes; horizon and margin are read from retention.yaml when it is built."""

    def campaign_outcomes(
        plan_events: ibis.Table, arms: ibis.Table, customer_days: ibis.Table, customer_xref: ibis.Table
    ) -> ibis.Table:
        from cdap_assets.retention.retention_policy import read_policy

        policy = read_policy(settings.retention_file)
        covered = covered_until(customer_days, ends).to_pyarrow().as_py()
        approved = plan_events.filter(plan_events.event.isin([APPROVED, PARTLY])).order_by("plan_id")
        rows = [
            outcome(plan, arms, customer_days, customer_xref, policy.horizon_days, policy.margin, covered)
            for plan in approved.to_pyarrow().to_pylist()
        ]
        return ibis.memtable(rows, schema=CAMPAIGN_OUTCOMES.schema())

    inputs = (PLAN_EVENTS.name, ARMS.name, "customer_days", "customer_xref")
    return TableAsset(CAMPAIGN_OUTCOMES, campaign_outcomes, "retention", inputs=inputs)


def outcome(
    plan: Mapping[str, Any],
    arms: ibis.Table,
    customer_days: ibis.Table,
    customer_xref: ibis.Table,
    horizon_days: int,
    margin: Decimal,
    covered: date | None,
) -> dict[str, Any]:
    """One approved plan against its arms, over ``horizon_days`` from its snapshot date on."""
    from ml.experiment import Effect, difference_in_means

    start = date.fromisoformat(plan["plan_id"][:10])
    end = start + timedelta(days=horizon_days)
    told: dict[str, Any] = {
        **dict.fromkeys(CAMPAIGN_OUTCOMES.names),
        "plan_id": plan["plan_id"],
        "approved_at": plan["at"],
        "from_date": start,
        "until_date": end,
    }
    people, left_out = per_person(plan["plan_id"], arms, customer_days, customer_xref, start, end)
    contacted, control = (people[people["arm"] == arm] for arm in (CONTACT, CONTROL))
    told |= {"contacted": len(contacted), "control": len(control), "left_out": left_out}
    if covered is None or covered < end:
        reached = "nothing" if covered is None else f"days before {covered}"
        return told | {"state": NOT_ENOUGH, "why": f"the horizon ends on {end}, the orders cover {reached}"}
    found = {
        "orders": difference_in_means(contacted["orders"], control["orders"]),
        "margin": difference_in_means(contacted["net"] * float(margin), control["net"] * float(margin)),
    }
    for what, effect in found.items():
        if not isinstance(effect, Effect):
            return told | {"state": NOT_ENOUGH, "why": effect.reason}
        told |= {
            f"{what}_effect": effect.value,
            f"{what}_low": effect.low,
            f"{what}_high": effect.high,
            f"{what}_detectable": effect.detectable,
        }
    return told | {"state": MEASURED}


def per_person(
    plan_id: str, arms: ibis.Table, customer_days: ibis.Table, customer_xref: ibis.Table, start: date, end: date
) -> tuple[pd.DataFrame, int]:
    """(customer_id, arm, orders, net) of a plan's arms by who is who now, and how many are left out.

    Customers who were merged since count once; one whose parts stand in different arms counts in none.
    """
    mine = arms.filter(arms.plan_id == plan_id).select("customer_id", "arm")
    keys = customer_xref.join(mine, "customer_id").select("key_space", "customer_key", "arm")
    now = resolve(keys, customer_xref, None).group_by("customer_id").aggregate(arm=_.arm.min(), other=_.arm.max())
    days = customer_days.filter(
        customer_days.superseded_at.isnull(),
        customer_days.local_date >= ibis.literal(start),
        customer_days.local_date < ibis.literal(end),
    )
    bought = (
        resolve(days, customer_xref, None).group_by("customer_id").aggregate(orders=_.orders.sum(), net=_.net.sum())
    )
    rows = now.left_join(bought, "customer_id").drop("customer_id_right").to_pandas()
    both = rows["arm"] != rows["other"]
    rows = rows[~both].drop(columns="other")
    rows["orders"] = rows["orders"].fillna(0).astype(float)
    rows["net"] = rows["net"].astype(float).fillna(0.0)
    return rows, int(both.sum())
