"""Processes of their own for a test, in which nothing was done before but imports."""

from __future__ import annotations

import os
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

# loaded once, in the process that the others are forked off: it is most of what each of them would do
import ibis.backends.duckdb  # noqa: F401
import pyiceberg.catalog.sql
import pyiceberg.io.pyarrow  # noqa: F401

import cdap_assets.raw.deliveries
import cdap_assets.retention.ledger  # noqa: F401


class FreshProcess(ForkServerProcess):
    """A process with the environment of the test that makes it, not of the first test that ever started one."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._environment = dict(os.environ)

    def run(self) -> None:
        """What the process does."""
        os.environ.clear()
        os.environ.update(self._environment)
        super().run()


class FreshContext(ForkServerContext):
    """Starts such processes."""

    Process = FreshProcess


def fresh() -> FreshContext:
    """Where such processes are started; they share no state with the test, and imports with each other."""
    context = FreshContext()
    context.set_forkserver_preload([__name__])
    return context
