"""What all tests share: their order, a finished shop, the command as another process, Hypothesis's profiles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from cdap_assets.commands.instance import collect_seldom, heed_interrupts
from resources.settings import Settings
from tests.examples import examples
from tests.scheduling import LongestFirst, longest_first
from tests.shop import make_shop

__all__ = ["examples"]  # registers the profiles that `--hypothesis-profile` chooses of
heed_interrupts()  # for runs within a test, where the suite itself is a background job

Cdap = Callable[..., "subprocess.CompletedProcess[str]"]
IN_MEMORY = Path("/dev/shm")
ROOM = 2 * 2**30  # bytes; a whole run of the tests was seen to lay a tenth of that there at once


def pytest_configure() -> None:
    """Homes of tests lie in memory where there is room: Dagster, MLflow and catalogs sync their databases often."""
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first, now that all are loaded."""
    longest_first(items)
    collect_seldom()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LongestFirst | None:
    """Whole modules to a process, the longest first, unless ``--dist`` says otherwise."""
    return LongestFirst(config, log) if config.getvalue("dist") == "load" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how much of the time went to tests of AWS; processes run beside each other, so parts add up to more."""
    took: Counter[bool] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                took[report.nodeid.startswith("tests/cloud/")] += report.duration
    terminalreporter.write_line(f"seconds within tests: {took[False]:.0f} of this machine, {took[True]:.0f} of AWS")


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The variables of a command on ``home``, in a terminal of 100 columns."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CDAP_", "DAGSTER_"))}
    return {**inherited, "CDAP_HOME": str(home), "CDAP_THREADS": "1", "COLUMNS": "100", **variables}


def command(home: Path, *start: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program of arguments ``start`` on a home, in a process of its own."""
    return subprocess.run(
        [sys.executable, *start],
        env=environment(home, **variables),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="session")
def cdap() -> Cdap:
    """Runs ``cdap`` on a home in a process of its own."""

    def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return command(home, "-c", "from cdap_assets.cli import app; app()", *arguments, **variables)

    return run


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is the same for all processes of this test run, and for no other run."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = tmp_path_factory.getbasetemp().parent / f"shared-{run}"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def finished_shop(shared_folder: Path) -> Settings:
    """The small shop after the main job at its own instant, made once for all processes; tests only read it."""
    shared = shared_folder / "shop"
    done = shared / "done"
    with FileLock(f"{shared}.lock"):
        if not done.exists():
            make_shop(shared)
            run = command(shared, "-m", "tests.shop", "run")
            assert run.returncode == 0, run.stderr + run.stdout
            done.write_text(run.stdout)
    return Settings.load(shared)
