"""One at a time: a named lock that says who holds it, for the processes of a home or the machines that share one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from resources.stores.busy import Busy

if TYPE_CHECKING:
    from resources.settings import Settings
    from resources.stores.lease import Lease


_leases: ContextVar[tuple[Lease, ...]] = ContextVar("leases", default=())


def exclusive(settings: Settings, name: str, *, timeout: float) -> AbstractContextManager[None]:
    """Hold the lock ``name``, waiting up to ``timeout`` seconds for its holder.

    The lock of an installation that several machines share is a lease in its object store
    (:mod:`resources.stores.lease`), else a file of the home. A process that dies lets go of it: of a file at once, of
    a lease when it has run out. Raises :class:`Busy` naming the process that holds it, and :class:`LockLost`
    on leaving when another one has taken the lease over meanwhile.
    """
    return _leased(settings, name, timeout) if settings.shared else _filed(settings.locks, name, timeout)


def is_free(settings: Settings, name: str) -> bool:
    """Whether nobody holds the lock ``name`` now; it may be taken a moment later."""
    try:
        with exclusive(settings, name, timeout=0):
            return True
    except Busy:
        return False


def confirm() -> None:
    """Raise :class:`LockLost` unless every lock that this thread holds is its own still.

    A process that slept longer than a lease does not notice by itself: ask right before what only one may do.
    """
    for lease in _leases.get():
        lease.renew()


@contextmanager
def _leased(settings: Settings, name: str, timeout: float) -> Iterator[None]:
    from resources.stores.lease import Lease
    from resources.stores.s3_store import S3Store

    with Lease(S3Store(settings.root("locks"), settings), name, timeout) as lease:
        token = _leases.set((*_leases.get(), lease))
        try:
            yield
        finally:
            _leases.reset(token)


@contextmanager
def _filed(locks: Path, name: str, timeout: float) -> Iterator[None]:
    locks.mkdir(parents=True, exist_ok=True)
    holder = locks / f"{name}.holder"  # beside the lock file, which filelock truncates
    lock = FileLock(locks / f"{name}.lock", timeout=timeout)
    try:
        lock.acquire()
    except Timeout as error:
        raise Busy.after(name, holder.read_text() if holder.exists() else "another process", timeout) from error
    try:
        holder.write_text(f"process {os.getpid()}")
        yield
    finally:
        lock.release()
