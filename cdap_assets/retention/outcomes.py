"""Campaign outcomes: each approved plan against its arms, with an interval, or that it cannot be told yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import ibis
from ibis import _

from cdap_assets.features.labels import CLOSED, closed_text, covered_until
from cdap_assets.identity.customer_xref import resolve
from cdap_assets.retention.ledger import APPROVED, PARTLY
from cdap_assets.retention.tables import CONTACT, CONTROL, PLAN_ID
from cdap_assets.table_assets.table_asset import InPython, TableAsset
from resources.iceberg.table import INSTANT, MONEY, Column, TableSpec
from resources.settings import Settings

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from ml.experiment import Moments

MEASURED, NOT_ENOUGH = "measured", "not enough data"
OUTCOMES = ("orders", "margin")
ARM_COUNTS = {CONTACT: "contacted", CONTROL: "control"}  # the column that counts the people of each

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
        "holds 0 does not prove an effect."
    ),
)


@dataclass(frozen=True)
class OutcomeRules:
    """What outcomes are read by.

    ``margin`` is the share of net sales left after the cost of goods, ``horizon_days`` how long orders count from a
    plan's snapshot date on, and ``ends`` the last day of each order source's data (``None``: live).
    """

    margin: Decimal
    horizon_days: int
    ends: Mapping[str, date | None]

    @property
    def text(self) -> str:
        """Margin and horizon as text that changes when one of them does."""
        return f"{self.margin.normalize():f} of sales over {self.horizon_days} days"


def outcomes_asset(settings: Settings, ends: Mapping[str, date | None]) -> TableAsset:
    """The table of outcomes; the margin is that of retention.yaml when it is built."""

    def moments(
        retention_plan: ibis.Table,
        plan_events: ibis.Table,
        arms: ibis.Table,
        customer_days: ibis.Table,
        customer_xref: ibis.Table,
    ) -> ibis.Table:
        plans = approved_plans(plan_events, retention_plan)
        return moments_of_plans(plans, arms, customer_days, customer_xref, outcome_rules(settings, ends))

    def campaign_outcomes(read: ibis.Table) -> ibis.Table:
        return read

    part = InPython(moments, lambda plans: [outcome(plan) for plan in plans], CAMPAIGN_OUTCOMES.schema())
    return TableAsset(
        CAMPAIGN_OUTCOMES,
        campaign_outcomes,
        "retention",
        inputs=part.inputs,
        in_python={"read": part},
        outside={
            "margin and horizon": lambda: outcome_rules(settings, ends).text,
            CLOSED: lambda: closed_text(ends),
        },
    )


def outcome_rules(settings: Settings, ends: Mapping[str, date | None]) -> OutcomeRules:
    """The rules as retention.yaml has them now: all that outcomes take from it. Raises ``RetentionPolicyError``."""
    from cdap_assets.retention.retention_policy import read_policy

    policy = read_policy(settings.retention_file)
    return OutcomeRules(policy.margin, policy.horizon_days, ends)


def approved_plans(plan_events: ibis.Table, retention_plan: ibis.Table) -> ibis.Table:
    """(plan_id, approved_at, from_date) of each plan that was approved, whole or in part."""
    approved = plan_events.filter(plan_events.event.isin([APPROVED, PARTLY])).select("plan_id", approved_at="at")
    dates = retention_plan.group_by("plan_id").aggregate(from_date=_.snapshot_date.min())
    return approved.left_join(dates, "plan_id").drop("plan_id_right")


def moments_of_plans(
    plans: ibis.Table, arms: ibis.Table, customer_days: ibis.Table, customer_xref: ibis.Table, rules: OutcomeRules
) -> ibis.Table:
    """One row for each of the ``plans`` (:func:`approved_plans`): its span, its arms and their moments.

    ``covered`` is the first day that the orders do not wholly cover. Columns without people are empty.
    """
    end = plans.from_date + ibis.interval(days=rules.horizon_days)
    # Ibis takes the sum for a date, DuckDB makes an instant of it
    plans = plans.mutate(until_date=end.cast("timestamp").date())
    people = per_person(plans, arms, customer_days, customer_xref)
    margin = ibis.literal(float(rules.margin))
    people = people.mutate(orders=people.orders.cast("float64"), margin=people.net.cast("float64") * margin)
    found = plans.left_join(sums_of_arms(people), "plan_id").drop("plan_id_right")
    return found.mutate(covered=covered_until(customer_days, rules.ends)).order_by("plan_id")


def outcome(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The row of ``campaign_outcomes`` for a plan's row of :func:`moments_of_plans`."""
    from ml.experiment import Effect, difference_of_moments

    counts = {name: plan[name] or 0 for name in ("contacted", "control", "left_out")}
    told: dict[str, Any] = {
        **dict.fromkeys(CAMPAIGN_OUTCOMES.names),
        **{name: plan[name] for name in ("plan_id", "approved_at", "from_date", "until_date")},
        **counts,
    }
    covered, end = plan["covered"], plan["until_date"]
    if covered is None or covered < end:
        reached = "nothing" if covered is None else f"days before {covered}"
        return told | {"state": NOT_ENOUGH, "why": f"the horizon ends on {end}, the orders cover {reached}"}
    for what in OUTCOMES:
        effect = difference_of_moments(*(_moments(plan, what, arm, counts[name]) for arm, name in ARM_COUNTS.items()))
        if not isinstance(effect, Effect):
            return told | {"state": NOT_ENOUGH, "why": effect.reason}
        told |= {
            f"{what}_effect": effect.value,
            f"{what}_low": effect.low,
            f"{what}_high": effect.high,
            f"{what}_detectable": effect.detectable,
        }
    return told | {"state": MEASURED}


