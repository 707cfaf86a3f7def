"""One trained and tested model becomes a version for review: the same way for every model of the lineage."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from cdap_assets.models.comparison import Comparison, Incumbent
from cdap_assets.models.gates import GateResult, gate_checks, gates_tag
from cdap_assets.models.model_policy import ModelPolicyError
from cdap_assets.models.purpose import HeldBack, PurposeRefused, Selection, selected_features
from cdap_assets.models.training import LabelledFrame, TooLittleHistory
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Session
from resources.lake.table_snapshots import keep
from resources.registry import recording
from resources.registry.model_decisions import serve_first
from resources.registry.model_registry import ModelRegistry
from resources.registry.model_version import ModelVersion, snapshot_tag
from resources.registry.recording import NewVersion
from resources.stores.stores import open_store

if TYPE_CHECKING:
    import pandas as pd

    from ml.evaluation import Interval

METRICS = "metrics.json"  # as training found them; a run's metrics grow by what monitoring adds
REFERENCE = "reference.json"  # how inputs and scores were spread in training, for drift; no customer in it
GIT_SECONDS = 10


@dataclass(frozen=True)
class Context:
    """What a review says of the version beside its figures."""

    version: int
    champion: ModelVersion | None
    champion_reference: str | None
    trained_at: datetime
    code_version: str
    data_ends: date | None


@dataclass(frozen=True)
class Candidate:
    """A trained and tested model with its evidence, before anybody has judged it.

    ``example`` and ``prediction`` are one made-up customer and what the model says of it. ``reference`` is the
    spread of inputs and scores, as text. ``headline`` tells the test in a line of Markdown, ``review`` makes the page.
    """

    name: str
    label: str
    description: str
    code_version: str
    model: Any
    example: pd.DataFrame
    prediction: pd.DataFrame
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    gates: Sequence[GateResult]
    tags: Mapping[str, str]
    frame: LabelledFrame
    selection: Selection
    comparison: Comparison
    reference: str
    headline: str
    review: Callable[[Context], str]
    metadata: Mapping[str, Any] = field(default_factory=dict)


Trainer = Callable[[Session, date | None, Selection, Incumbent | None], Candidate]


def incumbent_of(registry: ModelRegistry, name: str) -> Incumbent | None:
    """The champion of a model with its estimator, or ``None``."""
    version = registry.champion(name)
    return Incumbent(version, registry.load(version)) if version else None


def train_version(
    name: str,
    features: Sequence[str],
    train: Trainer,
    run_id: str,
    cutoff: date | None,
    lakehouse: Lakehouse,
    registry: ModelRegistry,
    now: datetime,
    data_ends: date | None,
) -> dg.MaterializeResult:
    """What every training asset does: choose the allowed ``features``, train and test, register for review.

    Raises ``dg.Failure`` without retry for what trying again does not change: too little history, a contract or
    policy that does not allow it, customers that cannot be learned from.
    """
    incumbent = incumbent_of(registry, name)
    try:
        selection = selected_features(lakehouse.settings, features)
        with lakehouse.in_process(run_id) as session:
            candidate = train(session, cutoff, selection, incumbent)
    except (TooLittleHistory, PurposeRefused, ModelPolicyError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except ValueError as error:
        # too few customers, or a snapshot in which all or none lapsed
        told = f"the {name.replace('_', ' ')} cannot be trained on these customers: {error}"
        raise dg.Failure(told, allow_retries=False) from error
    return register(candidate, lakehouse, registry, now, data_ends)


def register(
    candidate: Candidate, lakehouse: Lakehouse, registry: ModelRegistry, now: datetime, data_ends: date | None
) -> dg.MaterializeResult:
    """Register a candidate as challenger, keep the table snapshots it learned from, and write its page.

    The very first version that passed its gates serves, unreviewed. ``now`` is a naive UTC instant.
    """
    trained_at = now.replace(tzinfo=UTC)
    code = code_version(candidate.code_version)

    def review(number: int, champion: ModelVersion | None) -> str:
        known = registry.text_if_there(champion, REFERENCE) if champion else None
        return candidate.review(Context(number, champion, known, trained_at, code, data_ends))

    def protect(number: int) -> None:
        for table, read in candidate.frame.sources.items():
            keep(lakehouse, table, read.snapshot_id, snapshot_tag(candidate.name, number))

    against = candidate.comparison.champion
    new = NewVersion(
        candidate.name,
        candidate.description,
        candidate.model,
        candidate.example,
        candidate.prediction,
        gates_tag(candidate.gates),
        params=candidate.params,
        metrics=candidate.metrics,
        tags={
            **candidate.tags,
            "code_version": candidate.code_version,
            "code": code,
            **({"compared_with": str(against)} if against else {}),
        },
        datasets=candidate.frame.sources,
        card={"label": candidate.label, "snapshots": [[str(day), *counts] for day, *counts in candidate.frame.card]},
        texts={REFERENCE: candidate.reference, METRICS: json.dumps(dict(candidate.metrics))},
    )
    version = recording.register(registry, new, review=review, keep=protect)
    if version.passed_gates:
        serve_first(registry, candidate.name, version.version)
    page = f"{candidate.name}-v{version.version}.html"
    store = open_store(lakehouse.settings.root("pages"), lakehouse.settings)
    store.write(page, registry.review_page(version).encode())
    return dg.MaterializeResult(
        metadata={
            "version": version.version,
            "gates": version.tags["gates"],
            "review": dg.MetadataValue.url(lakehouse.settings.page_url(page)),
            "out of time": dg.MetadataValue.md(candidate.headline),
            "held back": dg.MetadataValue.md(_held_back(candidate.selection.held_back)),
            **candidate.metadata,
            **{key: float(value) for key, value in candidate.metrics.items()},
        },
        check_results=gate_checks(candidate.name, candidate.gates),
    )


def learn_intervals(
    model: Any, kind: Literal["probability", "spend"], predicted: pd.Series[float], tested: pd.DataFrame
) -> None:
    """Have a model learn 80 % intervals of its scores from out-of-time predictions; too few leave it without.

    ``tested`` has the columns label and customer_id.
    """
    from ml.intervals import OutOfTimeIntervals, TooFewOutcomes

    try:
        learned = OutOfTimeIntervals(kind=kind, level=0.8)
        model.intervals_ = learned.fit(predicted, tested["label"], tested["customer_id"])
    except TooFewOutcomes:
        return  # scores then go without an interval


def interval_metrics(**figures: Interval) -> dict[str, float]:
    """Each figure as three metrics: ``auc``, ``auc_low`` and ``auc_high``."""
    found: dict[str, float] = {}
    for name, figure in figures.items():
        found |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    return found


def made_up_customer(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """One row of the columns' medians over all training rows: nobody's, and typical."""
    return rows[list(columns)].astype("float64").median().to_frame().T


@cache
def code_version(model_code: str) -> str:
    """The code that trained, as a reviewer can find it: the commit where there is one, else the package's version.

    ``model_code`` is the version of the model's own code, which changes when its meaning does.
    """
    return f"{model_code} at {_commit() or 'cdap ' + importlib.metadata.version('cdap')}"


def _commit() -> str | None:
    """The checkout's commit, with "+" when tracked files differ from it; ``None`` outside of a checkout."""
    root, git = Path(__file__).parents[2], shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    found = []
    for arguments in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no")):
        command = [git, "--no-optional-locks", "-C", str(root), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
        if done.returncode:
            return None
        found.append(done.stdout.strip())
    commit, changes = found
    return f"{commit}{'+' if changes else ''}"


def _held_back(entries: Sequence[HeldBack]) -> str:
    return "\n".join(f"- `{entry.name}`: {entry.reason}" for entry in entries) or "nothing"
