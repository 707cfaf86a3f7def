"""Outcomes: a planted effect is found, none is invented, and what cannot be told yet is said."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest

from cdap_assets.curated.orders import CUSTOMER_DAYS
from cdap_assets.identity.customer_xref import CUSTOMER_XREF, id_of
from cdap_assets.retention.outcomes import (
    CAMPAIGN_OUTCOMES,
    MEASURED,
    NOT_ENOUGH,
    OutcomeRules,
    moments_of_plans,
    outcome,
    outcomes_asset,
    per_person,
)
from cdap_assets.retention.tables import ARMS, CONTACT, CONTROL, PLAN_EVENTS, RETENTION_PLAN
from cdap_assets.table_assets.table_asset import TableAsset
from ml.experiment import Effect, NotEnoughData, difference_in_means
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.rows import found, table

PLAN, LATE = "2024-03-03-1", "2024-03-10-10"
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


PLANS = ibis.memtable(
    [{"plan_id": PLAN, "approved_at": EVENT["at"], "from_date": START, "until_date": END}],
    schema={"plan_id": "string", "approved_at": "timestamp(6)", "from_date": "date", "until_date": "date"},
)


def rules(covered: date | None = END) -> OutcomeRules:
    """A margin of a half over four weeks, with orders of all days before ``covered``."""
    ends = {"elsewhere": None} if covered is None else {"shop": covered - timedelta(days=1)}
    return OutcomeRules(Decimal("0.5"), HORIZON, ends)


def read(treated: int, control: int, days: list[dict[str, Any]], covered: date | None = END) -> dict[str, Any]:
    people = xref(*keys(treated, control))
    row = outcome_of(arms(treated, control), days, people, rules(covered))
    assert tuple(row) == CAMPAIGN_OUTCOMES.names
    return row


def outcome_of(arms: ibis.Table, days: list[dict[str, Any]], people: ibis.Table, read_by: OutcomeRules) -> Any:
    (plan,) = found(moments_of_plans(PLANS, arms, table(CUSTOMER_DAYS, *days), people, read_by))
    return outcome(plan)


def people_of(arms: ibis.Table, days: list[dict[str, Any]], people: ibis.Table) -> list[tuple[Any, ...]]:
    """(arm, orders, net) of each person of the plan; the arm is empty for who is left out."""
    rows = found(per_person(PLANS, arms, table(CUSTOMER_DAYS, *days), people))
    return sorted(((row["arm"] or "", row["orders"], row["net"]) for row in rows), key=str)


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
    assert people_of(arms(3, 2), days, xref(*keys(3, 2))) == [
        (CONTACT, 0, 0),
        (CONTACT, 0, 0),
        (CONTACT, 2, 12),
        (CONTROL, 0, 0),
        (CONTROL, 0, 0),
    ]


def test_who_was_merged_across_arms_is_left_out_and_within_an_arm_counts_once() -> None:
    days = [bought("t0", 1, 5), bought("t1", 2, 6), bought("t2", 3, 100), bought("c0", 4, 100)]
    people = xref(*keys(3, 2), t1="t0", t2="c0")
    assert people_of(arms(3, 2), days, people) == [("", 2, 200), (CONTACT, 2, 11), (CONTROL, 0, 0)]
    row = outcome_of(arms(3, 2), days, people, rules())
    assert (row["contacted"], row["control"], row["left_out"]) == (1, 1, 1)


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


def test_the_figures_are_those_of_the_experiments_own_comparison() -> None:
    days = simulated(0.5, 1)
    told = read(400, 300, days)
    frame = pd.DataFrame(days).assign(net=lambda rows: rows["net"].astype(float) * 0.5)
    sums = frame.groupby("customer_key")[["orders", "net"]].sum().reindex(keys(400, 300)).fillna(0)
    for what, column in (("orders", "orders"), ("margin", "net")):
        effect = difference_in_means(sums[column].iloc[:400], sums[column].iloc[400:])
        assert isinstance(effect, Effect)
        expected = [effect.value, effect.low, effect.high, effect.detectable]
        assert [told[f"{what}_{part}"] for part in ("effect", "low", "high", "detectable")] == pytest.approx(
            expected, rel=1e-9, abs=1e-9
        )


def test_why_it_cannot_be_told_is_said_as_the_experiment_says_it() -> None:
    one_each = [bought(key, 2) for key in keys(60, 60)]
    told = read(60, 60, one_each)
    reason = difference_in_means(np.ones(60), np.ones(60))
    assert isinstance(reason, NotEnoughData)
    assert (told["state"], told["why"], told["orders_effect"]) == (NOT_ENOUGH, reason.reason, None)
    # orders that vary are told of, also where what they bring does not
    free = [bought(key, 2, net=0, orders=1 + n % 3) for n, key in enumerate(keys(60, 60))]
    told = read(60, 60, free)
    assert (told["state"], told["why"], told["margin_effect"]) == (NOT_ENOUGH, reason.reason, None)
    assert told["orders_effect"] == pytest.approx(0)
    for sizes in ((60, 49), (49, 60)):
        small = difference_in_means(np.ones(sizes[0]), np.ones(sizes[1]))
        assert isinstance(small, NotEnoughData)
        assert read(*sizes, one_each)["why"] == small.reason


def lineage_tables(*events: dict[str, Any]) -> list[ibis.Table]:
    """What the asset reads: two plans, the first of which has arms and the effect of half an order."""
    plans = [
        {"plan_id": plan, "snapshot_date": day, "customer_id": "c", "decision": CONTROL}
        for plan, day in ((PLAN, START), (LATE, START + timedelta(days=7)))
    ]
    days, people = table(CUSTOMER_DAYS, *simulated(0.5, 1)), xref(*keys(400, 300))
    return [table(RETENTION_PLAN, *plans), table(PLAN_EVENTS, *events), arms(400, 300), days, people]


def asset_of(home: Path, margin: str = "0.5") -> TableAsset:
    policy = "currency: EUR\nbudget: 1\nmax_contacts: 1\nholdout_share: 0\ncontrol_share: 0\n"
    settings = Settings(home=home)
    settings.retention_file.write_text(f"{policy}margin: {margin}\nchannels: [{{name: letter, cost: 1}}]\n")
    return outcomes_asset(settings, {"shop": date(2024, 12, 31)})


def test_only_approved_plans_are_read_and_the_table_is_empty_before_there_are_any(tmp_path: Path) -> None:
    asset = asset_of(tmp_path)
    drafted = {**EVENT, "event": "drafted", "by": "cdap"}
    rejected = {**EVENT, "plan_id": LATE, "event": "rejected", "by": "Ann"}
    assert found(asset(*lineage_tables(drafted, rejected))) == []
    approved = {**EVENT, "event": "approved", "by": "Ann", "contacts": 400}
    (row,) = found(asset(*lineage_tables(drafted, rejected, approved)))
    assert (row["plan_id"], row["state"], row["contacted"], row["control"]) == (PLAN, MEASURED, 400, 300)
    assert (row["from_date"], row["until_date"]) == (START, START + timedelta(days=91))


def test_plans_are_told_apart_and_one_without_arms_has_nobody(tmp_path: Path) -> None:
    events = [{**EVENT, "plan_id": plan, "event": "partly approved", "by": "Ann"} for plan in (LATE, PLAN)]
    late, first = sorted(found(asset_of(tmp_path)(*lineage_tables(*events))), key=lambda row: row["contacted"])
    assert (late["plan_id"], late["contacted"], late["control"], late["left_out"]) == (LATE, 0, 0, 0)
    assert (late["state"], late["why"]) == (NOT_ENOUGH, "the treated arm has 0 people; at least 50 are needed")
    assert (first["plan_id"], first["state"]) == (PLAN, MEASURED)


def test_what_it_would_ask_is_told_without_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = lineage_tables({**EVENT, "event": "approved", "by": "Ann"})

    def computed(*_: object, **__: object) -> None:
        raise AssertionError("a query was run")

    for name in ("to_pyarrow", "to_pyarrow_batches", "execute"):
        monkeypatch.setattr(ibis.expr.types.Expr, name, computed)
    asset = asset_of(tmp_path)
    moments, read = asset.questions(dict(zip(asset.inputs, tables, strict=True)))
    assert {"orders_mean_contact", "margin_variance_control", "covered"} <= set(moments.columns)
    assert read.columns == CAMPAIGN_OUTCOMES.names


def test_the_margin_is_that_of_the_policy_when_it_is_built(tmp_path: Path) -> None:
    tables = lineage_tables({**EVENT, "event": "approved", "by": "Ann"})
    (half,), (quarter,) = (found(asset_of(tmp_path, margin)(*tables)) for margin in ("0.5", "0.25"))
    assert half["margin_effect"] == pytest.approx(2 * quarter["margin_effect"])
    assert half["orders_effect"] == pytest.approx(quarter["orders_effect"])


def test_another_margin_has_the_table_built_anew_and_another_budget_has_not(tmp_path: Path) -> None:
    lakehouse = Lakehouse(Settings(home=tmp_path, threads=1))
    with lakehouse.session() as session:
        asset = asset_of(tmp_path)
        rows = ibis.memtable([], schema=CAMPAIGN_OUTCOMES.schema())
        session.publish(CAMPAIGN_OUTCOMES, rows, provenance={"code_version": "1"}, outside=asset.outside_now())
    with lakehouse.session() as session:
        assert not asset_of(tmp_path, "0.50").work(session).needed
        assert asset_of(tmp_path, "0.25").work(session).why == "everything: margin and horizon changed"
