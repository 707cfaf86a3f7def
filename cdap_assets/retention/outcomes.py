"""Campaign outcomes: each approved plan against its arms, with an interval, or that it cannot be told yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import ibis
from ibis import _

from cdap_assets.features.labels import covered_until
from cdap_assets.identity.customer_xref import resolve
from cdap_assets.retention.ledger import APPROVED, PARTLY
from cdap_assets.retention.tables import ARMS, CONTACT, CONTROL, PLAN_EVENTS, PLAN_ID, RETENTION_PLAN
from cdap_assets.retention.welch import Arm, effect_figures, inverse_degrees, standard_error
from cdap_assets.table_assets.table_asset import TableAsset
from resources.iceberg.table import INSTANT, MONEY, Column, TableSpec
from resources.settings import Settings

if TYPE_CHECKING:
    import ibis.expr.types as ir

MEASURED, NOT_ENOUGH = "measured", "not enough data"
OUTCOMES = ("orders", "margin")
ARM_COUNTS = {CONTACT: "contacted", CONTROL: "control"}  # the column that counts the people of each
ALIKE = "every outcome within an arm is the same, so chance cannot be measured"

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


def outcomes_asset(settings: Settings, ends: Mapping[str, date | None]) -> TableAsset:
    """The table of outcomes; the margin is that of retention.yaml when it is built."""

    def campaign_outcomes(
        retention_plan: ibis.Table,
        plan_events: ibis.Table,
        arms: ibis.Table,
        customer_days: ibis.Table,
        customer_xref: ibis.Table,
    ) -> ibis.Table:
        plans = approved_plans(plan_events, retention_plan)
        return outcomes(plans, arms, customer_days, customer_xref, outcome_rules(settings, ends))

    inputs = (RETENTION_PLAN.name, PLAN_EVENTS.name, ARMS.name, "customer_days", "customer_xref")
    return TableAsset(CAMPAIGN_OUTCOMES, campaign_outcomes, "retention", inputs=inputs)


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


def outcomes(
    plans: ibis.Table, arms: ibis.Table, customer_days: ibis.Table, customer_xref: ibis.Table, rules: OutcomeRules
) -> ibis.Table:
    """Each of the ``plans`` (:func:`approved_plans`) against its arms."""
    end = plans.from_date + ibis.interval(days=rules.horizon_days)
    # Ibis takes the sum for a date, DuckDB makes an instant of it
    plans = plans.mutate(until_date=end.cast("timestamp").date())
    people = per_person(plans, arms, customer_days, customer_xref)
    margin = ibis.literal(float(rules.margin))
    people = people.mutate(orders=people.orders.cast("float64"), margin=people.net.cast("float64") * margin)
    sums = sums_of_arms(people)
    found = plans.left_join(sums, "plan_id").drop("plan_id_right")
    counts = {name: found[name].coalesce(0) for name in ("contacted", "control", "left_out")}
    found = found.mutate(**counts, covered=covered_until(customer_days, rules.ends))
    found = found.mutate(why=_why_not(found), **_spreads(found))
    readable = found.why.isnull() | (found.why == ALIKE)
    told = {"state": ibis.ifelse(found.why.isnull(), MEASURED, NOT_ENOUGH)}
    for what in OUTCOMES:
        readable &= ~_alike(found, what)
        effect = found[f"{what}_mean_{CONTACT}"] - found[f"{what}_mean_{CONTROL}"]
        for part, value in effect_figures(effect, found[f"{what}_error"], found[f"{what}_inverse_degrees"]).items():
            told[f"{what}_{part}"] = ibis.ifelse(readable, value, ibis.null("float64"))
    return found.mutate(**told).select(CAMPAIGN_OUTCOMES.names)


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


def _why_not(found: ibis.Table) -> ir.StringValue:
    """Why a plan cannot be told of; empty when it can."""
    from ml.experiment import MINIMUM_ARM

    uncovered, told = _uncovered(found)
    small = [
        (
            found[count] < MINIMUM_ARM,
            ibis.literal(f"the {name} arm has ")
            + found[count].cast("string")
            + f" people; at least {MINIMUM_ARM} are needed",
        )
        for count, name in zip(ARM_COUNTS.values(), ("treated", "control"), strict=True)
    ]
    alike = [(_alike(found, what), ALIKE) for what in OUTCOMES]
    return ibis.cases((uncovered, told), *small, *alike, else_=ibis.null("string"))


def _uncovered(found: ibis.Table) -> tuple[ir.BooleanValue, ir.StringValue]:
    """Whether the orders do not cover a plan's horizon yet, and how far they reach."""
    reached = ibis.ifelse(
        found.covered.isnull(), "nothing", ibis.literal("days before ") + found.covered.cast("string")
    )
    ends = ibis.literal("the horizon ends on ") + found.until_date.cast("string")
    return found.covered.isnull() | (found.covered < found.until_date), ends + ", the orders cover " + reached


def _alike(found: ibis.Table, what: str) -> ir.BooleanValue:
    return (found[f"{what}_variance_{CONTACT}"] == 0) & (found[f"{what}_variance_{CONTROL}"] == 0)


def _spreads(found: ibis.Table) -> dict[str, ir.FloatingValue]:
    spreads = {}
    for what in OUTCOMES:
        contacted, control = (
            Arm(found[count].cast("float64"), found[f"{what}_mean_{arm}"], found[f"{what}_variance_{arm}"])
            for arm, count in ARM_COUNTS.items()
        )
        spreads[f"{what}_error"] = standard_error(contacted, control)
        spreads[f"{what}_inverse_degrees"] = inverse_degrees(contacted, control)
    return spreads
