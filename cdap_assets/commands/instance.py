"""The home's Dagster instance and the process that runs in it, and what is missing when it cannot be opened."""

from __future__ import annotations

import gc
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

POSTGRES = "CDAP_POSTGRES_URL"
CONNECT_SECONDS = 10


class InstanceUnavailable(RuntimeError):
    """Dagster's storage cannot be used; nothing was run."""


@contextmanager
def open_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance of ``home``. Raises :class:`InstanceUnavailable` that names the variable or the database."""
    import dagster as dg

    config = home / "dagster" / "dagster.yaml"
    wanted = re.findall(r"\{env: (\w+)\}", config.read_text(encoding="utf-8") if config.exists() else "")
    missing = [name for name in wanted if not os.environ.get(name)]
    if missing:
        raise InstanceUnavailable(
            f"{config} reads {', '.join(missing)} from the environment; set what is missing and run again. "
            "Nothing was run."
        )
    if POSTGRES in wanted:
        _ask(os.environ[POSTGRES])
    heed_interrupts()
    with dg.DagsterInstance.get() as instance:
        yield instance


def heed_interrupts() -> None:
    """Let SIGINT end this process where a shell's background job is made to ignore it.

    Dagster maps SIGTERM to what SIGINT does, and its readers of a step's output inherit that: where both are
    ignored they cannot be ended, and each job waits a minute for them.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def collect_seldom() -> None:
    """Look for garbage less often in this process, and never at what is loaded by now, for that stays.

    It took a tenth of the main job, which makes much and lets go of it soon.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _ask(address: str) -> None:
    """Connect once: Dagster itself would repeat six times and then not say which database it was."""
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        create_engine(address, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_SECONDS}).connect().close()
    except ModuleNotFoundError as error:
        raise InstanceUnavailable(
            f"{POSTGRES} wants a driver that is not installed ({error.name}); write postgresql+psycopg2://… "
            "and install cdap[aws]. Nothing was run."
        ) from error
    except SQLAlchemyError as error:
        told = str(error.orig if isinstance(error, DBAPIError) else error).splitlines()[0]
        raise InstanceUnavailable(
            f"the PostgreSQL of {POSTGRES} does not answer: {told}. Start it, or mend the address. Nothing was run."
        ) from error
