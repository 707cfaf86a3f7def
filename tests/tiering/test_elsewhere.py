"""Reads of others are noted once, beside our own, and never make a table look watched before it was."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from cdap_assets.tiering import elsewhere
from cdap_assets.tiering.elsewhere import note_reads_elsewhere
from cdap_assets.tiering.storage_policy import Elsewhere
from resources.lake.lakehouse import Lakehouse
from resources.lake.reads import Reads, fold, history
from resources.settings import Settings
from tests.resources.visits import FIRST, SECOND, now_reads, put

WATCHED, AT = datetime(2024, 6, 1, 5), datetime(2024, 6, 9, 5)
WORKGROUP = Elsewhere(athena_workgroups=("people",))


@pytest.fixture
def lake(tmp_path: Any) -> Lakehouse:
    """A lake whose table was read by us on the day that we began to note it."""
    made = Lakehouse(Settings(home=tmp_path, threads=1, memory_limit="500MB"), lambda: WATCHED)
    put(made, [(1, FIRST), (2, FIRST), (3, SECOND)])
    now_reads(made)
    fold(made.stores.reads)
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[datetime, datetime]]:
    """The windows that Athena was asked for; it answers with two queries on each day of June and one of April."""
    windows: list[tuple[datetime, datetime]] = []

    def queried(_settings: Settings, _workgroup: str, since: datetime, until: datetime) -> Any:
        windows.append((since, until))
        days = [date(2024, 4, 30), *(date(2024, 6, 1) + timedelta(days=n) for n in range(30))]
        return SimpleNamespace(tables={"visits": {day: 2 for day in days if since.date() <= day < until.date()}})

    monkeypatch.setattr(elsewhere, "queried_tables", queried)
    return windows


def noted(lake: Lakehouse) -> dict[date, Reads]:
    fold(lake.stores.reads)
    return dict(history(lake.stores.reads)["visits", (FIRST,)])


def test_queries_of_others_count_for_every_partition_since_we_watch(lake: Lakehouse, asked: Any) -> None:
    ours = noted(lake)[date(2024, 6, 1)]
    note_reads_elsewhere(lake, WORKGROUP, AT)
    [(since, until)] = asked
    assert (since, until) == (datetime(2024, 4, 24, 5, tzinfo=UTC), datetime(2024, 6, 8, 5, tzinfo=UTC))
    found = noted(lake)
    assert min(found) == date(2024, 6, 1), "a day on which nobody watched is none"
    assert found[date(2024, 6, 1)] == Reads(ours.count + 2, ours.bytes * 3)
    assert found[date(2024, 6, 7)] == Reads(2, ours.bytes * 2)
    assert date(2024, 6, 8) not in found


def test_a_window_is_noted_once_though_its_look_was_cut_short(
    lake: Lakehouse, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(lake.stores.reads, "write", _failing_for(lake, elsewhere.NOTED))
        with pytest.raises(OSError, match="no space"):
            note_reads_elsewhere(lake, WORKGROUP, AT)
    note_reads_elsewhere(lake, WORKGROUP, AT)
    once = noted(lake)
    assert once[date(2024, 6, 7)].count == 2
    note_reads_elsewhere(lake, WORKGROUP, AT)
    assert noted(lake) == once
    assert asked[-1][0] == asked[-1][1]


def _failing_for(lake: Lakehouse, key: str) -> Any:
    write = lake.stores.reads.write

    def failing(where: str, content: bytes) -> None:
        if where == key:
            raise OSError("no space left")
        write(where, content)

    return failing


def test_fetched_objects_count_by_what_was_fetched_of_their_partition(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = lake.load("visits")
    assert table is not None
    paths = {task.file.file_path: task.file.file_size_in_bytes for task in table.scan().plan_files()}
    keys = {lake.stores.lake.key(path): size for path, size in paths.items()}
    got = {(key, date(2024, 6, 3)): SimpleNamespace(bytes=size * 5) for key, size in keys.items()}
    got["visits/data/swept.parquet", date(2024, 6, 3)] = SimpleNamespace(bytes=1)
    monkeypatch.setattr(elsewhere, "fetched_objects", lambda *_args: SimpleNamespace(objects=got))
    note_reads_elsewhere(lake, Elsewhere(access_logs="s3://logs/lake"), AT)
    size = noted(lake)[date(2024, 6, 1)].bytes
    assert noted(lake)[date(2024, 6, 3)] == Reads(1, size * 5)


def test_without_anything_configured_nothing_is_asked_or_noted(lake: Lakehouse, asked: Any) -> None:
    note_reads_elsewhere(lake, Elsewhere(), AT)
    assert not asked
    assert not lake.stores.reads.exists(elsewhere.NOTED)
