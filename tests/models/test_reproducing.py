"""A version is trained again from its record alone, until an erasure takes what it learned from."""

from __future__ import annotations

import dataclasses
import json
import warnings
from datetime import UTC, datetime, timedelta

import dagster as dg
import ibis
import pytest
from click.testing import Result
from typer.testing import CliRunner

from cdap_assets.cli import app
from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.features.labels import LAPSE_LABELS, VALUE_LABELS
from cdap_assets.models import lapse_model, lifetime_value_model
from cdap_assets.models.lapse_model import asset as lapse_asset
from cdap_assets.models.lifetime_value_model import asset as value_asset
from cdap_assets.models.reproducing import SINCE, NotReproducible, erase_history, pinned, reproduce
from resources.clock import Calendar
from resources.iceberg.errors import LakehouseError
from resources.lake.lakehouse import Lakehouse
from resources.lake.table_snapshots import is_kept, tags_of
from resources.registry.model_registry import ModelRegistry, UnknownVersion
from resources.registry.model_version import TableRead
from resources.settings import Settings
from tests.shop import CLOCK, LAST_DAY, make_shop

ERASED_AT = datetime(2023, 10, 20, 9)
LEARNED = (CUSTOMER_FEATURES, LAPSE_LABELS, VALUE_LABELS)


def expire_all(lakehouse: Lakehouse) -> None:
    for spec in LEARNED:
        table = lakehouse.load(spec.name)
        assert table is not None
        table.maintenance.expire_snapshots().older_than(datetime.now(UTC) + timedelta(days=1)).commit()


def without(lakehouse: Lakehouse, customer: str) -> dict[str, list[int]]:
    """Erase a customer's rows by a publish of each table, and give the snapshots that still hold them."""
    with lakehouse.in_process() as session:
        for spec in LEARNED:
            rows = session.read(spec)
            session.publish(spec, rows.filter(rows.customer_id != customer))
    older = {}
    for spec in LEARNED:
        table, current = lakehouse.load(spec.name), lakehouse.state(spec.name).snapshot_id
        assert table is not None
        older[spec.name] = [found.snapshot_id for found in table.snapshots() if found.snapshot_id != current]
    return older


@pytest.fixture(scope="module")
def trained(ran_shop: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home of its own with the shop's features and labels, in which both models were trained."""
    settings = make_shop(tmp_path_factory.mktemp("erasing") / "home")
    lakehouse = Lakehouse(settings)
    with Lakehouse(ran_shop).in_process() as theirs, lakehouse.in_process() as ours:
        for spec in LEARNED:
            rows = ibis.memtable(theirs.read(spec).to_pyarrow())
            ours.publish(spec, rows.cast(dict(spec.schema().items())))
    resources = {
        "lakehouse": lakehouse,
        "registry": ModelRegistry(settings),
        "installation": Calendar(lambda: CLOCK, LAST_DAY),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        trained = dg.materialize([lapse_asset.lapse_model, value_asset.lifetime_value_model], resources=resources)
    assert trained.success
    return settings


def cdap(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setenv("CDAP_HOME", str(settings.home))
    monkeypatch.setenv("DAGSTER_HOME", str(settings.home / "dagster"))
    monkeypatch.setenv("COLUMNS", "200")
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.filterwarnings("default")
def test_a_version_is_reproduced_from_its_record_until_an_erasure_which_wins(
    trained: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse, registry = Lakehouse(trained), ModelRegistry(trained)
    learned = registry.version(lapse_model.NAME, 1).inputs
    assert learned[LAPSE_LABELS.name].rows == lakehouse.state(LAPSE_LABELS.name).rows
    snapshot = learned[CUSTOMER_FEATURES.name].snapshot_id
    assert tags_of(lakehouse, CUSTOMER_FEATURES.name) == {
        "model.lapse_model.v1": snapshot,
        "model.lifetime_value_model.v1": snapshot,
    }
    with lakehouse.in_process() as session:
        erased = session.read(CUSTOMER_FEATURES).customer_id.max().to_pyarrow().as_py()

    # the lake goes on, and expiry leaves what a version learned from
    older = without(lakehouse, erased)
    expire_all(lakehouse)
    assert is_kept(lakehouse, CUSTOMER_FEATURES.name, snapshot)
    done = cdap(trained, monkeypatch, "reproduce", lifetime_value_model.NAME, "1")
    assert done.exit_code == 0, done.output
    assert "lifetime_value_model version 1 was reproduced" in done.stdout
    assert f"customer_features at snapshot {snapshot}" in done.stdout
    found = reproduce(lakehouse, registry, lapse_model.NAME, 1)
    assert found.reproduced
    assert {"auc", "auc_low", "log_loss_high", "ece", "base_rate"} <= {entry.name for entry in found.metrics}

    # a figure that was never found in training is not found again
    registry.client.log_text(registry.version(lapse_model.NAME, 1).run_id, json.dumps({"auc": 0.5}), "metrics.json")
    differs = cdap(trained, monkeypatch, "reproduce", lapse_model.NAME, "1")
    assert differs.exit_code == 1
    assert "auc differ" in differs.stderr

    told = erase_history(lakehouse, registry, older, "request 17", ERASED_AT)
    assert [(version.name, version.version) for version in told] == [
        (lapse_model.NAME, 1),
        (lifetime_value_model.NAME, 1),
    ]
    assert {version.tags[SINCE] for version in told} == {"erasure request 17 of 2023-10-20"}
    for spec in LEARNED:
        assert tags_of(lakehouse, spec.name) == {}
        with pinned(lakehouse, {spec.name: older[spec.name][0]}) as session, pytest.raises(LakehouseError):
            session.read(spec)
    refused = cdap(trained, monkeypatch, "reproduce", lapse_model.NAME, "1")
    assert refused.exit_code == 1
    assert "lapse_model version 1 is not reproducible since erasure request 17 of 2023-10-20" in refused.stderr
    # it goes on serving
    champion = registry.champion(lapse_model.NAME)
    assert champion is not None
    assert champion.version == 1


def test_a_version_without_a_record_and_an_unknown_model_are_told(ran_shop: Settings) -> None:
    lakehouse, registry = Lakehouse(ran_shop), ModelRegistry(ran_shop)
    with pytest.raises(ValueError, match="there is no model lapse; there are lapse_model, lifetime_value_model"):
        reproduce(lakehouse, registry, "lapse", 1)
    with pytest.raises(UnknownVersion, match="no version 41"):
        reproduce(lakehouse, registry, lapse_model.NAME, 41)


def test_a_version_whose_snapshots_have_expired_after_it_was_retired_is_told_by_table(
    ran_shop: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse, registry = Lakehouse(ran_shop), ModelRegistry(ran_shop)
    real = registry.version(lapse_model.NAME, 1)
    lost = dataclasses.replace(real, inputs={"customer_features": TableRead(1, 10)})
    monkeypatch.setattr(registry, "version", lambda _name, _number: lost)
    with pytest.raises(NotReproducible, match=r"its snapshots are gone \(customer_features 1\)"):
        reproduce(lakehouse, registry, lapse_model.NAME, 1)
    bare = dataclasses.replace(real, inputs={})
    monkeypatch.setattr(registry, "version", lambda _name, _number: bare)
    with pytest.raises(NotReproducible, match="has no record of what it learned from"):
        reproduce(lakehouse, registry, lapse_model.NAME, 1)
