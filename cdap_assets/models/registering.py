"""One trained and tested model becomes a version for review: the same way for every model of the lineage."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import dagster as dg

from cdap_assets.models.candidate import ModelRecipe, Own, ReviewContext
from cdap_assets.models.gates import gate_checks, gates_tag
from cdap_assets.models.links import page_name, version_links
from cdap_assets.models.purpose import HeldBack
from resources.lake.lakehouse import Lakehouse
from resources.lake.table_snapshots import keep
from resources.registry import recording
from resources.registry.model_decisions import serve_first
from resources.registry.model_registry import ModelRegistry
from resources.registry.model_version import ModelVersion, snapshot_tag
from resources.registry.recording import NewVersion

METRICS = "metrics.json"  # as training found them; a run's metrics grow by what monitoring adds
REFERENCE = "reference.json"  # how inputs and scores were spread in training, for drift; no customer in it
GIT_SECONDS = 10


def register(
    recipe: ModelRecipe[Own],
    candidate: Own,
    lakehouse: Lakehouse,
    registry: ModelRegistry,
    now: datetime,
    data_ends: date | None,
) -> dg.MaterializeResult:
    """Register a candidate as challenger, keep the table snapshots it learned from, and write its page.

    The very first version that passed its gates serves, unreviewed. ``now`` is a naive UTC instant.
    """
    code = code_version(recipe.code_version)

    def review(number: int, champion: ModelVersion | None) -> str:
        known = registry.text_if_there(champion, REFERENCE) if champion else None
        context = ReviewContext(number, champion, known, now.replace(tzinfo=UTC), code, data_ends)
        return recipe.review(candidate, context)

    def protect(number: int) -> None:
        for table, read in candidate.frame.sources.items():
            keep(lakehouse, table, read.snapshot_id, snapshot_tag(recipe.name, number))

    version = recording.register(registry, new_version(recipe, candidate, code), review=review, keep=protect)
    if version.passed_gates:
        serve_first(registry, recipe.name, version.version)
    lakehouse.stores.pages.write(page_name(version), registry.review_page(version).encode())
    return dg.MaterializeResult(
        metadata={
            **version_links(registry, version),
            "version": version.version,
            "gates": version.tags["gates"],
            "out of time": dg.MetadataValue.md(candidate.headline),
            "held back": dg.MetadataValue.md(_held_back(candidate.selection.held_back)),
            **candidate.metadata,
            **{key: float(value) for key, value in candidate.metrics.items()},
        },
        check_results=gate_checks(recipe.name, candidate.gates),
    )


def new_version(recipe: ModelRecipe[Own], candidate: Own, code: str) -> NewVersion:
    """A candidate as the registry keeps it; ``code`` is the code that trained it."""
    from ml.evaluation.drift import Reference

    frame, against = candidate.frame, candidate.comparison.champion
    return NewVersion(
        recipe.name,
        recipe.version_description,
        candidate.model,
        candidate.example,
        candidate.prediction,
        gates_tag(candidate.gates),
        params=candidate.all_params,
        metrics=candidate.metrics,
        tags={
            **candidate.tags,
            "tested_from": frame.test_snapshots[0].isoformat(),
            "tested_to": frame.test_snapshots[-1].isoformat(),
            "code_version": recipe.code_version,
            "code": code,
            **({"compared_with": str(against)} if against else {}),
        },
        datasets=frame.sources,
        card={"label": recipe.label, "snapshots": [[str(day), *counts] for day, *counts in frame.card]},
        texts={
            REFERENCE: Reference.of(candidate.spread).to_json(),
            METRICS: json.dumps(dict(candidate.metrics)),
        },
    )


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
