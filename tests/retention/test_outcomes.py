"""Outcomes: a planted effect is found, none is invented, and what cannot be told yet is said."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest

from cdap_assets.curated.orders import CUSTOMER_DAYS
from cdap_assets.identity.customer_xref import CUSTOMER_XREF, id_of
from cdap_assets.retention.outcomes import CAMPAIGN_OUTCOMES, MEASURED, NOT_ENOUGH, outcome, outcomes_asset, per_person
from cdap_assets.retention.tables import ARMS, CONTACT, CONTROL, PLAN_EVENTS
from ml.experiment import Effect, difference_in_means
from resources.settings import Settings
from tests.rows import found, table

PLAN = "2024-03-03-1"
START, HORIZON = date(2024, 3, 3), 28
END = START + timedelta(days=HORIZON)
EVENT = {"plan_id": PLAN, "at": datetime(2024, 3, 4)}


def arms(treated: int, control: int) -> ibis.Table:
    people = [(f"t{n}", CONTACT) for n in range(treated)] + [(f"c{n}", CONTROL) for n in range(control)]
    return table(
        ARMS,
        *({"customer_id": id_of(("shop", key)), "arm": arm, "plan_id": PLAN, "at": EVENT["at"]} for key, arm in people),
        {"customer_id": id_of(("shop", "t0")), "arm": CONTROL, "plan_id": "2024-02-04-1", "at": EVENT["at"]},
    )


def xref(*keys: str, **same: str) -> ibis.Table:
    """A customer per key; ``same`` makes a key the customer of another one's id from a day after the plan."""
    rows: list[dict[str, Any]] = [
        {"customer_key": key, "customer_id": id_of(("shop", key))} for key in keys if key not in same
    ]
    merged = datetime(2024, 3, 10)
    for key, other in same.items():
        rows.append({"customer_key": key, "customer_id": id_of(("shop", key)), "valid_to": merged})
        rows.append({"customer_key": key, "customer_id": id_of(("shop", other)), "valid_from": merged})
    return table(CUSTOMER_XREF, *rows)


def bought(key: str, after: int, net: float = 10, orders: int = 1, **other: Any) -> dict[str, Any]:
    day = START + timedelta(days=after)
    return {"customer_key": key, "local_date": day, "net": Decimal(str(round(net, 2))), "orders": orders, **other}


def keys(treated: int, control: int) -> list[str]:
    return [f"t{n}" for n in range(treated)] + [f"c{n}" for n in range(control)]


def read(treated: int, control: int, days: list[dict[str, Any]], covered: date | None = END) -> dict[str, Any]:
    people = xref(*keys(treated, control))
    found_ = outcome(
        EVENT, arms(treated, control), table(CUSTOMER_DAYS, *days), people, HORIZON, Decimal("0.5"), covered
    )
    assert set(found_) == set(CAMPAIGN_OUTCOMES.names)
    return found_


def test_an_open_horizon_and_small_arms_are_not_enough_data() -> None:
    days = [bought(key, n % 20) for n, key in enumerate(keys(60, 60)[::2])]
    open_ = read(60, 60, days, END - timedelta(days=1))
    assert (open_["state"], open_["orders_effect"], open_["margin_low"]) == (NOT_ENOUGH, None, None)
    assert open_["why"] == "the horizon ends on 2024-03-31, the orders cover days before 2024-03-30"
    assert "the orders cover nothing" in read(60, 60, days, None)["why"]
    small = read(60, 49, days)
    assert (small["state"], small["contacted"], small["control"]) == (NOT_ENOUGH, 60, 49)
    assert "the control arm has 49 people" in small["why"]
    assert read(60, 0, days)["state"] == NOT_ENOUGH
    assert read(60, 60, days)["state"] == MEASURED


