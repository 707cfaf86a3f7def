"""One process at a time: a named lock of a home that says who holds it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class Busy(RuntimeError):
    """Another process holds a lock and did not let go in time; nothing was done."""

    def __init__(self, name: str, holder: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.holder = holder


@contextmanager
def exclusive(locks: Path, name: str, *, timeout: float) -> Iterator[None]:
    """Hold the lock ``name`` in the folder ``locks``, waiting up to ``timeout`` seconds for its holder.

    A process that dies lets go of it. Raises :class:`Busy` naming the process that holds it.
    """
    locks.mkdir(parents=True, exist_ok=True)
    holder = locks / f"{name}.holder"  # beside the lock file, which filelock truncates
    try:
        with FileLock(locks / f"{name}.lock", timeout=timeout):
            holder.write_text(f"process {os.getpid()}")
            yield
    except Timeout as error:
        held_by = holder.read_text() if holder.exists() else "another process"
        raise Busy(
            name,
            held_by,
            f"{name} is being worked on by {held_by} since more than {timeout:,.0f} s; "
            "wait for it or end it, then run again. Nothing was done.",
        ) from error
