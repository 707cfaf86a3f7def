"""Drafting: limits, arms that differ by chance alone, and the same plan whatever the order of rows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdap_assets.retention.drafting import Candidates, draft
from cdap_assets.retention.plan_id import PlanId
from cdap_assets.retention.tables import CONTACT, CONTROL, EXCLUDED, HOLDOUT, NOT_SELECTED
from tests.examples import examples
from tests.retention.lake import S, policy, regulars

KEYS = [f"k{number:03}" for number in range(400)]


def drafted(
    scores: pd.DataFrame,
    rules: Any = None,
    holdout: frozenset[str] = frozenset(),
    excluded: dict[str, str] | None = None,
    number: int = 1,
) -> pd.DataFrame:
    plan = draft(Candidates(scores, holdout, excluded or {}), rules or policy(), PlanId(S, number))
    assert sorted(plan["customer_id"]) == sorted(scores["customer_id"])
    return plan


def who(plan: pd.DataFrame, decision: str) -> set[str]:
    return set(plan.loc[plan["decision"] == decision, "customer_id"])


@examples(40)
@given(st.data())
def test_budget_caps_holdout_and_exclusions_hold_for_any_shop_and_policy(data: st.DataObject) -> None:
    spend = data.draw(st.lists(st.floats(0, 200), min_size=1, max_size=40))
    scores = regulars(KEYS[: len(spend)], spend)
    scores["lapse_probability"] = data.draw(st.lists(st.floats(0, 1), min_size=len(spend), max_size=len(spend)))
    caps = data.draw(st.lists(st.one_of(st.none(), st.integers(0, 10)), min_size=1, max_size=3))
    rules = policy(
        budget=str(data.draw(st.integers(0, 60))),
        max_contacts=data.draw(st.integers(0, 30)),
        control_share=data.draw(st.sampled_from([0.0, 0.3, 0.9])),
        channels=[{"name": f"c{n}", "cost": f"{n}.5", "max_contacts": cap} for n, cap in enumerate(caps)],
    )
    ids = list(scores["customer_id"])
    holdout = frozenset(data.draw(st.lists(st.sampled_from(ids), max_size=5)))
    excluded = dict.fromkeys(data.draw(st.lists(st.sampled_from(ids), max_size=5)), "no consent")
    plan = drafted(scores, rules, holdout, excluded)
    contacts = plan[plan["decision"] == CONTACT]
    assert sum(contacts["cost"], Decimal(0)) <= rules.budget
    assert len(contacts) <= rules.max_contacts
    for channel in rules.channels:
        if channel.max_contacts is not None:
            assert (contacts["channel"] == channel.name).sum() <= channel.max_contacts
    assert who(plan, HOLDOUT) == holdout
    assert who(plan, EXCLUDED) == set(excluded) - holdout
    assert (contacts["value_at_stake"] >= contacts["cost"]).all()
    control = plan[plan["decision"] == CONTROL]
    if len(control):
        # whoever is measured against the contacts would have been one of them
        assert control["value_at_stake"].min() >= contacts["value_at_stake"].min()
    assert plan.loc[plan["decision"] != CONTACT, "why_not"].notna().all()


def test_the_order_of_the_rows_and_a_second_draft_change_nothing() -> None:
    scores = regulars(KEYS[:80])
    rules = policy(budget="20")
    first = drafted(scores, rules).set_index("customer_id").sort_index()
    shuffled = scores.sample(frac=1, random_state=3)
    again = drafted(shuffled, rules).set_index("customer_id").sort_index()
    pd.testing.assert_frame_equal(first, again)


def test_the_lot_falls_on_the_same_share_of_high_and_low_scores() -> None:
    scores = regulars(KEYS)
    shares = []
    for number in range(1, 61):
        plan = drafted(scores, number=number).sort_values("value_at_stake")
        shares.append([(half == CONTROL).mean() for half in np.split(plan["decision"].to_numpy(), 2)])
    low, high = np.mean(shares, axis=0)
    assert low == pytest.approx(0.3, abs=0.015)
    assert high == pytest.approx(0.3, abs=0.015)


@pytest.mark.parametrize("caps", [(None, None), (30, None)])
def test_both_arms_have_the_same_value_at_stake_on_average_although_many_are_tied_at_the_cut(
    caps: tuple[int | None, int | None],
) -> None:
    # four amounts only: the cut falls inside a group of equals, which must not all become controls
    scores = regulars(KEYS, [20.0 + 10 * (number % 4) for number in range(len(KEYS))])
    rules = policy(
        budget="130",
        channels=[
            {"name": "mail", "cost": "1", "max_contacts": caps[0]},
            {"name": "phone", "cost": "2", "max_contacts": caps[1]},
        ],
    )
    gaps, shares = [], []
    for number in range(1, 81):
        plan = drafted(scores, rules, number=number)
        arms = {arm: plan.loc[plan["decision"] == arm, "value_at_stake"].astype(float) for arm in (CONTACT, CONTROL)}
        gaps.append(arms[CONTACT].mean() - arms[CONTROL].mean())
        shares.append(len(arms[CONTROL]) / (len(arms[CONTROL]) + len(arms[CONTACT])))
    error = np.std(gaps, ddof=1) / np.sqrt(len(gaps))
    assert abs(np.mean(gaps)) < 4 * error
    assert np.mean(shares) == pytest.approx(0.3, abs=0.02)


def test_a_capped_channel_keeps_nobody_out_of_the_control() -> None:
    rules = policy(channels=[{"name": "mail", "cost": "1", "max_contacts": 5}, {"name": "letter", "cost": "2"}])
    scores = regulars(KEYS[:100])
    in_holdout = frozenset(scores["customer_id"].tail(10))
    plan = drafted(scores, rules, in_holdout)
    assert len(who(plan, CONTACT)) + len(who(plan, CONTROL)) == 90


def test_a_plan_that_contacts_nobody_has_no_control() -> None:
    for rules in (policy(budget="0"), policy(max_contacts=0), policy(channels=[{"name": "visit", "cost": "900"}])):
        plan = drafted(regulars(KEYS[:50]), rules)
        assert who(plan, CONTACT) == who(plan, CONTROL) == set()
        assert len(who(plan, NOT_SELECTED)) == 50


def test_value_at_stake_is_exact_money() -> None:
    scores = regulars(["a"], [33.33]).assign(lapse_probability=0.1)
    row = drafted(scores, policy(margin="0.3", control_share=0.0)).iloc[0]
    assert row["expected_margin"] == Decimal("9.9990")
    assert row["value_at_stake"] == Decimal("0.9999")
    assert row["decision"] == NOT_SELECTED
