"""The main job runs once at a time in an installation, whoever starts it: `cdap run`, or a run of Dagster.

`cdap run` refuses while another one is at work; a run of Dagster's waits (:mod:`cdap_assets.work.executor`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from cdap_assets.installation import Installation
from resources.stores.busy import Busy, LockLost
from resources.stores.lock import exclusive

LOCK = "run"


@contextmanager
def holding(home: Installation, who: str, *, patience: float = 0) -> Iterator[None]:
    """Hold the installation in the name of ``who``, such as "`cdap run`", waiting up to ``patience`` seconds for it.

    Raises :class:`~resources.stores.busy.Busy` that says who holds it, and since when.
    """
    since = f"{home.clock():%Y-%m-%d %H:%M} UTC"
    holder = f"{who} (process {os.getpid()} of {socket.gethostname()}) since {since}"
    try:
        with exclusive(home.settings, LOCK, timeout=patience, holder=holder):
            yield
    except Busy as error:
        if error.name != LOCK or isinstance(error, LockLost):
            raise
        told = f"{home.settings.home} is being run by {error.holder}; wait for it, or stop it"
        raise Busy(LOCK, error.holder, told) from error
