"""`cdap reproduce`: a model version trained again from its record, every figure beside the recorded one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from cdap_assets.commands.home import console, fail, home_installation, told

if TYPE_CHECKING:
    from cdap_assets.models.reproducing import Reproduction


def reproduce_version(name: str, version: int) -> None:
    """Train a version again from the table snapshots in its record, and compare every metric."""
    from cdap_assets.models.reproducing import reproduce

    home = home_installation()
    with told():
        found = reproduce(home.lakehouse, home.registry, name, version)
    show(found)
    if not found.reproduced:
        differing = [entry.name for entry in found.metrics if not entry.same]
        raise fail(f"{name} version {version} was not reproduced: {', '.join(differing)} differ")
    console.print(f"{name} version {version} was reproduced: {len(found.metrics)} metrics agree")


def show(found: Reproduction) -> None:
    """Print a reproduction as a table."""
    from cdap_assets.models.reproducing import TOLERANCE

    for name, read in found.version.inputs.items():
        console.print(f"{name} at snapshot {read.snapshot_id}, {read.rows:,} rows")
    if found.code_then != found.code_now:
        console.print(f"[yellow]trained by code version {found.code_then}, now {found.code_now}[/]")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("metric", "recorded", "again", ""):
        table.add_column(head, justify="right" if head in ("recorded", "again") else "left")
    for entry in found.metrics:
        again = "none" if entry.again is None else f"{entry.again:.9g}"
        word = (
            "exact" if entry.again == entry.recorded else f"within {TOLERANCE:g}" if entry.same else "[red]differs[/]"
        )
        table.add_row(escape(entry.name), f"{entry.recorded:.9g}", again, word)
    console.print(table)
