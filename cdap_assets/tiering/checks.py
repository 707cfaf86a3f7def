"""Checks of storage: can all that is live be read, is what is archived there, does S3 keep off, was cost foreseen?"""

from collections.abc import Iterator
from decimal import Decimal

import dagster as dg

from cdap_assets.storage.costs import storage_cost
from cdap_assets.storage.prices import Prices
from cdap_assets.storage.tables import STORAGE_TIERS
from cdap_assets.tiering.look import decisions
from cdap_assets.tiering.storage_policy import prices_of, read_storage_policy
from resources.iceberg.placement import placed_now
from resources.lake.lakehouse import Lakehouse
from resources.tiers.checking import Fault, archive_faults, harmful_rules, sizes_by_class, unreadable_files
from resources.tiers.inventory import holdings

SAMPLED = 20  # archived files whose checksum one check computes: each is read whole
MOST_APART = 0.1  # of the expected cost
LEAST_APART = Decimal("0.01")  # in the price book's currency: less is rounding
NAMED = 5


def storage_checks() -> list[dg.AssetChecksDefinition]:
    """The checks of ``storage_tiers``."""

    @dg.asset_check(
        asset=STORAGE_TIERS.name,
        description="no live table points at a file that is gone, of another size, or in a class that cannot be read",
    )
    def live_files_readable(lakehouse: dg.ResourceParam[Lakehouse]) -> dg.AssetCheckResult:
        return _result(unreadable_files(lakehouse))

    @dg.asset_check(
        asset=STORAGE_TIERS.name,
        description=(
            "every archived manifest still matches its files: how many, their bytes, and the checksum of "
            f"{SAMPLED} of them that can be read"
        ),
    )
    def archives_whole(
        context: dg.AssetCheckExecutionContext, lakehouse: dg.ResourceParam[Lakehouse]
    ) -> dg.AssetCheckResult:
        return _result(archive_faults(lakehouse, SAMPLED, seed=context.run.run_id))

    @dg.asset_check(
        asset=STORAGE_TIERS.name,
        description="no lifecycle rule of the bucket moves or deletes what tables and archives refer to",
    )
    def lifecycle_rules_harmless(lakehouse: dg.ResourceParam[Lakehouse]) -> dg.AssetCheckResult:
        found = harmful_rules(lakehouse)
        return dg.AssetCheckResult(
            passed=not found,
            severity=dg.AssetCheckSeverity.ERROR,
            description="; ".join(found) or None,
            metadata={"rules": len(found)},
        )

    @dg.asset_check(
        asset=STORAGE_TIERS.name,
        description=(
            f"storage costs within {MOST_APART:.0%} of what storage_tiers expects, counted from what lies in lake and "
            "archive and in which class; files that only older snapshots need come on top"
        ),
    )
    def cost_as_expected(lakehouse: dg.ResourceParam[Lakehouse]) -> dg.AssetCheckResult:
        prices = prices_of(lakehouse.settings, read_storage_policy(lakehouse.settings.home))
        expected, (actual, beside) = _expected(lakehouse, prices), _bill(lakehouse, prices)
        apart = float(abs(actual - expected) / expected) if expected else float(actual > 0)
        return dg.AssetCheckResult(
            passed=apart <= MOST_APART or abs(actual - expected) < LEAST_APART,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "expected": float(expected),
                "actual": float(actual),
                "apart": apart,
                "of_older_snapshots": float(beside),
                "currency": prices.currency,
            },
        )

    return [live_files_readable, archives_whole, lifecycle_rules_harmless, cost_as_expected]


def _result(faults: Iterator[Fault]) -> dg.AssetCheckResult:
    found = list(faults)
    told = "; ".join(f"{fault.table}: {fault.location} {fault.what}" for fault in found[:NAMED])
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR,
        description=told + more or None,
        metadata={"faults": len(found)},
    )


def _expected(lakehouse: Lakehouse, prices: Prices) -> Decimal:
    """A month of what storage_tiers lists, of tables that it leaves out, and of archived files of what was restored."""
    rows = decisions(lakehouse)
    listed = {row["table_name"] for row in rows}
    expected = sum((row["storage_month"] for row in rows), Decimal(0))
    for name in lakehouse.names():
        if name not in listed:
            for held in holdings(lakehouse, name):
                expected += storage_cost(held.sizes, prices.hot, prices)
        elif (table := lakehouse.load(name)) is not None:
            for one in placed_now(table).values():
                if one.tier == "restored" and one.files:
                    expected += storage_cost([one.bytes // one.files] * one.files, one.storage_class, prices)
    return expected


def _bill(lakehouse: Lakehouse, prices: Prices) -> tuple[Decimal, Decimal]:
    """A month of what lies there: live and archived files, and files that only older snapshots need."""
    actual = beside = Decimal(0)
    for (where, storage_class), sizes in sizes_by_class(lakehouse).items():
        # a folder has no classes: what is in it is on the disk that the region's book speaks of
        name = storage_class or prices.in_tier("archived" if where == "archived" else "hot")[0]
        cost = storage_cost(tuple(sizes), name, prices)
        if where == "older":
            beside += cost
        else:
            actual += cost
    return actual, beside
