"""A real PostgreSQL for tests: Debian's server binaries on a folder and a loopback port of their own."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.cloud.processes import died, ended_by_sigterm, free_port, running

READY = 60  # seconds
ACCOUNT = "postgres"  # the server refuses to run as root


class PostgresMissing(RuntimeError):
    """There is no PostgreSQL server on this machine."""


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    host: str
    port: int
    user: str
    password: str

    def url(self, database: str) -> str:
        """The address of a database as SQLAlchemy writes it."""
        return f"postgresql+psycopg2://{self.user}:{self.password}@{self.host}:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Make a database and return its address."""
        with contextlib.closing(self._connect("postgres")) as connection:
            connection.autocommit = True
            connection.cursor().execute(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def rows(self, database: str, query: str, *values: str) -> list[tuple[Any, ...]]:
        """What a query answers, asked of the server itself."""
        with contextlib.closing(self._connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def _connect(self, database: str) -> psycopg2.extensions.connection:
        return psycopg2.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=database, connect_timeout=5
        )


def binaries() -> Path:
    """The folder of the newest server. Raises :class:`PostgresMissing` that says what to install."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise PostgresMissing("no PostgreSQL server in /usr/lib/postgresql; install Debian's package postgresql")
    return found[-1].parent


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server on an empty folder until the context ends. Raises :class:`PostgresMissing`."""
    programs = binaries()
    password = secrets.token_hex(16)
    # not in pytest's folders, which are closed to the server's account
    with tempfile.TemporaryDirectory(prefix="cdap-postgres-", ignore_cleanup_errors=True) as name, ended_by_sigterm():
        folder = Path(name)
        secret, data, log = folder / "password", folder / "data", folder / "log"
        secret.write_text(password)
        as_account = _as_account(folder, secret)
        initdb = [
            *as_account, str(programs / "initdb"), "-D", str(data), "-U", "cdap", "--pwfile", str(secret),
            "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8",
        ]  # fmt: skip
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, timeout=READY)
        port = free_port()
        # fsync off: the data of a test outlive no crash; -k: Debian's socket folder may be absent or another's
        serve = [
            *as_account, str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port),
            "-k", str(folder), "-c", "fsync=off", "-c", "max_connections=60", "-c", "shared_buffers=32MB",
        ]  # fmt: skip
        with running(serve, log, folder) as process:
            server = Postgres("127.0.0.1", port, "cdap", password)
            _await(server, process, log)
            yield server


def _as_account(*paths: Path) -> list[str]:
    """What a command begins with so that root's server runs as ``postgres``, which is given ``paths``."""
    if os.geteuid() != 0:
        return []
    account = pwd.getpwnam(ACCOUNT)
    for path in paths:
        os.chown(path, account.pw_uid, account.pw_gid)
    # a change of account takes back what the kernel was asked before, so it is asked again
    return [
        "setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--pdeathsig", "INT",
    ]  # fmt: skip


def _await(server: Postgres, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY
    while True:
        try:
            server._connect("postgres").close()
        except psycopg2.OperationalError:
            if (end := died(process, log)) or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL {end or f'does not answer after {READY} s'}") from None
            time.sleep(0.1)
        else:
            return


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[Postgres]:
    """A running server; without one installed a test is skipped, in CI it fails."""
    try:
        with postgres() as server:
            yield server
    except PostgresMissing as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
