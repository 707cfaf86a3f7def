"""What a person reads before approving a version: the parts of the review page that every model has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from cdap_assets.models.candidate import Candidate, ReviewContext
from cdap_assets.models.training import LabelledFrame
from ml.evaluation import Interval
from ml.evaluation.drift import Drift, Reference
from ml.protocol import training_snapshots
from ml.segments import SegmentGap
from pages.formats import Better, Figure
from pages.review import Change, Columns, Gate, LabelCount, Segment, Shift, Source
from resources.registry.model_version import ModelVersion

if TYPE_CHECKING:
    import numpy.typing as npt

# metrics by which versions are set side by side, where both have them
COMPARED_METRICS = ("auc", "auc_frequency", "log_loss", "ece", "base_rate", "mae", "rmse", "bias_percent", "gini")
COMPARED_PARAMS = ("kind", "features", "seed", "horizon_days", "training_snapshots", "training_step")


def trained_on(frame: LabelledFrame, horizon: int, step: int, most: int) -> dict[date, list[date]]:
    """The training snapshots that each test snapshot's model used."""
    used = {}
    for test in frame.test_snapshots:
        closed = training_snapshots(frame.snapshots, test, horizon)
        used[test] = sorted(sorted(closed, reverse=True)[::step][:most])
    return used


def figure(name: str, found: Interval, baseline: float | None, unit: str, better: Better, meaning: str) -> Figure:
    """A measured figure for the page."""
    return Figure(name, found.value, found.low, found.high, baseline, unit, better, meaning)


def rows_of(frame: LabelledFrame, days: Sequence[date]) -> int:
    """Labelled rows of the named snapshots."""
    return sum(eligible for day, eligible, *_ in frame.card if day in days)


def segments(gaps: Sequence[SegmentGap], bar: Callable[[SegmentGap], float]) -> tuple[Segment, ...]:
    """Segments with their gaps; ``bar`` is the largest gap of each that passes, in the label's unit."""
    return tuple(
        Segment(g.kind, g.segment, g.rows, g.predicted, g.observed, g.low, g.high, g.badly_off(bar(g))) for g in gaps
    )


def weak_segments(gaps: Sequence[SegmentGap], shown: Any) -> list[str]:
    """Sentences on the segments whose gap is beyond noise, the largest first; ``shown`` writes a figure."""
    off = sorted((gap for gap in gaps if gap.beyond_noise), key=lambda gap: -abs(gap.gap))
    return [
        f"{gap.kind} {gap.segment}: it says {shown(gap.predicted)} where {shown(gap.observed)} came, "
        f"{'too much' if gap.gap > 0 else 'too little'}"
        for gap in off[:3]
    ]


def drift(spread: Mapping[str, npt.ArrayLike], context: ReviewContext) -> tuple[str, tuple[Shift, ...]]:
    """How far inputs and scores have moved since the champion learned, and a word on what that is measured against.

    ``spread`` are the newest customers' inputs and scores by column; the champion keeps counts, and no customer.
    """
    if context.champion is None:
        return "There is no champion to measure against.", ()
    if context.champion_reference is None:
        return f"Version {context.champion.version}, the champion, has kept no record of its inputs.", ()
    before = Reference.from_json(context.champion_reference)
    both = {name: values for name, values in spread.items() if name in before.columns}
    told = f"Against the customers that version {context.champion.version}, the champion, learned from last."
    return told, tuple(Shift(entry.column, entry.psi, _word(entry)) for entry in before.drift(both))


def _word(entry: Drift) -> str:
    return "far" if entry.far else "shifted" if entry.shifted else "steady"


def changes(
    champion: ModelVersion | None, params: Mapping[str, Any], metrics: Mapping[str, float], code: str
) -> tuple[Change, ...]:
    """What differs from the champion in parameters, features, code and figures."""
    if champion is None:
        return ()
    found = []
    for name in COMPARED_PARAMS:
        before, now = champion.params.get(name), params.get(name)
        if before is not None and now is not None and str(before) != str(now):
            found.append(_feature_change(before, str(now)) if name == "features" else Change(name, before, str(now)))
    if champion.tags.get("code", code) != code:
        found.append(Change("code", champion.tags["code"], code))
    both = [name for name in COMPARED_METRICS if name in champion.metrics and name in metrics]
    found += [Change(name, f"{champion.metrics[name]:.4g}", f"{metrics[name]:.4g}") for name in both]
    return tuple(found)


def _feature_change(before: str, now: str) -> Change:
    old, new = before.split(", "), now.split(", ")
    gone, come = [name for name in old if name not in new], [name for name in new if name not in old]
    return Change(
        "features",
        f"{len(old)}" + (f", with {', '.join(gone)}" if gone else ""),
        f"{len(new)}" + (f", with {', '.join(come)}" if come else ""),
    )


def shared_fields(candidate: Candidate, context: ReviewContext) -> dict[str, Any]:
    """The fields of a review that are the same for every model."""
    frame, champion = candidate.frame, context.champion
    first = champion is None and all(gate.passed for gate in candidate.gates)
    held_back = tuple((entry.name, entry.reason) for entry in candidate.selection.held_back)
    since, shifts = drift(candidate.spread, context)
    return {
        "version": str(context.version),
        "stage": "unreviewed champion" if first else "challenger",
        "replaces": str(champion.version) if champion else None,
        "trained_at": context.trained_at,
        "code_version": context.code_version,
        "data_ends": context.data_ends,
        "label_card": tuple(LabelCount(day, eligible, excluded, base) for day, eligible, excluded, base in frame.card),
        "gates": tuple(
            Gate(g.name.replace("_", " "), bool(g.passed), g.shown, g.bar, g.failure_means, g.note)
            for g in candidate.gates
        ),
        "lineage": tuple(Source(table, read.snapshot_id, read.rows) for table, read in frame.sources.items()),
        "columns": Columns(tuple(candidate.inputs), held_back),
        "against_champion": candidate.comparison.told,
        "changes": changes(champion, candidate.all_params, candidate.metrics, context.code_version),
        "drift_since": since,
        "drift": shifts,
    }
