"""Model versions are registered, approved by a person and rolled back; what cannot work says so at once."""

from __future__ import annotations

import multiprocessing
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from resources.model_registry import ModelRegistry, ModelVersion, RegistryUnavailable, UnknownVersion
from resources.settings import Settings

# MLflow's own: not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

NOON = datetime(2024, 3, 3, 12, tzinfo=UTC)
FRAME = pd.DataFrame({"recency": [1.0, 2.0, 3.0]})


def register(registry: ModelRegistry, gates: str = "passed") -> ModelVersion:
    model = LinearRegression().fit(FRAME, FRAME.recency * 2)
    return registry.register(
        "lapse",
        model,
        example=FRAME,
        prediction=pd.DataFrame({"probability": model.predict(FRAME)}),
        params={"horizon_days": 84},
        metrics={"brier": 0.1},
        tags={"gates": gates},
        datasets={"customer_features": "123456789"},
        description="a test",
        review=lambda number, champion: f"<h1>Review of {number} beside {champion and champion.version}</h1>",
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


def test_no_row_of_the_example_is_stored(home: Path, registry: ModelRegistry) -> None:
    if not registry.versions("lapse"):
        register(registry)
    names = [path.name for path in (home / "mlflow").rglob("*") if path.is_file()]
    assert "review.html" in names
    assert not [name for name in names if "input_example" in name]


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
