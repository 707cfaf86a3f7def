"""Model versions in an MLflow server on PostgreSQL that keeps artifacts on S3, reached without AWS credentials."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from resources.registry.model_decisions import Decision, approve
from resources.registry.model_registry import ModelRegistry, RegistryUnavailable
from resources.settings import Settings
from tests.cloud.account import Aws
from tests.cloud.permissions import calls, refused
from tests.cloud.postgres import Postgres, postgres_server
from tests.cloud.processes import died, free_port
from tests.cloud.server_groups import kill, serving
from tests.resources.registry.test_model_registry import FRAME, NOON, register

__all__ = ["postgres_server"]
# MLflow's own: not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
READY = 180  # seconds
DATABASE = "mlflow"


@dataclass(frozen=True)
class Server:
    """A running MLflow server and its process."""

    uri: str
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def mlflow_server(store: str, artifacts: str, environment: dict[str, str], folder: Path) -> Iterator[Server]:
    """The command of docs/aws.md, on loopback; started anew it finds what is in ``store``."""
    uri = f"http://127.0.0.1:{free_port()}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", uri.rpartition(":")[2],
        "--workers", "1", "--artifacts-destination", artifacts, "--serve-artifacts",
    ]  # fmt: skip
    told = {
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    variables = {**os.environ, **environment, **told}
    log = folder / "mlflow.log"
    with serving(command, variables, folder, log) as process:
        _await(server := Server(uri, process), log)
        yield server


def _await(server: Server, log: Path) -> None:
    until = time.monotonic() + READY
    while True:
        try:
            with urllib.request.urlopen(f"{server.uri}/health", timeout=5):
                return
        except OSError:
            if (end := died(server.process, log)) or time.monotonic() > until:
                raise RuntimeError(f"MLflow {end or f'does not answer after {READY} s'}") from None
            time.sleep(0.2)


@pytest.fixture(autouse=True)
def _without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What trains has no right to the bucket: the server alone reads and writes artifacts."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # put back after the test that sets it


def test_a_version_is_registered_approved_and_loaded_and_a_server_that_ends_is_told_of(
    tmp_path: Path, postgres_server: Postgres, aws: Aws, bucket: str
) -> None:
    store = postgres_server.create(DATABASE)
    artifacts = f"s3://{bucket}/cdap/mlflow"
    aws.forget_requests()
    with mlflow_server(store, artifacts, aws.environment, tmp_path) as server:
        settings = Settings(home=tmp_path / "home", mlflow_uri=server.uri)
        registry = ModelRegistry(settings)
        assert registry.champion("lapse") is None
        first = register(registry)
        assert (first.version, first.aliases) == (1, ("challenger",))
        assert registry.review_page(first) == "<h1>Review of 1 beside None</h1>"
        approved = approve(registry, "lapse", register(registry).version, Decision("Ann", NOON))
        assert approved.aliases == ("challenger", "champion")
        assert registry.load(approved).predict(FRAME) == pytest.approx([2.0, 4.0, 6.0])
        assert not (settings.home / "mlflow").exists()

        kill(server.process)
        began = time.monotonic()
        with pytest.raises(RegistryUnavailable, match=f"{server.uri} does not answer"):
            registry.versions("lapse")
        with pytest.raises(RegistryUnavailable, match=f"{server.uri} does not answer"):
            register(registry)
        with pytest.raises(RegistryUnavailable, match=f"{server.uri} does not answer"):
            ModelRegistry(settings).champion("lapse")
        assert time.monotonic() - began < 30

    assert refused(["cdap-mlflow"], calls(aws)) == set()
    versions = postgres_server.rows(DATABASE, "SELECT name, version FROM model_versions ORDER BY version")
    assert versions == [("lapse", 1), ("lapse", 2)]
    listed = aws.client("s3").list_objects_v2(Bucket=bucket, Prefix="cdap/mlflow/").get("Contents", [])
    names = {Path(found["Key"]).name for found in listed}
    assert {"model.pkl", "MLmodel", "review.html", "label_card.json"} <= names

    with mlflow_server(store, artifacts, aws.environment, tmp_path) as server:
        again = ModelRegistry(Settings(home=tmp_path / "home", mlflow_uri=server.uri)).champion("lapse")
        assert again is not None
        assert (again.version, again.reviewed) == (2, True)
