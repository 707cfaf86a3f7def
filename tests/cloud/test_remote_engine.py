"""Athena computes what DuckDB computes, on pinned tables, and stops when its run does."""

from __future__ import annotations

import hashlib
import math
import random
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import pyarrow as pa
import pytest
from dagster import DagsterExecutionInterruptedError

from resources.engines import athena
from resources.engines.builtins import local_time, sha256, utc_time
from resources.iceberg.table import Column, TableSpec
from resources.lake.lakehouse import Lakehouse
from tests.cloud.account import Aws
from tests.cloud.lake import lake_on, staged, stored
from tests.cloud.trino import Server
from tests.resources.engines.test_engine import FIRST as EARLIEST
from tests.resources.engines.test_engine import LAST, ZONES, changes_of, python_utc
from tests.resources.visits import FIRST, VISITS, numbers, put, visits

VALUES = TableSpec(
    "every_type",
    (
        Column("n", "int64"),
        Column("small", "int32"),
        Column("at", "timestamp(6)"),
        Column("day", "date"),
        Column("money", "decimal(18, 4)"),
        Column("huge", "decimal(38, 4)"),
        Column("text", "string"),
        Column("number", "float64"),
        Column("flag", "boolean"),
    ),
    key=("n",),
)
ROWS: list[tuple[Any, ...]] = [
    (
        -(2**63),
        -(2**31),
        datetime(1, 1, 1),
        date(1, 1, 1),
        Decimal("-99999999999999.9999"),
        Decimal("-" + "9" * 34 + ".9999"),
        "",
        math.nan,
        True,
    ),
    (
        2**63 - 1,
        2**31 - 1,
        datetime(9999, 12, 31, 23, 59, 59, 999999),
        date(9999, 12, 31),
        Decimal("99999999999999.9999"),
        Decimal("9" * 34 + ".9999"),
        "Zoë\n東京 \"'\\ \U0001f600",
        math.inf,
        False,
    ),
    (
        0,
        0,
        datetime(1969, 12, 31, 23, 59, 59, 1),
        date(1970, 1, 1),
        Decimal("0.0000"),
        Decimal("0.0000"),
        "NULL",
        -math.inf,
        None,
    ),
    (
        1,
        1,
        datetime(2024, 3, 10, 7, 0, 0, 123456),
        date(2024, 2, 29),
        Decimal("-0.0001"),
        Decimal("0.0001"),
        " ",
        0.1,
        True,
    ),
    (2, 2, datetime(2024, 1, 1), date(2024, 1, 1), Decimal("1.0000"), Decimal("1.0000"), "a,b\t", 5e-324, True),
    (
        3,
        3,
        datetime(2024, 1, 1),
        date(2024, 1, 1),
        Decimal("1.0000"),
        Decimal("1.0000"),
        "1e5",
        1.7976931348623157e308,
        True,
    ),
    (4, None, None, None, None, None, None, None, None),
]


