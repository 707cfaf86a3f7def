"""Servers that a test session starts on loopback, and that never outlive it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

GRACE = 10  # seconds that a server is given to end by itself


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@contextlib.contextmanager
def running(command: Sequence[str | Path], log: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in ``folder`` until the context ends; what it prints goes to ``log``."""
    # the kernel ends the server when the session is killed; only Linux can
    parent_dies = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*parent_dies, *map(str, command)], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def died(process: subprocess.Popen[bytes], log: Path) -> str | None:
    """What a server that has ended printed last, ``None`` while it runs."""
    if process.poll() is None:
        return None
    return f"ended with code {process.returncode}:\n{log.read_text(errors='replace')[-3000:]}"


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let a SIGTERM unwind the test session, so that what it started is ended too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
