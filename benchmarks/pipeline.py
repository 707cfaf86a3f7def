"""Delivered files to features at several sizes: seconds of each layer, peak memory, and how both grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.process import in_own_process
from benchmarks.shop import LAYERS, Built, build, open_shop, snapshots

SNAPSHOTS = 8


@dataclass(frozen=True)
class Size:
    """One size of the shop and what building it took."""

    scale: float
    rows: int
    built: Built
    peak_mb: int


def measure(home: Path, scale: float) -> Size:
    """Deliver everything at ``scale`` to a new ``home``, then build it in a process of its own."""
    delivered = in_own_process(open_shop, home, scale=scale).result
    measured = in_own_process(build, home, dates=snapshots(SNAPSHOTS))
    rows = delivered.customers + delivered.order_lines + delivered.events
    return Size(scale, rows, measured.result, measured.peak_mb)


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The exponent of ``y`` as a power of ``x``, by least squares of logarithms: 1 is linear growth."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def report(sizes: Sequence[Size]) -> str:
    """A markdown table, a row for each size and the slopes last."""
    head = ["size", "rows", *(f"{layer} s" for layer in LAYERS), "total s", "rows/s", "peak MB"]
    lines = [_row(head), _row(["---"] * len(head))]
    for size in sizes:
        layers = [f"{size.built.layers[layer]:.1f}" for layer in LAYERS]
        pace = f"{size.rows / size.built.total:,.0f}"
        total, peak = f"{size.built.total:.1f}", f"{size.peak_mb:,}"
        lines.append(_row([f"{size.scale:g}x", f"{size.rows:,}", *layers, total, pace, peak]))
    if len(sizes) > 1:
        rows = [size.rows for size in sizes]
        columns = [[size.built.layers[layer] for size in sizes] for layer in LAYERS]
        columns.append([size.built.total for size in sizes])
        slopes = [f"{slope(rows, column):.2f}" for column in columns]
        memory = f"{slope(rows, [size.peak_mb for size in sizes]):.2f}"
        lines.append(_row(["slope", "", *slopes, "", memory]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
