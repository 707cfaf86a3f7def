"""A draft plan from scores: who is left out and why, who is drawn as control, whom the budget reaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from cdap_assets.retention.plan_id import PlanId
from cdap_assets.retention.retention_policy import RetentionPolicy
from cdap_assets.retention.tables import CONTACT, CONTROL, EXCLUDED, HOLDOUT, NOT_SELECTED
from ml.allocation import Policy, allocate
from ml.experiment import assign

if TYPE_CHECKING:
    import pandas as pd

UNLIMITED = Decimal(10) ** 14


@dataclass(frozen=True)
class Candidates:
    """Regulars of a snapshot with their scores, and whom a rule leaves out (customer id -> reason)."""

    scores: pd.DataFrame
    holdout: frozenset[str]
    excluded: Mapping[str, str]


def draft(candidates: Candidates, policy: RetentionPolicy, plan_id: PlanId) -> pd.DataFrame:
    """One row per regular with the decision of the plan.

    The control is drawn by lot from everyone who may be contacted, before the allocation, and holds those
    of the drawn whom the allocation's order places before the last contact: the same rule chose both arms,
    chance alone parts them.
    """
    import pandas as pd

    rows = candidates.scores.copy()
    money = policy.margin
    rows["expected_margin"] = [(spend * money).quantize(Decimal("0.0001")) for spend in rows["expected_spend"]]
    ids = rows["customer_id"]
    held = ids.isin(candidates.holdout)
    out = ids.isin(candidates.excluded) & ~held
    drawn = pd.Series(assign(list(ids), f"control:{plan_id}", policy.control_share), index=rows.index)
    free = ~held & ~out & ~drawn
    chosen = allocate(rows[free], policy.allocation)
    chosen["decision"] = chosen["selected"].map({True: CONTACT, False: NOT_SELECTED})
    chosen["why_not"] = chosen["reason"]
    others = allocate(rows[~free], _without_limits(policy, len(rows)))
    others["decision"] = NOT_SELECTED
    others["why_not"] = "drawn as control, and beyond what the budget reaches"
    would = others["selected"] & _before_last(others, chosen[chosen["decision"] == CONTACT])
    others.loc[would, "decision"] = CONTROL
    others.loc[would, "why_not"] = "drawn by lot to measure the plan"
    in_holdout = others["customer_id"].isin(candidates.holdout)
    others.loc[in_holdout, "decision"] = HOLDOUT
    others.loc[in_holdout, "why_not"] = "in the universal holdout"
    left_out = others["customer_id"].isin(candidates.excluded) & ~in_holdout
    others.loc[left_out, "decision"] = EXCLUDED
    others.loc[left_out, "why_not"] = others.loc[left_out, "customer_id"].map(dict(candidates.excluded))
    others["rank"] = None
    plan = pd.concat([chosen, others], ignore_index=True)
    return plan.assign(plan_id=str(plan_id)).drop(columns=["selected", "reason"])


def _without_limits(policy: RetentionPolicy, customers: int) -> Policy:
    channels = tuple(replace(channel, max_contacts=None) for channel in policy.allocation.channels)
    return replace(policy.allocation, budget=UNLIMITED, max_contacts=customers, channels=channels)


def _before_last(rows: pd.DataFrame, contacts: pd.DataFrame) -> pd.Series:
    """Which rows the allocation, whose channels are open to everyone, would have reached with these contacts."""
    import pandas as pd

    if contacts.empty:
        return pd.Series(False, index=rows.index)
    last = max(
        place(stake, customer)
        for stake, customer in zip(contacts["value_at_stake"], contacts["customer_id"], strict=True)
    )
    places = zip(rows["value_at_stake"], rows["customer_id"], strict=True)
    return pd.Series([place(stake, customer) <= last for stake, customer in places], index=rows.index, dtype=bool)


def place(value_at_stake: Decimal, customer_id: str) -> tuple[Decimal, str]:
    """Where the allocation takes a customer: all channels are open to all, so by value, ties by customer id."""
    return -value_at_stake, customer_id
