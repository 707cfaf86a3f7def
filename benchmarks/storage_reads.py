"""What it costs a feature build that reads are noted and that archived partitions are looked for: a share of its time.

`python -m benchmarks.storage_reads [scale]`; the invented shop with a year of its order lines archived. The alternative
is the same build without this work: its seconds are those of the build less those spent in it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.process import Failed, attempt, in_own_process
from benchmarks.results import Results, one_line, table
from benchmarks.shop import NOW, build, open_shop, snapshots
from resources.lake import session
from resources.lake.lakehouse import Lakehouse
from resources.lake.reads import ReadLog
from resources.settings import Settings
from resources.tiers.inventory import holdings
from resources.tiers.moving import begun, carry_out

SNAPSHOTS, ARCHIVED = 8, 12
WAY = "features and labels"
WORK: tuple[tuple[Any, str], ...] = ((session, "refuse_archived"), (ReadLog, "note"), (ReadLog, "flush"))


def archive_a_year(home: Path) -> int:
    """Archive the oldest months of the order lines; how many."""
    lakehouse = Lakehouse(Settings.load(home), lambda: NOW)
    months = [held.partition for held in holdings(lakehouse, "order_lines")][:ARCHIVED]
    carry_out(lakehouse, begun("archive", "order_lines", months, NOW))
    return len(months)


def timed_build(home: Path) -> tuple[float, float]:
    """Seconds of the features and labels, and of them those of noting reads and looking for archived partitions."""
    spent = 0.0

    def timed(work: Callable[..., Any]) -> Callable[..., Any]:
        def worked(*args: Any, **how: Any) -> Any:
            nonlocal spent
            started = time.perf_counter()
            try:
                return work(*args, **how)
            finally:
                spent += time.perf_counter() - started

        return worked

    for place, name in WORK:
        patch.object(place, name, timed(getattr(place, name))).start()
    return build(home, dates=snapshots(SNAPSHOTS)).layers["features"], spent


def main(scale: float = 0.2) -> None:
    """Keep a row with the build's ratio to the same build without this work in benchmarks/results, and print it."""
    results = Results("storage_reads")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        in_own_process(open_shop, home, scale=scale)
        in_own_process(build, home, dates=[])
        archived = in_own_process(archive_a_year, home).result
        size = f"{scale:g}x, {SNAPSHOTS} snapshots, {archived} months of order_lines archived"
        found = attempt(timed_build, home)
    if isinstance(found, Failed):
        results.add(WAY, size, error=one_line(found.error), peak_mb=found.peak_mb)
    else:
        seconds, spent = found.result
        ratio = seconds / (seconds - spent)
        told = {"ratio": ratio, "against": "the same without this work", "figures": {"for tiers s": spent}}
        results.add(WAY, size, seconds=seconds, peak_mb=found.peak_mb, **told)
    print(table(results.rows))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.2)
