"""What every command begins with: the home's settings or its installation, and errors told in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from pydantic import ValidationError
from rich.console import Console

from resources.settings import Settings, wrong_settings

if TYPE_CHECKING:
    from cdap_assets.installation import Installation

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def fail(message: str) -> typer.Exit:
    """Tell an error and give the exit that the command ends with."""
    errors.print("[bold red]error:[/]", end=" ")
    errors.print(message, markup=False)
    return typer.Exit(1)


def home_settings() -> Settings:
    """The settings of the home. Ends the command when there is no home or a setting cannot be used."""
    try:
        settings = Settings.load()
    except ValidationError as error:
        raise fail(wrong_settings(error)) from error
    if not (settings.home / "settings.env").exists():
        raise fail(
            f"{settings.home} is not an installation; make one with `cdap init {settings.home}` or set CDAP_HOME"
        )
    os.environ["DAGSTER_HOME"] = str(settings.home / "dagster")
    os.environ["CDAP_HOME"] = str(settings.home)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # it would write over our own progress
    return settings


def home_installation() -> Installation:
    """The installation of the home. Ends the command as :func:`home_settings` does."""
    settings = home_settings()
    from cdap_assets.installation import Installation

    return Installation.of(settings)


@contextmanager
def told() -> Iterator[None]:
    """Expected errors end the command with their message instead of a traceback."""
    from sqlalchemy.exc import OperationalError

    from cdap_assets.commands.instance import InstanceUnavailable
    from cdap_assets.retention.decisions import Unfinished
    from cdap_assets.retention.plan_id import PlanRefused
    from cdap_assets.work.stages import NoSnapshot
    from resources.iceberg.errors import LakehouseError
    from resources.registry.model_registry import RegistryUnavailable, UnknownVersion
    from resources.stores.busy import Busy

    try:
        yield
    except ValidationError as error:
        raise fail(wrong_settings(error)) from error
    except OperationalError as error:
        raise fail(
            f"a database of the home cannot be used: {error.orig}. Is the disk full, or the folder not writable?"
        ) from error
    except (
        PlanRefused,
        Unfinished,
        NoSnapshot,
        LakehouseError,
        InstanceUnavailable,
        RegistryUnavailable,
        UnknownVersion,
        Busy,
        ValueError,
        OSError,
    ) as error:
        raise fail(str(error)) from error
