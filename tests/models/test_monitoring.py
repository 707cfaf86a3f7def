"""Monitoring: drift of what is scored, and past scores against what came true, in real runs on the shop's models."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
import ibis
import pandas as pd
import pytest

from cdap_assets.commands.instance import open_instance
from cdap_assets.definitions import build_definitions
from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.features.labels import LAPSE_LABELS, VALUE_LABELS
from cdap_assets.models import lapse_model, lifetime_value_model
from cdap_assets.models.monitoring import NOT_YET, Spread
from cdap_assets.models.realised import CONTACT
from cdap_assets.models.scores import score_batches, spooled
from cdap_assets.models.serving import MODELS
from cdap_assets.models.tables import CUSTOMER_SCORES
from cdap_assets.retention import tables
from cdap_assets.retention.tables import ARMS
from ml.evaluation.drift import Drift
from resources.lake.lakehouse import Lakehouse
from resources.registry.model_registry import ModelRegistry
from resources.registry.model_version import ModelVersion
from resources.registry.recording import log_monitoring
from resources.settings import Settings
from tests.shop import CLOCK, SNAPSHOT

CHECKS = ("score_drift", "input_drift", "realised_as_predicted")
Evaluations = dict[str, dg.AssetCheckEvaluation]
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def days(ran_shop: Settings) -> list[date]:
    """The newest three snapshots whose lapse and value labels have closed."""
    with Lakehouse(ran_shop).in_process() as session:
        return sorted(day for (day,) in session.partitions(VALUE_LABELS.name))[-3:]


@pytest.fixture
def past(ran_shop: Settings, days: list[date], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home of its own, on the shop's registry, whose champions scored the shop's closed snapshots."""
    uri = ModelRegistry(ran_shop).uri
    settings = Settings(home=tmp_path_factory.mktemp("past"), threads=1, memory_limit="1GB", mlflow_uri=uri)
    with Lakehouse(ran_shop).in_process() as shop, Lakehouse(settings).in_process() as session:
        for spec in (CUSTOMER_FEATURES, LAPSE_LABELS, VALUE_LABELS):
            rows = shop.read(spec, {"snapshot_date": days}).to_pyarrow()
            session.publish(spec, ibis.memtable(rows))
    registry = ModelRegistry(settings)
    champions = {name: registry.version(name, 1) for name in MODELS}
    models = {name: registry.load(version) for name, version in champions.items()}
    with (
        Lakehouse(settings).in_process() as session,
        spooled(settings, score_batches(session, days, champions, models)) as files,
    ):
        session.publish(CUSTOMER_SCORES, session.engine.scan(CUSTOMER_SCORES, files, "scored"))
    return settings


def monitored(settings: Settings) -> Evaluations:
    """What the checks say in a run of their job."""
    job = build_definitions(settings, clock=lambda: CLOCK).resolve_job_def("monitor_models")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance)
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def changed(settings: Settings, spec: Any, day: date, **columns: Any) -> None:
    """Publish a snapshot again with other values."""
    with Lakehouse(settings).in_process() as session:
        rows = session.read(spec, {"snapshot_date": [day]})
        expression = ibis.memtable(rows.mutate(**{name: make(rows) for name, make in columns.items()}).to_pyarrow())
        session.publish(spec, expression, replace={"snapshot_date": [day]})


def history(settings: Settings, model: str, metric: str) -> list[tuple[int, float]]:
    registry = ModelRegistry(settings)
    run = registry.version(model, 1).run_id
    return [(one.step, one.value) for one in registry.client.get_metric_history(run, f"monitoring/{metric}")]


def records(found: dg.AssetCheckEvaluation, name: str) -> list[dict[str, Any]]:
    table = found.metadata[name]
    assert isinstance(table, dg.TableMetadataValue)
    return [dict(record.data) for record in table.records]


def newest_lapse(found: dg.AssetCheckEvaluation) -> str:
    rows = [row for row in records(found, "realised") if row["version"] == "lapse_model v1"]
    return str(max(rows, key=lambda row: row["snapshot"])["what came true"])


