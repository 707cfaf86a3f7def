"""One at a time: a named lock that says who holds it, for the processes of a home or the machines that share one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from resources.stores.busy import Busy, Holder

if TYPE_CHECKING:
    from resources.settings import Settings
    from resources.stores.lease import Lease


_leases: ContextVar[tuple[Lease, ...]] = ContextVar("leases", default=())


def exclusive(settings: Settings, name: str, *, timeout: float, holder: str = "") -> AbstractContextManager[None]:
    """Hold the lock ``name``, waiting up to ``timeout`` seconds for its holder.

    ``holder`` is what others are told of who holds it; empty: this process. The lock of an installation that several
    machines share is a lease in its object store (:mod:`resources.stores.lease`), else a file of the home. A process
    that dies lets go of it: of a file at once, of a lease when it has run out. Raises :class:`Busy` naming the process
    that holds it, and :class:`LockLost` on leaving when another one has taken the lease over meanwhile.
    """
    if settings.shared:
        return _leased(settings, name, timeout, holder)
    return _filed(settings.locks, name, timeout, holder or f"process {os.getpid()}")


def holder_of(settings: Settings, name: str) -> Holder | None:
    """Who holds the lock ``name`` now, without waiting; ``None`` when nobody does.

    Of a lease it is who took it last and did not give it back: one that died is told until another takes it over.
    """
    if settings.shared:
        from resources.stores.lease import held_by
        from resources.stores.s3_store import S3Store

        return held_by(S3Store(settings.root("locks"), settings), name)
    told = _told(_holder_file(settings.locks, name))
    # tried only where somebody is told of: to try it is in the way of whoever wants it just then
    return None if told is None or is_free(settings, name) else Holder(told)


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
def _leased(settings: Settings, name: str, timeout: float, holder: str) -> Iterator[None]:
    from resources.stores.lease import Lease
    from resources.stores.s3_store import S3Store

    with Lease(S3Store(settings.root("locks"), settings), name, timeout, holder) as lease:
        token = _leases.set((*_leases.get(), lease))
        try:
            yield
        finally:
            _leases.reset(token)


@contextmanager
def _filed(locks: Path, name: str, timeout: float, holder: str) -> Iterator[None]:
    locks.mkdir(parents=True, exist_ok=True)
    told = _holder_file(locks, name)
    lock = FileLock(locks / f"{name}.lock", timeout=timeout)
    try:
        lock.acquire()
    except Timeout as error:
        raise Busy.after(name, _told(told) or "another process", timeout) from error
    try:
        told.write_text(holder, encoding="utf-8")
        yield
    finally:
        told.unlink(missing_ok=True)
        lock.release()


def _holder_file(locks: Path, name: str) -> Path:
    return locks / f"{name}.holder"  # beside the lock file, which filelock truncates


def _told(holder: Path) -> str | None:
    try:
        return holder.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
