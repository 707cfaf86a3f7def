"""The MLflow registry of one installation: versions with their evidence, who approved which, what serves."""

from __future__ import annotations

import functools
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from resources.lock import Busy, exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from mlflow import MlflowClient

    from resources.settings import Settings

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous_champion"
REVIEW_PAGE = "review.html"
SETUP_TIMEOUT = 120  # seconds another process may take to set up the database
UNREACHED = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"}  # MLflow's codes for no answer, and for a broken one


class RegistryUnavailable(RuntimeError):
    """MLflow cannot be reached or set up; the call that failed registered nothing that is used."""


class UnknownVersion(ValueError):
    """A model or version that the registry does not hold."""


@dataclass(frozen=True)
class ModelVersion:
    """A registered version and what is known of it. ``metrics`` are those of its run, ``tags`` its own."""

    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def reviewed(self) -> bool:
        """Whether a named person approved it, and it had passed its gates: an alias set by hand is not enough."""
        return bool(self.tags.get("approved_by")) and self.passed_gates

    @property
    def passed_gates(self) -> bool:
        """Whether it passed every gate when it was trained."""
        return self.tags.get("gates") == "passed"


def _reached(
    method: Callable[Concatenate[ModelRegistry, Given], Answer],
) -> Callable[Concatenate[ModelRegistry, Given], Answer]:
    """Tell of a server that ended since the client was made, as of one that was never there."""

    @functools.wraps(method)
    def call(self: ModelRegistry, /, *arguments: Given.args, **named: Given.kwargs) -> Answer:
        _ = self.client
        from mlflow.exceptions import MlflowException

        try:
            return method(self, *arguments, **named)
        except MlflowException as error:
            if error.error_code not in UNREACHED:
                raise
            raise self._unavailable(error, "What was half done is not used: do it again.") from error

    return call


