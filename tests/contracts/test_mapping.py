"""Raw rows become canonical rows: joins, filters, groups, defaults and declared types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pytest

from cdap_assets.contracts.contract import Contract
from cdap_assets.contracts.mapping import build_output
from cdap_assets.contracts.reading import read_contracts
from resources.engines.engine import Engine
from resources.iceberg.table import Column

# Ibis 12 asks DuckDB 2 for a table's schema in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

EXAMPLE = Path(__file__).parents[2] / "cdap_assets" / "contracts" / "example"
Entities = Mapping[str, tuple[Column, ...]]


_NUMBERS = count()


def at(text: str) -> datetime:
    """A UTC instant, naive as tables hold it."""
    return datetime.fromisoformat(text)


def raw(engine: Engine, contract: Contract, *rows: dict[str, Any]) -> ibis.Table:
    """A raw table of the contract's declared types."""
    name = f"raw_{next(_NUMBERS)}"
    table = engine.backend.create_table(name, schema=ibis.schema(contract.raw_types))
    delivered = pa.Table.from_pylist(list(rows), schema=ibis.schema(contract.raw_types).to_pyarrow())
    engine.backend.con.register("delivered", delivered)
    engine.backend.con.execute(f"INSERT INTO {name} SELECT * FROM delivered")
    return table.mutate(delivered_at=table.known_at)


def filled(engine: Engine, table: ibis.Table) -> list[dict[str, Any]]:
    return engine.backend.to_pyarrow(table).to_pylist()


def receipt(**changes: Any) -> dict[str, Any]:
    return {
        "receipt": 1,
        "position": 2,
        "card": "c1",
        "amount": Decimal("10.0050"),
        "rebate": Decimal("0.5000"),
        "paid_at": at("2017-01-31 23:30"),
        "row_number": 5,
        "local_date": date(2017, 2, 1),
        "known_at": at("2017-02-02 00:00"),
        **changes,
    }


def test_defaults_fill_currency_day_money_and_refund(
    shop: Callable[..., Contract], engine: Engine, entities: Entities
) -> None:
    contract = shop()
    columns = entities["order_lines"]
    rows = raw(engine, contract, receipt(), receipt(receipt=2, amount=Decimal(-3)))
    result = build_output(contract.outputs[0], contract, {"till": rows}, columns)
    first, second = sorted(filled(engine, result), key=lambda row: row["order_id"])
    names = ["source", "key_space", *(column.name for column in columns), "month"]
    assert list(first) == [*names, "known_at", "until", "delivered_at"]
    assert first == {
        "source": "till",
        "key_space": "till",
        "customer_key": "c1",
        "order_id": "1",
        "line": "2-5",
        "ordered_at": at("2017-01-31 23:30"),
        "local_date": date(2017, 2, 1),
        "product_key": None,
        "quantity": None,
        "gross": Decimal("9.5050"),
        "discount": Decimal("0.0000"),
        "net": Decimal("9.5050"),
        "currency": "EUR",
        "is_refund": False,
        "month": date(2017, 2, 1),
        "known_at": at("2017-02-02 00:00"),
        "until": None,
        "delivered_at": at("2017-02-02 00:00"),
    }
    assert second["is_refund"] is True


def test_the_result_has_the_declared_types_in_the_engine_and_not_only_in_ibis(
    shop: Callable[..., Contract], engine: Engine, entities: Entities
) -> None:
    contract = shop(("amount - rebate", "amount * rebate"))
    rows = raw(engine, contract, receipt())
    result = build_output(contract.outputs[0], contract, {"till": rows}, entities["order_lines"])
    types = dict(
        engine.backend.con.sql(f"DESCRIBE {ibis.to_sql(result)}").project("column_name, column_type").fetchall()
    )
    assert types["net"] == types["gross"] == "DECIMAL(18,4)"
    assert types["ordered_at"] == types["known_at"] == "TIMESTAMP"
    assert types["local_date"] == types["month"] == "DATE"
    assert types["order_id"] == "VARCHAR"


