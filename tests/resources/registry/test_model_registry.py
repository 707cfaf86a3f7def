"""Model versions are registered, approved by a person and rolled back; what cannot work says so at once."""

from __future__ import annotations

import json
import multiprocessing
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from resources.registry.model_registry import ModelRegistry, ModelVersion, RegistryUnavailable, UnknownVersion
from resources.registry.model_version import TableRead
from resources.settings import Settings

# MLflow's own: not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

NOON = datetime(2024, 3, 3, 12, tzinfo=UTC)
FRAME = pd.DataFrame({"recency": [1.0, 2.0, 3.0]})


MEDIAN = pd.DataFrame({"recency": [2.0]})


def register(
    registry: ModelRegistry, gates: str = "passed", keep: Callable[[int], None] = lambda number: None
) -> ModelVersion:
    model = LinearRegression().fit(FRAME, FRAME.recency * 2)
    return registry.register(
        "lapse",
        model,
        example=MEDIAN,
        prediction=pd.DataFrame({"probability": model.predict(MEDIAN)}),
        params={"horizon_days": 84},
        metrics={"brier": 0.1},
        tags={"gates": gates},
        datasets={"customer_features": TableRead(123456789, 3)},
        description="a test",
        review=lambda number, champion: f"<h1>Review of {number} beside {champion and champion.version}</h1>",
        keep=keep,
        card={"label": "lapse"},
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry") / "it's home"


@pytest.fixture(scope="module")
def registry(home: Path) -> ModelRegistry:
    return ModelRegistry(Settings(home=home))


def test_a_version_lives_through_review_approval_and_rollback(registry: ModelRegistry) -> None:
    assert registry.champion("lapse") is None
    assert registry.versions("lapse") == []
    with pytest.raises(UnknownVersion):
        registry.version("lapse", 1)
    with pytest.raises(ValueError, match="no previous champion"):
        registry.rollback("lapse", by="Ann", at=NOON)

    first = register(registry)
    assert (first.version, first.aliases, first.passed_gates, first.reviewed) == (1, ("challenger",), True, False)
    assert first.metrics["brier"] == pytest.approx(0.1)
    assert registry.review_page(first) == "<h1>Review of 1 beside None</h1>"
    registry.serve_first("lapse", 1)
    champion = registry.champion("lapse")
    assert champion is not None
    assert (champion.version, champion.reviewed) == (1, False)

    second = register(registry)
    assert registry.review_page(second) == "<h1>Review of 2 beside 1</h1>"
    registry.serve_first("lapse", second.version)  # there is a champion already
    champion = registry.champion("lapse")
    assert champion is not None
    assert champion.version == 1

    approved = registry.approve("lapse", 2, by="Ann", at=NOON, reason="better")
    assert approved.reviewed
    assert set(approved.aliases) == {"challenger", "champion"}
    assert approved.tags["approved_by"] == "Ann"
    assert datetime.fromisoformat(approved.tags["approved_at"]) == NOON
    assert registry.version("lapse", 1).aliases == ("previous_champion",)

    back = registry.rollback("lapse", by="Bob", at=NOON)
    assert (back.version, back.tags["approved_by"], back.tags["approval_reason"]) == (1, "Bob", "rollback")
    assert [version.version for version in registry.versions("lapse")] == [2, 1]
    assert registry.load(back).predict(FRAME) == pytest.approx([2.0, 4.0, 6.0])


def test_a_version_that_failed_its_gates_can_be_read_but_not_approved(registry: ModelRegistry) -> None:
    failed = register(registry, gates="failed: brier")
    before = registry.champion("lapse")
    with pytest.raises(ValueError, match=r"did not pass its gates \(failed: brier\)"):
        registry.approve("lapse", failed.version, by="Ann", at=NOON)
    assert registry.champion("lapse") == before
    assert "approved_by" not in registry.version("lapse", failed.version).tags


def test_a_version_that_failed_its_gates_never_serves_first(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    failed = register(registry, gates="failed: brier")
    with pytest.raises(ValueError, match="did not pass its gates"):
        registry.serve_first("lapse", failed.version)
    assert registry.champion("lapse") is None


def test_the_record_of_a_version_holds_what_it_learned_from_and_the_example_alone(
    home: Path, registry: ModelRegistry
) -> None:
    version = registry.versions("lapse")[0] if registry.versions("lapse") else register(registry)
    assert version.inputs == {"customer_features": TableRead(123456789, 3)}
    assert version.params == {"horizon_days": "84"}
    stored = [path for path in (home / "mlflow").rglob("input_example.json") if path.is_file()]
    assert stored
    for path in stored:
        assert json.loads(path.read_text(encoding="utf-8")) == {"columns": ["recency"], "data": [[2.0]]}


def test_an_alias_moved_in_mlflow_is_recorded_as_an_approval_by_whom_mlflow_does_not_name(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    assert registry.note_decisions("lapse", NOON) is None
    first, second, failed = register(registry), register(registry), register(registry, gates="failed: brier")
    registry.serve_first("lapse", first.version)
    champion = registry.note_decisions("lapse", NOON)
    assert champion is not None
    assert (champion.version, champion.reviewed) == (1, False)  # nobody moved it

    registry.client.set_registered_model_alias("lapse", "champion", str(second.version))
    champion = registry.note_decisions("lapse", NOON)
    assert champion is not None
    assert (champion.version, champion.reviewed) == (2, True)
    assert champion.tags["approved_by"] == "MLflow UI"
    assert champion.tags["approval_reason"] == "alias champion moved in MLflow"
    assert datetime.fromisoformat(champion.tags["approved_at"]) == NOON
    assert registry.version("lapse", 1).aliases == ("previous_champion",)

    registry.client.set_registered_model_alias("lapse", "champion", str(failed.version))
    champion = registry.note_decisions("lapse", NOON)
    assert champion is not None
    assert (champion.version, champion.reviewed) == (3, False)
    assert champion.tags["alias_moved_by"] == "MLflow UI"
    assert "approved_by" not in champion.tags


def test_a_tag_written_in_mlflow_approves_with_its_name_and_note(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    register(registry)
    registry.serve_first("lapse", 1)
    register(registry)
    registry.client.set_model_version_tag("lapse", "2", "note", "ranks better")
    registry.client.set_model_version_tag("lapse", "2", "reviewer", "Bea")
    champion = registry.note_decisions("lapse", NOON)
    assert champion is not None
    assert (champion.version, champion.tags["approved_by"]) == (2, "Bea")
    assert champion.tags["approval_reason"] == "ranks better"
    # going back by hand keeps the earlier approval, and notes the move
    registry.approve("lapse", 1, by="Ann", at=NOON)
    registry.client.set_registered_model_alias("lapse", "champion", "2")
    champion = registry.note_decisions("lapse", NOON)
    assert champion is not None
    assert (champion.version, champion.tags["approved_by"], champion.reviewed) == (2, "Bea", True)
    assert champion.tags["alias_moved_by"] == "MLflow UI"
    assert registry.note_decisions("lapse", NOON) == champion


def test_a_retired_version_loses_its_aliases_and_serves_no_more(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    register(registry)
    registry.serve_first("lapse", 1)
    with pytest.raises(ValueError, match="version 1 is the champion"):
        registry.retire("lapse", 1, by="Ann", at=NOON)
    register(registry)
    registry.approve("lapse", 2, by="Ann", at=NOON)
    retired = registry.retire("lapse", 1, by="Bob", at=NOON, reason="old")
    assert (retired.aliases, retired.retired, retired.tags["retirement_reason"]) == ((), True, "old")
    with pytest.raises(ValueError, match="no previous champion"):
        registry.rollback("lapse", by="Ann", at=NOON)
    with pytest.raises(ValueError, match="was retired by Bob"):
        registry.approve("lapse", 1, by="Ann", at=NOON)


def test_a_version_that_is_not_there_is_named(registry: ModelRegistry) -> None:
    with pytest.raises(UnknownVersion, match="41"):
        registry.approve("lapse", 41, by="Ann", at=NOON)


def start_cold(home: Path, failed: multiprocessing.SimpleQueue[str]) -> None:
    try:
        ModelRegistry(Settings(home=home)).versions("lapse")
    except BaseException as error:
        failed.put(repr(error))
        raise


def test_four_processes_may_start_on_a_cold_home_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    failed: multiprocessing.SimpleQueue[str] = spawn.SimpleQueue()
    processes = [spawn.Process(target=start_cold, args=(tmp_path / "cold", failed)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    told = "" if failed.empty() else failed.get()
    assert ([process.exitcode for process in processes], told) == ([0, 0, 0, 0], "")


def test_a_server_that_is_down_is_told_of_quickly(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    registry = ModelRegistry(Settings(home=tmp_path, mlflow_uri=f"http://127.0.0.1:{port}"))
    began = time.monotonic()
    with pytest.raises(RegistryUnavailable, match=f"127.0.0.1:{port}.*does not answer"):
        registry.versions("lapse")
    assert time.monotonic() - began < 30


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RegistryUnavailable, match=r"cannot be set up.*file/home"):
        ModelRegistry(Settings(home=tmp_path / "file" / "home")).versions("lapse")


def test_a_version_whose_page_or_data_could_not_be_kept_is_never_approved(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    register(registry)

    def full(number: int) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        register(registry, keep=full)
    left = registry.version("lapse", 2)
    assert (left.aliases, left.passed_gates) == ((), False)
    assert registry.version("lapse", 1).aliases == ("challenger",)
    with pytest.raises(ValueError, match="did not pass its gates"):
        registry.approve("lapse", 2, by="Ann", at=NOON)


def test_nothing_serves_by_itself_where_a_person_took_the_champion_off(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    register(registry)
    registry.serve_first("lapse", 1)
    registry.client.delete_registered_model_alias("lapse", "champion")
    register(registry)
    registry.serve_first("lapse", 2)
    assert registry.champion("lapse") is None


def test_a_rollback_keeps_who_approved_the_version_and_notes_who_brought_it_back(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    for number, who in ((1, "Ann"), (2, "Bea")):
        register(registry)
        registry.approve("lapse", number, by=who, at=NOON, reason="good")
    back = registry.rollback("lapse", by="Cleo", at=NOON, reason="complaints")
    assert (back.version, "champion" in back.aliases, back.reviewed) == (1, True, True)
    assert back.tags["approved_by"] == "Ann"
    assert (back.tags["alias_moved_by"], back.tags["alias_moved_reason"]) == ("Cleo", "complaints")


def test_a_retired_version_whose_alias_is_moved_by_hand_does_not_count_as_reviewed(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    for number in (1, 2):
        register(registry)
        registry.approve("lapse", number, by="Ann", at=NOON)
    registry.retire("lapse", 1, by="Ann", at=NOON)
    registry.client.set_registered_model_alias("lapse", "champion", "1")
    seen = registry.note_decisions("lapse", NOON)
    assert seen is not None
    assert (seen.version, seen.reviewed) == (1, False)