def step(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def test_the_main_job_checks_what_it_scored_and_says_that_no_window_has_closed(
    ran_shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(ran_shop.home / "dagster"))
    keys = [dg.AssetCheckKey(dg.AssetKey(CUSTOMER_SCORES.name), name) for name in CHECKS]
    told: Evaluations = {}
    with open_instance(ran_shop.home) as instance:
        latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        waiting = latest.pop(keys[-1])
        assert waiting.status.value == "PLANNED"
        assert NOT_YET in [entry.user_message for entry in instance.all_logs(waiting.run_id)]
        for key, record in latest.items():
            assert record.event is not None
            assert record.event.dagster_event is not None
            told[key.name] = record.event.dagster_event.asset_check_evaluation_data
    assert set(told) == {"score_drift", "input_drift"}
    assert told["score_drift"].metadata["snapshot"].value == SNAPSHOT.isoformat()
    # the value model learned from the very customers that it scored
    assert "as in the training of lifetime_value_model v1" in (told["input_drift"].description or "")
    ((day, index),) = history(ran_shop, lapse_model.NAME, "score_psi_lapse_probability")[-1:]
    assert day == step(SNAPSHOT)
    (lapse, _value) = records(told["score_drift"], "drift")
    assert (lapse["version"], lapse["column"], lapse["index"]) == (
        "lapse_model v1",
        "lapse_probability",
        round(index, 3),
    )


def test_past_scores_are_compared_with_what_came_true_and_logged_once_however_often(
    past: Settings, days: list[date]
) -> None:
    first = monitored(past)["realised_as_predicted"]
    told = [(row["version"], row["snapshot"]) for row in records(first, "realised")]
    assert told == [(f"{name} v1", str(day)) for name in MODELS for day in days]
    logged = {name: history(past, name, figure) for name, figure in FIGURES.items()}
    for name in MODELS:
        assert [at for at, _value in logged[name]] == [step(day) for day in days]
    auc = dict(logged[lapse_model.NAME])[step(days[-1])]
    assert first.metadata["realised_auc"].value == pytest.approx(auc)
    assert 0.5 < auc <= 1
    monitored(past)
    assert {name: history(past, name, figure) for name, figure in FIGURES.items()} == logged
    version = ModelRegistry(past).version(lapse_model.NAME, 1)
    assert "auc" in version.metrics
    assert not [name for name in version.metrics if name.startswith("monitoring")]


FIGURES = {lapse_model.NAME: "realised_auc", lifetime_value_model.NAME: "realised_mae"}


def test_scores_that_did_not_come_true_are_a_warning_that_says_what_was_off(past: Settings, days: list[date]) -> None:
    changed(
        past,
        CUSTOMER_SCORES,
        days[-1],
        lapse_probability=lambda t: t.eligible.ifelse(0.95, None),
        expected_spend=lambda t: (t.expected_spend * 4).cast("decimal(18, 4)"),
        spend_high=lambda t: t.spend_high * 10,
    )
    found = monitored(past)["realised_as_predicted"]
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.WARN
    told = found.description or ""
    assert f"said on {days[-1]} that 95.0% lapse" in told
    assert "plans rest on values too high; retrain" in told
    assert "ranked the customers" in told
    assert f"of what the customers of {days[-1]} spent: values at stake are too high" in told


def test_customers_whom_a_plan_contacted_prove_nothing(past: Settings, days: list[date]) -> None:
    assert CONTACT == tables.CONTACT
    with Lakehouse(past).in_process() as session:
        scores = session.read(CUSTOMER_SCORES, {"snapshot_date": [days[-1]]}).to_pandas()
        regulars = sorted(scores.loc[scores["eligible"], "customer_id"])
        at = datetime.combine(days[-1], datetime.min.time()) + timedelta(days=3)
        rows = [
            *({"customer_id": one, "arm": "contact", "plan_id": "p", "at": at} for one in regulars[:10]),
            *({"customer_id": one, "arm": "control", "plan_id": "p", "at": at} for one in regulars[10:20]),
            # long before the window
            {"customer_id": regulars[20], "arm": "contact", "plan_id": "o", "at": at - timedelta(days=40)},
        ]
        session.publish(ARMS, ibis.memtable(pd.DataFrame(rows)))
    assert f"of {len(regulars) - 10:,} lapsed" in newest_lapse(monitored(past)["realised_as_predicted"])


def test_scores_older_than_the_registry_are_passed_over(past: Settings, days: list[date]) -> None:
    unknown = ibis.literal(99, type="int64")
    changed(past, CUSTOMER_SCORES, days[0], lapse_model_version=lambda t: unknown)
    told = records(monitored(past)["realised_as_predicted"], "realised")
    assert [row["snapshot"] for row in told if row["version"] == "lapse_model v1"] == [str(day) for day in days[1:]]
    assert len(told) == len(days) * len(MODELS) - 1


def test_a_snapshot_where_nobody_lapsed_is_no_failure_and_says_so(past: Settings, days: list[date]) -> None:
    changed(past, LAPSE_LABELS, days[-1], lapsed=lambda t: t.eligible.ifelse(False, None))
    found = monitored(past)["realised_as_predicted"]
    assert f"lapse_model v1 on {days[-1]}: 0 of" in newest_lapse(found)


def test_inputs_and_scores_of_other_customers_are_named(past: Settings, days: list[date]) -> None:
    changed(past, CUSTOMER_FEATURES, days[-1], monetary_value=lambda t: t.monetary_value * 5)
    changed(past, CUSTOMER_SCORES, days[-1], expected_spend=lambda t: (t.expected_spend * 5).cast("decimal(18, 4)"))
    found = monitored(past)
    for name, column in (("input_drift", "spend_per_day_all"), ("score_drift", "expected_spend")):
        assert not found[name].passed
        assert found[name].severity == dg.AssetCheckSeverity.WARN
        told = found[name].description or ""
        assert "FAR from the training of lifetime_value_model v1" in told
        assert column in told
        assert found[name].metadata["largest index"].value > 0.25
    assert dict(history(past, lifetime_value_model.NAME, "input_psi_spend_per_day_all"))[step(days[-1])] > 0.25


def test_what_has_nothing_to_be_compared_with_is_not_told_as_passed(
    past: Settings, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = Settings(home=tmp_path_factory.mktemp("empty"), threads=1, memory_limit="1GB", mlflow_uri=past.mlflow_uri)
    assert shown(empty) == dict.fromkeys(CHECKS, "PLANNED")
    with monkeypatch.context() as patch:
        patch.setattr(ModelRegistry, "text_if_there", lambda *_given: None)
        assert shown(past) == {**dict.fromkeys(CHECKS, "PLANNED"), "realised_as_predicted": "SUCCEEDED"}
    # of a version without a reference is told beside one that has it
    known = ModelRegistry.text_if_there
    monkeypatch.setattr(
        ModelRegistry,
        "text_if_there",
        lambda registry, version, file: known(registry, version, file) if version.name != lapse_model.NAME else None,
    )
    told = monitored(past)["input_drift"].description or ""
    assert "lapse_model v1 recorded no reference of its training: its drift is unknown" in told
    assert "the training of lifetime_value_model v1" in told


def shown(settings: Settings) -> dict[str, str]:
    """The state of each check after a run of their job: one planned in a run that is over is shown as skipped."""
    job = build_definitions(settings, clock=lambda: CLOCK).resolve_job_def("monitor_models")
    keys = [dg.AssetCheckKey(dg.AssetKey(CUSTOMER_SCORES.name), name) for name in CHECKS]
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance).success
        latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        return {key.name: one.status.value for key, one in latest.items()}


@pytest.mark.parametrize(
    ("drifts", "steady", "told"),
    [
        ([Drift("net_28", 0.09, 0.01, 900)], True, "as in the training of m v3"),
        ([Drift("net_28", 0.3, 0.4, 80)], True, "as in the training of m v3"),
        ([Drift("net_28", 0.12, 0.01, 900)], False, "shifted from the training of m v3: net_28 0.12: find out why"),
        (
            [Drift("net_28", 0.4, 0.01, 900), Drift("T", 0.2, 0.01, 900), Drift("overdue", 0.05, 0.01, 900)],
            False,
            "FAR from the training of m v3: net_28 0.40, T 0.20: retrain before these scores are used",
        ),
        ([Drift("T", 0.6, 0.01, 900)], False, "FAR from the training of m v3: T 0.60: customers have longer histories"),
    ],
)
def test_drift_is_told_by_its_size_and_beyond_chance(drifts: list[Drift], steady: bool, told: str) -> None:
    spread = Spread(SNAPSHOT, ModelVersion("m", 3, (), "run", {}, {}), drifts)
    assert spread.steady is steady
    assert spread.words.startswith(told)


def test_a_figure_that_changed_follows_the_one_before(past: Settings) -> None:
    registry = ModelRegistry(past)
    version = registry.version(lapse_model.NAME, 1)
    at = date(2001, 2, 3)
    for value in (0.1, 0.1, 0.05, 0.05, 0.1):
        log_monitoring(registry, version, {"probe": value}, at)
    assert [value for _step, value in history(past, lapse_model.NAME, "probe")] == [0.1, 0.05, 0.1]
    log_monitoring(registry, version, {"probe": 0.3}, at - timedelta(days=7))
    run = registry.client.get_run(version.run_id)
    assert run.data.metrics["monitoring/probe"] == 0.1
