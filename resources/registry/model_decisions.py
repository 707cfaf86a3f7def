"""Deciding about versions: who made which the champion or gave it up, when and why; here, or in MLflow itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from resources.registry.model_registry import ModelRegistry, UnknownVersion, reached
from resources.registry.model_version import CHAMPION, GATES, PREVIOUS, ModelVersion, training_run
from resources.registry.recording import tag

RECORDED = "cdap.champion"  # tag of a model: the champion as last moved, or recorded, by this code
UNKNOWN_PERSON = "MLflow UI"  # MLflow without log-in does not say who moved an alias


@dataclass(frozen=True)
class Decision:
    """Who decided about a version, when and why. ``at`` is a naive UTC instant, as the clock gives it.

    Raises ``ValueError`` for no name, and for an instant with a time zone.
    """

    by: str
    at: datetime
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.by.strip():
            raise ValueError("a person decides about a model: give a name")
        if self.at.tzinfo is not None:
            raise ValueError(f"a decision is made at an instant in UTC without a time zone, found {self.at}")

    @property
    def stamp(self) -> str:
        """The instant as a tag tells it: with its zone, for a person reads it in MLflow."""
        return self.at.replace(tzinfo=UTC).isoformat()

    @property
    def approval(self) -> dict[str, str]:
        """Tags of a version that was approved."""
        return {"approved_by": self.by, "approved_at": self.stamp, "approval_reason": self.reason}

    @property
    def retirement(self) -> dict[str, str]:
        """Tags of a version that was given up."""
        return {"retired_by": self.by, "retired_at": self.stamp, "retirement_reason": self.reason}

    @property
    def move(self) -> dict[str, str]:
        """Tags of a version that serves again, or against its gates, beside those of an earlier approval."""
        why = {"alias_moved_reason": self.reason} if self.reason else {}
        return {"alias_moved_by": self.by, "alias_moved_at": self.stamp, **why}


@reached
def serve_first(registry: ModelRegistry, name: str, version: int) -> None:
    """Let a very first version that passed its gates serve, unreviewed. Does nothing with a champion there,
    or where a person took the champion off: what serves next is theirs to decide.

    Raises ``ValueError`` for a version that did not pass its gates.
    """
    taken_off = registry.holds(name) and RECORDED in registry.client.get_registered_model(name).tags
    if registry.champion(name) is None and not taken_off:
        _refuse_failed(registry.version(name, version))
        _make_champion(registry, name, version)


@reached
def approve(registry: ModelRegistry, name: str, version: int, decision: Decision) -> ModelVersion:
    """Make a version the champion in the name of a person; the one before is kept as ``previous_champion``.

    Raises ``ValueError`` for a version that did not pass its gates or is retired,
    :class:`~resources.registry.model_registry.UnknownVersion` for no such one.
    """
    chosen = registry.version(name, version)
    _refuse_failed(chosen)
    if chosen.retired:
        raise ValueError(f"{name} version {version} was retired by {chosen.tags['retired_by']}; train it again")
    tag(registry, name, version, decision.approval)
    return _promote(registry, name, version)


@reached
def rollback(registry: ModelRegistry, name: str, decision: Decision) -> ModelVersion:
    """Let the champion before this one serve again. Raises ``ValueError`` when there is none."""
    number = registry.client.get_registered_model(name).aliases.get(PREVIOUS) if registry.holds(name) else None
    if number is None:
        raise ValueError(f"model {name} has no previous champion to go back to")
    decision = replace(decision, reason=decision.reason or "rollback")
    back = registry.version(name, int(number))
    if "approved_at" not in back.tags or not back.reviewed:
        return approve(registry, name, back.version, decision)
    # approved before: that decision stands, and who brought it back is noted beside it
    tag(registry, name, back.version, decision.move)
    return _promote(registry, name, back.version)


@reached
def retire(registry: ModelRegistry, name: str, version: int, decision: Decision) -> ModelVersion:
    """Mark a version as one that nobody will use or reproduce, and take its aliases.

    Raises ``ValueError`` for the champion, :class:`~resources.registry.model_registry.UnknownVersion` for no such
    version.
    """
    chosen = registry.version(name, version)
    if CHAMPION in chosen.aliases:
        raise ValueError(f"{name} version {version} is the champion; approve another version first, or roll back")
    for alias in chosen.aliases:
        registry.client.delete_registered_model_alias(name, alias)
    tag(registry, name, version, decision.retirement)
    return registry.version(name, version)


def record_decisions(registry: ModelRegistry, names: Iterable[str], at: datetime) -> None:
    """Record what a person decided about the models ``names`` in MLflow itself; ``at`` is when it is seen.

    Two things are decisions: the alias ``champion`` moved to another version, and the tag ``approved_by`` (or
    ``reviewer``) written on one. Who is what the tag says, else "MLflow UI"; why is the tag ``approval_reason``
    (or ``note``). A tag on a version that is not the champion makes it the champion if it passed its gates.
    A version that failed its gates stays unreviewed, whoever moved the alias; one that was approved before
    keeps that approval, and the move is noted beside it. Of a version registered by hand nothing is recorded.
    What was recorded is not recorded again.
    """
    for name in names:
        if registry.holds(name):
            _record_move(registry, name, at)
            _record_tag(registry, name, at)


@reached
def _record_move(registry: ModelRegistry, name: str, at: datetime) -> None:
    model = registry.client.get_registered_model(name)
    recorded, number = model.tags.get(RECORDED), model.aliases.get(CHAMPION)
    if number is None or str(number) == recorded:
        return
    moved = next((version for version in _trained(registry, name) if version.version == int(number)), None)
    if moved is None:
        return
    if recorded is not None:
        if "approved_at" in moved.tags or not moved.passed_gates or moved.retired:
            tags = Decision(UNKNOWN_PERSON, at).move
        else:
            reason = _why(moved) or "alias champion moved in MLflow"
            tags = Decision(_named(moved) or UNKNOWN_PERSON, at, reason).approval
        tag(registry, name, moved.version, tags)
        registry.client.set_registered_model_alias(name, PREVIOUS, recorded)
    registry.client.set_registered_model_tag(name, RECORDED, str(number))


@reached
def _record_tag(registry: ModelRegistry, name: str, at: datetime) -> None:
    for version in _trained(registry, name):
        named = _named(version)
        if named and "approved_at" not in version.tags and version.passed_gates and not version.retired:
            decision = Decision(named, at, _why(version) or "tag approved_by set in MLflow")
            approve(registry, name, version.version, decision)
            return


def _trained(registry: ModelRegistry, name: str) -> list[ModelVersion]:
    """Versions that a training registered, by their tags alone: the sensor looks every minute."""
    found = registry.client.search_model_versions(f"name = '{name}'")
    return [ModelVersion(name, int(v.version), (), run, {}, dict(v.tags)) for v in found if (run := training_run(v))]


def _promote(registry: ModelRegistry, name: str, version: int) -> ModelVersion:
    try:
        champion = registry.champion(name)
        before = str(champion.version) if champion else None
    except UnknownVersion:
        # registered by hand, so that it never served: to go back to is what did before it
        before = registry.client.get_registered_model(name).tags.get(RECORDED)
    if before not in (None, str(version)):
        registry.client.set_registered_model_alias(name, PREVIOUS, before)
    _make_champion(registry, name, version)
    return registry.version(name, version)


def _make_champion(registry: ModelRegistry, name: str, version: int) -> None:
    # recorded last: a process that dies in between leaves a version whose approval is written, not a foreign one
    registry.client.set_registered_model_alias(name, CHAMPION, str(version))
    registry.client.set_registered_model_tag(name, RECORDED, str(version))


def _refuse_failed(version: ModelVersion) -> None:
    if not version.passed_gates:
        raise ValueError(
            f"{version.name} version {version.version} did not pass its gates "
            f"({version.tags[GATES]}); it can be read, but neither approved nor serve. "
            "See its review page."
        )


def _named(version: ModelVersion) -> str:
    return version.tags.get("approved_by") or version.tags.get("reviewer") or ""


def _why(version: ModelVersion) -> str:
    return version.tags.get("approval_reason") or version.tags.get("note") or ""
