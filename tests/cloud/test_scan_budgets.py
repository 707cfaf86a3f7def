"""What a query scans is known before it is sent, and no query or run scans more than it may."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta

import ibis
import numpy
import pyarrow as pa
import pytest

from resources.engines import remote
from resources.engines.engine import QueryFailed
from resources.iceberg.errors import BudgetExceeded
from resources.iceberg.table import Column, TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.settings import SettingsError
from tests.cloud.account import Aws
from tests.cloud.lake import GB, lake_on, staged
from tests.cloud.trino import Server
from tests.resources.visits import FIRST

TEN_MB = 10_000_000  # the least cut-off that Athena takes
LINES = TableSpec(
    "lines",
    (
        Column("id", "int64"),
        Column("net", "float64"),
        Column("code", "string"),
        Column("product", "string"),
        Column("day", "date"),
    ),
    partition_by=("day",),
)
LINE_ROWS = 1_000_000


@pytest.fixture(scope="module")
def lines(aws: Aws, trino: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lakehouse]:
    """A lake with one table of about 20 MB in four partitions; tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        bucket = aws.make_bucket(f"cdap-{uuid.uuid4().hex[:12]}")
        workgroup = aws.make_workgroup(f"narrow-{uuid.uuid4().hex[:8]}", cutoff=TEN_MB)
        lake = lake_on(
            aws,
            bucket,
            tmp_path_factory.mktemp("lines"),
            patch,
            athena_workgroup=workgroup,
            query_budget_gb=TEN_MB / GB,
        )
        chance = numpy.random.default_rng(4)
        days = pa.array([FIRST + timedelta(days=n) for n in range(4)]).take(chance.integers(0, 4, LINE_ROWS))
        rows = {
            "id": chance.integers(0, 2**62, LINE_ROWS),
            "net": chance.random(LINE_ROWS),
            "code": pa.array(chance.integers(0, 10**9, LINE_ROWS)).cast(pa.string()),
            "product": pa.array([f"product {n}" for n in range(300)]).take(chance.integers(0, 300, LINE_ROWS)),
            "day": days,
        }
        with lake.in_process() as session:
            session.publish(LINES, ibis.memtable(pa.table(rows)))
        yield lake


def questions(read: ibis.Table, one_day: ibis.Table) -> dict[str, ibis.Table]:
    """Queries of several shapes."""
    daily = read.group_by("day").aggregate(most=read.id.max())
    return {
        "one column": read.aggregate(n=read.id.max()),
        "another": read.aggregate(n=read.code.max()),
        "two columns": read.aggregate(n=read.net.max(), product=read.product.max()),
        "a filter on a third": read.filter(read.product == "product 7").aggregate(n=read.net.max()),
        "one partition": one_day.aggregate(n=one_day.id.max(), code=one_day.code.max()),
        "a self join": daily.join(read.select("day", "product"), "day").aggregate(
            n=ibis._.most.max(), p=ibis._.product.max()
        ),
        "an aggregate of an aggregate, twice": daily.join(daily.view(), "day").aggregate(
            n=ibis._.most.max(), m=ibis._.most_right.min()
        ),
    }


def test_what_a_query_scans_is_known_before_within_a_fifth(lines: Lakehouse, aws: Aws) -> None:
    generous = Lakehouse(lines.settings.model_copy(update={"athena_workgroup": aws.workgroup, "query_budget_gb": 1.0}))
    with generous.session() as session:
        asked = questions(session.read(LINES), session.read(LINES, {"day": [FIRST]}))
        for expression in asked.values():
            expression.to_pyarrow()
        sent = dict(zip(asked, session.engine.queries, strict=True))
    for name, query in sent.items():
        print(f"{name:40} expected {query.expected_bytes:12,} scanned {query.scanned_bytes:12,}")
    ratios = {name: query.expected_bytes / query.scanned_bytes for name, query in sent.items()}
    assert {name: ratio for name, ratio in ratios.items() if not 0.8 <= ratio <= 1.2} == {}
    assert max(query.scanned_bytes for query in sent.values()) > 5 * 10**6


def started(aws: Aws) -> int:
    """How many queries were started since the log of calls was begun anew."""
    return sum(call["count"] for call in aws.requests() if call["action"] == "StartQueryExecution")


def test_a_query_over_its_budget_is_not_sent(lines: Lakehouse, aws: Aws) -> None:
    aws.forget_requests()
    with lines.session() as session:
        read = session.read(LINES)
        with pytest.raises(
            BudgetExceeded, match=r"would scan 0\.0\d+ GB, more than the 0\.01 GB of CDAP_QUERY_BUDGET_GB"
        ):
            read.aggregate(n=read.id.max(), code=read.code.max()).to_pyarrow()
        with pytest.raises(BudgetExceeded, match="it was not sent"):
            session.publish(TableSpec("copy", LINES.columns), read)
    assert started(aws) == 0
    assert staged(lines) == []


def test_a_run_over_its_budget_is_stopped_before_its_next_query(lines: Lakehouse, aws: Aws) -> None:
    tight = Lakehouse(lines.settings.model_copy(update={"run_budget_gb": 0.012}))
    for session in (tight.session("run"), Lakehouse(tight.settings).session("run")):  # as two steps of one run
        with session:
            aws.forget_requests()
            largest = session.read(LINES).id.max()
            if tight.session("run").run.scanned_bytes() == 0:
                largest.to_pyarrow()
                assert started(aws) == 1
                continue
            with pytest.raises(BudgetExceeded, match=r"has scanned 0\.00\d+ GB and the next.*CDAP_RUN_BUDGET_GB"):
                largest.to_pyarrow()
            assert started(aws) == 0


def test_the_workgroup_ends_what_scans_more_than_was_expected(
    lines: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "estimated_scan", lambda *_: 0)
    with lines.session() as session:
        read = session.read(LINES)
        with pytest.raises(
            QueryFailed, match=r"cancelled: Bytes scanned limit was exceeded\nThe statement was: SELECT"
        ):
            read.aggregate(n=read.id.max(), code=read.code.max(), net=read.net.max()).to_pyarrow()


@pytest.mark.parametrize(
    ("cutoff", "said"), [(None, "no limit of bytes scanned per query"), (10**9, "a limit of 1 GB per query")]
)
def test_a_workgroup_that_limits_nothing_is_refused_before_any_query(
    lines: Lakehouse, aws: Aws, cutoff: int | None, said: str
) -> None:
    name = aws.make_workgroup(f"wide-{uuid.uuid4().hex[:8]}", cutoff=cutoff)
    settings = lines.settings.model_copy(update={"athena_workgroup": name, "query_budget_gb": 0.5})
    aws.forget_requests()
    with Lakehouse(settings).session() as session, pytest.raises(SettingsError, match=f"{name} has {said}.*0.5 GB"):
        session.engine.backend.to_pyarrow(ibis.range(5).unnest().name("n").as_table().count())
    assert started(aws) == 0