def test_customers_without_purchases_count_as_zero_and_days_outside_the_horizon_do_not_count() -> None:
    days = [bought("t0", 0, 7), bought("t0", 27, 5), bought("t1", 28, 99), bought("t1", -1, 99)]
    days.append(bought("t2", 3, 50, superseded_at=datetime(2024, 3, 20)))
    rows, left_out = per_person(PLAN, arms(3, 2), table(CUSTOMER_DAYS, *days), xref(*keys(3, 2)), START, END)
    assert left_out == 0
    assert sorted(zip(rows["arm"], rows["orders"], rows["net"], strict=True)) == [
        (CONTACT, 0, 0),
        (CONTACT, 0, 0),
        (CONTACT, 2, 12),
        (CONTROL, 0, 0),
        (CONTROL, 0, 0),
    ]


def test_who_was_merged_across_arms_is_left_out_and_within_an_arm_counts_once() -> None:
    days = [bought("t0", 1, 5), bought("t1", 2, 6), bought("t2", 3, 100), bought("c0", 4, 100)]
    people = xref(*keys(3, 2), t1="t0", t2="c0")
    rows, left_out = per_person(PLAN, arms(3, 2), table(CUSTOMER_DAYS, *days), people, START, END)
    assert left_out == 1
    assert sorted(zip(rows["arm"], rows["net"], strict=True)) == [(CONTACT, 11.0), (CONTROL, 0.0)]


def simulated(effect: float, seed: int, treated: int = 400, control: int = 300) -> list[dict[str, Any]]:
    drawn = np.random.default_rng(seed)
    rates = {"t": 1.0 + effect, "c": 1.0}
    return [
        bought(key, 2, orders * drawn.gamma(4, 5), orders)
        for key in keys(treated, control)
        if (orders := int(drawn.poisson(rates[key[0]])))
    ]


def test_a_planted_effect_is_recovered_in_orders_and_margin() -> None:
    told = read(400, 300, simulated(0.5, 1))
    assert told["state"] == MEASURED
    assert told["orders_low"] < 0.5 < told["orders_high"]
    # half an order more, of 20 on average, with a margin of a half
    assert told["margin_low"] < 5 < told["margin_high"]
    assert told["orders_low"] > 0
    assert 0 < told["orders_detectable"] < 0.5
    assert told["margin_effect"] == pytest.approx((told["margin_low"] + told["margin_high"]) / 2)


def test_no_effect_is_an_interval_that_holds_0_about_95_times_in_100() -> None:
    holds = 0
    for seed in range(300):
        frame = pd.DataFrame(simulated(0.0, 1000 + seed, 120, 80))
        sums = frame.groupby("customer_key")["net"].sum().astype(float).reindex(keys(120, 80)).fillna(0)
        effect = difference_in_means(sums.iloc[:120], sums.iloc[120:])
        assert isinstance(effect, Effect)
        holds += effect.low <= 0 <= effect.high
    assert 0.91 <= holds / 300 <= 0.985
    told = read(400, 300, simulated(0.0, 5))
    assert told["orders_low"] < 0 < told["orders_high"]


def test_only_approved_plans_are_read_and_the_table_is_empty_before_there_are_any(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path)
    policy = "currency: EUR\nmargin: 0.5\nbudget: 1\nmax_contacts: 1\nholdout_share: 0\ncontrol_share: 0\n"
    settings.retention_file.write_text(policy + "channels: [{name: letter, cost: 1}]\n")
    asset = outcomes_asset(settings, {"shop": date(2024, 12, 31)})
    days, people = table(CUSTOMER_DAYS, *simulated(0.5, 1)), xref(*keys(400, 300))
    drafted = {**EVENT, "event": "drafted", "by": "cdap"}
    rejected = {**EVENT, "plan_id": "2024-03-03-2", "event": "rejected", "by": "Ann"}
    before = asset(table(PLAN_EVENTS, drafted, rejected), arms(400, 300), days, people)
    assert found(before) == []
    approved = {**EVENT, "event": "approved", "by": "Ann", "contacts": 400}
    (row,) = found(asset(table(PLAN_EVENTS, drafted, rejected, approved), arms(400, 300), days, people))
    assert (row["plan_id"], row["state"], row["contacted"], row["control"]) == (PLAN, MEASURED, 400, 300)
