"""The invented shop: the same deliveries every time, and believable ones."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from benchmarks.generator import FIRST_DAY, LAST_DAY, generate
from cdap_assets.contracts.reading import read_contracts
from cdap_assets.curated.entities import ENTITIES

SCALE = 0.01


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landing")
    generate(folder, scale=SCALE)
    return folder


def one(query: str) -> tuple[Any, ...]:
    return duckdb.sql(query).fetchall()[0]


def test_the_same_seed_and_scale_give_the_same_files(landing: Path, tmp_path: Path) -> None:
    generate(tmp_path, scale=SCALE)
    files = [path.relative_to(landing) for path in sorted(landing.rglob("*.parquet"))]
    assert len(files) == 17
    assert all((landing / file).read_bytes() == (tmp_path / file).read_bytes() for file in files)


def test_another_seed_gives_other_purchases(landing: Path, tmp_path: Path) -> None:
    generate(tmp_path, scale=SCALE, seed=2)
    totals = [one(f"SELECT sum(gross) FROM '{folder}/orders/*.parquet'") for folder in (landing, tmp_path)]
    assert totals[0] != totals[1]


def test_what_was_reported_is_what_was_written(tmp_path: Path) -> None:
    delivered = generate(tmp_path, scale=SCALE)
    rows = (one(f"SELECT count(*) FROM '{tmp_path}/{name}/*.parquet'")[0] for name in ("customers", "orders", "events"))
    assert tuple(rows) == (delivered.customers, delivered.order_lines, delivered.events)


def test_every_order_line_has_a_key_of_its_own_a_customer_and_an_instant_within_the_two_years(landing: Path) -> None:
    orders, customers = f"'{landing}/orders/*.parquet'", f"'{landing}/customers/*.parquet'"
    rows, keys, first, last = one(
        f"SELECT count(*), count(DISTINCT (order_id, line)), min(ordered_at), max(ordered_at) FROM {orders}"
    )
    assert rows == keys
    assert first.date() >= FIRST_DAY
    assert last.date() <= LAST_DAY
    assert one(f"SELECT count(*) FROM {orders} ANTI JOIN {customers} USING (customer_id)") == (0,)


def test_a_share_of_customers_has_stopped_buying_long_before_the_end(landing: Path) -> None:
    gone, all_buyers = one(
        f"""SELECT count(*) FILTER (last < DATE '{LAST_DAY - timedelta(weeks=26)}'), count(*) FROM
        (SELECT max(ordered_at) AS last FROM '{landing}/orders/*.parquet' GROUP BY customer_id)"""
    )
    assert 0.2 < gone / all_buyers < 0.8


def test_the_contracts_of_the_shop_can_be_read() -> None:
    contracts = Path(__file__).parents[2] / "benchmarks" / "contracts"
    read, broken = read_contracts(contracts, {name: entity.mapped for name, entity in ENTITIES.items()})
    assert not broken
    assert {output.entity for contract in read.values() for output in contract.outputs} == {
        "order_lines",
        "events",
        "contacts",
    }
