"""What the registry holds of one version of a model, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous_champion"
# the tag that tells whether a version passed; every version that a training registered has it
GATES, PASSED, NEVER_TRIED = "gates", "passed", "never tried"
REVIEW_PAGE = "review.html"
MONITORING = "monitoring/"  # of metrics that came after the training, of days on which the version served


@dataclass(frozen=True)
class TableRead:
    """The state of a table that a model learned from: an Iceberg snapshot and how many rows it holds."""

    snapshot_id: int
    rows: int


@dataclass(frozen=True)
class ModelVersion:
    """A registered version and what is known of it.

    ``metrics`` and ``params`` are those of its run, ``tags`` its own, ``inputs`` the tables that it learned from.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, TableRead] = field(default_factory=dict)

    @property
    def reviewed(self) -> bool:
        """Whether a person approved it, it had passed its gates and is not retired: an alias alone is not enough."""
        return bool(self.tags.get("approved_by")) and self.passed_gates and not self.retired

    @property
    def passed_gates(self) -> bool:
        """Whether it passed every gate when it was trained."""
        return self.tags.get(GATES) == PASSED

    @property
    def finished(self) -> bool:
        """Whether its registration came to its end: one that was killed in it left a version without page or data."""
        return self.tags.get(GATES) != NEVER_TRIED

    @property
    def retired(self) -> bool:
        """Whether nobody means to use or reproduce it any more: its snapshots may expire."""
        return bool(self.tags.get("retired_by"))

    @property
    def snapshot_tag(self) -> str:
        """The tag that keeps the table snapshots it learned from."""
        return snapshot_tag(self.name, self.version)


def snapshot_tag(name: str, version: int) -> str:
    """The Iceberg tag of what a version of a model learned from."""
    return f"model.{name}.v{version}"


def training_run(found: Any) -> str | None:
    """The run of the training that registered MLflow's version; ``None`` for one made by hand, of which nothing is
    known."""
    return (found.run_id or None) if GATES in found.tags else None


def inputs_of(inputs: Any) -> dict[str, TableRead]:
    """The tables that a run logged as its inputs."""
    found = {}
    for entry in inputs.dataset_inputs if inputs else ():
        told = {tag.key: tag.value for tag in entry.tags}
        if "iceberg_snapshot" in told:
            found[entry.dataset.name] = TableRead(int(told["iceberg_snapshot"]), int(told.get("rows", 0)))
    return found
