from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdap_assets.storage.demand import PRIOR_DAYS, PRIOR_READS, Demand, expected_demand

TODAY = date(2026, 6, 1)


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def expected(reads: dict[int, float], written: int = 800, observed: int = 800, horizon: int = 365) -> Demand:
    """``reads`` by days ago."""
    return expected_demand(
        {ago(day): count for day, count in reads.items()},
        written=ago(written),
        observed_since=ago(observed),
        today=TODAY,
        horizon_days=horizon,
    )


HISTORIES = st.dictionaries(st.integers(-20, 1000), st.floats(0, 50), max_size=40)


def test_the_longer_a_partition_is_unread_the_less_is_expected():
    unread = [expected({}, written=days).reads for days in (0, 30, 100, 400)]
    assert unread == sorted(unread, reverse=True)
    assert unread[0] == pytest.approx(PRIOR_READS / PRIOR_DAYS * 365)


def test_a_steady_use_is_expected_to_go_on():
    assert expected(dict.fromkeys(range(1, 700, 30), 1), horizon=90).reads == pytest.approx(3, rel=0.2)


def test_the_heat_of_youth_cools_within_weeks():
    after = [expected(dict.fromkeys(range(wait, wait + 30), 1), written=wait + 30).reads for wait in (1, 15, 45)]
    assert after[0] > 10
    assert after[2] < 1.5


def test_a_use_later_in_life_is_remembered_for_long():
    assert expected({60: 1}, written=90).restores < 0.5 < expected({60: 1}, written=300).restores


def test_the_season_of_last_year_is_expected_again_and_only_in_its_window():
    season = {365 - day: 2.0 for day in range(20, 40)}
    assert expected(season, horizon=60).reads >= 40
    assert expected(season, horizon=60).restores >= 3
    assert expected(season, horizon=10).reads < 5


def test_the_youth_of_a_partition_is_no_season():
    first_days = {365 - day: 2.0 for day in range(20, 40)}
    assert expected(first_days, written=365, horizon=60).reads < 1


def test_reads_of_one_spell_share_a_restore_however_small_they_are():
    assert expected({200: 0.001, 201: 5, 202: 1}).restores == expected({200: 0.001}).restores


def test_today_later_days_and_days_before_observation_or_the_last_write_are_not_looked_at():
    assert expected({0: 9, -3: 9, 500: 9}, observed=400) == expected({}, observed=400)
    assert expected({500: 9}, written=400) == expected({}, written=400)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="horizon_days must be at least 1, found 0"):
        expected({}, horizon=0)
    with pytest.raises(ValueError, match=r"reads must be >= 0, found -1 on 2026-05-31"):
        expected({1: -1})


@given(HISTORIES, HISTORIES, st.integers(1, 900), st.integers(1, 900), st.integers(1, 800))
def test_a_read_that_is_added_never_lowers_what_is_expected(reads, more, written, observed, horizon):
    less = expected(reads, written, observed, horizon)
    both = {day: reads.get(day, 0) + more.get(day, 0) for day in {*reads, *more}}
    greater = expected(both, written, observed, horizon)
    assert greater.reads >= less.reads * (1 - 1e-12) > 0
    assert greater.restores >= less.restores * (1 - 1e-12) > 0


@given(HISTORIES)
def test_the_order_of_the_history_does_not_matter(reads):
    assert expected(reads) == expected(dict(reversed(reads.items())))
