"""The feature build beside hand-written SQL and pandas on the same tables: equal results, ratios, peak memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import hand_pandas, hand_sql, ours
from benchmarks.process import Cost, in_own_process, timed
from benchmarks.sameness import assert_same
from benchmarks.shop import snapshots
from benchmarks.task import Task

RUNS = 3
LOW_MEMORY = "512MB"
NOTE = (
    "The web events are stored, and no way reads them: customer_features is made of purchases and campaigns. "
    f"Medians of {RUNS} runs; ratios to SQL by hand on the same tables; peak memory includes imports."
)


@dataclass(frozen=True)
class Timing:
    """One way to the features: median costs, their ratios to hand-written SQL, peak memory of its process."""

    way: str
    snapshots: int
    cost: Cost
    ratio: Cost
    peak_mb: int


def compare(home: Path, work: Path) -> list[Timing]:
    """Time every way on a built ``home``, each in a process of its own, with results below ``work``.

    Raises :class:`~benchmarks.sameness.DifferentResults` unless all ways to the same snapshots agree.
    """
    one, eight = (in_own_process(ours.task, home, snapshots(count)).result for count in (1, 8))
    by_hand: dict[str, Callable[[Task, Path], None]] = {
        "SQL by hand": hand_sql.from_customer_days,
        "pandas by hand": hand_pandas.from_customer_days,
        "ours, files written": ours.written,
        "ours, checked and published": ours.published,
    }
    timings = _compare(one, work / "one", {**by_hand, "SQL by hand from order lines": hand_sql.from_order_lines})
    timings += _compare(eight, work / "eight", by_hand)
    low = {
        f"SQL by hand, {LOW_MEMORY}": hand_sql.from_customer_days,
        f"ours, files written, {LOW_MEMORY}": ours.written,
    }
    return timings + _compare(replace(eight, memory_limit=LOW_MEMORY), work / "low", low)


def _compare(task: Task, work: Path, ways: Mapping[str, Callable[[Task, Path], None]]) -> list[Timing]:
    """The first of ``ways`` is what the others are held against."""
    timings: list[Timing] = []
    folders = {way: work / way.replace(" ", "-").replace(",", "") for way in ways}
    for way, run in ways.items():
        measured = in_own_process(timed, run, RUNS, folders[way], task=task)
        cost, first = measured.result, timings[0].cost if timings else measured.result
        ratio = Cost(cost.wall / first.wall, cost.processor / first.processor)
        timings.append(Timing(way, len(task.cutoffs), cost, ratio, measured.peak_mb))
    expected, *others = (folders[way] / "0" for way in ways if ways[way] is not ours.published)
    in_own_process(assert_same, expected, others)
    return timings


def report(timings: Sequence[Timing]) -> str:
    """A markdown table, a row for each way, and what it does not show."""
    lines = ["| features | snapshots | s | ratio | processor s | ratio | peak MB |", f"|{' --- |' * 7}"]
    lines += [
        f"| {t.way} | {t.snapshots} | {t.cost.wall:.2f} | {t.ratio.wall:.2f} "
        f"| {t.cost.processor:.2f} | {t.ratio.processor:.2f} | {t.peak_mb:,} |"
        for t in timings
    ]
    return "\n".join([*lines, "", NOTE])
