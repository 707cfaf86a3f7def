"""`cdap models`: versions with their figures, approval, going back and giving up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cdap_assets.commands.home import console, home_installation, told
from cdap_assets.models.serving import MODELS
from resources.registry import model_decisions
from resources.registry.model_decisions import Decision

if TYPE_CHECKING:
    from cdap_assets.installation import Installation

app = typer.Typer(help="Look at model versions, make one the champion, go back, retire.", no_args_is_help=True)
Reviewer = typer.Option(..., "--reviewer", "--by", help="the person who decides")
Note = typer.Option("", "--note", "--reason", help="why, kept with the decision")


def _decision(home: Installation, reviewer: str, note: str) -> Decision:
    if not reviewer.strip():
        raise ValueError("a person decides: give a name with --reviewer")
    return Decision(reviewer, home.clock(), note)


@app.command("list")
def list_models(as_json: bool = typer.Option(False, "--json")) -> None:
    """All versions, newest first, with their out-of-time figures beside the naive baseline."""
    from cdap_assets.commands.showing import show_models
    from cdap_assets.commands.status import ModelRow
    from cdap_assets.commands.status import as_json as json_of

    with told():
        rows = [ModelRow.of(version) for version in home_installation().registry.all_versions(MODELS)]
    if as_json:
        console.print_json(json_of(rows))
    else:
        show_models(rows)


@app.command()
def approve(name: str, version: int, reviewer: str = Reviewer, note: str = Note) -> None:
    """Make a version the champion, after reading its review page."""
    home = home_installation()
    with told():
        approved = model_decisions.approve(home.registry, name, version, _decision(home, reviewer, note))
    console.print(f"{name} version {approved.version} is champion, approved by {reviewer}; `cdap run` scores with it")


@app.command()
def rollback(name: str, reviewer: str = Reviewer, note: str = Note) -> None:
    """Let the champion before this one serve again."""
    home = home_installation()
    with told():
        restored = model_decisions.rollback(home.registry, name, _decision(home, reviewer, note))
    console.print(f"{name} version {restored.version} is champion again; `cdap run` scores with it")


@app.command()
def retire(name: str, version: int, reviewer: str = Reviewer, note: str = Note) -> None:
    """Give a version up: it serves no more, and the table snapshots it learned from may expire."""
    from resources.lake.table_snapshots import release

    home = home_installation()
    with told():
        retired = model_decisions.retire(home.registry, name, version, _decision(home, reviewer, note))
        freed = release(home.lakehouse, retired.snapshot_tag)
    console.print(f"{name} version {version} is retired; snapshots of {', '.join(freed) or 'no table'} may expire")
