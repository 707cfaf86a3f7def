"""How long a look at storage and a tick of its sensor take over a lake of many objects, and how much memory.

`python -m benchmarks.storage_tick [objects]`; the lake is metadata alone, for nothing else is looked at.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import date, datetime, timedelta
from pathlib import Path

from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record

from benchmarks.process import Failed, attempt, in_own_process
from benchmarks.results import Results, one_line, table
from cdap_assets.commands.new_home import make_home
from cdap_assets.lineage import read_lineage
from cdap_assets.storage.tables import STORAGE_TIERS
from cdap_assets.tiering.assets import published
from cdap_assets.tiering.following import tick
from cdap_assets.tiering.look import look as storage_look
from cdap_assets.tiering.look import tier_rows
from cdap_assets.tiering.storage_policy import read_terms
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings

OBJECTS, PER_PARTITION, MB = 100_000, 500, 1 << 20
AT = datetime(2026, 1, 1)


def make_lake(home: Path, objects: int) -> None:
    """A lake whose order_lines has so many data files, by its metadata."""
    settings = make_home(home, example=True)
    lakehouse = Lakehouse(settings, lambda: AT)
    table = lakehouse.ensure(read_lineage(settings).specs["order_lines"])
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        for number in range(objects):
            month = date(1990 + number // PER_PARTITION // 12, number // PER_PARTITION % 12 + 1, 1)
            append.append_data_file(_file(f"{table.location()}/data/{number}.parquet", month))


def _file(path: str, month: date) -> DataFile:
    file = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record((month - date(1970, 1, 1)) // timedelta(days=1)),
        record_count=100_000,
        file_size_in_bytes=MB,
    )
    file.spec_id = 0
    return file


def look(home: Path) -> tuple[int, float]:
    """Partitions, and seconds of a look at storage; what it decided is left for the tick."""
    settings = Settings.load(home)
    lakehouse = Lakehouse(settings, lambda: AT)
    started = time.perf_counter()
    seen = storage_look(lakehouse, read_terms(settings, read_lineage(settings)), AT)
    seconds = time.perf_counter() - started
    with lakehouse.in_process() as session:
        published(session, STORAGE_TIERS, tier_rows(seen))
    return len(seen.states), seconds


def ticked(home: Path) -> float:
    """Seconds of one tick of the sensor."""
    settings = Settings.load(home)
    started = time.perf_counter()
    tick(Lakehouse(settings, lambda: AT), settings, AT + timedelta(hours=1), None)
    return time.perf_counter() - started


def main(objects: int = OBJECTS) -> None:
    """Keep a row of a look and of a tick, each in a process of its own, in benchmarks/results, and print them."""
    results, size = Results("storage_tick"), f"{objects:,} objects"
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        in_own_process(make_lake, home, objects)
        looked = attempt(look, home)
        if isinstance(looked, Failed):
            results.add("a look", size, error=one_line(looked.error), peak_mb=looked.peak_mb)
        else:
            partitions, seconds = looked.result
            size = f"{size} in {partitions:,} partitions"
            results.add("a look", size, seconds=seconds, peak_mb=looked.peak_mb)
        found = attempt(ticked, home)
        if isinstance(found, Failed):
            results.add("a tick", size, error=one_line(found.error), peak_mb=found.peak_mb)
        else:
            results.add("a tick", size, seconds=found.result, peak_mb=found.peak_mb)
    print(table(results.rows))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else OBJECTS)
