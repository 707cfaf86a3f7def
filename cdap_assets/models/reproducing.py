"""Training a version again from its record alone, and comparing every figure; what an erasure makes of that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from math import isclose, isnan
from typing import Any

from cdap_assets.models.candidate import ModelRecipe
from cdap_assets.models.lapse_model import asset as lapse_asset
from cdap_assets.models.lifetime_value_model import asset as value_asset
from cdap_assets.models.purpose import Selection
from cdap_assets.models.registering import METRICS
from resources.iceberg.run_state import RunState
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import InProcess
from resources.lake.table_snapshots import is_kept, let_go, release
from resources.registry.model_registry import ModelRegistry
from resources.registry.model_version import ModelVersion
from resources.registry.recording import tag

TOLERANCE = 1e-6  # relative: other processors add floating point numbers in another order
RECIPES: dict[str, ModelRecipe[Any]] = {recipe.name: recipe for recipe in (lapse_asset.RECIPE, value_asset.RECIPE)}
SINCE = "not_reproducible_since"


class NotReproducible(ValueError):
    """A version that cannot be trained again from its record; the message says since when and why."""


@dataclass(frozen=True)
class Compared:
    """A metric as recorded and as found again; ``again`` is ``None`` where training gave no such metric."""

    name: str
    recorded: float
    again: float | None

    @property
    def same(self) -> bool:
        """Whether both agree within the tolerance."""
        if self.again is None:
            return False
        return (isnan(self.recorded) and isnan(self.again)) or isclose(
            self.recorded, self.again, rel_tol=TOLERANCE, abs_tol=TOLERANCE
        )


@dataclass(frozen=True)
class Reproduction:
    """Every recorded metric beside its value of now, and the code versions of then and now."""

    version: ModelVersion
    metrics: tuple[Compared, ...]
    code_then: str
    code_now: str

    @property
    def reproduced(self) -> bool:
        """Whether every metric was found again."""
        return all(entry.same for entry in self.metrics)


def reproduce(lakehouse: Lakehouse, registry: ModelRegistry, name: str, number: int) -> Reproduction:
    """Train version ``number`` of a model again from the table snapshots in its record, and compare.

    The home's tables of now and its contracts are not read: the features are those of the record. What the champion
    of then did decides a gate and no metric, so it is not asked again. Raises :class:`NotReproducible`,
    :class:`~resources.registry.model_registry.UnknownVersion`, or ``ValueError`` for another model.
    """
    if name not in RECIPES:
        raise ValueError(f"there is no model {name}; there are {', '.join(RECIPES)}")
    version = registry.version(name, number)
    _refuse_gone(lakehouse, version)
    features = tuple(version.params["allowed_features"].split(", "))
    as_of = version.params.get("as_of")
    snapshots = {table: read.snapshot_id for table, read in version.inputs.items()}
    with pinned(lakehouse, snapshots) as session:
        cutoff = date.fromisoformat(as_of) if as_of else None
        candidate = RECIPES[name].train(session, cutoff, Selection(features, ()), None)
    # not the run's metrics, to which monitoring adds
    recorded: dict[str, float] = json.loads(registry.text(version, METRICS))
    found = tuple(Compared(metric, value, candidate.metrics.get(metric)) for metric, value in sorted(recorded.items()))
    return Reproduction(version, found, version.tags["code_version"], RECIPES[name].code_version)


def pinned(lakehouse: Lakehouse, snapshots: Mapping[str, int]) -> InProcess:
    """A session that reads the named tables at the given snapshots, and every other table as empty."""
    session = InProcess(lakehouse, None)
    session.run = RunState(lakehouse.stores.runs, None, lambda: dict(snapshots))
    return session


def _refuse_gone(lakehouse: Lakehouse, version: ModelVersion) -> None:
    who = f"{version.name} version {version.version}"
    if SINCE in version.tags:
        raise NotReproducible(f"{who} is not reproducible since {version.tags[SINCE]}")
    if not version.inputs or "allowed_features" not in version.params:
        raise NotReproducible(f"{who} has no record of what it learned from: it was registered before records were")
    gone = [
        f"{table} {read.snapshot_id}"
        for table, read in version.inputs.items()
        if not is_kept(lakehouse, table, read.snapshot_id)
    ]
    if gone:
        retired = f"; it was retired at {version.tags['retired_at']}" if version.retired else ""
        raise NotReproducible(f"{who} is not reproducible: its snapshots are gone ({', '.join(gone)}){retired}")


def erase_history(
    lakehouse: Lakehouse, registry: ModelRegistry, tables: Mapping[str, list[int]], erasure: str, at: datetime
) -> list[ModelVersion]:
    """Let go of table snapshots that hold what was erased, and tell the versions that learned from them.

    ``tables`` are snapshot ids by table; the current snapshot is none of them, for rows are erased by a publish
    first. ``erasure`` names the request, never the person. Gives the versions that can no longer be reproduced: each
    has the tag ``not_reproducible_since``, and its other tables' snapshots are released. It goes on serving.
    ``at`` is a naive UTC instant.
    """
    # told first: of a process that dies in between, versions say so too early, and the erasure is done again
    since = f"erasure {erasure} of {at.date().isoformat()}"
    told = []
    for version in registry.all_versions(tuple(RECIPES)):
        lost = [table for table, read in version.inputs.items() if read.snapshot_id in tables.get(table, ())]
        if lost:
            if SINCE not in version.tags:
                tag(registry, version.name, version.version, {SINCE: since})
            told.append(registry.version(version.name, version.version))
    for table, snapshots in tables.items():
        let_go(lakehouse, table, snapshots)
    for version in told:
        release(lakehouse, version.snapshot_tag)
    return told
