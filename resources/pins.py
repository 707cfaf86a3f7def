"""Which snapshot of each table a run reads: fixed once per run, shared by the processes of its steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


class Pins:
    """Snapshot ids by table. What the run publishes itself, it reads; all else stays as first seen.

    Without a run id (a notebook, the CLI) the pins live in memory.
    """

    def __init__(self, folder: Path, run_id: str | None, current: Callable[[], dict[str, int]]) -> None:
        self._path = folder / f"{run_id}.json" if run_id else None
        self._current = current
        self._memory: dict[str, int] | None = None

    def get(self, table: str) -> int | None:
        """The pinned snapshot, ``None`` for a table that had none when the run began."""
        return self._pinned().get(table)

    def published(self, table: str, snapshot_id: int) -> None:
        """From now on the run reads its own publish of ``table``."""
        if self._path is None:
            self._memory = {**self._pinned(), table: snapshot_id}
            return
        with self._lock():
            self._write({**self._load(), table: snapshot_id})

    def _pinned(self) -> dict[str, int]:
        if self._path is None:
            if self._memory is None:
                self._memory = self._current()
            return self._memory
        with self._lock():
            return self._load()

    def _load(self) -> dict[str, int]:
        assert self._path is not None
        if not self._path.exists():
            self._write(self._current())
        return {name: int(value) for name, value in json.loads(self._path.read_text()).items()}

    def _write(self, pins: dict[str, int]) -> None:
        assert self._path is not None
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(pins))
        partial.replace(self._path)

    def _lock(self) -> FileLock:
        assert self._path is not None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self._path.with_suffix(".lock"))
