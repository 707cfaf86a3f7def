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

from resources.registry import recording
from resources.registry.model_decisions import Decision, approve, record_decisions, retire, rollback, serve_first
from resources.registry.model_registry import ModelRegistry, RegistryUnavailable, UnknownVersion
from resources.registry.model_version import ModelVersion, TableRead
from resources.registry.recording import NewVersion
from resources.settings import Settings

# MLflow's own: not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

NOON = datetime(2024, 3, 3, 12)
FRAME = pd.DataFrame({"recency": [1.0, 2.0, 3.0]})


MEDIAN = pd.DataFrame({"recency": [2.0]})


def register(
    registry: ModelRegistry, gates: str = "passed", keep: Callable[[int], None] = lambda number: None
) -> ModelVersion:
    model = LinearRegression().fit(FRAME, FRAME.recency * 2)
    new = NewVersion(
        "lapse",
        "a test",
        model,
        MEDIAN,
        pd.DataFrame({"probability": model.predict(MEDIAN)}),
        gates,
        params={"horizon_days": 84},
        metrics={"brier": 0.1},
        datasets={"customer_features": TableRead(123456789, 3)},
        card={"label": "lapse"},
    )

    def review(number: int, champion: ModelVersion | None) -> str:
        return f"<h1>Review of {number} beside {champion and champion.version}</h1>"

    return recording.register(registry, new, review=review, keep=keep)


def seen(registry: ModelRegistry) -> ModelVersion | None:
    """The champion, after what was decided in MLflow is recorded."""
    record_decisions(registry, ["lapse"], NOON)
    return registry.champion("lapse")


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
        rollback(registry, "lapse", Decision("Ann", NOON))

    first = register(registry)
    assert (first.version, first.aliases, first.passed_gates, first.reviewed) == (1, ("challenger",), True, False)
    assert first.metrics["brier"] == pytest.approx(0.1)
    assert registry.review_page(first) == "<h1>Review of 1 beside None</h1>"
    serve_first(registry, "lapse", 1)
    champion = registry.champion("lapse")
    assert champion is not None
    assert (champion.version, champion.reviewed) == (1, False)

    second = register(registry)
    assert registry.review_page(second) == "<h1>Review of 2 beside 1</h1>"
    serve_first(registry, "lapse", second.version)  # there is a champion already
    champion = registry.champion("lapse")
    assert champion is not None
    assert champion.version == 1

    approved = approve(registry, "lapse", 2, Decision("Ann", NOON, "better"))
    assert approved.reviewed
    assert set(approved.aliases) == {"challenger", "champion"}
    assert approved.tags["approved_by"] == "Ann"
    assert datetime.fromisoformat(approved.tags["approved_at"]) == NOON.replace(tzinfo=UTC)
    assert registry.version("lapse", 1).aliases == ("previous_champion",)

    back = rollback(registry, "lapse", Decision("Bob", NOON))
    assert (back.version, back.tags["approved_by"], back.tags["approval_reason"]) == (1, "Bob", "rollback")
    assert [version.version for version in registry.versions("lapse")] == [2, 1]
    assert registry.load(back).predict(FRAME) == pytest.approx([2.0, 4.0, 6.0])


def test_a_version_that_failed_its_gates_can_be_read_but_not_approved(registry: ModelRegistry) -> None:
    failed = register(registry, gates="failed: brier")
    before = registry.champion("lapse")
    with pytest.raises(ValueError, match=r"did not pass its gates \(failed: brier\)"):
        approve(registry, "lapse", failed.version, Decision("Ann", NOON))
    assert registry.champion("lapse") == before
    assert "approved_by" not in registry.version("lapse", failed.version).tags


