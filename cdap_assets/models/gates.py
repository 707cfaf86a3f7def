"""Gates: what a version must show before a person may approve it. They block promotion, never scoring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from cdap_assets.models.comparison import Comparison

if TYPE_CHECKING:
    from ml.leakage import Suspicion
    from ml.segments import SegmentGap

    Bar = Callable[[SegmentGap], float]  # the largest gap of a segment that passes

BLOCKS = "Blocks approval: nobody can approve a version that fails it, nor does it serve."
LEAK_GATES = {
    "no_leak": "no feature alone, nor all of them together, foretell the label better than anybody honestly can",
    "leakage_canary": "a planted feature that knows the future is found by the same watch that clears the real ones",
}


@dataclass(frozen=True)
class GateResult:
    """A gate with the figure found and the bar it had to meet; ``note`` says more than the figure can."""

    name: str
    passed: bool
    figure: float
    shown: str
    bar: str
    failure_means: str
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN
    note: str = ""


def gate_specs(asset: str, gates: Mapping[str, str]) -> list[dg.AssetCheckSpec]:
    """A check per gate; ``gates`` are names with what they ask."""
    return [dg.AssetCheckSpec(name, asset=asset, description=f"{asked}. {BLOCKS}") for name, asked in gates.items()]


def gate_checks(asset: str, results: Sequence[GateResult]) -> list[dg.AssetCheckResult]:
    """Gate results as asset checks: a failed one is seen in the UI and stops nothing but approval."""
    return [
        dg.AssetCheckResult(
            asset_key=asset,
            check_name=result.name,
            passed=bool(result.passed),
            severity=result.severity,
            description=(result.note or None) if result.passed else _failure(result),
            metadata={"figure": float(result.figure), "shown": result.shown, "bar": result.bar},
        )
        for result in results
    ]


def gates_tag(results: Sequence[GateResult]) -> str:
    """``passed``, or ``failed:`` with the names."""
    failed = [result.name for result in results if not result.passed]
    return f"failed: {', '.join(failed)}" if failed else "passed"


def no_leak(found: Sequence[Suspicion]) -> GateResult:
    """The gate on what the watch found among the model's own features: an error blocks, a warning is told."""
    errors = [entry for entry in found if entry.severity == "error"]
    told = "; ".join(entry.told for entry in found)
    return GateResult(
        "no_leak",
        not errors,
        max((entry.strength for entry in found), default=0.0),
        ", ".join(entry.name for entry in found) or "nothing suspicious",
        "nothing too good to be true",
        "what the model knows cannot be known when it scores; its figures are worth nothing",
        dg.AssetCheckSeverity.ERROR,
        told,
    )


def canary(found: Sequence[Suspicion], name: str, evaluation_refused: bool | None) -> GateResult:
    """The gate on the watch itself: the planted feature ``name`` must be an error, and so must what learned it.

    ``evaluation_refused`` is ``None`` for a model that learns from no label, which nothing planted can reach.
    """
    strength = max((entry.strength for entry in found if entry.name == name and entry.severity == "error"), default=0.0)
    named = strength > 0
    tested = {None: "", True: ", refused in test", False: ", not refused in test"}
    return GateResult(
        "leakage_canary",
        named and evaluation_refused is not False,
        strength,
        f"{'found' if named else 'not found'} by name{tested[evaluation_refused]}",
        "found by name" if evaluation_refused is None else "found by name, and refused in the out-of-time test",
        "the watch for leaks does not work on this data: that it found none says nothing",
        dg.AssetCheckSeverity.ERROR,
    )


def no_segment_badly_off(gaps: Sequence[SegmentGap], bar: Bar, shown_bar: str, unit: str) -> GateResult:
    """The gate on segments: in none the prediction is off by more than its ``bar`` and beyond noise."""
    bad = sorted((gap for gap in gaps if gap.badly_off(bar(gap))), key=lambda gap: -abs(gap.gap))
    worst = max(gaps, key=lambda gap: abs(gap.gap), default=None)
    told = [f"{gap.kind} {gap.segment}: {_amount(gap.gap, unit)}" for gap in bad or ([worst] if worst else [])]
    return GateResult(
        "no_segment_badly_off",
        not bad,
        abs(worst.gap) if worst else 0.0,
        ("" if bad else "largest gap: ") + "; ".join(told[:3]) if told else "no segment is large enough to judge",
        shown_bar,
        "what is right over all customers is wrong for these",
    )


def not_worse(comparison: Comparison) -> GateResult:
    """The gate on the champion: the challenger is not worse on the same customers, beyond noise."""
    return GateResult(
        "not_worse_than_champion",
        not comparison.worse,
        comparison.difference.value if comparison.difference else 0.0,
        comparison.shown,
        "not worse beyond noise, where both can be compared",
        "the version that serves now predicts the same customers better",
        note=comparison.told,
    )


def _amount(gap: float, unit: str) -> str:
    return f"{100 * gap:+.1f} points" if unit == "share" else f"{gap:+.2f} {unit}".rstrip()


def _failure(result: GateResult) -> str:
    return f"{result.failure_means}: {result.note}" if result.note else result.failure_means