@pytest.fixture
def lake(aws: Aws, trino: Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lakehouse:
    return lake_on(aws, bucket, tmp_path / "home", monkeypatch)


def table_of(spec: TableSpec, rows: list[tuple[Any, ...]]) -> ibis.Table:
    """Rows of Python as a table of the declared types, in which a NaN is no null."""
    from ibis.formats.pyarrow import PyArrowSchema

    schema = PyArrowSchema.from_ibis(spec.schema())
    return ibis.memtable(pa.Table.from_pylist([dict(zip(spec.names, row, strict=True)) for row in rows], schema))


def told(rows: list[dict[str, Any]]) -> list[str]:
    """Rows as text in the order of their first column, so that a NaN is equal to itself."""
    return [repr(tuple(row.values())) for row in sorted(rows, key=lambda row: row["n"])]


def test_every_value_is_the_same_by_both_engines_whichever_wrote_it(aws: Aws, lake: Lakehouse) -> None:
    expected = [repr(row) for row in sorted(ROWS, key=lambda row: row[0])]
    for writing in (lake.in_process, lake.session):
        with writing() as session:
            session.publish(VALUES, table_of(VALUES, ROWS))
        for reading in (lake.in_process, lake.session):
            with reading() as session:
                assert told(session.read(VALUES).to_pyarrow().to_pylist()) == expected
    with lake.session() as session:
        aws.forget_requests()
        few = session.read(VALUES).limit(100)  # by Athena's result, where every value is text
        assert told(few.to_pyarrow().to_pylist()) == expected
    assert "GetQueryResults" in {call["action"] for call in aws.requests()}


def generated(rows: int) -> ibis.Table:
    """A table of no table: ``rows`` thousand numbers, each with an instant, a text and money."""
    thousands = ibis.range(0, rows).unnest().name("a").as_table()
    crossed = thousands.cross_join(ibis.range(0, 1000).unnest().name("b").as_table())
    numbered = crossed.select(n=crossed.a.cast("int64") * 1000 + crossed.b.cast("int64"))
    return numbered.mutate(
        text=ibis.literal("customer ").concat(numbered.n.cast("string")),
        money=(numbered.n.cast("decimal(18, 4)") / 10).cast("decimal(18, 4)"),
    )


def test_a_large_result_streams_in_batches_and_not_as_text(aws: Aws, lake: Lakehouse) -> None:
    aws.forget_requests()
    seen, largest, batches = 0, 0, 0
    with lake.session() as session:
        for batch in session.engine.batches(generated(300), 50_000):
            found = batch.to_pydict()
            assert found["text"][0] == f"customer {found['n'][0]}"
            assert found["money"][0] == Decimal(found["n"][0]) / 10
            seen += sum(found["n"])
            largest, batches = max(largest, batch.num_rows), batches + 1
    assert seen == sum(range(300_000))
    assert largest <= 50_000
    assert batches >= 6
    assert "GetQueryResults" not in {call["action"] for call in aws.requests()}
    assert staged(lake) == []
    assert stored(lake, "scratch/") == set()


def test_aggregates_scalars_and_short_results_come_in_pages(aws: Aws, lake: Lakehouse) -> None:
    put(lake, [(1, FIRST), (2, FIRST)])
    with lake.session() as session:
        read = session.read(VISITS)
        one = read.aggregate(n=read.count(), spent=read.spent.sum(), last=read.day.max(), none=read.spent.sum() < 0)
        assert one.to_pyarrow().to_pylist() == [
            {"n": 2, "spent": Decimal("3.0000"), "last": FIRST, "none": False},
        ]
        assert read.count().to_pyarrow().as_py() == 2
        assert read.count().execute() == 2
        assert read.filter(read.visit > 5).spent.max().to_pyarrow().as_py() is None
        many = session.engine.backend.to_pyarrow(generated(2).order_by("n").limit(1000))
        assert many["n"].to_pylist() == list(range(1000))  # with the header more than Athena's page


def instants() -> list[tuple[int, str, datetime]]:
    """Instants around every change of clocks in several zones, and any others."""
    chance = random.Random(7)
    found = []
    for zone in ZONES:
        around = [at + timedelta(minutes=30 * n) for at in changes_of(zone) for n in range(14)]
        seconds = int((LAST - EARLIEST).total_seconds())
        anywhere = [
            EARLIEST + timedelta(seconds=chance.randrange(seconds), microseconds=chance.randrange(10**6))
            for _ in range(300)
        ]
        found += [(zone, at) for at in (*around, *anywhere)]
    return [(n, zone, at) for n, (zone, at) in enumerate(found)]


def test_local_days_and_their_instants_are_those_of_python_at_every_change_of_clocks(lake: Lakehouse) -> None:
    spec = TableSpec("instants", (Column("n", "int64"), Column("zone", "string"), Column("at", "timestamp(6)")))
    rows = instants()
    asked = table_of(spec, rows).mutate(
        local=local_time(ibis._.at, ibis._.zone),
        utc=utc_time(ibis._.at, ibis._.zone),
        berlin=local_time(ibis._.at, ibis.literal("Europe/Berlin")).date(),
    )
    with lake.session() as session:
        found = {row["n"]: row for row in session.engine.backend.to_pyarrow(asked).to_pylist()}
    assert len(found) == len(rows)
    for n, zone, at in rows:
        aware = at.replace(tzinfo=UTC)
        local = aware.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        assert found[n]["local"] == local, (zone, at)
        assert found[n]["berlin"] == aware.astimezone(ZoneInfo("Europe/Berlin")).date(), at
        assert found[n]["utc"] == python_utc(at, zone), (zone, at)


def test_a_hash_is_that_of_the_utf8_text_by_both_engines(lake: Lakehouse) -> None:
    texts = ["", "a", "Zoë", "東京", "\U0001f600", "x" * 1000, "line\nline", "customer\t1 "]
    spec = TableSpec("texts", (Column("n", "int64"), Column("text", "string")))
    rows = table_of(spec, list(enumerate(texts)))
    for opened in (lake.session, lake.in_process):
        with opened() as session:
            hashed = session.engine.backend.to_pyarrow(rows.mutate(hash=sha256(rows.text))).to_pylist()
        assert {row["n"]: row["hash"] for row in hashed} == {
            n: hashlib.sha256(text.encode()).hexdigest() for n, text in enumerate(texts)
        }


def test_a_run_reads_one_state_by_both_engines_while_others_publish(lake: Lakehouse) -> None:
    put(lake, [(1, FIRST)])
    with lake.session("run") as run:
        assert numbers(run) == [1]
        with lake.in_process() as other:
            other.publish(VISITS, visits((2, FIRST)))
        assert numbers(run) == [1]
        with Lakehouse(lake.settings).in_process("run") as beside:
            assert numbers(beside) == [1]
        run.publish(TableSpec("copy", VISITS.columns), run.read(VISITS))
        assert numbers(run, TableSpec("copy", VISITS.columns)) == [1]
    with lake.session() as later:
        assert numbers(later) == [2]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, DagsterExecutionInterruptedError])
