"""Links to where a person looks stand first in what a materialization tells, and hold no password."""

from __future__ import annotations

import dagster as dg
import pytest

from cdap_assets.commands.instance import open_instance
from cdap_assets.models.champion import MODELS
from cdap_assets.models.lapse_model import NAME
from cdap_assets.models.lapse_model.asset import RECIPE
from cdap_assets.models.lapse_model.judging import GATES
from cdap_assets.models.model_asset import model_asset
from resources.registry.model_registry import ModelRegistry
from resources.settings import Settings

OF_MODELS = [f"{name}_{page}" for name in MODELS for page in ("review", "mlflow_run")]


@pytest.mark.parametrize(
    ("asset", "first"),
    [
        ("lapse_model", ["review", "mlflow_run"]),
        ("lifetime_value_model", ["review", "mlflow_run"]),
        ("champion", OF_MODELS),
        ("customer_scores", OF_MODELS),
        ("retention_plan", ["page"]),
    ],
)
def test_pages_and_runs_stand_first_as_links(
    finished_shop: Settings, monkeypatch: pytest.MonkeyPatch, asset: str, first: list[str]
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(finished_shop.home / "dagster"))
    with open_instance(finished_shop.home) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert list(metadata)[: len(first)] == first
    assert all(isinstance(metadata[name], dg.UrlMetadataValue) for name in first)


def test_the_link_to_a_run_names_the_server_that_shows_it_and_no_password(finished_shop: Settings) -> None:
    registry = ModelRegistry(finished_shop)
    version = registry.version(NAME, 1)
    experiment = registry.client.get_experiment_by_name(NAME)
    assert experiment is not None
    page = f"#/experiments/{experiment.experiment_id}/runs/{version.run_id}"
    assert registry.run_url(version) == f"http://127.0.0.1:{finished_shop.mlflow_port}/{page}"
    for uri, shown in (
        ("https://ann:hush@mlflow.example/team/", f"https://mlflow.example/team/{page}"),
        ("postgresql://ann:hush@db.example/mlflow", None),
    ):
        elsewhere = ModelRegistry(finished_shop.model_copy(update={"mlflow_uri": uri}))
        elsewhere.client = registry.client
        assert elsewhere.run_url(version) == shown


def test_every_gate_says_that_it_blocks_approval() -> None:
    described = {spec.name: spec.description or "" for spec in model_asset(RECIPE).check_specs}
    assert set(described) == set(GATES)
    assert all(
        text.endswith("nobody can approve a version that fails it, nor does it serve.") for text in described.values()
    )
