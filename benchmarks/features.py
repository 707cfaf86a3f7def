"""The feature build beside hand-written SQL and pandas on the same tables: equal results, ratios, peak memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks import hand_pandas, hand_sql, ours
from benchmarks.process import Cost, Failed, attempt, in_own_process, timed
from benchmarks.results import Results, one_line
from benchmarks.sameness import assert_same
from benchmarks.shop import snapshots
from benchmarks.task import Task

RUNS = 3
LOW_MEMORY = "512MB"
NOTE = (
    "The web events are stored, and no way reads them: customer_features is made of purchases and campaigns. "
    f"Medians of {RUNS} runs; ratios to SQL by hand on the same tables; peak memory includes imports."
)

Ways = Mapping[str, Callable[[Task, Path], None]]


def compare(results: Results, home: Path, work: Path, size: str) -> bool:
    """Time every way on a built ``home`` of a ``size``, each in a process of its own, with results below ``work``.

    A row for each way, also for one that fails. Whether all that finished agree on what they made; if not, a row
    says where they differ.
    """
    one, eight = (in_own_process(ours.task, home, snapshots(count)).result for count in (1, 8))
    by_hand: Ways = {
        "SQL by hand": hand_sql.from_customer_days,
        "pandas by hand": hand_pandas.from_customer_days,
        "ours, files written": ours.written,
        "ours, checked and published": ours.published,
    }
    low: Ways = {
        f"SQL by hand, {LOW_MEMORY}": hand_sql.from_customer_days,
        f"ours, files written, {LOW_MEMORY}": ours.written,
    }
    from_lines: Ways = {"SQL by hand from order lines": hand_sql.from_order_lines}
    agreed = [
        beside(results, one, work / "one", {**by_hand, **from_lines}, f"{size}, 1 snapshot"),
        beside(results, eight, work / "eight", by_hand, f"{size}, 8 snapshots"),
        beside(results, replace(eight, memory_limit=LOW_MEMORY), work / "low", low, f"{size}, 8 snapshots"),
    ]
    return all(agreed)


def beside(results: Results, task: Task, work: Path, ways: Ways, size: str) -> bool:
    """A row for each of ``ways``, with its ratio to the first; whether the files of those that finished agree."""
    first, against = None, next(iter(ways))
    written: list[Path] = []
    for way, run in ways.items():
        folder = work / way.replace(" ", "-").replace(",", "")
        measured = attempt(timed, run, RUNS, folder, task=task)
        if isinstance(measured, Failed):
            results.add(way, size, error=one_line(measured.error), peak_mb=measured.peak_mb)
            continue
        cost: Cost = measured.result
        if way == against:
            first = cost
        results.add(
            way,
            size,
            seconds=cost.wall,
            processor_seconds=cost.processor,
            peak_mb=measured.peak_mb,
            **({"ratio": cost.wall / first.wall, "against": against} if first else {}),
        )
        if run is not ours.published:
            written.append(folder / "0")
    if len(written) < 2:
        return True
    same = attempt(assert_same, written[0], written[1:])
    if isinstance(same, Failed):
        results.add("results that are the same", size, error=one_line(same.error))
    return not isinstance(same, Failed)
