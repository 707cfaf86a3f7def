"""The MLflow registry of one installation, to read from: versions with their evidence, and which of them serves.

What is written is apart: a version with its evidence in ``recording``, what a person decides in ``model_decisions``.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from resources.registry.model_version import CHAMPION, MONITORING, REVIEW_PAGE, ModelVersion, inputs_of, training_run
from resources.registry.quiet_mlflow import quiet
from resources.stores.busy import Busy
from resources.stores.lock import exclusive

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from resources.settings import Settings

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

SETUP_TIMEOUT = 120  # seconds another process may take to set up the database
UNREACHED = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"}  # MLflow's codes for no answer, and for a broken one


class RegistryUnavailable(RuntimeError):
    """MLflow cannot be reached or set up; the call that failed registered nothing that is used."""


class UnknownVersion(ValueError):
    """A model or version that the registry does not hold."""


def reached(
    asking: Callable[Concatenate[ModelRegistry, Given], Answer],
) -> Callable[Concatenate[ModelRegistry, Given], Answer]:
    """Tell of a server that ended since the client was made, as of one that was never there.

    For methods of the registry, and for functions whose first argument it is.
    """

    @functools.wraps(asking)
    def call(registry: ModelRegistry, /, *arguments: Given.args, **named: Given.kwargs) -> Answer:
        _ = registry.client
        from mlflow.exceptions import MlflowException

        try:
            return asking(registry, *arguments, **named)
        except MlflowException as error:
            if error.error_code not in UNREACHED:
                raise
            raise registry.unavailable(error, "What was half done is not used: do it again.") from error

    return call


class ModelRegistry:
    """Reads model versions. The home's database is set up once, by one process at a time.

    Each call raises :class:`RegistryUnavailable` when MLflow does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def uri(self) -> str:
        """Where MLflow keeps runs and versions."""
        return self.settings.mlflow_uri or f"sqlite:///{self.settings.home / 'mlflow' / 'mlflow.db'}"

    @cached_property
    def client(self) -> MlflowClient:
        """The MLflow client, with the database set up. Raises :class:`RegistryUnavailable`."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing of an installation leaves it
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        with quiet():
            import mlflow
            from mlflow.exceptions import MlflowException
            from sqlalchemy.exc import SQLAlchemyError

            mlflow.set_tracking_uri(self.uri)
            try:
                if self.settings.mlflow_uri:
                    # a server that is down is to be told of now, not after MLflow's two minutes of retries
                    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
                    client = mlflow.MlflowClient(self.uri, self.uri)
                    client.search_registered_models(max_results=1)
                else:
                    (self.settings.home / "mlflow").mkdir(parents=True, exist_ok=True)
                    # the client sets up the tables when it is made, the registry's when it is first asked
                    with exclusive(self.settings, "mlflow", timeout=SETUP_TIMEOUT):
                        client = mlflow.MlflowClient(self.uri, self.uri)
                        client.search_registered_models(max_results=1)
            except (MlflowException, SQLAlchemyError, OSError, Busy) as error:
                raise self.unavailable(error, "Nothing was registered.") from error
        return client

    def unavailable(self, error: Exception, done: str) -> RegistryUnavailable:
        """The error to raise for MLflow's own; ``done`` tells what became of the call."""
        told = str(error).splitlines()[0]
        if self.settings.mlflow_uri:
            return RegistryUnavailable(
                f"MLflow at {self.uri} does not answer: {told} "
                f"Start it, or unset CDAP_MLFLOW_URI to use the home's own store. {done}"
            )
        return RegistryUnavailable(
            f"MLflow's store {self.uri} cannot be set up or used: {told} "
            f"Its folder must be writable: {self.settings.home / 'mlflow'}. {done}"
        )

    @reached
    def holds(self, name: str) -> bool:
        """Whether a model of that name was ever registered."""
        return bool(self.client.search_registered_models(filter_string=f"name = '{name}'", max_results=1))

    @reached
    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model that a training registered, newest first; none for a model never registered."""
        if not self.holds(name):
            return []
        found = self.client.search_model_versions(f"name = '{name}'")
        return sorted((self.version(name, int(v.version)) for v in found if training_run(v)), key=lambda v: -v.version)

    @reached
    def version(self, name: str, version: int) -> ModelVersion:
        """One version. Raises :class:`UnknownVersion`."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_model_version(name, str(version))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UnknownVersion(f"model {name} has no version {version}; see `cdap models list`") from error
        run_id = training_run(found)
        if run_id is None:
            raise UnknownVersion(
                f"{name} version {version} was registered by hand and not by a training, so that nothing is known of "
                "it. Take its aliases off and delete it in MLflow."
            )
        model = self.client.get_registered_model(name)
        aliases = tuple(sorted(alias for alias, number in model.aliases.items() if int(number) == version))
        run = self.client.get_run(run_id)
        return ModelVersion(
            name,
            version,
            aliases,
            run_id,
            {key: value for key, value in run.data.metrics.items() if not key.startswith(MONITORING)},
            dict(found.tags),
            dict(run.data.params),
            inputs_of(run.inputs),
        )

    @reached
    def champion(self, name: str) -> ModelVersion | None:
        """The version that serves, or ``None``. Raises :class:`UnknownVersion` for one that was registered by hand."""
        if not self.holds(name):
            return None
        number = self.client.get_registered_model(name).aliases.get(CHAMPION)
        return None if number is None else self.version(name, int(number))

    @reached
    def load(self, version: ModelVersion) -> Any:
        """The estimator of a version."""
        with quiet():
            import mlflow

            mlflow.set_tracking_uri(self.uri)
            found = self.client.get_model_version(version.name, str(version.version))
            return mlflow.sklearn.load_model(found.source)

    def review_page(self, version: ModelVersion) -> str:
        """The page that a person judges the version by."""
        return self.text(version, REVIEW_PAGE)

    @reached
    def text(self, version: ModelVersion, file: str) -> str:
        """A text file of a version's run, such as the page of its review."""
        with tempfile.TemporaryDirectory() as folder, quiet():
            path = self.client.download_artifacts(version.run_id, file, folder)
            return Path(path).read_text(encoding="utf-8")

    @reached
    def text_if_there(self, version: ModelVersion, file: str) -> str | None:
        """The same, or ``None`` for a version that was registered without such a file."""
        listed = {entry.path for entry in self.client.list_artifacts(version.run_id)}
        return self.text(version, file) if file in listed else None

    @reached
    def run_url(self, version: ModelVersion) -> str | None:
        """The page of a version's run in MLflow, while `cdap ui` or the server runs; ``None`` of a bare database."""
        place = urlsplit(self.settings.mlflow_uri or f"http://127.0.0.1:{self.settings.mlflow_port}")
        if place.scheme not in ("http", "https"):
            return None
        server = place._replace(netloc=place.netloc.rpartition("@")[2]).geturl().rstrip("/")  # without a password
        experiment = self.client.get_run(version.run_id).info.experiment_id
        return f"{server}/#/experiments/{experiment}/runs/{version.run_id}"

    def all_versions(self, names: Sequence[str]) -> list[ModelVersion]:
        """The versions of several models, by model, newest first."""
        return [version for name in names for version in self.versions(name)]