def test_gross_less_discount_is_net_when_one_of_them_is_left_out(
    shop: Callable[..., Contract], engine: Engine, entities: Entities
) -> None:
    net = "      - {name: net, transformLogic: amount - rebate}\n"
    contract = shop((net, net + "      - {name: discount, transformLogic: rebate}\n"))
    rows = raw(engine, contract, receipt())
    (row,) = filled(engine, build_output(contract.outputs[0], contract, {"till": rows}, entities["order_lines"]))
    assert row["gross"] == Decimal("10.0050")
    assert row["gross"] - row["discount"] == row["net"]


def test_where_drops_rows_and_groups_sum_lines_with_the_latest_known_time(
    shop: Callable[..., Contract], engine: Engine, entities: Entities
) -> None:
    contract = shop(
        (
            "  - name: order_lines\n    physicalType: canonical\n    properties:\n",
            "  - name: order_lines\n    physicalType: canonical\n    customProperties:\n"
            "      - {property: where, value: card is not null}\n"
            "      - {property: groupBy, value: [card, receipt, local_date]}\n    properties:\n",
        ),
        ("\"concat(position, '-', row_number)\"", "\"'all'\""),
        ("transformLogic: paid_at", "transformLogic: min(paid_at)"),
        ("amount - rebate", "sum(amount) - sum(rebate)"),
    )
    later = at("2017-03-01 00:00")
    rows = raw(engine, contract, receipt(), receipt(position=3, known_at=later), receipt(card=None, receipt=9))
    (row,) = filled(engine, build_output(contract.outputs[0], contract, {"till": rows}, entities["order_lines"]))
    assert (row["order_id"], row["line"], row["net"]) == ("1", "all", Decimal("19.0100"))
    assert row["known_at"] == later


def test_a_join_takes_the_other_sources_columns_and_the_later_known_time(engine: Engine, entities: Entities) -> None:
    contracts, errors = read_contracts(EXAMPLE, entities)
    assert errors == {}
    campaigns, descriptions = contracts["campaigns"], contracts["campaign_descriptions"]
    start = at("2017-03-03 05:00")
    early, late = at("2016-11-01 00:00"), at("2016-12-01 00:00")
    tables = {
        "campaigns": raw(
            engine,
            campaigns,
            {"campaign_id": 1, "household_id": 8, "known_at": early},
            {"campaign_id": 2, "household_id": 8, "known_at": early},
        ),
        "campaign_descriptions": raw(
            engine, descriptions, {"campaign_id": 1, "campaign_type": "Type A", "start_date": start, "known_at": late}
        ),
    }
    (touch,) = filled(engine, build_output(campaigns.outputs[0], campaigns, tables, entities["touches"]))
    assert touch == {
        "source": "campaigns",
        "key_space": "household",
        "customer_key": "8",
        "campaign": "1",
        "channel": "direct mail",
        "sent_at": start,
        "known_at": late,
        "until": None,
        "delivered_at": late,
    }


def test_a_left_join_that_finds_nothing_keeps_the_row_and_its_known_time(
    engine: Engine, entities: Entities, tmp_path: Path
) -> None:
    for path in EXAMPLE.glob("campaign*.yaml"):
        text = path.read_text(encoding="utf-8").replace(
            "{campaign_id: campaign_id}}", "{campaign_id: campaign_id}, how: left}"
        )
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    contracts, errors = read_contracts(tmp_path, entities)
    assert errors == {}
    known = at("2016-11-01 00:00")
    tables = {
        "campaigns": raw(engine, contracts["campaigns"], {"campaign_id": 1, "household_id": 8, "known_at": known}),
        "campaign_descriptions": raw(engine, contracts["campaign_descriptions"]),
    }
    contract = contracts["campaigns"]
    (touch,) = filled(engine, build_output(contract.outputs[0], contract, tables, entities["touches"]))
    assert (touch["sent_at"], touch["known_at"]) == (None, known)


def test_each_trait_of_the_example_is_an_output_without_its_empty_values(engine: Engine, entities: Entities) -> None:
    contract = read_contracts(EXAMPLE, entities)[0]["demographics"]
    rows = raw(engine, contract, {"household_id": 1, "age": "65+", "known_at": at("2016-11-01 00:00")})
    found = [
        (row["name"], row["value"])
        for output in contract.outputs
        for row in filled(engine, build_output(output, contract, {"demographics": rows}, entities[output.entity]))
    ]
    assert found == [("age", "65+")]
    assert len(contract.outputs) == 7
