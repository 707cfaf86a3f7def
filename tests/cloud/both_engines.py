"""What both engines are asked: contracts that fill every entity, and awkward values for their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import ibis
import pyarrow as pa
import yaml

from resources.iceberg.table import Column, TableSpec
from resources.lake.session import Session
from resources.settings import Settings

Row = dict[str, Any]
FEW = 1000  # rows that come without a table of their own

# composed, combining, right-to-left, emoji with a joiner, what grows in upper case, blanks within and around
TEXTS = (
    "", " ", "  a  b ", "Zoë", "Zoe\u0308", "Straße", "ΣΊΣΥΦΟΣ", "İstanbul", "ﬁn", "שלום", "أحمد", "顧客",
    "👩‍👧 x", "😀", "\u00a0n\u00a0", "it's", 'a"b', "a\\b", "a,b\nc", "50%", "a_b", "null", "NaN", "-0", "a" * 300,
)  # fmt: skip
ODD_NUMBERS = ("7.0", " 7 ", "1e3", "0007", "+7", "-7", "7.", ".5", "1,5", "٧", "9" * 18, "9" * 19, "1.00005", "7\n")
ODD_MOMENTS = (
    "T", "2024-02-30", "2024-2-3", "0000-01-01", "1900-01-01", "2999-12-31", "2024-02-29", "2024-02-29\n",
    "2024-03-31 02:30:00", "2024-10-27 02:30:00", "2024-10-27 02:30:00.1", "2024-12-31 23:59:59.999999",
    "2024-12-31 24:00:00", "2024-12-31 23:59:60", "2024-12-31T10:00:00", "2024-12-31 10:00", "2024-03-31",
)  # fmt: skip
KEYS = ("ann", "Ann", "ann ", "Žofie", "أحمد", "😀", "-1", str(2**63 - 1))
WHOLE = (0, 1, -1, 7, 2**31, 2**53 + 1, -(2**53) - 1)
MONEY = ("0", "-0.0001", "0.0001", "0.00005", "9.99", "-9.99", "1234567.8901", "-99999999999.9999", "99999999999.9999")
FLOATS = (0.0, -0.0, 0.1, -2.5, 0.5, 1.5, 1.00005, 1 / 3, 1e-7, 123456.789, -98765.4321)
# clocks change on these days in Berlin, New York, Lord Howe (by half an hour) and Havana (at midnight)
DAYS = tuple(map(date.fromisoformat, (
    "2024-03-31", "2024-10-27", "2024-03-10", "2024-11-03", "2024-04-07", "2024-10-06",
    "1999-12-31", "2024-02-29", "2024-12-31", "2100-01-01",
)))  # fmt: skip
CLOCK = ("00:00:00", "00:30:00", "01:59:59.999999", "02:30:00.000001", "15:00:00", "23:59:59.999999")
INSTANTS = tuple(datetime.fromisoformat(f"{day} {clock}") for day in DAYS for clock in CLOCK)
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu", "UTC")
CURRENCIES = ("EUR", "USD", "JPY")


def contract(name: str, columns: Mapping[str, str], outputs: Mapping[str, Row], **properties: Any) -> str:
    """A contract as text. A column is its type, ``!`` if required, ``*`` if of the key; outputs are by entity."""
    own = {"timezone": "Europe/Berlin", "keySpace": "shop", "maxQuarantinedShare": 1, "format": {"type": "jsonl"}}
    source = []
    for column, type_ in columns.items():
        logical = {"decimal": "number"}.get(type_.strip("!*").partition("(")[0], type_.strip("!*"))
        told = {"name": column, "logicalType": logical, "required": type_[-1] in "!*", "primaryKey": type_[-1] == "*"}
        source.append(told | ({"physicalType": type_.strip("!*")} if type_.startswith("decimal") else {}))
    filled = [
        {"name": entity, "physicalType": "canonical"}
        | {"customProperties": _properties(output.pop("", {}))}
        | {"properties": [{"name": target, "transformLogic": text} for target, text in output.items()]}
        for entity, output in ((entity, dict(output)) for entity, output in outputs.items())
    ]
    return yaml.safe_dump({
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": name, "name": name, "version": "1.0.0",
        "status": "active", "customProperties": _properties(own | properties),
        "schema": [{"name": name, "physicalType": "file", "properties": source}, *filled],
    })  # fmt: skip


def _properties(values: Mapping[str, Any]) -> list[Row]:
    return [{"property": name, "value": value} for name, value in values.items()]


CONTRACTS = {
    "till": contract(
        "till",
        {"receipt": "string*", "line": "integer*", "customer": "string!", "at": "timestamp!", "product": "string",
         "quantity": "decimal(18,4)", "amount": "decimal(18,4)!", "discount": "decimal(18,4)"},
        {"order_lines": {
            "customer_key": "customer", "order_id": "receipt", "line": "line", "ordered_at": "at",
            "product_key": "product", "quantity": "quantity", "discount": "coalesce(discount, 0)", "net": "amount"}},
        currency="EUR", eventTime="at", history={"lag": "1 hour"},
    ),
    "kiosk": contract(
        "kiosk",
        {"slip": "integer!", "day": "date!", "card": "string", "product": "string", "price": "number!",
         "money": "string"},
        {"order_lines": {
            "": {"joins": [{"source": "goods", "on": {"product": "sku"}, "how": "left"}]},
            "customer_key": "coalesce(card, 'cash')", "order_id": "slip", "line": "'1'", "product_key": "product",
            "ordered_at": "cast(day as timestamp)", "quantity": "round(price / goods.price, 4)", "net": "price * 1.1",
            "currency": "coalesce(money, 'USD')"}},
        timezone="America/Havana", keySpace="kiosk", eventTime="day",
    ),
    "goods": contract(
        "goods",
        {"sku": "string*", "name": "string", "kind": "string", "price": "decimal(12,2)"},
        {"products": {
            "product_key": "sku", "name": "trim(name)", "brand": "upper(substring(name, 1, 3))",
            "category": "case when price > 10 then lower(kind) else nullif(kind, '') end"}},
    ),
    "mailings": contract(
        "mailings",
        {"customer": "string*", "campaign": "string*", "sent": "timestamp", "opened": "timestamp"},
        {
            "campaigns": {
                "": {"groupBy": ["campaign"], "where": "sent is not null"}, "campaign": "campaign",
                "type": "'of ' || cast(count(distinct customer) as string)", "started_at": "min(sent)",
                "ended_at": "max(sent)"},
            "touches": {
                "": {"where": "sent is not null"}, "customer_key": "customer", "campaign": "campaign",
                "channel": "'letter'", "sent_at": "sent"},
            "responses": {
                "": {"where": "opened is not null"}, "customer_key": "customer", "campaign": "campaign",
                "kind": "'open'", "detail": "campaign", "responded_at": "opened"},
        },
        timezone="America/New_York",
    ),
    "people": contract(
        "people",
        {"customer": "string*", "given": "string", "born": "string", "card": "string", "since": "date",
         "left": "date", "agreed": "boolean", "changed": "timestamp"},
        {
            "contacts": {
                "customer_key": "customer", "given_name": "trim(given)", "birth_date": "cast(born as date)",
                "email": "lower(given) || '@example.org'", "updated_at": "changed"},
            "customer_traits": {
                "": {"where": "given is not null and not given in ('', ' ')"}, "customer_key": "customer",
                "name": "'name'", "value": "given", "valid_from": "cast(changed as date)"},
            "customer_links": {
                "": {"where": "card is not null"}, "customer_key": "customer", "other_key_space": "'kiosk'",
                "other_key": "card", "method": "'stated'", "probability": "1.0"},
            "subscriptions": {
                "": {"where": "since is not null"}, "customer_key": "customer", "started": "since", "ended": "left",
                "subscription_id": "concat(customer, '/', cast(since as string))"},
            "consents": {
                "": {"where": "agreed is not null and changed is not null"}, "customer_key": "customer",
                "purpose": "'email'", "granted": "agreed", "at": "changed"},
            "events": {
                "": {"where": "changed is not null"}, "customer_key": "customer", "event_id": "customer",
                "occurred_at": "changed", "local_date": "cast(changed as date)", "type": "'change'"},
        },
        timezone="Australia/Lord_Howe",
    ),
}  # fmt: skip
RETENTION = """\
currency: EUR
margin: 0.3
budget: 40
max_contacts: 60
holdout_share: 0.1
control_share: 0.3
channels: [{name: letter, cost: 0.85}]
"""


def make_home(home: Path, **other: Any) -> Settings:
    """The settings of a home with the contracts and a policy, to compute here."""
    (home / "contracts").mkdir(parents=True)
    for name, text in CONTRACTS.items():
        (home / "contracts" / f"{name}.yaml").write_text(text, encoding="utf-8")
    (home / "retention.yaml").write_text(RETENTION, encoding="utf-8")
    return Settings(home=home, threads=1, memory_limit="1GB", **other)


def drawn(random: Random, column: Column, sources: Sequence[str]) -> Any:
    """A value of a column, awkward as often as not; null where it may be."""
    if column.nullable and random.random() < 0.25:
        return None
    pools: dict[str, tuple[Any, ...]] = {
        "string": TEXTS, "int64": WHOLE, "float64": FLOATS, "boolean": (True, False), "date": DAYS,
        "timestamp(6)": INSTANTS,
    }  # fmt: skip
    named: dict[str, tuple[Any, ...]] = {
        "source": tuple(sources), "key_space": ("shop", "kiosk"), "other_key_space": ("shop", "kiosk"),
        "currency": CURRENCIES, "money": CURRENCIES, "orders": (0, 1, 2), "segment": ("loyal", "dormant"),
        "plan_id": ("2024-03-31-1", "2024-10-27-2"), "event": ("approved", "drafted"), "arm": ("contact", "control"),
        "customer_id": ("c1", "c2", "c3", "c4"),
    }  # fmt: skip
    if column.name in named:
        return random.choice(named[column.name])
    if column.name in ("customer_key", "customer", "card", "other_key", "product", "product_key", "sku", "campaign"):
        return random.choice(KEYS)
    if column.type.startswith("decimal"):
        precision, scale = map(int, column.type.removeprefix("decimal(").rstrip(")").split(","))
        limit = Decimal(10) ** min(precision - scale - 1, 11)
        return max(-limit, min(Decimal(random.choice(MONEY)), limit)).quantize(Decimal(1).scaleb(-scale))
    return random.choice(pools[column.type])


def random_rows(random: Random, spec: TableSpec, sources: Sequence[str], count: int) -> pa.Table:
    """``count`` rows of a table; a row is superseded after it was known, and a month is that of its day."""
    rows = []
    for _row in range(count):
        row = {column.name: drawn(random, column, sources) for column in spec.columns}
        if row.get("local_date"):
            row["month"] = row["local_date"].replace(day=1)
        for end, start in (("superseded_at", "known_at"), ("retracted_at", "known_at"), ("valid_to", "valid_from")):
            if row.get(end) and row.get(start):
                row[end] = row[start] + timedelta(days=random.choice((0, 1, 400)), microseconds=1)
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=spec.schema().to_pyarrow())


def computed(session: Session, expression: ibis.Table) -> list[Row]:
    """The few rows of an expression in its own types, by the engine of a session."""
    found = session.engine.backend.to_pyarrow(expression.limit(FEW))
    assert found.num_rows < FEW
    return found.to_pylist()
