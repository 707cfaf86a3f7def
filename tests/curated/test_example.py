"""The example's receipts become customer days in the shops' own time, to the cent."""

from __future__ import annotations

import importlib.util
import shutil
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cdap_assets.commands.new_home import EXAMPLE_CONTRACTS, EXAMPLE_PACKAGE, EXAMPLE_ZONE
from tests.curated.till import Shop

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec(EXAMPLE_PACKAGE) is None, reason="the example data is not installed"),
    pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`"),
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]
HOUSEHOLDS = 60


def test_household_days_are_the_shops_local_days_and_sum_to_the_receipts(tmp_path: Path) -> None:
    spec = importlib.util.find_spec(EXAMPLE_PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "data" / "transactions.parquet"
    receipts = pq.read_table(file, filters=pc.field("household_id") <= HOUSEHOLDS)
    shop = Shop(tmp_path / "home")
    shutil.copy(EXAMPLE_CONTRACTS / "transactions.yaml", shop.settings.contracts)
    landing = shop.settings.landing / "transactions"
    landing.mkdir(parents=True)
    pq.write_table(receipts, landing / "transactions.parquet")
    assert shop.run(datetime(2018, 1, 2), "raw_transactions", "order_lines", "orders", "customer_days").success

    zone = ZoneInfo(EXAMPLE_ZONE)
    expected: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    moved = 0
    for row in receipts.select(["household_id", "transaction_timestamp", "sales_value"]).to_pylist():
        utc = row["transaction_timestamp"].replace(tzinfo=UTC)
        local = utc.astimezone(zone).date()
        moved += local != utc.date()
        expected[str(row["household_id"]), local] += Decimal(f"{row['sales_value']:.4f}")
    days = shop.rows("customer_days")
    # history is known a day after each receipt, so a day may have become known in parts: the last one holds
    found = {(row["customer_key"], row["local_date"]): row["net"] for row in days if row["superseded_at"] is None}
    assert found == expected
    assert 0.1 < moved / receipts.num_rows < 0.25
    assert sum(row["lines"] for row in days if row["superseded_at"] is None) == receipts.num_rows
