"""`cdap models`: versions with their figures, approval and going back."""

from __future__ import annotations

import json

import typer

from cdap_assets.clock import utc_now
from cdap_assets.commands.home import console, home_settings, told
from cdap_assets.models.champion import MODELS
from resources.model_registry import ModelRegistry

app = typer.Typer(help="Look at model versions, make one the champion, go back.", no_args_is_help=True)
By = typer.Option(..., "--by", help="the person who decides")


def _named(by: str) -> str:
    if not by.strip():
        raise ValueError("a person decides: give a name with --by")
    return by


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
def approve(name: str, version: int, by: str = By, reason: str = typer.Option("", "--reason")) -> None:
    """Make a version the champion, after reading its review page."""
    with told():
        approved = ModelRegistry(home_settings()).approve(name, version, by=_named(by), at=utc_now(), reason=reason)
    console.print(f"{name} version {approved.version} is champion, approved by {by}; `cdap run` scores with it")


@app.command()
def rollback(name: str, by: str = By, reason: str = typer.Option("", "--reason")) -> None:
    """Let the champion before this one serve again."""
    with told():
        restored = ModelRegistry(home_settings()).rollback(name, by=_named(by), at=utc_now(), reason=reason)
    console.print(f"{name} version {restored.version} is champion again; `cdap run` scores with it")
