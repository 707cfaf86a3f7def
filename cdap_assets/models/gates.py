"""Gates: what a version must show before a person may approve it. They block promotion, never scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg


@dataclass(frozen=True)
class GateResult:
    """A gate with the figure found and the bar it had to meet."""

    name: str
    passed: bool
    figure: float
    shown: str
    bar: str
    failure_means: str


def gate_specs(asset: str, gates: dict[str, str]) -> list[dg.AssetCheckSpec]:
    """A check per gate; ``gates`` are names with what they ask."""
    return [dg.AssetCheckSpec(name, asset=asset, description=asked) for name, asked in gates.items()]


def gate_checks(asset: str, results: Sequence[GateResult]) -> list[dg.AssetCheckResult]:
    """Gate results as asset checks: a failed one is seen in the UI and stops nothing but approval."""
    return [
        dg.AssetCheckResult(
            asset_key=asset,
            check_name=result.name,
            passed=bool(result.passed),
            severity=dg.AssetCheckSeverity.WARN,
            description=None if result.passed else result.failure_means,
            metadata={"figure": float(result.figure), "shown": result.shown, "bar": result.bar},
        )
        for result in results
    ]


def gates_tag(results: Sequence[GateResult]) -> str:
    """``passed``, or ``failed:`` with the names."""
    failed = [result.name for result in results if not result.passed]
    return f"failed: {', '.join(failed)}" if failed else "passed"
