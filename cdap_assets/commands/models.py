"""`cdap models`: versions with their figures, approval, going back and giving up."""

from __future__ import annotations

import json

import typer

from cdap_assets.commands.home import console, home_settings, told
from cdap_assets.models.champion import MODELS
from resources.clock import utc_now
from resources.lakehouse import Lakehouse
from resources.model_registry import ModelRegistry

app = typer.Typer(help="Look at model versions, make one the champion, go back, retire.", no_args_is_help=True)
Reviewer = typer.Option(..., "--reviewer", "--by", help="the person who decides")
Note = typer.Option("", "--note", "--reason", help="why, kept with the decision")


def _named(reviewer: str) -> str:
    if not reviewer.strip():
        raise ValueError("a person decides: give a name with --reviewer")
    return reviewer


@app.command("list")
def list_models(as_json: bool = typer.Option(False, "--json")) -> None:
    """All versions, newest first, with their out-of-time figures beside the naive baseline."""
    from cdap_assets.commands.status import model_row, show_models

    with told():
        rows = [model_row(version) for version in ModelRegistry(home_settings()).all_versions(MODELS)]
    if as_json:
        console.print_json(json.dumps(rows))
    else:
        show_models(rows)


@app.command()
def approve(name: str, version: int, reviewer: str = Reviewer, note: str = Note) -> None:
    """Make a version the champion, after reading its review page."""
    with told():
        registry = ModelRegistry(home_settings())
        approved = registry.approve(name, version, by=_named(reviewer), at=utc_now(), reason=note)
    console.print(f"{name} version {approved.version} is champion, approved by {reviewer}; `cdap run` scores with it")


@app.command()
def rollback(name: str, reviewer: str = Reviewer, note: str = Note) -> None:
    """Let the champion before this one serve again."""
    with told():
        registry = ModelRegistry(home_settings())
        restored = registry.rollback(name, by=_named(reviewer), at=utc_now(), reason=note)
    console.print(f"{name} version {restored.version} is champion again; `cdap run` scores with it")


@app.command()
def retire(name: str, version: int, reviewer: str = Reviewer, note: str = Note) -> None:
    """Give a version up: it serves no more, and the table snapshots it learned from may expire."""
    from resources.table_snapshots import release

    settings = home_settings()
    with told():
        registry = ModelRegistry(settings)
        retired = registry.retire(name, version, by=_named(reviewer), at=utc_now(), reason=note)
        freed = release(Lakehouse(settings), retired.snapshot_tag)
    console.print(f"{name} version {version} is retired; snapshots of {', '.join(freed) or 'no table'} may expire")
