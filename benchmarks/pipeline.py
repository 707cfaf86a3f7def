"""Delivered files to features at several sizes: seconds of each layer, peak memory, and how both grow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.process import Failed, attempt
from benchmarks.results import Results, Row, one_line, table
from benchmarks.shop import Built, Delivered, build, open_shop, snapshots

SNAPSHOTS = 8
WAY = "cdap"


def measure(results: Results, home: Path, scale: float) -> bool:
    """Deliver everything at ``scale`` to a new ``home`` and build it, each in a process of its own; whether it stands.

    One row: of the build, or of what failed first.
    """
    size = f"{scale:g}x"
    delivered = attempt(open_shop, home, scale=scale)
    if isinstance(delivered, Failed):
        results.add(WAY, size, error=f"no deliveries: {one_line(delivered.error)}", peak_mb=delivered.peak_mb)
        return False
    measured = attempt(build, home, dates=snapshots(SNAPSHOTS))
    if isinstance(measured, Failed):
        results.add(WAY, size, error=one_line(measured.error), peak_mb=measured.peak_mb)
        return False
    built = measured.result
    figures = _figures(delivered.result, built)
    results.add(WAY, size, seconds=built.total, peak_mb=measured.peak_mb, figures=figures)
    return True


def _figures(delivered: Delivered, built: Built) -> dict[str, float]:
    rows = delivered.customers + delivered.order_lines + delivered.events
    layers = {f"{layer} s": seconds for layer, seconds in built.layers.items()}
    return {"rows": rows, "rows/s": round(rows / built.total), **layers}


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The exponent of ``y`` as a power of ``x``, by least squares of logarithms: 1 is linear growth."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def report(rows: Sequence[Row]) -> str:
    """A markdown table of the rows of :func:`measure`, and how time and memory grow with the rows delivered."""
    done = [row for row in rows if not row.error]
    if len(done) < 2:
        return table(rows)
    count = [float(str(row.figures["rows"])) for row in done]
    grown: dict[str, list[float]] = {
        "seconds": [row.seconds or 0 for row in done],
        "peak memory": [row.peak_mb or 0 for row in done],
    }
    slopes = ", ".join(f"{name} {slope(count, values):.2f}" for name, values in grown.items())
    return f"{table(rows)}\n\nGrowth as a power of the rows (1 is linear): {slopes}."