class ModelRegistry:
    """Reading and writing model versions. The home's database is set up once, by one process at a time.

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
        with _quiet():
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
                raise self._unavailable(error, "Nothing was registered.") from error
        return client

    def _unavailable(self, error: Exception, done: str) -> RegistryUnavailable:
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

    @_reached
    def register(
        self,
        name: str,
        model: Any,
        *,
        example: pd.DataFrame,
        prediction: pd.DataFrame,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        datasets: Mapping[str, str],
        description: str,
        review: Callable[[int, ModelVersion | None], str],
        card: Mapping[str, Any],
    ) -> ModelVersion:
        """Log a run with the model and its evidence, and register it as the ``challenger``.

        ``datasets`` are Iceberg snapshot ids by table. ``review`` makes the page a person judges it by, from
        the version's number and the champion of now; ``card`` is the label card. Only the signature is taken
        from ``example`` and ``prediction``; no row is stored.
        """
        client = self.client
        with _quiet():
            import mlflow
            from mlflow.data.http_dataset_source import HTTPDatasetSource
            from mlflow.data.meta_dataset import MetaDataset
            from mlflow.models import infer_signature

            mlflow.set_tracking_uri(self.uri)
            experiment = self._experiment(name)
            with mlflow.start_run(experiment_id=experiment, run_name=name) as run:
                mlflow.log_params(dict(params))
                mlflow.log_metrics({key: float(value) for key, value in metrics.items()})
                for table, snapshot in datasets.items():
                    source = HTTPDatasetSource(f"iceberg://cdap/{table}?snapshot={snapshot}")
                    dataset = MetaDataset(source, name=table, digest=snapshot[:36])
                    mlflow.log_input(dataset, context="training", tags={"iceberg_snapshot": snapshot})
                mlflow.log_dict(dict(card), "label_card.json")
                info = mlflow.sklearn.log_model(
                    model,
                    name="model",
                    signature=infer_signature(example, prediction),
                    serialization_format="cloudpickle",
                    pip_requirements=["scikit-learn", "scipy", "numpy", "pandas"],
                )
            if not _exists(client, name):
                client.create_registered_model(name, description=description)
            made = client.create_model_version(
                name, info.model_uri, run.info.run_id, tags=dict(tags), description=description, model_id=info.model_id
            )
            page = review(int(made.version), self.champion(name))
            client.log_text(run.info.run_id, page, REVIEW_PAGE)
            client.set_registered_model_alias(name, CHALLENGER, made.version)
        return self.version(name, int(made.version))

    def _experiment(self, name: str) -> str:
        client = self.client
        known = client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        location = None if self.settings.mlflow_uri else (self.settings.home / "mlflow" / "artifacts").as_uri()
        return str(client.create_experiment(name, artifact_location=location))

    @_reached
    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model, newest first; none for a model never registered."""
        if not _exists(self.client, name):
            return []
        found = self.client.search_model_versions(f"name = '{name}'")
        return sorted((self.version(name, int(v.version)) for v in found), key=lambda v: -v.version)

    @_reached
    def version(self, name: str, version: int) -> ModelVersion:
        """One version. Raises :class:`UnknownVersion`."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_model_version(name, str(version))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UnknownVersion(f"model {name} has no version {version}; see `cdap models list`") from error
        model = self.client.get_registered_model(name)
        aliases = tuple(sorted(alias for alias, number in model.aliases.items() if int(number) == version))
        run = self.client.get_run(found.run_id)
        return ModelVersion(name, version, aliases, found.run_id, dict(run.data.metrics), dict(found.tags))

    @_reached
    def champion(self, name: str) -> ModelVersion | None:
        """The version that serves, or ``None``."""
        if not _exists(self.client, name):
            return None
        number = self.client.get_registered_model(name).aliases.get(CHAMPION)
        return None if number is None else self.version(name, int(number))

    @_reached
    def serve_first(self, name: str, version: int) -> None:
        """Let a very first version that passed its gates serve, unreviewed. Does nothing with a champion there.

        Raises ``ValueError`` for a version that did not pass its gates.
        """
        if self.champion(name) is None:
            self._refuse_failed(self.version(name, version))
            self.client.set_registered_model_alias(name, CHAMPION, str(version))

    @_reached
    def approve(self, name: str, version: int, *, by: str, at: datetime, reason: str = "") -> ModelVersion:
        """Make a version the champion in the name of a person; the one before is kept as ``previous_champion``.

        Raises ``ValueError`` for a version that did not pass its gates, :class:`UnknownVersion` for no such one.
        """
        if not by.strip():
            raise ValueError("a person approves a model: give a name")
        chosen = self.version(name, version)
        self._refuse_failed(chosen)
        before = self.champion(name)
        stamp = {"approved_by": by, "approved_at": at.isoformat(), "approval_reason": reason}
        for key, value in stamp.items():
            self.client.set_model_version_tag(name, str(version), key, value)
        if before is not None and before.version != version:
            self.client.set_registered_model_alias(name, PREVIOUS, str(before.version))
        self.client.set_registered_model_alias(name, CHAMPION, str(version))
        return self.version(name, version)

    @staticmethod
    def _refuse_failed(version: ModelVersion) -> None:
        if not version.passed_gates:
            raise ValueError(
                f"{version.name} version {version.version} did not pass its gates "
                f"({version.tags.get('gates', 'never tried')}); it can be read, but neither approved nor serve. "
                "See its review page."
            )

    @_reached
    def rollback(self, name: str, *, by: str, at: datetime, reason: str = "") -> ModelVersion:
        """Let the champion before this one serve again. Raises ``ValueError`` when there is none."""
        model = self.client.get_registered_model(name) if _exists(self.client, name) else None
        number = model.aliases.get(PREVIOUS) if model else None
        if number is None:
            raise ValueError(f"model {name} has no previous champion to go back to")
        return self.approve(name, int(number), by=by, at=at, reason=reason or "rollback")

    @_reached
    def load(self, version: ModelVersion) -> Any:
        """The estimator of a version."""
        with _quiet():
            import mlflow

            mlflow.set_tracking_uri(self.uri)
            found = self.client.get_model_version(version.name, str(version.version))
            return mlflow.sklearn.load_model(found.source)

    @_reached
    def review_page(self, version: ModelVersion) -> str:
        """The page that a person judges the version by."""
        with tempfile.TemporaryDirectory() as folder, _quiet():
            path = self.client.download_artifacts(version.run_id, REVIEW_PAGE, folder)
            return Path(path).read_text(encoding="utf-8")

    def all_versions(self, names: Sequence[str]) -> list[ModelVersion]:
        """The versions of several models, by model, newest first."""
        return [version for name in names for version in self.versions(name)]


def _exists(client: MlflowClient, name: str) -> bool:
    return bool(client.search_registered_models(filter_string=f"name = '{name}'", max_results=1))


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow tells of migrations, pickles and its own deprecations where a user watches the run."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "mlflow.store.db.utils", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
