"""A contract is read whole or refused with file, place and remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest

from cdap_assets.contracts.contract import Contract, History
from cdap_assets.contracts.document import ContractError
from cdap_assets.contracts.reading import read_contract, read_contracts
from resources.iceberg.table import Column
from tests.contracts.conftest import SHOP

EXAMPLE = Path(__file__).parents[2] / "cdap_assets" / "contracts" / "example"
Entities = Mapping[str, tuple[Column, ...]]


def test_what_is_written_is_what_is_read(shop: Callable[..., Contract]) -> None:
    contract = shop()
    columns = {column.name: column for column in contract.columns}
    assert contract.primary_key == ("receipt", "position")
    assert (contract.timezone, contract.event_time_zone, contract.key_space) == ("Europe/Berlin", "UTC", "till")
    assert (contract.live, contract.ends, contract.max_quarantined_share) == (True, None, 0.05)
    assert contract.history == History(lag=timedelta(hours=2))
    assert (contract.file.delimiter, contract.file.null_values) == (";", ("", "-"))
    assert (columns["amount"].type, columns["amount"].maximum) == ("decimal(18, 4)", 1000)
    assert columns["paid_at"].format == "%d.%m.%Y %H:%M"
    assert columns["shop"].enum == ("A", "B")
    assert columns["card"].personal == "pseudonymous"
    assert columns["receipt"].required
    assert not columns["position"].required


@pytest.mark.parametrize(
    ("old", "new", "where", "says"),
    [
        ("kind: DataContract", "kind: [", "line 4, column 5", "not valid YAML"),
        ("kind: DataContract", "kind: DataContract\nkind: DataContract", "line 3", "written twice"),
        ("amount - rebate}", "amount, 1: 2}", "schema[1].properties.net", "quotation marks"),
        ("apiVersion: v3.1.0", "apiVersion: v2.2.0", "line 1, column 13", "v3.1.0"),
        ("name: till\n", "name: Till\n", "line 4, column 7", "small letters"),
        ("status: active", "statos: active", "statos", "statos"),
        ("Europe/Berlin", "Europe/Berlim", "customProperties.timezone", "IANA"),
        ("value: EUR", "value: Euro", "customProperties.currency", "Euro"),
        ("property: currency", "property: curency", "customProperties.curency", "did you mean currency"),
        ("lag: 2 hours", "lag: soon", "customProperties.history.lag", "'1 day'"),
        ("value: paid_at", "value: payed_at", "customProperties.eventTime", "did you mean paid_at"),
        ("value: paid_at", "value: amount", "customProperties.eventTime", "expected a date or timestamp"),
        ("type: csv", "type: xls", "customProperties.format.type", "'csv', 'parquet' or 'jsonl'"),
        (
            "logicalType: integer",
            "logicalType: int",
            "schema[0].properties.receipt.logicalType",
            "did you mean integer",
        ),
        ("primaryKey: true", "primarKey: true", "schema[0].properties.receipt.primarKey", "did you mean primaryKey"),
        ("decimal(18,4)", "money", "schema[0].properties.amount.physicalType", "decimal(precision, scale)"),
        ("maximum: 1000", "maximum: lots", "logicalTypeOptions.maximum", "'lots'"),
        ("name: position,", "name: Receipt,", "schema[0].properties.Receipt", "declared twice"),
        ("name: position,", "name: known_at,", "schema[0].properties.known_at", "kept for the platform"),
        ("value: pseudonymous", "value: secret", "schema[0].properties.card.customProperties.personalData", "'direct'"),
        ("- name: order_lines", "- name: order_line", "line 29, column 11", "did you mean order_lines"),
        ("{name: net,", "{name: nett,", "schema[1].properties.nett", "did you mean net"),
        ("{name: line,", "{name: product_key,", "schema[1].properties", "order_lines needs line"),
        ("  - {property: currency, value: EUR}\n", "", "schema[1].properties", "give the contract a currency"),
        ("amount - rebate", "amount - rebat", "line 36, column 46", "did you mean rebate"),
        ("amount - rebate", "amount - now()", "schema[1].properties.net.transformLogic", "not allowed"),
        ("amount - rebate", "shop", "schema[1].properties.net.transformLogic", "cast it"),
        ("amount - rebate", "sum(amount)", "schema[1].properties.net.transformLogic", "needs groupBy"),
        ("amount - rebate", "other.amount", "schema[1].properties.net.transformLogic", "unknown column other.amount"),
    ],
)
def test_a_mistake_is_refused_where_it_stands(
    shop: Callable[..., Contract], old: str, new: str, where: str, says: str
) -> None:
    with pytest.raises(ContractError) as refused:
        shop((old, new))
    message = str(refused.value)
    assert "till.yaml" in message
    assert where in refused.value.where
    assert says in message


def test_a_closed_data_set_says_when_it_ends(shop: Callable[..., Contract]) -> None:
    last = "  - {property: currency, value: EUR}\n"
    closed = last + "  - {property: live, value: false}\n"
    with pytest.raises(ContractError, match="needs ends"):
        shop((last, closed))
    assert shop((last, closed + "  - {property: ends, value: 2017-12-31}\n")).ends == date(2017, 12, 31)


def test_a_column_outside_of_group_by_must_stand_in_an_aggregate(shop: Callable[..., Contract]) -> None:
    grouped = "physicalType: canonical\n    customProperties: [{property: groupBy, value: [card, receipt]}]"
    with pytest.raises(ContractError, match=r"position is neither in groupBy nor in an aggregate"):
        shop(("physicalType: canonical", grouped))


def test_a_broken_contract_and_a_second_of_one_name_leave_the_rest_working(tmp_path: Path, entities: Entities) -> None:
    (tmp_path / "a.yaml").write_text(SHOP, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(SHOP, encoding="utf-8")
    (tmp_path / "c.yaml").write_text("kind: nothing", encoding="utf-8")
    contracts, errors = read_contracts(tmp_path, entities)
    assert list(contracts) == ["till"]
    assert contracts["till"].path.name == "a.yaml"
    assert "a.yaml already names its source till" in str(errors["b"])
    assert set(errors) == {"b", "c"}


def _joined(how: str, expression: str) -> str:
    return (
        SHOP.replace("till", "web")
        .replace(
            "physicalType: canonical",
            f"physicalType: canonical\n    customProperties: [{{property: joins, value: [{how}]}}]",
        )
        .replace("amount - rebate", expression)
    )


@pytest.mark.parametrize(
    ("join", "expression", "says"),
    [
        ("{source: tills, on: {receipt: receipt}}", "amount", "no working contract tills; did you mean till?"),
        ("{source: till, on: {receipt: receipt}}", "amount", "its keys: position, receipt"),
        ("{source: till, on: {receipt: card}}", "amount", "receipt is int64 but till.card is string"),
        ("{source: till, on: {receipt: receipt, position: position}}", "till.amont", "did you mean till.amount"),
        ("{source: till, on: {receipt: receipt}, how: outer}", "amount", "'inner' or 'left'"),
    ],
)
def test_a_join_that_would_multiply_rows_or_find_nothing_is_refused(
    tmp_path: Path, entities: Entities, join: str, expression: str, says: str
) -> None:
    (tmp_path / "till.yaml").write_text(SHOP, encoding="utf-8")
    (tmp_path / "web.yaml").write_text(_joined(join, expression), encoding="utf-8")
    contracts, errors = read_contracts(tmp_path, entities)
    assert list(contracts) == ["till"]
    assert says in str(errors["web"])


def test_the_example_is_closed_names_its_limits_and_describes_every_column(entities: Entities) -> None:
    contracts, errors = read_contracts(EXAMPLE, entities)
    assert errors == {}
    assert {output.entity for contract in contracts.values() for output in contract.outputs} == {
        "order_lines",
        "products",
        "customer_traits",
        "campaigns",
        "touches",
        "responses",
    }
    for contract in contracts.values():
        assert contract.ends == date(2017, 12, 31)
        assert "84.51° Complete Journey 2.0, an anonymised retail panel for education" in contract.limitations
        assert all(column.description for column in contract.columns)
        personal = {column.name: column.personal for column in contract.columns}
        assert personal.get("household_id", "pseudonymous") == "pseudonymous"


def test_a_missing_file_is_named(tmp_path: Path, entities: Entities) -> None:
    with pytest.raises(ContractError, match=r"none\.yaml: there is no such file"):
        read_contract(tmp_path / "none.yaml", entities)
