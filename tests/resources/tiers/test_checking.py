"""Checks of lake and archive: silent on what is as it should be, and each fault named with its file."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from resources.lake.lakehouse import Lakehouse
from resources.lake.sweep import sweep
from resources.tiers.checking import Fault, archive_faults, sizes_by_class, unreadable_files
from resources.tiers.journal import Kind
from resources.tiers.moving import begun, carry_out
from tests.resources.visits import FIRST, SECOND, THIRD, data_files, put

AT = datetime(2024, 6, 1, 5)


def move(lake: Lakehouse, kind: Kind, *days: date) -> None:
    carry_out(lake, begun(kind, "visits", [(day,) for day in days], AT))


@pytest.fixture
def moved(lake: Lakehouse) -> Lakehouse:
    """A day archived, a day restored, a day that is hot."""
    put(lake, [(1, FIRST), (2, SECOND), (3, THIRD)])
    move(lake, "archive", FIRST, SECOND)
    move(lake, "restore", SECOND)
    return lake


def faults(lake: Lakehouse, sampled: int = 20) -> list[Fault]:
    return [*unreadable_files(lake), *archive_faults(lake, sampled, "seed")]


def archived_files(lake: Lakehouse) -> list[Path]:
    return sorted((lake.settings.home / "archive" / "data").rglob("*.parquet"))


def test_a_lake_without_tables_and_one_as_it_should_be_have_no_faults(lake: Lakehouse) -> None:
    assert faults(lake) == []
    assert sizes_by_class(lake) == {}
    put(lake, [(1, FIRST), (2, SECOND)])
    move(lake, "archive", FIRST)
    move(lake, "cool", SECOND)
    assert faults(lake) == []
    sweep(lake, older_than=datetime.now(UTC) + timedelta(days=1))
    assert faults(lake) == []


def test_a_live_file_that_is_gone_or_cut_is_told(moved: Lakehouse) -> None:
    table = moved.load("visits")
    assert table is not None
    live = sorted(Path(path.removeprefix("file://")) for path in table.inspect.files()["file_path"].to_pylist())
    assert len(live) == 2
    size = live[1].stat().st_size
    live[0].unlink()
    live[1].write_bytes(live[1].read_bytes()[:-1])
    assert {(fault.location.removeprefix("file://"), fault.what) for fault in unreadable_files(moved)} == {
        (str(live[0]), "is not there"),
        (str(live[1]), f"has {size - 1:,} bytes, expected {size:,}"),
    }


def test_files_that_only_older_snapshots_need_may_be_gone(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    [old] = data_files(lake)
    put(lake, [(2, FIRST)])
    assert {where for where, _class in sizes_by_class(lake)} == {"live", "older"}
    old.unlink()
    assert faults(lake) == []
    assert {where for where, _class in sizes_by_class(lake)} == {"live"}


@pytest.mark.parametrize(("broken", "what"), [("gone", "is not there"), ("cut", "bytes, expected"), ("other", "SHA")])
def test_archived_files_that_are_not_as_they_were_are_told(moved: Lakehouse, broken: str, what: str) -> None:
    for path in archived_files(moved):  # also that of the restored day, which will go back to it
        content = path.read_bytes()
        match broken:
            case "gone":
                path.unlink()
            case "cut":
                path.write_bytes(content[:-1])
            case _:
                path.write_bytes(bytes([content[0] ^ 1, *content[1:]]))
    found = faults(moved)
    assert len(found) == 2
    assert all(what in fault.what and fault.table == "visits" for fault in found)


def test_only_a_sample_is_read_whole(moved: Lakehouse) -> None:
    for path in archived_files(moved):
        path.write_bytes(bytes(len(path.read_bytes())))
    assert len(faults(moved, sampled=1)) == 1
    assert faults(moved, sampled=0) == []


def test_an_archive_without_its_manifest_is_told(moved: Lakehouse) -> None:
    for path in (moved.settings.home / "archive" / "manifests").rglob("*.json"):
        path.unlink()
    [fault] = faults(moved)
    assert "no manifest" in fault.what


def test_bytes_are_counted_where_they_lie(moved: Lakehouse) -> None:
    sizes = {where: sum(found) for (where, _class), found in sizes_by_class(moved).items()}
    assert sizes["archived"] == sum(path.stat().st_size for path in archived_files(moved))
    assert sizes["live"] + sizes["older"] == sum(path.stat().st_size for path in data_files(moved))
