"""Checks that read across tables after a run: do layers agree, and does anything look unlike before?

What a single table promises is enforced before its commit; these tell of what is true there and still odd.
They read the newest months or snapshots only, so a daily check costs no more than the day.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import dagster as dg
from ibis import _

from resources.iceberg.table import TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Session

NEWEST_MONTHS = 2
MOST_UNKNOWN_PRODUCTS = 0.02  # share of order lines
MOST_BASE_RATE_SHIFT = 0.5  # relative to the mean of the snapshots before
SNAPSHOTS_COMPARED = 9


def table_checks(specs: Mapping[str, TableSpec], unfilled: Collection[str] = ()) -> list[dg.AssetChecksDefinition]:
    """The checks; ``specs`` declares the tables by name, and those ``unfilled`` are no assets to check."""

    @dg.asset_check(
        asset="customer_days",
        additional_deps=["orders"],
        description=f"net of customer_days equals net of orders, to the cent, over the newest {NEWEST_MONTHS} months",
    )
    def sums_agree(lakehouse: dg.ResourceParam[Lakehouse]) -> dg.AssetCheckResult:
        with lakehouse.session() as session:
            months = newest_months(session, "orders")
            sums = {name: _net(session, specs[name], months) for name in ("orders", "customer_days")}
        difference = sums["orders"] - sums["customer_days"]
        return dg.AssetCheckResult(
            passed=difference == 0,
            severity=dg.AssetCheckSeverity.ERROR,
            description=None if difference == 0 else "orders and customer_days tell different sums; rebuild both",
            metadata={"net": float(sums["orders"]), "difference": float(difference), "months": _listed(months)},
        )

    @dg.asset_check(
        asset="order_lines",
        additional_deps=["products"],
        description=(
            f"at most {MOST_UNKNOWN_PRODUCTS:.0%} of the newest months' lines are of products without a master row"
        ),
    )
    def products_known(lakehouse: dg.ResourceParam[Lakehouse]) -> dg.AssetCheckResult:
        with lakehouse.session() as session:
            months = newest_months(session, "order_lines")
            lines = session.read(specs["order_lines"], {"month": months}).filter(_.superseded_at.isnull())
            lines = lines.filter(_.product_key.notnull())
            products = session.read(specs["products"]).filter(_.superseded_at.isnull())
            total = int(lines.count().to_pyarrow().as_py())
            unknown = int(lines.anti_join(products, "product_key").count().to_pyarrow().as_py())
        share = unknown / total if total else 0.0
        return dg.AssetCheckResult(
            passed=share <= MOST_UNKNOWN_PRODUCTS,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"lines": total, "without_master": unknown, "share": share, "months": _listed(months)},
        )

    @dg.asset_check(
        asset="customer_profile",
        additional_deps=["customer_xref"],
        description="every customer of the cross-reference has one profile, and nobody else has",
    )
    def one_profile_each(lakehouse: dg.ResourceParam[Lakehouse]) -> dg.AssetCheckResult:
        with lakehouse.session() as session:
            held = session.read(specs["customer_xref"]).filter(_.valid_to.isnull()).select("customer_id").distinct()
            profiles = session.read(specs["customer_profile"]).select("customer_id")
            without = int(held.anti_join(profiles, "customer_id").count().to_pyarrow().as_py())
            unknown = int(profiles.anti_join(held, "customer_id").count().to_pyarrow().as_py())
        return dg.AssetCheckResult(
            passed=without == 0 and unknown == 0,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"without_profile": without, "unknown_customers": unknown},
        )

    steady = dg.AssetCheckSpec(
        "base_rate_steady",
        asset="lapse_labels",
        description=(
            f"the newest base rate lies within {MOST_BASE_RATE_SHIFT:.0%} of the mean of the snapshots before: a jump "
            "is more often a missing delivery than a change of heart. Skipped while there is no snapshot before"
        ),
    )

    # a check that may be left out is one of several that can be chosen of
    @dg.multi_asset_check(name=steady.name, specs=[steady], can_subset=True)
    def base_rate_steady(lakehouse: dg.ResourceParam[Lakehouse]) -> Iterator[dg.AssetCheckResult]:
        with lakehouse.session() as session:
            rates = base_rates(session, specs["lapse_labels"])
        if len(rates) < 2:
            return
        newest, before = rates[max(rates)], [rate for day, rate in rates.items() if day != max(rates)]
        usual = sum(before) / len(before)
        shift = newest / usual - 1 if usual else 0.0
        yield dg.AssetCheckResult(
            passed=abs(shift) <= MOST_BASE_RATE_SHIFT,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"base_rate": newest, "mean_before": usual, "shift": shift, "snapshot": max(rates).isoformat()},
        )

    lines = [] if {"order_lines", "products"} & set(unfilled) else [products_known]
    return [sums_agree, *lines, one_profile_each, base_rate_steady]


def newest_months(session: Session, name: str) -> list[date | None]:
    """The newest months that a table holds, as partition values."""
    months = {partition[0] for partition in session.partitions(name)}
    return sorted((month for month in months if month is not None), reverse=True)[:NEWEST_MONTHS]


def base_rates(session: Session, labels: TableSpec) -> dict[date, float]:
    """The share of lapses among the eligible at each of the newest snapshots."""
    newest = sorted((partition[0] for partition in session.partitions(labels.name)), reverse=True)
    rows = session.read(labels, {"snapshot_date": newest[:SNAPSHOTS_COMPARED]})
    found = rows.filter(_.eligible).group_by("snapshot_date").aggregate(rate=_.lapsed.cast("float64").mean())
    return {row["snapshot_date"]: row["rate"] for row in found.to_pyarrow().to_pylist()}


def _net(session: Session, spec: TableSpec, months: list[Any]) -> Decimal:
    rows = session.read(spec, {"month": months}).filter(_.superseded_at.isnull())
    return rows.net.sum().to_pyarrow().as_py() or Decimal(0)


def _listed(months: list[Any]) -> str:
    return ", ".join(f"{month:%Y-%m}" for month in months)
