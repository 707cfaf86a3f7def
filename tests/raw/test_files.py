"""CSV, JSON lines and Parquet as they are really delivered."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resources.engines.file_format import FileFormat
from tests.raw.shop import COLUMNS, HEADER, Shop, line

HELD = "line does not split into columns"


def receipts(shop: Shop) -> list[int]:
    return sorted(row["receipt"] for row in shop.rows())


def take_one(shop: Shop, content: str | bytes, name: str = "a.csv") -> list[dict[str, Any]]:
    shop.land(name, content)
    assert shop.take().refused == {}
    return shop.rows()


def test_quotes_delimiters_and_line_breaks_within_a_value_are_kept(shop: Shop) -> None:
    rows = take_one(shop, HEADER + '1,"a, ""b""\nc",A,1,2024-03-01 12:00\n2,"x",B,2,2024-03-01 12:00\n')
    assert [row["card"] for row in rows] == ['a, "b"\nc', "x"]


@pytest.mark.parametrize(
    "content",
    [
        ("\ufeff" + HEADER + line(1) + line(2)).encode(),
        (HEADER + line(1) + line(2)).replace("\n", "\r\n").encode(),
        (HEADER + line(1) + line(2)).rstrip("\n").encode(),
        (HEADER + line(1) + "\n" + line(2) + "\n").encode(),
        (HEADER.replace("receipt", '"receipt"') + line(1) + line(2)).encode(),
        (
            "paid_at,extra,amount,shop,card,receipt\n"
            + "".join(f"2024-03-01 12:00,e,1.50,A,c{n},{n}\n" for n in (1, 2))
        ).encode(),
    ],
    ids=["bom", "crlf", "no last line break", "blank lines", "quoted header", "other order and a column more"],
)
def test_a_csv_file_is_read_however_it_was_exported(shop: Shop, content: bytes) -> None:
    rows = take_one(shop, content)
    assert [(row["receipt"], row["card"], row["amount"]) for row in rows] == [
        (1, "c1", Decimal("1.5")),
        (2, "c2", Decimal("1.5")),
    ]
    assert shop.quarantine() == []


def test_a_file_in_latin_1_is_read_as_its_contract_says(shop: Shop) -> None:
    shop.change(file=FileFormat(encoding="latin-1"))
    rows = take_one(shop, (HEADER + "1,Zoë,A,1,2024-03-01 12:00\n").encode("latin-1"))
    assert rows[0]["card"] == "Zoë"


def test_a_file_that_is_not_in_its_encoding_does_not_pass(shop: Shop) -> None:
    shop.land("a.csv", (HEADER + line(1) + "2,Zoë,A,1,2024-03-01 12:00\n").encode("latin-1"))
    taken = shop.take()
    assert taken.refused or [row["reasons"] for row in shop.quarantine()]
    assert 2 not in receipts(shop)


def test_other_delimiters_nulls_and_no_header_are_read_as_the_contract_says(shop: Shop) -> None:
    names = tuple(column.name for column in COLUMNS)
    form = FileFormat(delimiter=";", header=False, columns=names, null_values=("", "NULL", "-"))
    shop.change(file=form)
    rows = take_one(shop, "1;NULL;A;-;2024-03-01 12:00\n2;c2;;1;2024-03-01 12:00\n")
    assert [(row["card"], row["shop"], row["amount"]) for row in rows] == [(None, "A", None), ("c2", None, 1)]


def test_a_value_that_looks_like_a_comment_or_a_number_stays_text(shop: Shop) -> None:
    rows = take_one(
        shop, HEADER + "1,#7,A,1,2024-03-01 12:00\n2,007,A,1,2024-03-01 12:00\n3,1e3,A,1,2024-03-01 12:00\n"
    )
    assert [row["card"] for row in rows] == ["#7", "007", "1e3"]


def test_a_csv_file_of_one_column_is_read(shop: Shop) -> None:
    shop.change(columns=COLUMNS[:1], event_time=None)
    assert [row["receipt"] for row in take_one(shop, "receipt\n1\n2\n")] == [1, 2]


def test_a_file_with_its_header_only_is_a_delivery_of_no_rows(shop: Shop) -> None:
    assert take_one(shop, HEADER) == []
    assert shop.events() == ["accepted"]


def test_an_empty_file_is_refused_with_what_was_expected(shop: Shop) -> None:
    shop.land("a.csv", b"")
    told = shop.take().refused["till/a.csv"]
    assert "a.csv" in told
    assert "receipt" in told or "empty" in told


@pytest.mark.parametrize("bad", ["2,c2\n", "2,c2,A,1,2024-03-01 12:00,more,still more\n"], ids=["short", "long"])
def test_a_line_with_another_number_of_columns_is_held_whole_and_no_other(shop: Shop, bad: str) -> None:
    take_one(shop, HEADER + line(1) + bad + line(3) + line(4))
    assert receipts(shop) == [1, 3, 4]
    [held] = shop.quarantine()
    assert held["reasons"].startswith(HELD)
    assert held["row"].strip() == bad.strip()
    entry = shop.ledger()[0]
    assert (entry.rows, entry.accepted, entry.quarantined) == (4, 3, 1)


def test_a_bad_line_far_into_a_large_file_is_held(shop: Shop) -> None:
    take_one(shop, HEADER + "".join(line(n) for n in range(30_000)) + "x,y\n" + line(30_001))
    assert len(shop.rows()) == 30_001
    assert len(shop.quarantine()) == 1


def test_rows_are_numbered_in_the_order_of_the_file(shop: Shop) -> None:
    rows = take_one(shop, HEADER + "".join(line(n) for n in range(50_000)))
    assert all(row["receipt"] + 1 == row["row_number"] for row in rows)


@pytest.mark.parametrize("name", ["orders[1].csv", "orders (1).csv", "what?.csv", "all*.csv", "it's.csv", "Zoë.csv"])
def test_a_file_may_be_called_anything(shop: Shop, name: str) -> None:
    shop.land("orders1.csv", HEADER + line(1))
    shop.land(name, HEADER + line(2))
    assert shop.take().refused == {}
    assert receipts(shop) == [1, 2]


def as_jsonl(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def row(receipt: Any, **more: Any) -> dict[str, Any]:
    return {
        "receipt": receipt,
        "card": f"c{receipt}",
        "shop": "A",
        "amount": 1.5,
        "paid_at": "2024-03-01 12:00:00",
    } | more


@pytest.fixture
def json_shop(shop: Shop) -> Shop:
    shop.change(file=FileFormat(type="jsonl"))
    return shop


def test_json_lines_are_read_as_they_were_written(json_shop: Shop) -> None:
    rows = take_one(
        json_shop,
        as_jsonl(
            row(1, card="007"),
            row(2, card="2024-03-01T12:00:00Z", amount="2.25"),
            row(3, card='Zoë "Z"\n', amount=None),
            row(4, card=12345678901234567890123, paid_at="2024-03-01T12:00:00+02:00"),
        ),
        "a.jsonl",
    )
    assert [r["card"] for r in rows] == ["007", "2024-03-01T12:00:00Z", 'Zoë "Z"', "12345678901234567890123"]
    assert [r["amount"] for r in rows] == [Decimal("1.5"), Decimal("2.25"), None, Decimal("1.5")]
    assert rows[3]["occurred_at"] == dt.datetime(2024, 3, 1, 10)


def test_json_lines_may_leave_out_a_value_and_say_more(json_shop: Shop) -> None:
    without = row(2)
    del without["card"]
    rows = take_one(json_shop, as_jsonl(row(1, more={"deep": [1]}), without), "a.jsonl")
    assert [r["card"] for r in rows] == ["c1", None]


def test_a_json_value_of_another_kind_holds_its_row_alone(json_shop: Shop) -> None:
    many = [row(n) for n in range(25_000)]
    take_one(json_shop, as_jsonl(*many, row("secret"), row(7.5), row(30_000)), "a.jsonl")
    assert len(json_shop.rows()) == 25_001
    assert [held["reasons"] for held in json_shop.quarantine()] == ["receipt is no int64"] * 2


def test_a_line_that_is_no_json_object_is_held_and_no_other(json_shop: Shop) -> None:
    take_one(json_shop, as_jsonl(row(1)) + '{"receipt": 2, "ca\n' + "[1]\n" + as_jsonl(row(3), row(4)), "a.jsonl")
    assert receipts(json_shop) == [1, 3, 4]
    assert len(json_shop.quarantine()) == 2


def parquet(**columns: pa.Array) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def test_parquet_is_read_in_its_own_types(shop: Shop) -> None:
    shop.change(file=FileFormat(type="parquet"))
    noon = dt.datetime(2024, 3, 1, 12)
    rows = take_one(
        shop,
        parquet(
            receipt=pa.array([1, 2, 3], pa.int32()),
            card=pa.array(["007", None, "x"]),
            shop=pa.array(["A", "B", "C"]),
            amount=pa.array([0.1, 2.0, 1.0]),
            paid_at=pa.array([noon.replace(tzinfo=dt.UTC)] * 3, pa.timestamp("us", "America/New_York")),
        ),
        "a.parquet",
    )
    assert [(r["receipt"], r["card"], r["amount"]) for r in rows] == [
        (1, "007", Decimal("0.1")),
        (2, None, Decimal(2)),
    ]
    assert rows[0]["occurred_at"] == noon
    [held] = shop.quarantine()
    assert held["reasons"] == "shop is none of A, B"
    assert json.loads(held["row"])["card"] == "x"


@pytest.mark.parametrize("type_", ["parquet", "jsonl"])
def test_a_file_of_another_format_is_refused(shop: Shop, type_: str) -> None:
    shop.change(file=FileFormat(type=type_))
    shop.land("a", HEADER + line(1))
    shop.land("b", b"\x00\x01\x02")
    assert set(shop.take().refused) == {"till/a", "till/b"}
    assert shop.rows() == []


def test_a_column_may_be_called_row_number(shop: Shop) -> None:
    columns = (dataclasses.replace(COLUMNS[0], name="Row Number"), *COLUMNS[1:])
    shop.change(columns=columns)
    rows = take_one(shop, HEADER.replace("receipt", "Row Number") + line(5))
    assert rows[0]["Row Number"] == 5
