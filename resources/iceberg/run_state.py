"""What the processes of one run share: the snapshots that it reads, and the bytes that its queries scanned."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property

from resources.stores.object_store import ObjectStore, read_bytes


class RunState:
    """Snapshot ids by table. What the run publishes itself, it reads; all else stays as first seen.

    Every fact is an object of its own below ``<run id>/`` of the store of runs, written once: machines
    share it without a lock. Without a run id (a notebook, the CLI) it lives in memory.
    """

    def __init__(self, store: ObjectStore, run_id: str | None, current: Callable[[], dict[str, int]]) -> None:
        self._store = store
        self._run_id = run_id
        self._current = current
        self._own: dict[str, int] = {}
        self._scanned = 0

    def get(self, table: str) -> int | None:
        """The pinned snapshot, ``None`` for a table that had none when the run began."""
        first = self._first.get(table)  # before the list: what this run published is newer than the pins
        return self._published().get(table, first)

    def published(self, table: str, snapshot_id: int, sequence: int) -> None:
        """From now on the run reads its own publish of ``table``; of several, the one of highest ``sequence``."""
        if self._run_id is None:
            _ = self._first
            self._own[table] = snapshot_id
            return
        _ = self._first
        self._store.write(f"{self._prefix}/published/{table}/{sequence:012d}-{snapshot_id}", b"")

    def scanned(self, query_id: str, size: int) -> None:
        """Count the bytes that a query scanned towards the run."""
        self._scanned += size
        if self._run_id is not None:
            self._store.write(f"{self._prefix}/scanned/{query_id}-{size}", b"")

    def scanned_bytes(self) -> int:
        """Bytes scanned so far by all processes of the run."""
        if self._run_id is None:
            return self._scanned
        return sum(int(found.key.rsplit("-", 1)[1]) for found in self._store.list(f"{self._prefix}/scanned/"))

    @property
    def _prefix(self) -> str:
        return str(self._run_id)

    @cached_property
    def _first(self) -> dict[str, int]:
        if self._run_id is None:
            return self._current()
        key = f"{self._prefix}/pins.json"
        if not self._store.exists(key):
            # of several processes the first to create it decides for all
            self._store.create(key, json.dumps(self._current()).encode())
        return {name: int(value) for name, value in json.loads(read_bytes(self._store, key)).items()}

    def _published(self) -> dict[str, int]:
        if self._run_id is None:
            return self._own
        newest: dict[str, int] = {}
        for found in self._store.list(f"{self._prefix}/published/"):  # in order of keys, so the last one wins
            _, _, table, name = found.key.split("/")
            newest[table] = int(name.rsplit("-", 1)[1])
        return newest
