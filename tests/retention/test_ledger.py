"""What people decide about plans: who may do what and when, arms written once, and a holdout for good."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cdap_assets.identity.customer_xref import id_of, linked_keys
from cdap_assets.retention import ledger
from cdap_assets.retention.ledger import APPROVED, DRAFT, PARTLY, REJECTED, PlanRefused, PlanState
from cdap_assets.retention.plan import NothingToPlan
from cdap_assets.retention.tables import CONTACT, CONTROL, EXCLUDED, HOLDOUT, NOT_SELECTED, PLAN_EVENTS
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.processes import fresh
from tests.retention.lake import NOON, PlanLake, S, later, policy
from tests.rows import table

ANN = "Ann Example"


@pytest.fixture
def lake(tmp_path: Path) -> PlanLake:
    return PlanLake(tmp_path / "home")


def minutes(number: int) -> datetime:
    return NOON + timedelta(minutes=number)


def approve(lake: PlanLake, plan_id: str, **other: Any) -> PlanState:
    with lake.session() as session:
        return ledger.approve(session, plan_id, **{"by": ANN, "at": minutes(5), **other})


def reject(lake: PlanLake, plan: str, by: str, reason: str = "too many") -> PlanState:
    with lake.session() as session:
        return ledger.reject(session, plan, by=by, reason=reason, at=minutes(35))


def edit(lake: PlanLake, plan_id: str, **other: Any) -> PlanState:
    with lake.session() as session:
        return ledger.edit(session, plan_id, **{"by": ANN, "reason": "moved away", "at": minutes(2), **other})


def state(lake: PlanLake, plan_id: str) -> PlanState:
    with lake.session() as session:
        return ledger.plan_states(session)[plan_id]


def rows_of(lake: PlanLake, plan_id: str) -> Any:
    with lake.session() as session:
        return ledger.plan_rows(session, plan_id)


def ids(lake: PlanLake, plan_id: str, decision: str) -> list[str]:
    rows = rows_of(lake, plan_id)
    return list(rows.loc[rows["decision"] == decision, "customer_id"])


def contacted(lake: PlanLake, plan_id: str) -> list[str]:
    with lake.session() as session:
        return list(ledger.contacts_of(ledger.plan_rows(session, plan_id), state(lake, plan_id))["customer_id"])


def events(lake: PlanLake) -> list[tuple[str, str]]:
    with lake.session() as session:
        rows = session.read(PLAN_EVENTS).order_by("at").to_pyarrow().to_pylist()
    return [(row["plan_id"], row["event"]) for row in rows]


def test_a_plan_passes_from_draft_over_edits_to_an_approval_that_anyone_can_replay(lake: PlanLake) -> None:
    plan = lake.draft(rules=policy(max_contacts=20))
    assert state(lake, plan).untouched
    gone, put_in = ids(lake, plan, CONTACT)[0], ids(lake, plan, NOT_SELECTED)[0]
    edit(lake, plan, drop=[gone])
    edited = edit(lake, plan, add=[put_in], at=minutes(3))
    assert (edited.dropped, edited.added) == ({gone: "moved away"}, {put_in: "moved away"})
    assert state(lake, plan) == edited
    assert not edited.untouched
    approved = approve(lake, plan, note="fine")
    assert (approved.state, approved.by, approved.approved_contacts) == (APPROVED, ANN, 20)
    assert state(lake, plan) == approved
    assert contacted(lake, plan)[-1] == put_in
    assert gone not in contacted(lake, plan)


def test_an_approval_fixes_arms_of_the_contacted_and_the_control_but_not_of_whom_a_person_put_in(
    lake: PlanLake,
) -> None:
    plan = lake.draft(rules=policy(max_contacts=20))
    put_in, control = ids(lake, plan, NOT_SELECTED)[0], ids(lake, plan, CONTROL)
    edit(lake, plan, add=[put_in])
    approve(lake, plan)
    measured = [customer for customer in contacted(lake, plan) if customer != put_in]
    assert control
    assert lake.arms(plan) == sorted([(c, CONTACT) for c in measured] + [(c, CONTROL) for c in control])


def test_a_contact_that_was_dropped_and_put_back_is_measured_as_before(lake: PlanLake) -> None:
    plan = lake.draft()
    first = ids(lake, plan, CONTACT)[0]
    edit(lake, plan, drop=[first])
    edit(lake, plan, add=[first], at=minutes(3))
    approve(lake, plan)
    assert (first, CONTACT) in lake.arms(plan)


def test_a_partial_approval_keeps_the_controls_that_would_have_been_contacted_too(lake: PlanLake) -> None:
    plan = lake.draft()
    approved = approve(lake, plan, first=10)
    assert (approved.state, approved.approved_contacts) == (PARTLY, 10)
    rows = rows_of(lake, plan).set_index("customer_id")
    arms = lake.arms(plan)
    chosen = [customer for customer, arm in arms if arm == CONTACT]
    control = [customer for customer, arm in arms if arm == CONTROL]
    assert sorted(chosen) == sorted(ids(lake, plan, CONTACT)[:10])
    assert contacted(lake, plan) == ids(lake, plan, CONTACT)[:10]
    worst = rows.loc[chosen, "value_at_stake"].min()
    assert 0 < len(control) < len(ids(lake, plan, CONTROL))
    assert set(control) == {c for c in ids(lake, plan, CONTROL) if rows.loc[c, "value_at_stake"] >= worst}


def test_more_than_there_are_is_the_whole_plan(lake: PlanLake) -> None:
    assert approve(lake, lake.draft(), first=10_000).state == APPROVED


def test_what_may_not_be_done_is_refused_with_what_to_do(lake: PlanLake) -> None:
    plan = lake.draft(rules=policy(max_contacts=20))
    kept, left = ids(lake, plan, CONTACT)[0], ids(lake, plan, NOT_SELECTED)[0]
    for told, other in {
        "is not among the regulars": {"drop": ["nobody"]},
        "say why": {"drop": [kept], "reason": "  "},
        "a person decides": {"drop": [kept], "by": " "},
        "in the universal holdout": {"add": ids(lake, plan, HOLDOUT)[:1]},
        "drawn by lot": {"add": ids(lake, plan, CONTROL)[:1]},
        "is contacted by plan .* already": {"add": [kept]},
        "nothing to drop": {"drop": [left]},
        "choose one": {"drop": [kept], "add": [kept]},
    }.items():
        with pytest.raises(PlanRefused, match=told):
            edit(lake, plan, **other)
    for told, how in {"at least 1, found 0": {"first": 0}, "a person decides": {"by": ""}}.items():
        with pytest.raises(PlanRefused, match=told):
            approve(lake, plan, **how)
    with pytest.raises(PlanRefused, match="there is no plan 2024-03-03-9; see `cdap plan list`"):
        approve(lake, "2024-03-03-9")
    assert state(lake, plan).untouched
    assert lake.arms(plan) == []


def test_edits_may_not_bring_a_plan_over_its_limits(lake: PlanLake) -> None:
    plan = lake.draft(rules=policy(max_contacts=20))
    edit(lake, plan, add=ids(lake, plan, NOT_SELECTED)[:2])
    with pytest.raises(PlanRefused, match=r"costs 22\.00, over the budget of 21\.50; drop some"):
        approve(lake, plan, budget=Decimal("21.50"))
    with pytest.raises(PlanRefused, match="contacts 22, more than max_contacts 20"):
        approve(lake, plan, budget=Decimal(100), max_contacts=20)
    assert lake.arms(plan) == []
    assert approve(lake, plan, budget=Decimal(22), max_contacts=22).state == APPROVED


def test_a_decided_plan_stays_as_it_was_decided(lake: PlanLake) -> None:
    plan = lake.draft()
    some = ids(lake, plan, CONTACT)[:1]
    approve(lake, plan)
    arms, found = lake.arms(plan), state(lake, plan)
    for attempt in (
        lambda: approve(lake, plan, by="Bob"),
        lambda: edit(lake, plan, drop=some, by="Bob"),
        lambda: reject(lake, plan, "Bob"),
    ):
        with pytest.raises(PlanRefused, match=f"is approved by {ANN} already"):
            attempt()
    assert (lake.arms(plan), state(lake, plan)) == (arms, found)


def test_a_rejection_needs_a_person_and_a_reason_and_fixes_no_arms(lake: PlanLake) -> None:
    plan = lake.draft()
    for by, reason in (("", "too many"), (ANN, "")):
        with pytest.raises(PlanRefused):
            reject(lake, plan, by, reason)
    assert reject(lake, plan, ANN).state == REJECTED
    assert state(lake, plan).note == "too many"
    assert lake.arms(plan) == []


def test_a_plan_from_unreviewed_models_is_drafted_but_not_approved(lake: PlanLake) -> None:
    lake.score(S, reviewed=False)
    plan = lake.draft()
    with pytest.raises(PlanRefused, match=r"nobody has reviewed \(lapse_model v1, lifetime_value_model v2\)"):
        approve(lake, plan)
    assert lake.arms(plan) == []


def test_a_plan_that_contacts_nobody_is_not_approved(lake: PlanLake) -> None:
    plan = lake.draft(rules=policy(budget="0"))
    with pytest.raises(PlanRefused, match="contacts nobody"):
        approve(lake, plan)


def test_an_approval_cut_short_after_its_arms_is_completed_without_doubling_them(
    lake: PlanLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = lake.draft()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            approve(lake, plan, first=10)
    arms = lake.arms(plan)
    assert arms
    assert state(lake, plan).open
    # the draft that the arms are of is not replaced under them
    assert lake.draft() == f"{S}-2"
    with pytest.raises(PlanRefused, match="fixed its arms with 10 contacts"):
        approve(lake, plan)
    assert approve(lake, plan, first=10).state == PARTLY
    assert lake.arms(plan) == arms


def test_an_untouched_draft_is_replaced_and_any_other_keeps_its_number(lake: PlanLake) -> None:
    first = lake.draft()
    assert lake.draft(rules=policy(max_contacts=3)) == first == f"{S}-1"
    assert len(ids(lake, first, CONTACT)) == 3
    edit(lake, first, drop=ids(lake, first, CONTACT)[:1])
    before = rows_of(lake, first)
    second = lake.draft(at=minutes(4))
    assert second == f"{S}-2"
    reject(lake, second, ANN)
    third = lake.draft(at=minutes(7))
    assert third == f"{S}-3"
    assert rows_of(lake, first).equals(before)
    assert [state(lake, plan).state for plan in (first, second, third)] == [DRAFT, REJECTED, DRAFT]
    assert [event for plan, event in events(lake) if plan == first] == ["drafted", "drafted", "dropped"]


def test_the_tenth_draft_of_a_week_comes_after_the_ninth(lake: PlanLake) -> None:
    drafted = {"event": "drafted", "by": "cdap"}
    events = [{"plan_id": f"{S}-{number}", "at": minutes(number), **drafted} for number in range(1, 11)]
    events += [{"plan_id": f"{S}-{number}", "at": minutes(20), "event": REJECTED, "by": ANN} for number in range(1, 10)]
    with lake.session() as session:
        session.publish(PLAN_EVENTS, table(PLAN_EVENTS, *events), append=True)
    assert lake.draft(at=minutes(30)) == f"{S}-10"
    reject(lake, f"{S}-10", ANN)
    assert lake.draft(at=minutes(40)) == f"{S}-11"


def test_events_of_one_instant_are_read_in_the_order_they_can_have_happened(lake: PlanLake) -> None:
    plan = lake.draft()
    approve(lake, plan, at=NOON)
    assert state(lake, plan).state == APPROVED


def test_the_universal_holdout_is_for_good_over_plans_new_customers_and_another_share(lake: PlanLake) -> None:
    first = lake.draft()
    held = set(ids(lake, first, HOLDOUT))
    assert held
    assert {customer for customer, _arm in lake.arms()} == held
    new = [f"new{number:02}" for number in range(40)]
    lake.keys += new
    lake.publish("customer_xref", *({"customer_key": key, "customer_id": id_of(("shop", key))} for key in lake.keys))
    lake.score(later(1))
    second = lake.draft(later(1), policy(holdout_share=0.6))
    held_later = set(ids(lake, second, HOLDOUT))
    newcomers = {id_of(("shop", key)) for key in new}
    assert held_later - newcomers == held
    assert 10 <= len(held_later & newcomers) <= 36
    lake.score(later(2))
    assert set(ids(lake, lake.draft(later(2), policy(holdout_share=0.0)), HOLDOUT)) == held_later
    assert len(lake.arms()) == len(held_later)


def test_who_is_merged_with_a_member_of_the_holdout_is_left_alone(lake: PlanLake) -> None:
    rules = policy(holdout_share=0.3)
    held = set(ids(lake, lake.draft(rules=rules), HOLDOUT))
    by_id = {id_of(("shop", key)): key for key in lake.keys}
    # a pair whose common id is the one that was not held
    free, member = next((a, b) for a in sorted(set(by_id) - held) for b in sorted(held) if a < b)
    link = {"key_space": "shop", "customer_key": by_id[free], "other_key_space": "shop", "other_key": by_id[member]}
    linked = linked_keys([{**link, "known_at": minutes(1), "superseded_at": None}])
    alone = [
        {"customer_key": key, "customer_id": customer}
        for customer, key in by_id.items()
        if customer not in (free, member)
    ]
    lake.publish("customer_xref", *linked, *alone)
    lake.keys.remove(by_id[member])
    lake.score(later(1))
    assert free in ids(lake, lake.draft(later(1), rules), HOLDOUT)


def test_contacts_and_controls_of_an_approved_plan_are_left_alone_for_as_long_as_the_policy_says(
    lake: PlanLake,
) -> None:
    rules = policy(max_contacts=10, min_days_between_contacts=14)
    first = lake.draft(rules=rules)
    approve(lake, first, first=8)
    arms = lake.arms(first)
    assert sorted(arm for _customer, arm in arms)[:8] == [CONTACT] * 8
    assert len(arms) > 8
    lake.score(later(1))
    week_after = lake.draft(later(1), rules)
    why = rows_of(lake, week_after).set_index("customer_id")["why_not"]
    told = {CONTACT: "contacted in the last 14 days", CONTROL: "control of a plan in the last 14 days"}
    assert {customer: why[customer] for customer in ids(lake, week_after, EXCLUDED)} == {
        customer: told[arm] for customer, arm in arms
    }
    lake.score(later(2))
    assert ids(lake, lake.draft(later(2), rules), EXCLUDED) == []


def test_recent_campaigns_and_missing_consent_exclude_with_the_reason(lake: PlanLake) -> None:
    sent = {"campaign": "1", "channel": "post"}
    lake.publish(
        "touches",
        {"customer_key": "k00", "sent_at": datetime(2024, 2, 20), **sent},
        {"customer_key": "k01", "sent_at": datetime(2024, 1, 2), **sent},
        {"customer_key": "k02", "sent_at": datetime(2024, 3, 3, 1), **sent},
    )
    consent = {"purpose": "marketing", "known_at": datetime(2024, 1, 1)}
    lake.publish(
        "consents",
        *({"customer_key": key, "granted": True, "at": datetime(2024, 1, 1), **consent} for key in lake.keys[:5]),
        {"customer_key": "k03", "granted": False, "at": datetime(2024, 2, 1), **consent},
    )
    rules = policy(holdout_share=0.0, control_share=0.0, require_consent=["marketing"])
    rows = rows_of(lake, lake.draft(rules=rules)).set_index("customer_id")
    told = {key: rows.loc[id_of(("shop", key)), "why_not"] for key in lake.keys}
    assert told["k00"] == "contacted in the last 28 days"
    assert told["k03"] == told["k05"] == "no consent to marketing"
    assert {key for key, why in told.items() if not isinstance(why, str)} == {"k01", "k02", "k04"}


def test_costs_in_another_currency_than_the_customers_spend_are_not_compared(lake: PlanLake) -> None:
    with pytest.raises(NothingToPlan, match="counts in USD, the customers spend EUR"):
        lake.draft(rules=policy(currency="USD"))
    with pytest.raises(NothingToPlan, match="no scored regular at snapshot 2024-03-10"):
        lake.draft(later(1))


def _try_to_approve(home: Path, plan: str, by: str, start: Any, told: Any) -> None:
    settings = Settings(home=home, threads=1, memory_limit="1GB")
    start.wait(120)
    try:
        with ledger.deciding(settings), Lakehouse(settings).session() as session:
            ledger.approve(session, plan, by=by, at=minutes(9))
        told.put("won")
    except PlanRefused as error:
        told.put(str(error))


def test_of_two_processes_that_approve_at_once_one_wins_and_the_other_is_told(lake: PlanLake) -> None:
    plan = lake.draft()
    context = fresh()
    start, told = context.Barrier(2), context.Queue()
    other = context.Process(target=_try_to_approve, args=(lake.home, plan, "Bob", start, told))
    other.start()
    _try_to_approve(lake.home, plan, "Ann", start, told)
    found = sorted(told.get(timeout=60) for _ in range(2))
    other.join(30)
    assert found[1] == "won"
    assert "is approved by" in found[0]
    arms = lake.arms(plan)
    assert len(arms) == len({customer for customer, _arm in arms}) > 0
    assert [event for _plan, event in events(lake)] == ["drafted", APPROVED]


def test_who_waits_in_vain_for_another_decision_is_told(lake: PlanLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "LOCK_SECONDS", 0.05)
    told = "plans is being worked on by process"
    with ledger.deciding(lake.settings), pytest.raises(PlanRefused, match=told), ledger.deciding(lake.settings):
        pass
