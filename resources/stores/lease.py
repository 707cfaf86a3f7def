"""A lock in an S3 bucket: an object that its holder renews, and that others take over once it no longer does.

No clock is compared with another machine's: who waits watches the object, and a lease that stays as it is for
``LEASE`` seconds has run out. Every step is a write on the condition that the object is as it was read.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from typing import TYPE_CHECKING, Self

from resources.stores.busy import Busy, Holder, LockLost
from resources.stores.object_store import read_bytes

if TYPE_CHECKING:
    from resources.stores.s3_store import S3Store

LEASE = 60.0  # seconds without a renewal after which others take over
RENEW = 10.0
POLL = 1.0


class Lease:
    """Holds ``name`` while its context is open, renewed by a thread of its own.

    The object's first line is the holder, empty when there is none; its second is another one in every write, so
    that S3's ETag changes with each and a write whose answer was lost is known again.
    """

    def __init__(self, store: S3Store, name: str, timeout: float, holder: str = "") -> None:
        self.store = store
        self.name = name
        self.timeout = timeout
        self.holder = holder or _me()
        self._key = _key(name)
        self._content, self._version = b"", ""
        self._writing = threading.Lock()
        self._done = threading.Event()
        self._renewal = threading.Thread(target=self._keep, name=f"lease {name}", daemon=True)

    def __enter__(self) -> Self:
        self._content, self._version = self._acquired()
        self._renewal.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        self._done.set()
        self._renewal.join()
        try:
            self._write(_content(""))
        except LockLost:
            if kind is None:  # else what went wrong inside says more
                raise
        except (BotoCoreError, ClientError):
            pass  # S3 is out of reach: the lease runs out by itself

    def renew(self) -> None:
        """Make the lease last from now on. Raises :class:`LockLost` when another process has taken it over."""
        self._write(_content(self.holder))

    def _acquired(self) -> tuple[bytes, str]:
        """Content and version of the lease, once it was free or had run out. Raises :class:`Busy`."""
        began, watched, since, tried = time.monotonic(), "", 0.0, b""
        while True:
            version, content = self._read()
            if content == tried:
                return content, version
            now = time.monotonic()
            if not _holder(content) or (version == watched and now - since >= LEASE):
                tried = _content(self.holder)
                if taken := self.store.replace(self._key, tried, version):
                    return tried, taken
            elif version != watched:
                if watched and now - began >= self.timeout:  # it was renewed as we watched: its holder is alive
                    raise Busy.after(self.name, _holder(content), self.timeout)
                watched, since = version, now
            time.sleep(POLL)

    def _read(self) -> tuple[str, bytes]:
        """Version and content, made when there is none; the content may be newer than the version, never older."""
        while True:
            for found in self.store.list(self._key):
                return found.version, read_bytes(self.store, self._key)
            self.store.create(self._key, _content(""))

    def _keep(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        while not self._done.wait(RENEW):
            try:
                self.renew()
            except LockLost:
                return  # told to whoever asks, and on leaving
            except (BotoCoreError, ClientError):
                continue  # S3 is out of reach: the lease lasts a while, and is ours unless another one takes it

    def _write(self, content: bytes) -> None:
        with self._writing:
            while (version := self.store.replace(self._key, content, self._version)) is None:
                found, held = self._read()
                if held == content:  # a try whose answer was lost
                    version = found
                    break
                if held != self._content:
                    holder = _holder(held) or "another process"
                    raise LockLost(
                        self.name,
                        holder,
                        f"{self.name} was taken over by {holder}, for this process was out of reach for more than "
                        f"{LEASE:,.0f} s; look at what the other did, then run again.",
                    )
                time.sleep(POLL)  # S3 was about to write it for another one, and did not
            self._content, self._version = content, version


def held_by(store: S3Store, name: str) -> Holder | None:
    """Who took the lease ``name`` last and did not give it back; ``None`` when nobody did. Reads one object."""
    try:
        holder, _, mark = read_bytes(store, _key(name)).decode().partition("\n")
    except FileNotFoundError:
        return None
    return Holder(holder, mark) if holder else None


def _key(name: str) -> str:
    return f"{name}.lease"


def _content(holder: str) -> bytes:
    return f"{holder}\n{uuid.uuid4().hex}".encode()


def _holder(content: bytes) -> str:
    return content.decode().partition("\n")[0]


def _me() -> str:
    return f"process {os.getpid()} of {socket.gethostname()}"