def test_a_run_that_is_ended_leaves_no_query_running(
    lake: Lakehouse, aws: Aws, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    query_ids = []
    client = athena.Athena(lake.settings)._client
    client.meta.events.register(
        "after-call.athena.StartQueryExecution", lambda parsed, **_: query_ids.append(parsed["QueryExecutionId"])
    )
    monkeypatch.setattr("resources.stores.aws.client", lambda *_: client)

    def ended(_: float) -> None:
        monkeypatch.undo()
        raise interruption

    ranges = [ibis.range(0, 3000).unnest().name(name).as_table() for name in ("a", "b", "c")]
    endless = ranges[0].cross_join(ranges[1]).cross_join(ranges[2])
    spec = TableSpec("endless", (Column("n", "int64"),))
    with lake.session() as session:
        session.engine.run(session.engine.query(ibis.range(2).unnest().as_table()).select, 0)  # Athena is there
        query_ids.clear()
        table = endless.aggregate(n=(endless.a + endless.b + endless.c).max())
        query = session.engine.query(table)
        monkeypatch.setattr(time, "sleep", ended)
        with pytest.raises(interruption):
            session.engine.run(query.select, 0, spec.schema())
    assert len(query_ids) == 1
    until = time.monotonic() + 20
    while (state := state_of(aws, query_ids[0])) in ("QUEUED", "RUNNING") and time.monotonic() < until:
        time.sleep(0.1)
    assert state == "CANCELLED"


def state_of(aws: Aws, query_id: str) -> str:
    return str(aws.client("athena").get_query_execution(QueryExecutionId=query_id)["QueryExecution"]["Status"]["State"])
