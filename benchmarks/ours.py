"""customer_features as the platform builds it: its transformation, and what publishing adds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.task import Task
from cdap_assets.features.customer_features import CUSTOMER_FEATURES, customer_features
from cdap_assets.lineage import read_lineage
from cdap_assets.table_assets.snapshots import cutoff, snapshot_rows
from resources.iceberg.catalog import planned_files
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Session
from resources.settings import Settings

if TYPE_CHECKING:
    import ibis

INPUTS = ("customer_days", "customer_xref", "order_lines")


def task(home: Path, dates: list[date]) -> Task:
    """The task of ``dates`` on a built home, with the limits of its settings."""
    settings = Settings.load(home)
    lakehouse = Lakehouse(settings)
    files = {}
    with lakehouse.session() as session:
        for name in INPUTS:
            table, snapshot_id = lakehouse.load(name), session.snapshot_id(name)
            assert table is not None
            assert snapshot_id is not None
            files[name] = [file.file_path.removeprefix("file://") for file in planned_files(table, snapshot_id)]
    cutoffs = {day: cutoff(day, settings.zone) for day in dates}
    return Task(home, files, cutoffs, settings.threads, settings.memory_limit)


def written(task: Task, folder: Path) -> None:
    """The transformation, written as files where nobody reads them."""
    with _session(task) as session:
        session.engine.write(CUSTOMER_FEATURES, _expression(session, task.cutoffs), f"file://{folder}")


def published(task: Task, folder: Path) -> None:  # noqa: ARG001 - it writes where the lakehouse says
    """What the asset does: write, check every promise of the table, commit."""
    with _session(task) as session:
        rows = _expression(session, task.cutoffs)
        session.publish(CUSTOMER_FEATURES, rows, replace={"snapshot_date": list(task.cutoffs)})


def _session(task: Task) -> Session:
    limits = {"memory_limit": task.memory_limit, "threads": task.threads}
    return Lakehouse(Settings.load(task.home).model_copy(update=limits)).session()


def _expression(session: Session, cutoffs: Mapping[date, datetime]) -> ibis.Table:
    settings = session.tables.settings
    specs = read_lineage(settings).specs
    tables = {name: session.read(specs[name]) for name in customer_features.inputs}
    return customer_features(snapshot_rows(list(cutoffs), settings.zone), **tables)