def test_a_version_that_failed_its_gates_never_serves_first(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    failed = register(registry, gates="failed: brier")
    with pytest.raises(ValueError, match="did not pass its gates"):
        serve_first(registry, "lapse", failed.version)
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
    assert seen(registry) is None
    first, second, failed = register(registry), register(registry), register(registry, gates="failed: brier")
    serve_first(registry, "lapse", first.version)
    champion = seen(registry)
    assert champion is not None
    assert (champion.version, champion.reviewed) == (1, False)  # nobody moved it

    registry.client.set_registered_model_alias("lapse", "champion", str(second.version))
    champion = seen(registry)
    assert champion is not None
    assert (champion.version, champion.reviewed) == (2, True)
    assert champion.tags["approved_by"] == "MLflow UI"
    assert champion.tags["approval_reason"] == "alias champion moved in MLflow"
    assert datetime.fromisoformat(champion.tags["approved_at"]) == NOON.replace(tzinfo=UTC)
    assert registry.version("lapse", 1).aliases == ("previous_champion",)

    registry.client.set_registered_model_alias("lapse", "champion", str(failed.version))
    champion = seen(registry)
    assert champion is not None
    assert (champion.version, champion.reviewed) == (3, False)
    assert champion.tags["alias_moved_by"] == "MLflow UI"
    assert "approved_by" not in champion.tags


def test_a_tag_written_in_mlflow_approves_with_its_name_and_note(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    register(registry)
    serve_first(registry, "lapse", 1)
    register(registry)
    registry.client.set_model_version_tag("lapse", "2", "note", "ranks better")
    registry.client.set_model_version_tag("lapse", "2", "reviewer", "Bea")
    champion = seen(registry)
    assert champion is not None
    assert (champion.version, champion.tags["approved_by"]) == (2, "Bea")
    assert champion.tags["approval_reason"] == "ranks better"
    # going back by hand keeps the earlier approval, and notes the move
    approve(registry, "lapse", 1, Decision("Ann", NOON))
    registry.client.set_registered_model_alias("lapse", "champion", "2")
    champion = seen(registry)
    assert champion is not None
    assert (champion.version, champion.tags["approved_by"], champion.reviewed) == (2, "Bea", True)
    assert champion.tags["alias_moved_by"] == "MLflow UI"
    assert seen(registry) == champion


def test_a_retired_version_loses_its_aliases_and_serves_no_more(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    register(registry)
    serve_first(registry, "lapse", 1)
    with pytest.raises(ValueError, match="version 1 is the champion"):
        retire(registry, "lapse", 1, Decision("Ann", NOON))
    register(registry)
    approve(registry, "lapse", 2, Decision("Ann", NOON))
    retired = retire(registry, "lapse", 1, Decision("Bob", NOON, "old"))
    assert (retired.aliases, retired.retired, retired.tags["retirement_reason"]) == ((), True, "old")
    with pytest.raises(ValueError, match="no previous champion"):
        rollback(registry, "lapse", Decision("Ann", NOON))
    with pytest.raises(ValueError, match="was retired by Bob"):
        approve(registry, "lapse", 1, Decision("Ann", NOON))


def test_a_version_that_is_not_there_is_named(registry: ModelRegistry) -> None:
    with pytest.raises(UnknownVersion, match="41"):
        approve(registry, "lapse", 41, Decision("Ann", NOON))


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
        approve(registry, "lapse", 2, Decision("Ann", NOON))


def test_nothing_serves_by_itself_where_a_person_took_the_champion_off(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    register(registry)
    serve_first(registry, "lapse", 1)
    registry.client.delete_registered_model_alias("lapse", "champion")
    register(registry)
    serve_first(registry, "lapse", 2)
    assert registry.champion("lapse") is None


def test_a_rollback_keeps_who_approved_the_version_and_notes_who_brought_it_back(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    for number, who in ((1, "Ann"), (2, "Bea")):
        register(registry)
        approve(registry, "lapse", number, Decision(who, NOON, "good"))
    back = rollback(registry, "lapse", Decision("Cleo", NOON, "complaints"))
    assert (back.version, "champion" in back.aliases, back.reviewed) == (1, True, True)
    assert back.tags["approved_by"] == "Ann"
    assert (back.tags["alias_moved_by"], back.tags["alias_moved_reason"]) == ("Cleo", "complaints")


def test_a_retired_version_whose_alias_is_moved_by_hand_does_not_count_as_reviewed(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    for number in (1, 2):
        register(registry)
        approve(registry, "lapse", number, Decision("Ann", NOON))
    retire(registry, "lapse", 1, Decision("Ann", NOON))
    registry.client.set_registered_model_alias("lapse", "champion", "1")
    champion = seen(registry)
    assert champion is not None
    assert (champion.version, champion.reviewed) == (1, False)


def register_by_hand(registry: ModelRegistry, run_id: str | None = None) -> int:
    """A version as a person makes it in MLflow: from files, or of a run that registered one already."""
    return int(registry.client.create_model_version("lapse", "file:///models/lapse", run_id).version)


@pytest.mark.parametrize("of_a_run", [False, True])
def test_a_version_registered_by_hand_is_not_listed_and_told_of_with_what_to_do(tmp_path: Path, of_a_run: bool) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    first = register(registry)
    number = register_by_hand(registry, first.run_id if of_a_run else None)
    assert [version.version for version in registry.versions("lapse")] == [1]
    with pytest.raises(UnknownVersion, match=r"lapse version 2 was registered by hand.*delete it in MLflow"):
        registry.version("lapse", number)
    with pytest.raises(UnknownVersion, match="registered by hand"):
        approve(registry, "lapse", number, Decision("Ann", NOON))


def test_a_version_registered_by_hand_never_serves_and_another_can_be_approved_over_it(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path))
    for _ in range(2):
        register(registry)
    serve_first(registry, "lapse", 1)
    number = register_by_hand(registry)
    for tag, value in (("gates", "passed"), ("approved_by", "Ann")):
        registry.client.set_model_version_tag("lapse", str(number), tag, value)
    champion = seen(registry)
    assert champion is not None
    assert (champion.version, champion.reviewed) == (1, False)

    registry.client.set_registered_model_alias("lapse", "champion", str(number))
    with pytest.raises(UnknownVersion, match="Take its aliases off"):
        seen(registry)
    assert "approved_at" not in registry.client.get_model_version("lapse", str(number)).tags
    registry.client.set_model_version_tag("lapse", "2", "approved_by", "Bea")
    champion = seen(registry)
    assert champion is not None
    assert (champion.version, champion.tags["approved_by"]) == (2, "Bea")
    assert rollback(registry, "lapse", Decision("Cleo", NOON)).version == 1
