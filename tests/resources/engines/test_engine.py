"""The functions that the engine defines mean what Python means, whatever the zone and the day."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import ibis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.engines.builtins import local_time, parse_instant, parse_time, sha256, utc_time
from resources.engines.duckdb import DuckDBEngine
from resources.settings import Settings
from tests.examples import examples

ZONES = ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo", "UTC"]
FIRST, LAST = datetime(1990, 1, 1), datetime(2030, 1, 1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBEngine]:
    engine = DuckDBEngine(Settings(home=tmp_path_factory.mktemp("spill"), threads=1, memory_limit="500MB"))
    yield engine
    engine.close()


def column(engine: DuckDBEngine, values: list[datetime], value: ibis.Value) -> list[datetime]:
    """A value over a table of instants ``at``, computed, as naive UTC or wall clocks."""
    table = ibis.memtable(
        [{"n": n, "at": at} for n, at in enumerate(values)], schema={"n": "int64", "at": "timestamp(6)"}
    )
    rows = engine.backend.to_pyarrow(table.select("n", value=value).order_by("n"))
    return [row["value"] for row in rows.to_pylist()]


def changes_of(zone: str) -> list[datetime]:
    """UTC instants around the changes of a zone's clock in the years of the tests."""
    found, at, info = [], FIRST, ZoneInfo(zone)
    while at < LAST:
        after = at + timedelta(hours=6)
        if (
            at.replace(tzinfo=UTC).astimezone(info).utcoffset()
            != after.replace(tzinfo=UTC).astimezone(info).utcoffset()
        ):
            found.append(at)
        at = after
    return found


def test_local_time_is_the_wall_clock_of_python_at_every_change_of_every_zone(engine: DuckDBEngine) -> None:
    for zone in ZONES:
        instants = [at + timedelta(minutes=10 * n) for at in changes_of(zone) for n in range(40)] or [FIRST]
        read = column(engine, instants, local_time(ibis._.at, ibis.literal(zone)))
        expected = [at.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in instants]
        assert read == expected, zone


@examples(20)
@given(st.sampled_from(ZONES), st.lists(st.datetimes(FIRST, LAST), min_size=1, max_size=200))
def test_local_time_of_any_instant_is_that_of_python(engine: DuckDBEngine, zone: str, instants: list[datetime]) -> None:
    read = column(engine, instants, local_time(ibis._.at, ibis.literal(zone)))
    assert read == [at.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in instants]


@examples(20)
@given(st.sampled_from(ZONES), st.lists(st.datetimes(FIRST, LAST), min_size=1, max_size=200))
def test_utc_time_of_any_wall_clock_is_the_first_instant_it_may_mean(
    engine: DuckDBEngine, zone: str, walls: list[datetime]
) -> None:
    read = column(engine, walls, utc_time(ibis._.at, ibis.literal(zone)))
    assert read == [python_utc(wall, zone) for wall in walls]


def python_utc(wall: datetime, zone: str) -> datetime:
    """Fold 0: the first of a doubled hour; a skipped wall clock moves on by the gap."""
    return wall.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC).replace(tzinfo=None)


def test_utc_time_of_doubled_and_skipped_hours_is_as_documented(engine: DuckDBEngine) -> None:
    for zone in ZONES:
        info = ZoneInfo(zone)
        walls = [
            (at.replace(tzinfo=UTC).astimezone(info) + timedelta(minutes=10 * n)).replace(tzinfo=None, fold=0)
            for at in changes_of(zone)
            for n in range(60)
        ] or [FIRST]
        read = column(engine, walls, utc_time(ibis._.at, ibis.literal(zone)))
        assert read == [python_utc(wall, zone) for wall in walls], zone


@examples(50)
@given(st.text(max_size=20))
def test_sha256_is_that_of_the_utf8_text(engine: DuckDBEngine, text: str) -> None:
    if "\x00" in text:
        return
    found = engine.backend.to_pyarrow(sha256(ibis.literal(text))).as_py()
    assert found == hashlib.sha256(text.encode()).hexdigest()


@examples(50)
@given(st.datetimes(FIRST, LAST), st.integers(-14 * 60, 14 * 60))
def test_an_instant_with_an_offset_is_read_as_utc(engine: DuckDBEngine, at: datetime, minutes: int) -> None:
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    text = f"{at.isoformat()}{sign}{hours:02}:{rest:02}"
    found = engine.backend.to_pyarrow(parse_instant(ibis.literal(text)).cast("timestamp(6)")).as_py()
    assert found == at - timedelta(minutes=minutes)


def test_a_text_that_is_no_time_of_its_form_is_null(engine: DuckDBEngine) -> None:
    for text in ("31.02.2024", "2024-02-01", "", "01.01.2024 x"):
        assert engine.backend.to_pyarrow(parse_time(ibis.literal(text), ibis.literal("%d.%m.%Y"))).as_py() is None


def test_the_work_of_a_session_is_in_utc_wherever_the_machine_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    engine = DuckDBEngine(Settings(home=tmp_path, threads=1, memory_limit="500MB"))
    assert engine.backend.con.execute("SELECT current_setting('TimeZone')").fetchone() == ("UTC",)
    engine.close()
