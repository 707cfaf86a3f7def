from decimal import Decimal
from itertools import product

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.allocation import Channel, Policy, allocate
from tests.examples import examples

EMAIL = Channel("email", Decimal("0.10"))
POST = Channel("post", Decimal("1.50"), max_contacts=2)
PHONE = Channel("phone", Decimal(6))


def policy(budget: str = "1000", max_contacts: int = 1000, channels: tuple[Channel, ...] = (POST,)) -> Policy:
    return Policy(Decimal(budget), max_contacts, 28, 0.05, 0.1, channels)


def people(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["customer_id", "lapse_probability", "expected_margin", "allowed_channels"])


def reasons(plan: pd.DataFrame) -> dict:
    return dict(zip(plan["customer_id"], plan["reason"], strict=True))


def test_value_at_stake_is_exact_money_and_orders_the_plan():
    plan = allocate(
        people(("a", 0.1, 30.0, ["email"]), ("b", 0.3, Decimal("20.10"), ["email"])), policy(channels=(EMAIL,))
    )
    assert plan["customer_id"].tolist() == ["b", "a"]
    assert plan["value_at_stake"].tolist() == [Decimal("6.0300"), Decimal("3.0000")]
    assert plan["rank"].tolist() == [1, 2]
    assert plan["selected"].all()


def test_each_reason_for_leaving_someone_out_is_given():
    rows = people(
        ("small", 0.1, 5, ["post"]),
        ("opted_out", 0.9, 900, []),
        ("first", 0.5, 100, ["post"]),
        ("second", 0.5, 90, ["post"]),
        ("third", 0.5, 80, ["post"]),
    )
    assert reasons(allocate(rows, policy())) == {
        "first": None,
        "second": None,
        "third": "contact cap",
        "small": "value at stake below contact cost",
        "opted_out": "no permitted channel",
    }
    assert reasons(allocate(rows, policy(budget="2.99")))["second"] == "over budget"
    assert reasons(allocate(rows, policy(max_contacts=1)))["second"] == "contact cap"


def test_the_cheapest_permitted_channel_is_used_and_the_next_one_when_it_is_full():
    rows = people(*[(str(k), 0.5, 100 - k, ["post", "phone"]) for k in range(3)])
    plan = allocate(rows, policy(channels=(PHONE, POST, EMAIL)))
    assert plan["channel"].tolist() == ["post", "post", "phone"]
    assert plan["cost"].sum() == Decimal("9.00")


def test_a_dearer_channel_is_not_used_for_less_than_its_cost():
    rows = people(*[(str(k), 0.5, 10, ["post", "phone"]) for k in range(3)])
    assert reasons(allocate(rows, policy(channels=(PHONE, POST)))) == {"0": None, "1": None, "2": "contact cap"}


def test_equal_customers_are_taken_by_id_whatever_the_order_of_rows():
    rows = people(*[(c, 0.5, 10, ["post"]) for c in "dbca"])
    plan = allocate(rows, policy())
    assert plan["customer_id"].tolist() == list("abcd")
    pd.testing.assert_frame_equal(plan, allocate(rows.iloc[::-1], policy()))


def test_nobody_to_contact_gives_an_empty_plan():
    plan = allocate(people(), policy())
    assert plan.empty
    assert {"value_at_stake", "channel", "cost", "rank", "selected", "reason"} <= set(plan.columns)


CANDIDATES = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.decimals(-20, 500, places=2),
        st.lists(st.sampled_from(["email", "post", "phone", "free"]), unique=True),
    ),
    max_size=30,
)
COSTS = st.decimals(Decimal("0.01"), 20, places=2)
CAPS = st.none() | st.integers(0, 10)


@examples(100)
@given(
    CANDIDATES, st.decimals(0, 100, places=2), st.integers(0, 20), st.tuples(COSTS, COSTS, COSTS), st.tuples(CAPS, CAPS)
)
def test_no_plan_breaks_its_policy(rows, budget, most, costs, caps):
    channels = (
        Channel("email", costs[0], caps[0]),
        Channel("post", costs[1], caps[1]),
        Channel("phone", costs[2]),
        Channel("free", Decimal(0), 3),
    )
    candidates = people(*[(f"c{k:02}", *row) for k, row in enumerate(rows)])
    plan = allocate(candidates, policy(str(budget), most, channels))
    chosen = plan[plan["selected"]]
    assert sorted(plan["customer_id"]) == sorted(candidates["customer_id"])
    assert sum(chosen["cost"], Decimal(0)) <= budget
    assert len(chosen) <= most
    for channel in channels:
        if channel.max_contacts is not None:
            assert (chosen["channel"] == channel.name).sum() <= channel.max_contacts
    assert all(row.channel in row.allowed_channels for row in chosen.itertuples())
    assert (chosen["value_at_stake"] >= chosen["cost"]).all()
    assert (plan["reason"].isna() == plan["selected"]).all()


@examples(100)
@given(st.lists(st.integers(2, 400), min_size=1, max_size=8), st.integers(0, 8), st.decimals(0, 20, places=2))
def test_with_one_channel_no_other_choice_puts_more_value_within_reach(margins, most, budget):
    channel = Channel("post", Decimal("1.50"))
    plan = allocate(
        people(*[(str(k), 0.5, m, ["post"]) for k, m in enumerate(margins)]), policy(str(budget), most, (channel,))
    )
    reached = plan.loc[plan["selected"], "value_at_stake"].sum() - plan.loc[plan["selected"], "cost"].sum()
    best = max(
        sum((Decimal(m) / 2 - channel.cost for m, take in zip(margins, choice, strict=True) if take), Decimal(0))
        for choice in product([False, True], repeat=len(margins))
        if sum(choice) <= most and sum(choice) * channel.cost <= budget
    )
    assert reached == best


def test_unusable_candidates_and_policies_are_named():
    good = ("a", 0.5, 10, ["post"])
    with pytest.raises(ValueError, match="customer a is a candidate twice"):
        allocate(people(good, good), policy())
    with pytest.raises(ValueError, match="customer b: expected lapse_probability"):
        allocate(people(good, ("b", float("nan"), 10, ["post"])), policy())
    with pytest.raises(ValueError, match="customer b: expected a known expected_margin"):
        allocate(people(good, ("b", 0.5, None, ["post"])), policy())
    with pytest.raises(ValueError, match=r"customer b: allowed_channels names \['fax'\]"):
        allocate(people(good, ("b", 0.5, 10, ["fax"])), policy())
    with pytest.raises(ValueError, match="list of names, found 'post'"):
        allocate(people(("b", 0.5, 10, "post")), policy())
    with pytest.raises(ValueError, match=r"missing column.*: expected_margin"):
        allocate(people(good).drop(columns="expected_margin"), policy())
    with pytest.raises(ValueError, match="budget must be >= 0"):
        policy(budget="-1")
    with pytest.raises(ValueError, match="distinct names"):
        policy(channels=(POST, POST))
