"""What tests of the product as a whole share: a finished shop, and the command as another process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from cdap_assets.commands.instance import heed_interrupts
from resources.settings import Settings
from tests.shop import make_shop

heed_interrupts()  # for runs within a test, where the suite itself is a background job

Cdap = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The variables of a command on ``home``, in a terminal of 100 columns."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CDAP_", "DAGSTER_"))}
    return {**inherited, "CDAP_HOME": str(home), "CDAP_THREADS": "1", "COLUMNS": "100", **variables}


@pytest.fixture(scope="session")
def cdap() -> Cdap:
    """Runs ``cdap`` on a home in a process of its own."""

    def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from cdap_assets.cli import app; app()", *arguments]
        return subprocess.run(
            command, env=environment(home, **variables), capture_output=True, text=True, timeout=900, check=False
        )

    return run


@pytest.fixture(scope="session")
def finished_shop(tmp_path_factory: pytest.TempPathFactory, cdap: Cdap) -> Settings:
    """The small shop after the main job, made once for all test processes; tests only read it."""
    shared = tmp_path_factory.getbasetemp().parent / f"shop-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
    done = shared / "done"
    with FileLock(f"{shared}.lock"):
        if not done.exists():
            make_shop(shared)
            run = cdap(shared, "run")
            assert run.returncode == 0, run.stderr + run.stdout
            done.write_text(run.stdout)
    return Settings.load(shared)
