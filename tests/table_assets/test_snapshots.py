"""Snapshot dates are Sundays and their own cut-off, in the zone of the installation."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdap_assets.table_assets.snapshots import WEEK, cutoff, last_sunday, snapshot_rows, weekly, weeks_between

NEW_YORK = ZoneInfo("America/New_York")
days = st.dates(date(2000, 1, 1), date(2040, 1, 1))


@pytest.mark.parametrize(
    ("day", "hour"),
    [
        (date(2017, 3, 12), 5),  # clocks go forward at two in the morning of this day
        (date(2017, 3, 13), 4),
        (date(2017, 11, 5), 4),  # and back on this one
        (date(2017, 11, 6), 5),
    ],
)
def test_the_cut_off_is_local_midnight_also_when_clocks_change(day: date, hour: int) -> None:
    assert cutoff(day, NEW_YORK) == datetime(day.year, day.month, day.day, hour)


def test_where_midnight_is_skipped_the_cut_off_is_the_first_instant_of_the_day() -> None:
    zone = ZoneInfo("America/Sao_Paulo")
    instant = cutoff(date(2017, 10, 15), zone).replace(tzinfo=UTC)
    assert instant.astimezone(zone).date() == date(2017, 10, 15)
    assert (instant - timedelta(microseconds=1)).astimezone(zone).date() == date(2017, 10, 14)


def test_snapshot_rows_name_each_date_once_with_its_cut_off() -> None:
    rows = snapshot_rows([date(2017, 11, 12), date(2017, 3, 12), date(2017, 11, 12)], NEW_YORK).to_pyarrow().to_pylist()
    assert rows == [
        {"snapshot_date": date(2017, 3, 12), "cutoff_at": datetime(2017, 3, 12, 5)},
        {"snapshot_date": date(2017, 11, 12), "cutoff_at": datetime(2017, 11, 12, 5)},
    ]


@given(days)
def test_the_last_sunday_is_at_most_six_days_back(day: date) -> None:
    found = last_sunday(day)
    assert found.isoweekday() == 7
    assert timedelta(0) <= day - found < WEEK


@given(days, days)
def test_weeks_between_are_the_sundays_of_the_span(first: date, last: date) -> None:
    span = [first + timedelta(days=n) for n in range((last - first).days + 1)] if (last - first).days < 900 else None
    if span is not None:
        assert weeks_between(first, last) == [day for day in span if day.isoweekday() == 7]


@pytest.mark.parametrize(
    ("closed", "last"),
    [
        (date(2017, 12, 31), "2017-12-31"),  # a Sunday: its own day lies after the cut-off
        (date(2017, 12, 30), "2017-12-31"),  # a Saturday: the next day's cut-off has all of it
        (date(2017, 12, 29), "2017-12-24"),
    ],
)
def test_the_keys_of_a_closed_data_set_are_sundays_up_to_its_end(closed: date, last: str) -> None:
    keys = weekly(date(2017, 1, 1), closed, "America/New_York").get_partition_keys()
    assert (keys[0], keys[-1]) == ("2017-01-01", last)
    assert keys == [day.isoformat() for day in weeks_between(date(2017, 1, 1), date.fromisoformat(last))]


def test_live_data_gets_a_key_when_its_cut_off_passes_in_the_zone_of_the_installation() -> None:
    keys = weekly(date(2020, 1, 5), None, "America/New_York")

    def newest(day: int, hour: int, minute: int = 0) -> str:
        return keys.get_partition_keys(current_time=datetime(2020, 2, day, hour, minute, tzinfo=UTC))[-1]

    assert newest(1, 12) == "2020-01-26"
    assert newest(2, 4, 59) == "2020-01-26"  # Sunday in UTC, still Saturday in New York
    assert newest(2, 5, 1) == "2020-02-02"
    assert newest(5, 12) == "2020-02-02"
