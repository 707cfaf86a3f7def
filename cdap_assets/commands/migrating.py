"""`cdap migrate`: move an installation's lake and deliveries into this one, such as from a laptop to AWS."""

from __future__ import annotations

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cdap_assets.commands.home import console
from pages.formats import decimal_size
from resources.lake.lakehouse import Lakehouse
from resources.lake.migration import Migrated, migrate
from resources.stores.object_store import read_bytes


def move(source: Lakehouse, target: Lakehouse) -> None:
    """Copy tables with their history, then deliveries that have not arrived; what is there already is verified.

    Raises ``ValueError`` when both are one installation, and :class:`resources.lake.migration.MigrationRefused`.
    """
    lake = source.stores.lake.root
    if lake == target.stores.lake.root:
        raise ValueError(
            f"{source.settings.home} and {target.settings.home} have one lake, {lake}: nothing is to be moved"
        )
    done: list[Migrated] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("tables")
        for moved in migrate(source, target):
            done.append(moved)
            progress.update(task, description=f"{moved.table}: {moved.rows:,} rows in {moved.files} files")
        progress.update(task, description="deliveries")
        delivered = _move_landing(source, target)
    new = [moved for moved in done if not moved.was_there]
    console.print(
        f"moved {len(new)} tables of {len(done)}: {sum(m.rows for m in new):,} rows, {sum(m.snapshots for m in new)} "
        f"snapshots, {decimal_size(sum(m.bytes for m in new))}, every file read back; {delivered} delivered files"
    )
    if len(new) < len(done):
        console.print(f"{len(done) - len(new)} were there already, with the same snapshots and rows")
    console.print(f"next: copy contracts/ and retention.yaml into {target.settings.home}, and run `cdap run` there")


def _move_landing(source: Lakehouse, target: Lakehouse) -> int:
    landing, new = source.stores.landing, target.stores.landing
    held = {found.key: found.size for found in new.list()}
    missing = [found.key for found in landing.list() if held.get(found.key) != found.size]
    for key in missing:
        new.write(key, read_bytes(landing, key))
    return len(missing)
