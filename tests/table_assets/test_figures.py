"""Figures for plots: each is what an independent count gives, and nothing is told of what has no rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cdap_assets.curated.orders import CUSTOMER_DAYS, weekly_revenue
from cdap_assets.features.labels import covered_until
from cdap_assets.models.scores import CUSTOMER_SCORES, expected_lapses
from cdap_assets.profiles.cohorts import COHORT_RETENTION, after_one_period
from cdap_assets.profiles.profile import CUSTOMER_PROFILE
from cdap_assets.profiles.segments import CUSTOMER_SEGMENTS, SEGMENTS, shares
from cdap_assets.table_assets.figures import Figures, figures_metadata
from resources.iceberg.table import TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.rows import LONG_AGO, table

SUNDAY = date(2017, 12, 3)
LIVE: dict[str, date | None] = {"shop": None}
Told = Callable[..., dict[str, Any]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """The figures of rows that are published."""
    lakehouse = Lakehouse(Settings(home=tmp_path / "home", threads=1))

    def figures_of(spec: TableSpec, figures: Figures, *rows: dict[str, Any]) -> dict[str, Any]:
        with lakehouse.session() as session:
            session.publish(spec, table(spec, *rows))
        return figures_metadata(lakehouse, spec, figures)

    return figures_of


def revenue(ends: dict[str, date | None]) -> Figures:
    return weekly_revenue(lambda days: covered_until(days, ends))


def sold(day: date, net: str, currency: str = "EUR", **more: Any) -> dict[str, Any]:
    return {"local_date": day, "orders": 1, "lines": 1, "net": Decimal(net), "currency": currency, **more}


def days(number: int, net: str = "1") -> list[dict[str, Any]]:
    """A sale on each of the days from the Sunday on."""
    return [sold(SUNDAY + timedelta(days=n), net, customer_key=f"k{n}") for n in range(number)]


def test_revenue_is_of_the_last_week_that_the_orders_cover(told: Told) -> None:
    week = {"week_from": "2017-12-03", "week_to": "2017-12-09"}
    later = {"week_from": "2017-12-10", "week_to": "2017-12-16"}
    # the newest day of a live source may be half delivered: Saturday's sales alone do not make its week full
    assert told(CUSTOMER_DAYS, revenue(LIVE), *days(14)) == {"revenue_last_week_EUR": 7.0, **week}
    assert told(CUSTOMER_DAYS, revenue(LIVE), *days(15)) == {"revenue_last_week_EUR": 7.0, **later}
    closed = revenue({"shop": SUNDAY + timedelta(days=13)})
    assert told(CUSTOMER_DAYS, closed, *days(14)) == {"revenue_last_week_EUR": 7.0, **later}


def test_of_two_live_sources_the_slower_decides_which_week_is_full(told: Told) -> None:
    slow = [{**row, "source": "web"} for row in days(9, "10")]
    found = told(CUSTOMER_DAYS, revenue({"shop": None, "web": None}), *days(20), *slow)
    assert found == {"revenue_last_week_EUR": 77.0, "week_from": "2017-12-03", "week_to": "2017-12-09"}


def test_currencies_are_never_added_and_what_was_corrected_does_not_count(told: Told) -> None:
    found = told(
        CUSTOMER_DAYS,
        revenue(LIVE),
        *days(15),
        sold(SUNDAY + timedelta(days=8), "5.55", "CHF"),
        sold(SUNDAY + timedelta(days=9), "-1.50", "CHF"),
        sold(SUNDAY + timedelta(days=9), "1000", customer_key="k99", superseded_at=LONG_AGO),
    )
    assert found["revenue_last_week_EUR"] == 7.0
    assert found["revenue_last_week_CHF"] == 4.05


def test_before_a_week_is_full_and_without_rows_nothing_is_told(told: Told) -> None:
    assert told(CUSTOMER_DAYS, revenue(LIVE), *days(7)) == {}
    assert told(CUSTOMER_DAYS, revenue(LIVE), *days(15)[3:10]) == {}  # it began on a Wednesday
    scores = {"expected_purchases": 1.0, "expected_spend": Decimal(1), "reviewed": False, "features_snapshot_id": 1}
    versions = {"lapse_model_version": 1, "value_model_version": 1}
    nobody = {"snapshot_date": SUNDAY, "customer_id": "c1", "eligible": False, **scores, **versions}
    assert told(CUSTOMER_SCORES, expected_lapses, nobody) == {}
    cohort = {"cohort": SUNDAY, "period": 0, "customers": 4, "active": 4, "retention": 1.0}
    assert told(COHORT_RETENTION, after_one_period, cohort) == {}
    for spec, figures in ((CUSTOMER_SEGMENTS, shares), (COHORT_RETENTION, after_one_period)):
        assert told(spec, figures) == {}


def test_retention_is_of_the_newest_cohort_whose_next_period_is_over(told: Told) -> None:
    found = told(
        COHORT_RETENTION,
        after_one_period,
        *(
            {"cohort": SUNDAY + timedelta(days=28 * n), "period": p, "customers": 4, "active": 3 - n, "retention": r}
            for n, p, r in ((0, 0, 1.0), (0, 1, 0.75), (0, 2, 0.25), (1, 0, 1.0), (1, 1, 0.5), (2, 0, 1.0))
        ),
    )
    assert found == {"retention_after_one_period": 0.5, "cohort": "2017-12-31", "cohort_customers": 4}


def materialized(shop: Settings, name: str) -> dict[str, Any]:
    """The metadata of the newest materialization of an asset."""
    import dagster as dg

    from cdap_assets.commands.instance import open_instance

    with open_instance(shop.home) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(name))
    assert event is not None
    assert event.asset_materialization is not None
    return {key: entry.value for key, entry in event.asset_materialization.metadata.items()}


def rows(shop: Settings, spec: TableSpec) -> list[dict[str, Any]]:
    with Lakehouse(shop).looking() as session:
        return list(session.read(spec).to_pyarrow().to_pylist())


def share(counts: Counter[str], names: Sequence[str]) -> dict[str, float]:
    return {f"share_{name.replace(' ', '_')}": counts[name] / counts.total() for name in names}


def test_what_a_run_tells_is_what_its_tables_hold(finished_shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(finished_shop.home / "dagster"))
    segments = Counter(row["segment"] for row in rows(finished_shop, CUSTOMER_SEGMENTS))
    assert set(segments) <= set(SEGMENTS)
    expected = share(segments, SEGMENTS)
    assert len(expected) == len(SEGMENTS)
    assert sum(expected.values()) == pytest.approx(1)
    told = materialized(finished_shop, "customer_segments")
    assert {name: told[name] for name in expected} == pytest.approx(expected)

    assert materialized(finished_shop, "customer_profile")["customers"] == len(rows(finished_shop, CUSTOMER_PROFILE))

    sold_last = [row for row in rows(finished_shop, CUSTOMER_DAYS) if date(2023, 10, 1) <= row["local_date"]]
    told = materialized(finished_shop, "customer_days")
    assert told["revenue_last_week_EUR"] == pytest.approx(float(sum(row["net"] for row in sold_last)))
    assert (told["week_from"], told["week_to"]) == ("2023-10-01", "2023-10-07")

    cohorts = [row for row in rows(finished_shop, COHORT_RETENTION) if row["period"] == 1]
    newest = max(cohorts, key=lambda row: row["cohort"])
    told = materialized(finished_shop, "cohort_retention")
    assert told["retention_after_one_period"] == newest["active"] / newest["customers"]

    scores = rows(finished_shop, CUSTOMER_SCORES)
    newest_day = max(row["snapshot_date"] for row in scores)
    risks = [row["lapse_probability"] for row in scores if row["snapshot_date"] == newest_day]
    told = materialized(finished_shop, "customer_scores")
    assert told["expected_lapses"] == pytest.approx(sum(risk for risk in risks if risk is not None))
    assert told["snapshot_date"] == str(newest_day)

    assert materialized(finished_shop, "raw_orders")["rows_quarantined"] == 0


def test_figures_count_as_no_use_of_the_table(tmp_path: Path) -> None:
    lakehouse = Lakehouse(Settings(home=tmp_path / "home", threads=1))
    with lakehouse.session() as session:
        session.publish(CUSTOMER_DAYS, table(CUSTOMER_DAYS, *days(15)))
    assert figures_metadata(lakehouse, CUSTOMER_DAYS, revenue(LIVE))
    assert list(lakehouse.stores.reads.list()) == []
