"""`cdap storage`: what the lake costs, what moves and why, and bringing archived partitions back."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer
from rich.table import Table

from cdap_assets.commands.home import console, fail, home_installation, home_settings, told
from resources.clock import utc_now

if TYPE_CHECKING:
    from cdap_assets.installation import Installation
    from resources.lake.lakehouse import Lakehouse

app = typer.Typer(help="Where data lies, what that costs, what moves, and how it comes back.", no_args_is_help=True)
SHOWN = 20


@app.command()
def review() -> None:
    """Look at every partition: what it costs where it is, how it is used, and where it should be. Moves nothing."""
    home = home_installation()
    with told():
        _run(home, _review_stage())
        show(home.lakehouse)


@app.command()
def run() -> None:
    """What the sensors do: finish what was left, look at storage, and move what storage.yaml lets move."""
    home = home_installation()
    from cdap_assets.commands.running import RunFailed, execute
    from cdap_assets.tiering.following import follow

    with told():
        failed = []
        for stage in follow(home.lakehouse, home.settings, home.clock):
            try:
                execute(home, stage)
            except RunFailed as error:
                failed.append(str(error))  # one batch that cannot be moved holds up no other
        show(home.lakehouse)
    if failed:
        raise fail("\n".join(failed))


@app.command()
def restore(
    table: str,
    partition: list[str] = typer.Option(..., help="as month=2024-03-01; may be given more than once"),
    speed: str = typer.Option("", help="Expedited, Standard or Bulk, on S3; default: as storage.yaml says"),
    days: int = typer.Option(0, min=0, help="after which it goes back; default: as storage.yaml says"),
) -> None:
    """Bring archived partitions back into their table."""
    lakehouse = home_installation().lakehouse
    from cdap_assets.tiering.moves import chosen
    from cdap_assets.tiering.moves import restore as bring_back

    with told():
        partitions = chosen(lakehouse, table, partition)
        moved = bring_back(lakehouse, table, partitions, lakehouse.clock(), speed=speed, days=days)
    if moved.waiting:
        console.print(f"asked S3 for {table}: it needs hours; `cdap storage run` or the restore sensor goes on then")
    else:
        console.print(f"{table}: {moved.rows:,} rows in {moved.files} files are back until {moved.move.due}")


@app.command("give-up")
def give_up(move: str) -> None:
    """Strike a move that fails in every run; its partitions stay where the last commit left them."""
    lakehouse = home_installation().lakehouse
    from resources.tiers.moving import give_up as strike

    with told():
        struck = strike(lakehouse, move)
    console.print(f"{struck.kind} of {struck.table} is struck; a look at storage decides anew")


@app.command()
def lifecycle(
    noncurrent_days: int = typer.Option(30, min=1, help="after which replaced and deleted versions go"),
    abort_days: int = typer.Option(7, min=1, help="after which the parts of uploads that never ended go"),
) -> None:
    """The lifecycle rules for the bucket of the warehouse, as `aws s3api put-bucket-lifecycle-configuration` takes."""
    settings = home_settings()
    if not settings.warehouse:
        raise fail("lifecycle rules are for a warehouse on S3, and CDAP_WAREHOUSE is not set")
    from resources.tiers.lifecycle import lifecycle as rules

    prefix = urlsplit(settings.warehouse).path.strip("/")
    console.print_json(json.dumps(rules(prefix, noncurrent_days, abort_days)))


@app.command()
def demo(home: Path) -> None:
    """A year of the example's data ageing month by month, in a home of its own; takes about a minute."""
    from cdap_assets.commands.tiering_demo import demonstrate

    os.environ["CDAP_HOME"], os.environ["DAGSTER_HOME"] = str(home.absolute()), str(home.absolute() / "dagster")
    with told():
        demonstrate(home, utc_now())


def show(lakehouse: Lakehouse) -> None:
    """Bytes and cost by tier, and what would move."""
    from cdap_assets.tiering.look import STAYING, counted_by_kind, decisions
    from cdap_assets.tiering.storage_policy import read_storage_policy

    rows = decisions(lakehouse)
    if not rows:
        console.print("the lake holds nothing yet: `cdap run` fills it")
        return
    _show_tiers(rows)
    moves = sorted((row for row in rows if row["decision"] not in STAYING), key=lambda row: -row["saving"])
    if not moves:
        console.print(f"nothing would move: {counted_by_kind(rows)}")
        return
    saving, cost = sum(row["saving"] for row in moves), sum(row["move_cost"] for row in moves)
    applied = read_storage_policy(lakehouse.settings.home).apply
    what = "decided" if applied else "a dry run, for storage.yaml does not say `apply: true`"
    console.print(
        f"{len(moves)} partitions should move ({what}): saves {saving:.4f} {moves[0]['currency']} a month for "
        f"{cost:.4f} once"
    )
    for row in moves[:SHOWN]:
        console.print(f"  {row['table_name']} {row['partition']}: {row['decision']}; {row['reason']}", markup=False)
    if len(moves) > SHOWN:
        console.print(f"  and {len(moves) - SHOWN} more; they are in the table storage_tiers")


def _show_tiers(rows: Sequence[dict[str, Any]]) -> None:
    from pages.formats import binary_size

    table = Table("tier", "partitions", "objects", "bytes", f"{rows[0]['currency']} a month", box=None, pad_edge=False)
    for tier in ("hot", "cool", "archived", "expired"):
        held = [row for row in rows if row["tier"] == tier]
        if held:
            cost = sum((row["storage_month"] for row in held), Decimal(0))
            size, objects = sum(row["bytes"] for row in held), sum(row["objects"] for row in held)
            table.add_row(tier, f"{len(held)}", f"{objects:,}", binary_size(size), f"{cost:.4f}")
    console.print(table)


def _review_stage() -> Any:
    from cdap_assets.tiering.following import review_stage

    return review_stage()


def _run(home: Installation, stage: Any) -> None:
    from cdap_assets.commands.running import RunFailed, execute

    try:
        execute(home, stage)
    except RunFailed as error:
        raise fail(str(error)) from error
