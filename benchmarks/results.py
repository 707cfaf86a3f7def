"""Results kept as rows of JSON: each figure is written as soon as it is there, and a way that fails is a row too.

What is measured, and in which process, is not decided here: see :mod:`benchmarks.process` and each benchmark.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
NOTE = "CDAP_BENCH_NOTE"  # the variable that says what else ran on the machine
NO_COMMIT = "unknown"


@dataclass(frozen=True)
class Spread:
    """A figure with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


Figure = float | str | Spread


@dataclass(frozen=True)
class Row:
    """One way at one size: seconds, processor seconds, peak memory in MB and the ratio to a named way, or an error.

    ``figures`` are what else the benchmark found, by the name that its table shows; units are in the names.
    """

    benchmark: str
    way: str
    size: str
    seconds: float | None = None
    processor_seconds: float | None = None
    peak_mb: int | None = None
    ratio: float | None = None
    against: str | None = None
    error: str | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)


class Results:
    """The rows of one run of a benchmark, in the file of today and of the commit.

    The file is replaced whole after each row, so that a reader, or who is killed, finds every row that was added
    and no half of one. One benchmark at a time writes to it.
    """

    def __init__(self, benchmark: str, *, folder: Path = FOLDER, note: str | None = None) -> None:
        self.benchmark = benchmark
        self.rows: list[Row] = []
        self._now = datetime.now(UTC)
        self._run = {"at": self._now.isoformat(timespec="seconds"), "commit": commit(), "machine": machine()}
        if told := note or os.environ.get(NOTE):
            self._run["note"] = told
        self.path = folder / f"{self._now.date()}-{self._run['commit']}.jsonl"

    def add(self, way: str, size: str, **found: Any) -> Row:
        """Write a row with the fields of :class:`Row` that were found; it is on disk when this returns."""
        row = Row(self.benchmark, way, size, **found)
        line = {name: value for name, value in asdict(row).items() if value not in (None, {})}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        before = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        new = self.path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            file.write(before + json.dumps(_rounded(line | self._run), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        self.rows.append(row)
        return row


def machine() -> dict[str, Any]:
    """Cores, memory in GB, model of the processor, system and Python; nothing that names the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(memory, 1),
        "cpu": _cpu(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _cpu() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.exists() and (found := re.search(r"model name\s*:\s*(.+)", listed.read_text(encoding="utf-8"))):
        return found[1].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The short commit of the code, with ``-changed`` when files differ from it; ``unknown`` outside of git."""
    here = Path(__file__).parents[1]

    def git(*what: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", here, *what], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    found = git("rev-parse", "--short=7", "HEAD")
    if not found:
        return NO_COMMIT
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    return f"{found}-changed" if changed else found


def one_line(error: BaseException) -> str:
    """An error as a row tells it: its kind and the first line of its message, folders left out."""
    message = str(error).strip().split("\n", 1)[0]
    told = re.sub(r"(?:/[^\s/'\":,;()\[\]]+)+/([^\s/'\":,;()\[\]]+)", r"\1", message)
    return f"{type(error).__name__}: {told}"[:300].removesuffix(": ")


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line for each row, with the columns that any row has, and what failed last."""
    names = dict.fromkeys(name for row in rows for name in row.figures)
    numbers: dict[str, tuple[str, str]] = {
        "seconds": ("s", ",.2f"),
        "processor_seconds": ("processor s", ",.2f"),
        "ratio": ("ratio", ".2f"),
        "peak_mb": ("peak MB", ",d"),
    }
    held = {name: shown for name, shown in numbers.items() if any(getattr(row, name) is not None for row in rows)}
    heads = ["way", "size", *(head for head, _format in held.values()), *names]
    failed = any(row.error for row in rows)
    lines = [_line([*heads, "failed"] if failed else heads)]
    lines.append(_line(["---", "---", *["---:"] * (len(heads) - 2), *["---"] * failed]))
    for row in rows:
        values = [(getattr(row, name), form) for name, (_head, form) in held.items()]
        cells = ["" if value is None else format(value, form) for value, form in values]
        cells += [_shown(row.figures[name]) if name in row.figures else "" for name in names]
        lines.append(_line([row.way, row.size, *cells, *[row.error or ""] * failed]))
    return "\n".join(lines)


def _shown(figure: Figure) -> str:
    if isinstance(figure, Spread):
        return f"{_shown(figure.value)} ({_shown(figure.low)} to {_shown(figure.high)})"
    if isinstance(figure, str):
        return figure
    if float(figure).is_integer():
        return f"{figure:,.0f}"
    return f"{figure:,.1f}" if abs(figure) >= 100 else f"{figure:.4g}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _rounded(value: Any) -> Any:
    """Six significant digits, which is more than any figure here knows."""
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value
