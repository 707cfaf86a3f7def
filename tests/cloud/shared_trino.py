"""One Trino for all processes of a test run: two on two cores take each other's time and warm up twice."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock

from tests.cloud.trino import Server, Trino


@contextlib.contextmanager
def shared_trino(place: Path, catalog: str, properties: Mapping[str, str]) -> Iterator[Server]:
    """The Trino of all processes that name ``place``, with a catalog of one's own.

    The first to come starts it and, when done, waits until the others have left too. Raises
    :class:`~tests.cloud.trino_files.TrinoMissing` if this machine cannot run one.
    """
    place.mkdir(parents=True, exist_ok=True)
    told = place / "server.json"
    # whoever is inside holds the lock with others; the kernel gives it up for a process that was killed
    with (place / "inside").open("w") as inside, contextlib.ExitStack() as own:
        fcntl.flock(inside, fcntl.LOCK_SH)
        with FileLock(place / "starting"):
            started = not told.exists()
            if started:
                server = own.enter_context(Trino({}))
                told.write_text(json.dumps({"uri": server.uri, "word": server.word}))
        try:
            yield Server(**json.loads(told.read_text()), catalog=catalog, properties=properties)
        finally:
            if started:
                fcntl.flock(inside, fcntl.LOCK_EX)
                told.unlink()
