"""Models in a shop that ran: what is registered for review, what scores, and what a person's approval changes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from cdap_assets.definitions import build_definitions
from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.features.labels import LAPSE_HORIZON, LAPSE_LABELS, VALUE_LABELS
from cdap_assets.models import champion, lapse_model, lifetime_value_model
from cdap_assets.models.lifetime_value_model import judging as value_judging
from cdap_assets.models.serving import MODELS, serving
from cdap_assets.models.tables import CUSTOMER_SCORES
from cdap_assets.models.training import FEATURES, lapse_frame
from cdap_assets.retention import ledger
from cdap_assets.retention.outcomes import CAMPAIGN_OUTCOMES, NOT_ENOUGH
from cdap_assets.retention.plan_id import PlanId
from cdap_assets.retention.plan_page import _champions, page_name, plan_figures
from cdap_assets.retention.retention_policy import read_policy
from cdap_assets.retention.tables import CONTACT, CONTROL, HOLDOUT
from resources.clock import Calendar
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Session
from resources.lake.table_snapshots import tags_of
from resources.registry.model_decisions import Decision
from resources.registry.model_decisions import approve as approve_version
from resources.registry.model_registry import ModelRegistry
from resources.settings import Settings
from tests.shop import CLOCK, LAST_DAY, SNAPSHOT, key, run_shop

PLAN = PlanId(SNAPSHOT, 1)
ANN = Decision("Ann", CLOCK)


@pytest.fixture
def session(ran_shop: Settings) -> Iterator[Session]:
    with Lakehouse(ran_shop).session() as opened:
        yield opened


def artifact(registry: ModelRegistry, name: str, file: str, folder: Path) -> str:
    run = registry.version(name, 1).run_id
    return Path(registry.client.download_artifacts(run, file, str(folder))).read_text(encoding="utf-8")


def test_a_version_is_registered_with_the_snapshots_it_learned_from_and_a_signature(
    ran_shop: Settings, registry: ModelRegistry, session: Session, tmp_path: Path
) -> None:
    from mlflow.models import get_model_info

    labels = {lapse_model.NAME: LAPSE_LABELS.name, lifetime_value_model.NAME: VALUE_LABELS.name}
    for name, table in labels.items():
        version = registry.version(name, 1)
        assert version.tags["gates"] == "passed"
        assert {"challenger", "champion"} <= set(version.aliases)
        inputs = registry.client.get_run(version.run_id).inputs.dataset_inputs
        told = {entry.dataset.name: {tag.key: tag.value for tag in entry.tags} for entry in inputs}
        assert {read: (tags["iceberg_snapshot"], tags["rows"]) for read, tags in told.items()} == {
            read: (str(session.snapshot_id(read)), str(session.tables.state(read).rows))
            for read in (CUSTOMER_FEATURES.name, table)
        }
        assert set(version.inputs) == {CUSTOMER_FEATURES.name, table}
        source = registry.client.get_model_version(name, "1").source
        signature = get_model_info(source).signature
        used = FEATURES if name == lapse_model.NAME else value_judging.COLUMNS
        assert signature.inputs.input_names() == list(used)
        card = json.loads(artifact(registry, name, "label_card.json", tmp_path))
        assert card["snapshots"]
        assert all(eligible > 0 for _day, eligible, *_rest in card["snapshots"])


def test_the_example_of_a_version_is_nobody_and_its_snapshots_are_kept(
    ran_shop: Settings, registry: ModelRegistry, session: Session
) -> None:
    customers = session.read(CUSTOMER_FEATURES).to_pandas()
    customers["spend_per_day_all"] = customers["monetary_value"]
    examples = list((ran_shop.home / "mlflow").rglob("input_example.json"))
    assert len(examples) >= len(MODELS)
    for path in examples:
        example = json.loads(path.read_text(encoding="utf-8"))
        (row,) = example["data"]
        assert set(example["columns"]) <= {*FEATURES, "spend_per_day_all"}
        assert not (customers[example["columns"]].astype(float) == row).all(axis=1).any()
    for name in MODELS:
        version = registry.version(name, 1)
        for table, read in version.inputs.items():
            assert tags_of(session.tables, table)[version.snapshot_tag] == read.snapshot_id
        assert registry.load(version).intervals_.n_outcomes_ > 100
        assert version.tags["code"].startswith("2 at ")


def test_the_lapse_model_is_tested_only_on_futures_that_no_training_label_reaches(
    registry: ModelRegistry, session: Session
) -> None:
    version = registry.version(lapse_model.NAME, 1)
    closed = date.fromisoformat(version.tags["labels_closed"])
    assert closed <= SNAPSHOT
    frame = lapse_frame(session, None)
    assert closed == frame.snapshots[-1] + timedelta(days=LAPSE_HORIZON)
    assert version.tags["tested_to"] == frame.snapshots[-1].isoformat()
    figures = version.metrics
    assert figures["auc_low"] <= figures["auc"] <= figures["auc_high"]
    assert figures["ece_low"] <= figures["ece"] <= figures["ece_high"]
    assert figures["auc"] - figures["auc_frequency"] == pytest.approx(figures["auc_lift"], abs=1e-9)


def test_the_review_page_tells_the_figures_that_the_registry_holds(ran_shop: Settings, registry: ModelRegistry) -> None:
    lapse = registry.version(lapse_model.NAME, 1)
    page = registry.review_page(lapse)
    for text in (f"{lapse.metrics['auc']:.3f}", "beats frequency", "Serving, but unreviewed", "badly off", "Held back"):
        assert text in page
    assert lapse.metrics["auc_low"] < lapse.metrics["auc"] < lapse.metrics["auc_high"]
    assert (ran_shop.pages / f"{lapse_model.NAME}-v1.html").read_text(encoding="utf-8") == page
    value = registry.review_page(registry.version(lifetime_value_model.NAME, 1))
    # learned parameters are no importances of features
    assert "Feature importance was not measured" in value
    assert "BG/NBD r " in value


def test_who_is_no_regular_has_a_value_but_neither_lapse_probability_nor_reasons(session: Session) -> None:
    rows = session.read(CUSTOMER_SCORES).to_pandas()
    away = rows[~rows["eligible"]]
    there = rows[rows["eligible"]]
    assert len(away)
    assert len(there)
    assert away["lapse_probability"].isna().all()
    assert away[["lapse_low", "lapse_high"]].isna().all(axis=None)
    assert away[[f"reason_{n}" for n in (1, 2, 3)]].isna().all(axis=None)
    assert there["lapse_probability"].between(0, 1).all()
    risky = there.nlargest(len(there) // 3, "lapse_probability")
    assert risky["reason_1"].notna().mean() > 0.6
    assert (rows["expected_spend"] >= 0).all()
    assert set(rows["snapshot_date"].astype(str)) == {SNAPSHOT.isoformat()}
    assert set(rows["customer_id"]) == set(
        session.read(CUSTOMER_FEATURES, {"snapshot_date": [SNAPSHOT]}).customer_id.to_pyarrow().to_pylist()
    )


def test_the_champion_changes_its_data_version_with_the_model_and_its_review(
    ran_shop: Settings, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def data_version() -> str:
        result = champion.champion(registry=registry, installation=Calendar(lambda: CLOCK))
        assert isinstance(result, dg.MaterializeResult)
        assert result.data_version is not None
        return result.data_version.value

    first = registry.version(lapse_model.NAME, 1)
    other = registry.version(lifetime_value_model.NAME, 1)
    seen = set()
    approved = {"gates": "passed", "approved_by": "Ann"}
    for number, tags in ((1, {"gates": "passed"}), (1, approved), (2, approved)):
        now = {lapse_model.NAME: dataclasses.replace(first, version=number, tags=tags), other.name: other}
        monkeypatch.setattr(champion, "serving", lambda _registry, now=now: now)
        assert data_version() == data_version()
        seen.add(data_version())
    assert len(seen) == 3
    monkeypatch.setattr(champion, "serving", lambda _registry: {other.name: other})
    with pytest.raises(dg.Failure, match="no champion of lapse_model"):
        data_version()


def decide(settings: Settings, **config: Any) -> dg.ExecuteInProcessResult:
    job = build_definitions(settings, clock=lambda: CLOCK).resolve_job_def("decide_plan")
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            run_config={"ops": {"decide": {"config": config}}}, instance=instance, raise_on_error=False
        )


def refusal(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    (event,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    return failure.description or ""


def page(settings: Settings, plan: PlanId) -> str:
    return (settings.pages / page_name(plan)).read_text(encoding="utf-8")


@pytest.mark.filterwarnings("default")
def test_from_an_unreviewed_first_version_to_an_approved_and_exported_plan(
    ran_shop: Settings, registry: ModelRegistry
) -> None:
    settings = ran_shop
    assert all(not version.reviewed for version in serving(registry).values())
    assert "cdap models approve lapse_model 1 --reviewer NAME --note WHY" in page(settings, PLAN)
    approve: dict[str, Any] = {"plan_id": str(PLAN), "decision": "approve", "by": "Ann"}
    assert "nobody has reviewed (lapse_model v1, lifetime_value_model v1)" in refusal(decide(settings, **approve))
    assert "say why" in refusal(decide(settings, plan_id=str(PLAN), decision="reject", by="Ann"))
    assert run_shop(settings) == []

    approve_version(registry, lapse_model.NAME, 1, ANN)
    assert run_shop(settings) == []
    approve_version(registry, lifetime_value_model.NAME, 1, ANN)
    # a newer version that failed its gates is neither approved nor in the way of scoring
    source = registry.client.get_model_version(lapse_model.NAME, "1")
    tags = {**registry.version(lapse_model.NAME, 1).tags, "gates": "failed: calibrated", "approved_by": ""}
    registry.client.create_model_version(lapse_model.NAME, source.source, source.run_id, tags=tags)
    with pytest.raises(ValueError, match=r"version 2 did not pass its gates \(failed: calibrated\)"):
        approve_version(registry, lapse_model.NAME, 2, ANN)
    assert run_shop(settings) == ["score_and_plan", "measure_outcomes"]

    with Lakehouse(settings).session() as session:
        (state,) = ledger.plan_states(session).values()
        rows = ledger.plan_rows(session, PLAN)
        assert state.untouched
        assert rows["reviewed"].all()
        assert set(session.read(CUSTOMER_SCORES).lapse_model_version.to_pyarrow().to_pylist()) == {1}
        figures = plan_figures(session, registry, PLAN, read_policy(settings.retention_file), LAST_DAY)
    assert len(figures.contacts) + sum(entry.customers for entry in figures.exclusions) == len(rows)
    assert figures.arms.control == (rows["decision"] == CONTROL).sum() > 0
    assert figures.arms.universal_holdout == (rows["decision"] == HOLDOUT).sum() > 0
    assert figures.budget is not None
    assert figures.cost <= figures.budget
    lapse, _value = figures.champions
    assert lapse.reviewed
    assert lapse.calibration is not None
    assert lapse.calibration.low is not None

    assert "there is no plan 2023-10-08-9" in refusal(decide(settings, **{**approve, "plan_id": "2023-10-08-9"}))
    assert decide(settings, **approve, first=20, reason="a trial").success
    assert "is partly approved by Ann already" in refusal(decide(settings, **{**approve, "by": "Bob"}))
    told = page(settings, PLAN)
    assert "Partly approved" in told
    assert "a trial" in told
    (folder,) = settings.exports.iterdir()
    sent = pd.read_parquet(folder / f"{PLAN}.parquet")
    best = rows[rows["decision"] == CONTACT].head(20)
    assert set(sent["customer_id"]) == set(best["customer_id"])
    assert set(sent["customer_key"]) <= {key(number) for number in range(300)}
    assert run_shop(settings) == ["measure_outcomes"]
    with Lakehouse(settings).session() as session:
        (outcome,) = session.read(CAMPAIGN_OUTCOMES).to_pyarrow().to_pylist()
    assert (outcome["plan_id"], outcome["state"], outcome["contacted"]) == (str(PLAN), NOT_ENOUGH, 20)
    assert "the orders cover days before 2023-10-08" in outcome["why"]


def test_the_page_asks_for_the_review_of_the_model_that_lacks_it(
    ran_shop: Settings, registry: ModelRegistry, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ledger.plan_rows(session, PLAN).assign(reviewed=False)
    real = registry.version

    def version(name: str, number: int) -> Any:
        approved_by = "Ann" if name == lapse_model.NAME else ""
        return dataclasses.replace(real(name, number), tags={"gates": "passed", "approved_by": approved_by})

    monkeypatch.setattr(registry, "version", version)
    lapse, value = _champions(registry, rows)
    assert (lapse.name, lapse.reviewed) == (lapse_model.NAME, True)
    assert (value.name, value.version, value.reviewed) == (lifetime_value_model.NAME, "1", False)
    assert value.calibration is not None
    assert value.calibration.name == "bias"