def _moments(plan: Mapping[str, Any], what: str, arm: str, people: int) -> Moments:
    from ml.experiment import Moments

    # of nobody there is no mean, and of one person no variance
    mean, variance = plan[f"{what}_mean_{arm}"], plan[f"{what}_variance_{arm}"]
    return Moments(people, mean or 0.0, variance or 0.0)


def per_person(plans: ibis.Table, arms: ibis.Table, customer_days: ibis.Table, customer_xref: ibis.Table) -> ibis.Table:
    """(plan_id, customer_id, arm, orders, net) of the arms of ``plans``, by who is who now.

    ``plans`` has plan_id, from_date and until_date. Customers who were merged since count once; ``arm`` is empty for
    one whose parts stand in different arms.
    """
    members = arms.join(plans.select("plan_id"), "plan_id").select("plan_id", "customer_id", "arm")
    keys = customer_xref.join(members, "customer_id").select("plan_id", "key_space", "customer_key", "arm")
    now = resolve(keys, customer_xref, None).group_by(["plan_id", "customer_id"])
    people = now.aggregate(arm=ibis.ifelse(_.arm.min() == _.arm.max(), _.arm.min(), ibis.null("string")))
    held = customer_days.filter(customer_days.superseded_at.isnull())
    bought = resolve(held, customer_xref, None).select("customer_id", "local_date", "orders", "net")
    spans = people.join(plans, "plan_id").select("plan_id", "customer_id", "from_date", "until_date")
    days = spans.join(
        bought,
        [
            spans.customer_id == bought.customer_id,
            bought.local_date >= spans.from_date,
            bought.local_date < spans.until_date,
        ],
    )
    spent = days.group_by(["plan_id", "customer_id"]).aggregate(orders=_.orders.sum(), net=_.net.sum())
    joined = people.left_join(spent, ["plan_id", "customer_id"])
    return joined.select(
        "plan_id",
        "customer_id",
        "arm",
        orders=joined.orders.coalesce(0),
        net=joined.net.coalesce(ibis.literal(0, type=MONEY)),
    )


def sums_of_arms(people: ibis.Table) -> ibis.Table:
    """One row per plan: the people of each arm and who is in none, with mean and variance of each outcome by arm."""
    sums: dict[str, ir.Value] = {"left_out": people.arm.isnull().sum()}
    for arm, count in ARM_COUNTS.items():
        sums[count] = (people.arm == arm).sum()
        for what in OUTCOMES:
            sums[f"{what}_mean_{arm}"] = people[what].mean(where=people.arm == arm)
            # by the deviation: Ibis writes a variance under a name that Athena does not document
            sums[f"{what}_variance_{arm}"] = people[what].std(where=people.arm == arm, how="sample") ** 2
    return people.group_by("plan_id").aggregate(**sums)
