"""What a person decides in MLflow itself is recorded and followed; retiring lets the snapshots go."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from cdap_assets.cli import app
from cdap_assets.installation import Installation
from cdap_assets.models.champion import champion
from cdap_assets.models.serving import MODELS, serving
from cdap_assets.work.stages import due
from resources.clock import Calendar
from resources.lake.lakehouse import Lakehouse
from resources.lake.table_snapshots import keep, tags_of
from resources.registry.model_registry import ModelRegistry
from resources.settings import Settings
from tests.registered import register_and_serve
from tests.resources.visits import FIRST, VISITS, visits
from tests.shop import make_shop

# MLflow's own: not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
NOON = datetime(2024, 3, 3, 12)
LAPSE, VALUE = MODELS


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with two versions of the lapse model and one of the value model, the first ones serving."""
    settings = make_shop(tmp_path_factory.mktemp("champions") / "home")
    registry = ModelRegistry(settings)
    for name in (LAPSE, VALUE, LAPSE):
        register_and_serve(registry, name)
    return settings


def looked(settings: Settings) -> None:
    """A look at what is due, which records what people decided."""
    assert list(due(Installation.of(settings, lambda: NOON), date(2024, 3, 3)))


def test_an_alias_or_a_tag_set_in_mlflow_is_recorded(home: Settings) -> None:
    registry = ModelRegistry(home)
    looked(home)
    assert "approved_by" not in registry.version(LAPSE, 1).tags

    registry.client.set_registered_model_alias(LAPSE, "champion", "2")
    looked(home)
    assert registry.version(LAPSE, 2).tags["approved_by"] == "MLflow UI"

    registry.client.set_model_version_tag(VALUE, "1", "approved_by", "Ann")
    registry.client.set_model_version_tag(VALUE, "1", "approval_reason", "level is right")
    looked(home)
    tags = registry.version(VALUE, 1).tags
    assert (tags["approved_by"], tags["approval_reason"]) == ("Ann", "level is right")
    assert datetime.fromisoformat(tags["approved_at"]) == NOON.replace(tzinfo=UTC)

    # going back by hand: moving the alias is enough
    registry.client.set_registered_model_alias(LAPSE, "champion", "1")
    looked(home)
    assert serving(registry)[LAPSE].version == 1


def test_reading_what_serves_writes_nothing_and_a_run_records_a_decision_once_by_its_clock(tmp_path: Path) -> None:
    home = Installation.of(make_shop(tmp_path / "home"), clock=lambda: NOON)
    for name in (LAPSE, VALUE, LAPSE):
        register_and_serve(home.registry, name)
    home.registry.client.set_registered_model_alias(LAPSE, "champion", "2")
    assert serving(home.registry)[LAPSE].version == 2
    assert "approved_at" not in home.registry.version(LAPSE, 2).tags

    assert list(due(home, date(2024, 3, 3), record=False))
    assert "approved_at" not in home.registry.version(LAPSE, 2).tags
    assert [stage.job for stage in due(home, date(2024, 3, 3))] == ["refresh_lake"]  # there is nothing to score
    recorded = home.registry.version(LAPSE, 2).tags
    assert datetime.fromisoformat(recorded["approved_at"]) == NOON.replace(tzinfo=UTC)

    home.registry.client.set_model_version_tag(VALUE, "1", "approved_by", "Ann")
    later = NOON + timedelta(days=1)
    assert isinstance(champion(registry=home.registry, installation=Calendar(lambda: later)), dg.MaterializeResult)
    assert home.registry.version(LAPSE, 2).tags == recorded
    assert home.registry.version(VALUE, 1).tags["approved_at"] == "2024-03-04T12:00:00+00:00"


def test_a_champion_registered_by_hand_fails_the_asset_once_with_what_to_do(home: Settings) -> None:
    registry = ModelRegistry(home)
    by_hand = registry.client.create_model_version(VALUE, "file:///models/value").version
    registry.client.set_registered_model_alias(VALUE, "champion", by_hand)
    with pytest.raises(dg.Failure, match=r"registered by hand.*delete it in MLflow") as caught:
        champion(registry=registry, installation=Calendar(lambda: NOON))
    assert not caught.value.allow_retries
    registry.client.set_registered_model_alias(VALUE, "champion", "1")


def test_approving_and_retiring_on_the_command_line_keep_who_and_why(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDAP_HOME", str(home.home))
    monkeypatch.setenv("COLUMNS", "200")
    registry, run = ModelRegistry(home), CliRunner()
    lakehouse = Lakehouse(home)
    with lakehouse.session() as session:
        session.publish(VISITS, visits((1, FIRST)))
    snapshot = lakehouse.state("visits").snapshot_id
    assert snapshot is not None
    keep(lakehouse, "visits", snapshot, registry.version(LAPSE, 1).snapshot_tag)

    approved = run.invoke(app, ["models", "approve", LAPSE, "2", "--reviewer", "Bea", "--note", "ranks better"])
    assert approved.exit_code == 0, approved.output
    tags = registry.version(LAPSE, 2).tags
    assert (tags["approved_by"], tags["approval_reason"]) == ("Bea", "ranks better")
    refused = run.invoke(app, ["models", "retire", LAPSE, "2", "--reviewer", "Bea"])
    assert refused.exit_code == 1
    assert "version 2 is the champion; approve another version first" in refused.stderr
    nameless = run.invoke(app, ["models", "retire", LAPSE, "1", "--reviewer", " "])
    assert "give a name with --reviewer" in nameless.stderr
    retired = run.invoke(app, ["models", "retire", LAPSE, "1", "--reviewer", "Bea", "--note", "superseded"])
    assert retired.exit_code == 0, retired.output
    assert "snapshots of visits may expire" in retired.stdout
    assert tags_of(lakehouse, "visits") == {}
    assert registry.version(LAPSE, 1).retired
