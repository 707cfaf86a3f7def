"""The command within this process: most of what a short command takes as a process of its own is its start."""

from __future__ import annotations

from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from cdap_assets.cli import app

# what a command sets for what it starts; put back when it has ended
SET_BY_COMMANDS = ("DAGSTER_HOME", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")


def ask(home: Path, *arguments: str, **variables: str) -> Result:
    """The command, for what runs no job."""
    own = dict.fromkeys(SET_BY_COMMANDS) | {"CDAP_HOME": str(home), "CDAP_THREADS": "1"}
    return CliRunner(env=own | variables).invoke(app, list(arguments))


def answer(home: Path, *arguments: str) -> str:
    """What a command that succeeds prints."""
    result = ask(home, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refusal(home: Path, *arguments: str, **variables: str) -> str:
    """The one message of a command that refuses, as one line whatever the terminal's width."""
    result = ask(home, *arguments, **variables)
    assert result.exit_code != 0
    assert "Traceback" not in result.output
    assert result.stderr.startswith("error: ")
    return " ".join(result.stderr.split())
