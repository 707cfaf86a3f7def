"""Plans drafted before model versions were columns: still shown and decided, in a table that keeps the old column."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cdap_assets.retention import ledger
from cdap_assets.retention.plan_id import PlanId, PlanRefused
from cdap_assets.retention.plan_page import NOT_KEPT, plan_figures
from cdap_assets.retention.tables import CONTACT, RETENTION_PLAN
from pages.plan import plan_page
from resources.lake.lakehouse import Lakehouse
from resources.registry.model_registry import ModelRegistry
from tests.retention.lake import NOON, VERSIONS, PlanLake, S, later, policy

PLAN = PlanId(S, 1)


@pytest.fixture
def lake(tmp_path: Path) -> PlanLake:
    """A home with a plan as it was written before."""
    lake = PlanLake(tmp_path / "home")
    lake.draft_before()
    return lake


def page(lake: PlanLake) -> str:
    with lake.session() as session:
        return plan_page(plan_figures(session, ModelRegistry(lake.settings), PLAN, policy(), None))


def test_its_page_says_that_the_versions_were_not_kept_and_shows_the_rest(lake: PlanLake) -> None:
    told = page(lake)
    assert NOT_KEPT in told
    assert "lapse_model" not in told
    assert "EUR" in told


def test_it_is_edited_and_approved_like_any_other(lake: PlanLake) -> None:
    with lake.session() as session:
        rows = ledger.plan_rows(session, PLAN)
        assert ledger.ModelVersions.of(rows) is None
        gone = rows.loc[rows["decision"] == CONTACT, "customer_id"].iloc[0]
        ledger.edit(session, PLAN, drop=[gone], by="Ann", reason="moved", at=NOON + timedelta(minutes=1))
        state = ledger.approve(session, PLAN, by="Ann", at=NOON + timedelta(minutes=2))
    assert state.state == ledger.APPROVED
    assert "by Ann" in page(lake)


def test_from_unreviewed_models_it_is_refused_without_their_versions(lake: PlanLake) -> None:
    lake.draft_before(reviewed=False)
    with lake.session() as session, pytest.raises(PlanRefused, match=r"that nobody has reviewed\. Read their review"):
        ledger.approve(session, PLAN, by="Ann", at=NOON)
    assert "Draft it anew" in page(lake)


def test_it_is_rejected_and_the_next_draft_stands_beside_it_in_the_same_table(lake: PlanLake) -> None:
    with lake.session() as session:
        ledger.reject(session, PLAN, by="Ann", reason="old", at=NOON + timedelta(minutes=1))
        before = ledger.plan_rows(session, PLAN)
    lake.score(later(1))
    assert (lake.draft(at=NOON + timedelta(minutes=2)), lake.draft(later(1))) == (PLAN.next, PlanId(later(1), 1))
    table = Lakehouse(lake.settings).load(RETENTION_PLAN.name)
    assert table is not None
    assert {"models", *VERSIONS} <= {field.name for field in table.schema().fields}
    with lake.session() as session:
        assert ledger.plan_rows(session, PLAN).equals(before)
        versions = {plan: ledger.ModelVersions.of(ledger.plan_rows(session, plan)) for plan in (PLAN, PLAN.next)}
    assert versions == {PLAN: None, PLAN.next: ledger.ModelVersions(1, 2)}
