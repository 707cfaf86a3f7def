"""Processes of their own for a test, in which nothing was done before but imports."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

# loaded once, in the process that the others are forked off: it is most of what each of them would do
import ibis.backends.duckdb  # noqa: F401
import pyiceberg.catalog.sql
import pyiceberg.io.pyarrow  # noqa: F401

import cdap_assets.raw.deliveries
import cdap_assets.retention.ledger  # noqa: F401


def fresh() -> ForkServerContext:
    """Where such processes are started; they share no state with the test, and imports with each other."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context
