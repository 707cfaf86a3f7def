"""What is written of a version besides decisions: its run with the evidence, and what is found of it later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from resources.registry.model_registry import ModelRegistry, reached
from resources.registry.model_version import (
    CHALLENGER,
    GATES,
    MONITORING,
    NEVER_TRIED,
    REVIEW_PAGE,
    ModelVersion,
    TableRead,
)
from resources.registry.quiet_mlflow import quiet

if TYPE_CHECKING:
    import pandas as pd

MILLISECONDS_A_DAY = 24 * 60 * 60 * 1000
REQUIREMENTS = ["scikit-learn", "scipy", "numpy", "pandas"]


@dataclass(frozen=True)
class NewVersion:
    """A trained model with its evidence, as the registry keeps it.

    ``example`` and ``prediction`` are stored with the model and give its signature: the caller sees to it that no
    row in them is a person's. ``gates`` is "passed", or what failed; ``datasets`` are the table states it learned
    from, ``card`` is the label card, ``texts`` are further files by name.
    """

    name: str
    description: str
    model: Any
    example: pd.DataFrame
    prediction: pd.DataFrame
    gates: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, TableRead] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


@reached
def register(
    registry: ModelRegistry,
    new: NewVersion,
    *,
    review: Callable[[int, ModelVersion | None], str],
    keep: Callable[[int], None],
) -> ModelVersion:
    """Log a run with the model and its evidence, and register it as the ``challenger``.

    ``review`` makes the page a person judges it by, from the version's number and the champion of now. ``keep``
    protects what the version of that number learned from. Only then is it told whether it passed its gates and
    called challenger: a version without a page or its data can never be approved.
    """
    client = registry.client
    with quiet():
        run_id, model_id, model_uri = _logged_run(registry, new)
        if not registry.holds(new.name):
            client.create_registered_model(new.name, description=new.description)
        made = client.create_model_version(
            new.name,
            model_uri,
            run_id,
            tags={**new.tags, GATES: NEVER_TRIED},
            description=new.description,
            model_id=model_id,
        )
        number = int(made.version)
        client.log_text(run_id, review(number, registry.champion(new.name)), REVIEW_PAGE)
        keep(number)
        client.set_model_version_tag(new.name, made.version, GATES, new.gates)
        client.set_registered_model_alias(new.name, CHALLENGER, made.version)
    return registry.version(new.name, number)


def _logged_run(registry: ModelRegistry, new: NewVersion) -> tuple[str, str | None, str]:
    """The ids of a new run and of the model in it, and the address of that model."""
    import mlflow
    from mlflow.data.http_dataset_source import HTTPDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.models import infer_signature

    mlflow.set_tracking_uri(registry.uri)
    with mlflow.start_run(experiment_id=_experiment(registry, new.name), run_name=new.name) as run:
        mlflow.log_params(dict(new.params))
        mlflow.log_metrics({key: float(value) for key, value in new.metrics.items()})
        for table, read in new.datasets.items():
            source = HTTPDatasetSource(f"iceberg://cdap/{table}?snapshot={read.snapshot_id}")
            # MLflow leaves a property of it abstract, which nothing at run time minds
            dataset = MetaDataset(source, name=table, digest=str(read.snapshot_id)[:36])  # type: ignore[abstract]
            told = {"iceberg_snapshot": str(read.snapshot_id), "rows": str(read.rows)}
            mlflow.log_input(dataset, context="training", tags=told)
        for file, text in new.texts.items():
            mlflow.log_text(text, file)
        mlflow.log_dict(dict(new.card), "label_card.json")
        info = mlflow.sklearn.log_model(
            new.model,
            name="model",
            signature=infer_signature(new.example, new.prediction),
            input_example=new.example,
            serialization_format="cloudpickle",
            pip_requirements=REQUIREMENTS,
        )
    return run.info.run_id, info.model_id, info.model_uri


def _experiment(registry: ModelRegistry, name: str) -> str:
    """The id of a model's experiment, made when there is none."""
    settings = registry.settings
    known = registry.client.get_experiment_by_name(name)
    if known is not None:
        return str(known.experiment_id)
    location = None if settings.mlflow_uri else (settings.home / "mlflow" / "artifacts").as_uri()
    return str(registry.client.create_experiment(name, artifact_location=location))


@reached
def tag(registry: ModelRegistry, name: str, version: int, tags: Mapping[str, str]) -> None:
    """Write tags on a version, over those of the same name."""
    for key, value in tags.items():
        registry.client.set_model_version_tag(name, str(version), key, value)


@reached
def log_monitoring(registry: ModelRegistry, version: ModelVersion, metrics: Mapping[str, float], at: date) -> None:
    """Add figures of a day to a version's run: metrics ``monitoring/NAME``, by days since 1970 as steps.

    What the day has already is not logged again; a figure that changed follows the one before.
    """
    from mlflow.entities import Metric

    step = (at - date(1970, 1, 1)).days
    logged = []
    for name, value in metrics.items():
        key = f"{MONITORING}{name}"
        there = [one for one in registry.client.get_metric_history(version.run_id, key) if one.step == step]
        if not there or max(there, key=lambda one: one.timestamp).value != value:
            # of one day, the newer is the later by a millisecond
            logged.append(Metric(key, value, step * MILLISECONDS_A_DAY + len(there), step))
    registry.client.log_batch(version.run_id, metrics=logged)
