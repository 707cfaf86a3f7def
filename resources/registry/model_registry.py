"""The MLflow registry of one installation: versions with their evidence, who approved which, what serves."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from resources.registry.model_version import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    Decision,
    ModelVersion,
    TableRead,
    inputs_of,
)
from resources.registry.quiet_mlflow import quiet
from resources.stores.busy import Busy
from resources.stores.lock import exclusive

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

    from resources.settings import Settings

__all__ = ["CHALLENGER", "CHAMPION", "ModelRegistry", "ModelVersion", "RegistryUnavailable", "UnknownVersion"]

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

REVIEW_PAGE = "review.html"
GATES = "gates"
RECORDED = "cdap.champion"  # tag of a model: the champion as last moved, or noted, by this code
MONITORING = "monitoring/"  # of metrics that came after the training, of days on which the version served
UNKNOWN_PERSON = "MLflow UI"  # MLflow without log-in does not say who moved an alias
MILLISECONDS_A_DAY = 24 * 60 * 60 * 1000
SETUP_TIMEOUT = 120  # seconds another process may take to set up the database
UNREACHED = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"}  # MLflow's codes for no answer, and for a broken one


class RegistryUnavailable(RuntimeError):
    """MLflow cannot be reached or set up; the call that failed registered nothing that is used."""


class UnknownVersion(ValueError):
    """A model or version that the registry does not hold."""


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
        datasets: Mapping[str, TableRead],
        description: str,
        review: Callable[[int, ModelVersion | None], str],
        keep: Callable[[int], None],
        card: Mapping[str, Any],
        texts: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """Log a run with the model and its evidence, and register it as the ``challenger``.

        ``datasets`` are the table states it learned from. ``review`` makes the page a person judges it by, from
        the version's number and the champion of now; ``card`` is the label card, ``texts`` are further files.
        ``keep`` protects what the version of that number learned from. Only then is it told whether it passed its
        gates and called challenger: a version without a page or its data can never be approved.
        ``example`` and ``prediction`` are stored with the model and give its signature: the caller sees to it
        that no row in them is a person's.
        """
        client = self.client
        with quiet():
            import mlflow
            from mlflow.data.http_dataset_source import HTTPDatasetSource
            from mlflow.data.meta_dataset import MetaDataset
            from mlflow.models import infer_signature

            mlflow.set_tracking_uri(self.uri)
            experiment = self._experiment(name)
            with mlflow.start_run(experiment_id=experiment, run_name=name) as run:
                mlflow.log_params(dict(params))
                mlflow.log_metrics({key: float(value) for key, value in metrics.items()})
                for table, read in datasets.items():
                    source = HTTPDatasetSource(f"iceberg://cdap/{table}?snapshot={read.snapshot_id}")
                    # MLflow leaves a property of it abstract, which nothing at run time minds
                    dataset = MetaDataset(source, name=table, digest=str(read.snapshot_id)[:36])  # type: ignore[abstract]
                    told = {"iceberg_snapshot": str(read.snapshot_id), "rows": str(read.rows)}
                    mlflow.log_input(dataset, context="training", tags=told)
                for file, text in (texts or {}).items():
                    mlflow.log_text(text, file)
                mlflow.log_dict(dict(card), "label_card.json")
                info = mlflow.sklearn.log_model(
                    model,
                    name="model",
                    signature=infer_signature(example, prediction),
                    input_example=example,
                    serialization_format="cloudpickle",
                    pip_requirements=["scikit-learn", "scipy", "numpy", "pandas"],
                )
            if not _exists(client, name):
                client.create_registered_model(name, description=description)
            unjudged = {key: value for key, value in tags.items() if key != GATES}
            made = client.create_model_version(
                name, info.model_uri, run.info.run_id, tags=unjudged, description=description, model_id=info.model_id
            )
            page = review(int(made.version), self.champion(name))
            client.log_text(run.info.run_id, page, REVIEW_PAGE)
            keep(int(made.version))
            client.set_model_version_tag(name, made.version, GATES, tags[GATES])
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
        """All versions of a model that a run trained, newest first; none for a model never registered."""
        if not _exists(self.client, name):
            return []
        found = self.client.search_model_versions(f"name = '{name}'")
        return sorted((self.version(name, int(v.version)) for v in found if v.run_id), key=lambda v: -v.version)

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
        if not found.run_id:
            raise UnknownVersion(
                f"{name} version {version} was registered by hand, without a run that trained it, so nothing is known "
                "of it. Take its aliases off and delete it in MLflow."
            )
        model = self.client.get_registered_model(name)
        aliases = tuple(sorted(alias for alias, number in model.aliases.items() if int(number) == version))
        run = self.client.get_run(found.run_id)
        return ModelVersion(
            name,
            version,
            aliases,
            found.run_id,
            {key: value for key, value in run.data.metrics.items() if not key.startswith(MONITORING)},
            dict(found.tags),
            dict(run.data.params),
            inputs_of(run.inputs),
        )

    @_reached
    def champion(self, name: str) -> ModelVersion | None:
        """The version that serves, or ``None``."""
        if not _exists(self.client, name):
            return None
        number = self.client.get_registered_model(name).aliases.get(CHAMPION)
        return None if number is None else self.version(name, int(number))

    @_reached
    def serve_first(self, name: str, version: int) -> None:
        """Let a very first version that passed its gates serve, unreviewed. Does nothing with a champion there,
        or where a person took the champion off: what serves next is theirs to decide.

        Raises ``ValueError`` for a version that did not pass its gates.
        """
        taken_off = _exists(self.client, name) and RECORDED in self.client.get_registered_model(name).tags
        if self.champion(name) is None and not taken_off:
            self._refuse_failed(self.version(name, version))
            self._make_champion(name, version)

    @_reached
    def approve(self, name: str, version: int, *, by: str, at: datetime, reason: str = "") -> ModelVersion:
        """Make a version the champion in the name of a person; the one before is kept as ``previous_champion``.

        Raises ``ValueError`` for a version that did not pass its gates or is retired, :class:`UnknownVersion` for
        no such one.
        """
        if not by.strip():
            raise ValueError("a person approves a model: give a name")
        chosen = self.version(name, version)
        self._refuse_failed(chosen)
        if chosen.retired:
            raise ValueError(f"{name} version {version} was retired by {chosen.tags['retired_by']}; train it again")
        self._tag(name, version, Decision(by, at, reason).tags("approved"))
        return self._promote(name, version)

    def _promote(self, name: str, version: int) -> ModelVersion:
        before = self.champion(name)
        if before is not None and before.version != version:
            self.client.set_registered_model_alias(name, PREVIOUS, str(before.version))
        self._make_champion(name, version)
        return self.version(name, version)

    def _make_champion(self, name: str, version: int) -> None:
        # recorded last: a process that dies in between leaves a version whose approval is written, not a foreign one
        self.client.set_registered_model_alias(name, CHAMPION, str(version))
        self.client.set_registered_model_tag(name, RECORDED, str(version))

    @_reached
    def note_decisions(self, name: str, at: datetime) -> ModelVersion | None:
        """Record what a person decided in MLflow itself, and give the champion of then; ``at`` is when it is seen.

        Two things are decisions: the alias ``champion`` moved to another version, and the tag ``approved_by`` (or
        ``reviewer``) written on one. Who is what the tag says, else "MLflow UI"; why is the tag ``approval_reason``
        (or ``note``). A tag on a version that is not the champion makes it the champion if it passed its gates.
        A version that failed its gates stays unreviewed, whoever moved the alias; one that was approved before
        keeps that approval, and the move is noted beside it.
        """
        if not _exists(self.client, name):
            return None
        model = self.client.get_registered_model(name)
        recorded = model.tags.get(RECORDED)
        number = str(model.aliases[CHAMPION]) if CHAMPION in model.aliases else None
        if number is not None and number != recorded:
            if recorded is not None:
                self._note_move(self.version(name, int(number)), at)
                self.client.set_registered_model_alias(name, PREVIOUS, recorded)
            self.client.set_registered_model_tag(name, RECORDED, str(number))
        # tags alone, not whole versions: the sensor looks every minute
        for found in self.client.search_model_versions(f"name = '{name}'"):
            version = ModelVersion(name, int(found.version), (), found.run_id or "", {}, dict(found.tags))
            if _named(version) and "approved_at" not in version.tags and version.passed_gates and not version.retired:
                reason = _why(version) or "tag approved_by set in MLflow"
                return self.approve(name, version.version, by=_named(version), at=at, reason=reason)
        return self.champion(name)

    def _note_move(self, moved: ModelVersion, at: datetime) -> None:
        if "approved_at" in moved.tags or not moved.passed_gates or moved.retired:
            tags = {"alias_moved_by": UNKNOWN_PERSON, "alias_moved_at": at.isoformat()}
        else:
            reason = _why(moved) or "alias champion moved in MLflow"
            tags = Decision(_named(moved) or UNKNOWN_PERSON, at, reason).tags("approved")
        self._tag(moved.name, moved.version, tags)

    def _tag(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self.client.set_model_version_tag(name, str(version), key, value)

    @_reached
    def tag(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Write tags on a version, over those of the same name."""
        self._tag(name, version, tags)

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
        back = self.version(name, int(number))
        if "approved_at" not in back.tags or not back.reviewed:
            return self.approve(name, back.version, by=by, at=at, reason=reason or "rollback")
        # approved before: that decision stands, and who brought it back is noted beside it
        moved = {"alias_moved_by": by, "alias_moved_at": at.isoformat(), "alias_moved_reason": reason or "rollback"}
        self._tag(name, back.version, moved)
        return self._promote(name, back.version)

    @_reached
    def retire(self, name: str, version: int, *, by: str, at: datetime, reason: str = "") -> ModelVersion:
        """Mark a version as one that nobody will use or reproduce, and take its aliases.

        Raises ``ValueError`` for the champion and for no name, :class:`UnknownVersion` for no such version.
        """
        if not by.strip():
            raise ValueError("a person retires a model: give a name")
        chosen = self.version(name, version)
        if CHAMPION in chosen.aliases:
            raise ValueError(f"{name} version {version} is the champion; approve another version first, or roll back")
        for alias in chosen.aliases:
            self.client.delete_registered_model_alias(name, alias)
        self._tag(name, version, Decision(by, at, reason).tags("retired"))
        return self.version(name, version)

    @_reached
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

    @_reached
    def text(self, version: ModelVersion, file: str) -> str:
        """A text file of a version's run, such as the page of its review."""
        with tempfile.TemporaryDirectory() as folder, quiet():
            path = self.client.download_artifacts(version.run_id, file, folder)
            return Path(path).read_text(encoding="utf-8")

    @_reached
    def text_if_there(self, version: ModelVersion, file: str) -> str | None:
        """The same, or ``None`` for a version that was registered without such a file."""
        listed = {entry.path for entry in self.client.list_artifacts(version.run_id)}
        return self.text(version, file) if file in listed else None

    def all_versions(self, names: Sequence[str]) -> list[ModelVersion]:
        """The versions of several models, by model, newest first."""
        return [version for name in names for version in self.versions(name)]

    @_reached
    def log_monitoring(self, version: ModelVersion, metrics: Mapping[str, float], at: date) -> None:
        """Add figures of a day to a version's run: metrics ``monitoring/NAME``, by days since 1970 as steps.

        What the day has already is not logged again; a figure that changed follows the one before.
        """
        from mlflow.entities import Metric

        step = (at - date(1970, 1, 1)).days
        logged = []
        for name, value in metrics.items():
            key = f"{MONITORING}{name}"
            there = [one for one in self.client.get_metric_history(version.run_id, key) if one.step == step]
            if not there or max(there, key=lambda one: one.timestamp).value != value:
                # of one day, the newer is the later by a millisecond
                logged.append(Metric(key, value, step * MILLISECONDS_A_DAY + len(there), step))
        self.client.log_batch(version.run_id, metrics=logged)


def _named(version: ModelVersion) -> str:
    return version.tags.get("approved_by") or version.tags.get("reviewer") or ""


def _why(version: ModelVersion) -> str:
    return version.tags.get("approval_reason") or version.tags.get("note") or ""


def _exists(client: MlflowClient, name: str) -> bool:
    return bool(client.search_registered_models(filter_string=f"name = '{name}'", max_results=1))
