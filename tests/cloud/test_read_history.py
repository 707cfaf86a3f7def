"""Reads that did not come through us: what Athena's history and S3's access logs tell, and what they do not."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from moto.athena.models import Execution, athena_backends
from moto.athena.responses import AthenaResponse
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.exceptions import JsonRESTError

from resources.lake.read_history import Fetched, fetched_objects, queried_tables, tables_read
from resources.settings import Settings
from resources.stores.aws import client
from resources.stores.object_store import ObjectStore
from resources.stores.stores import open_store
from tests.cloud.s3 import on_s3

REGION = "eu-central-1"
ANALYSTS = "analysts"
SINCE, UNTIL = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)
LAKE = "s3://example-cdap/cdap/lake"
OWN_ROLE = "arn:aws:sts::123456789012:assumed-role/cdap-runs/"


class History:
    """Athena as moto has it, with the pages and the answers to many that moto lacks."""

    def __init__(self) -> None:
        self.backend = athena_backends[DEFAULT_ACCOUNT_ID][REGION]
        self.throttled = 0  # calls that are to be answered by an error
        self.unprocessed = 0  # queries that are to be left out of an answer
        self.calls: list[int] = []

    def add(
        self,
        sql: str,
        at: datetime,
        *,
        workgroup: str = ANALYSTS,
        database: str = "cdap",
        state: str = "SUCCEEDED",
        scanned: int = 0,
        reused: bool = False,
    ) -> None:
        """A query of the past."""
        group = self.backend.work_groups[workgroup]
        new = Execution(sql, {"Database": database}, {"OutputLocation": "s3://results/"}, group, None)  # type: ignore[arg-type]
        new.start_time = at.timestamp()
        reuse = {"ReusedPreviousResult": reused}
        self.backend.executions[new.id] = new
        new.told = {"state": state, "scanned": scanned, "reuse": reuse}  # type: ignore[attr-defined]

    def page(self, response: AthenaResponse) -> str:
        ids = list(self.backend.list_query_executions(response._get_param("WorkGroup")))
        start, size = int(response._get_param("NextToken") or 0), response._get_param("MaxResults") or 50
        more = {"NextToken": str(start + size)} if start + size < len(ids) else {}
        return json.dumps({"QueryExecutionIds": ids[start : start + size]} | more)

    def tell(self, response: AthenaResponse) -> str:
        ids = response._get_param("QueryExecutionIds")
        if self.throttled:
            self.throttled -= 1
            raise JsonRESTError("ThrottlingException", "Rate exceeded")
        if len(ids) > 50:
            raise JsonRESTError("InvalidRequestException", "at most 50")
        self.calls.append(len(ids))
        left, self.unprocessed = ids[: self.unprocessed], 0
        return json.dumps(
            {
                "QueryExecutions": [self._told(one) for one in ids[len(left) :]],
                "UnprocessedQueryExecutionIds": [{"QueryExecutionId": one, "ErrorCode": "BUSY"} for one in left],
            }
        )

    def _told(self, one: str) -> dict[str, Any]:
        execution = self.backend.executions[one]
        told = execution.told  # type: ignore[attr-defined]
        return {
            "QueryExecutionId": one,
            "Query": execution.query,
            "QueryExecutionContext": execution.context,
            "Status": {"State": told["state"], "SubmissionDateTime": execution.start_time},
            "Statistics": {"DataScannedInBytes": told["scanned"], "ResultReuseInformation": told["reuse"]},
        }


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield on_s3(tmp_path, "example-cdap")


@pytest.fixture
def athena(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> History:
    """A history without queries, of two workgroups."""
    for workgroup in (ANALYSTS, "cdap"):
        client("athena", settings).create_work_group(Name=workgroup, Configuration={})
    history = History()
    # moto calls an operation with nothing but itself
    for name, answer in (("list_query_executions", history.page), ("batch_get_query_execution", history.tell)):
        monkeypatch.setattr(AthenaResponse, name, lambda response, answer=answer: answer(response), raising=False)
    return history


def test_queries_are_counted_by_table_and_day(settings: Settings, athena: History) -> None:
    at = SINCE + timedelta(hours=3)
    athena.add("SELECT * FROM orders", at)
    athena.add("SELECT * FROM cdap.orders JOIN AwsDataCatalog.cdap.Visits USING (customer)", at, database="sandbox")
    athena.add("SELECT * FROM visits", at + timedelta(days=1))
    athena.add("SELECT * FROM other.visits", at)
    athena.add("SELECT * FROM visits", at, database="sandbox")
    athena.add("SELECT * FROM visits", at, workgroup="cdap")
    found = queried_tables(settings, ANALYSTS, SINCE, UNTIL)
    assert found.tables == {
        "orders": {date(2024, 5, 1): 2},
        "visits": {date(2024, 5, 1): 1, date(2024, 5, 2): 1},
    }
    assert found.unclear == 0


def test_only_queries_of_the_asked_time_that_read_something_count(settings: Settings, athena: History) -> None:
    athena.add("SELECT 1 FROM early", SINCE - timedelta(seconds=1))
    athena.add("SELECT 1 FROM first", SINCE)
    athena.add("SELECT 1 FROM last", UNTIL - timedelta(seconds=1))
    athena.add("SELECT 1 FROM late", UNTIL)
    athena.add("SELECT 1 FROM running", SINCE, state="RUNNING")
    athena.add("SELECT 1 FROM misspelt", SINCE, state="FAILED")
    athena.add("SELECT 1 FROM stopped", SINCE, state="CANCELLED", scanned=10**9)
    athena.add("SELECT 1 FROM reused", SINCE, reused=True)
    athena.add("INSERT INTO cdap_staging.shadow SELECT * FROM cdap.built", SINCE)
    assert set(queried_tables(settings, ANALYSTS, SINCE, UNTIL).tables) == {"first", "last", "running", "stopped"}


def test_a_long_history_is_read_page_by_page_though_athena_throttles(settings: Settings, athena: History) -> None:
    for number in range(120):
        athena.add("SELECT 1 FROM visits", SINCE + timedelta(minutes=number))
    athena.throttled, athena.unprocessed = 2, 3
    found = queried_tables(settings, ANALYSTS, SINCE, UNTIL)
    assert found.tables == {"visits": {date(2024, 5, 1): 120}}
    assert athena.calls == [50, 3, 50, 20]


def test_a_query_that_cannot_be_understood_is_counted_and_never_logged(
    settings: Settings, athena: History, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "ann@example.org"
    for sql in (f"EXECUTE by_person USING '{secret}'", f"SELECT FROM '{secret}' WHERE", f"SELECT '{secret}", "USING x"):
        athena.add(sql, SINCE)
    athena.add(f"EXPLAIN SELECT * FROM visits WHERE person = '{secret}'", SINCE)
    with caplog.at_level(logging.DEBUG, logger="sqlglot"):
        found = queried_tables(settings, ANALYSTS, SINCE, UNTIL)
    assert (found.tables, found.unclear) == ({}, 4)
    assert secret not in str(found)
    assert not [record for record in caplog.records if record.name == "sqlglot"]


def test_a_naive_instant_is_refused(settings: Settings) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        queried_tables(settings, ANALYSTS, datetime(2024, 5, 1), UNTIL)
    with pytest.raises(ValueError, match="has no time zone"):
        fetched_objects(open_store(LAKE, settings), "", LAKE, SINCE, datetime(2024, 6, 1))


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("-- who?\n/* why? */ SELECT * FROM visits;", {"visits"}),
        ("(SELECT * FROM a) UNION (SELECT * FROM b)", {"a", "b"}),
        ("WITH a AS (SELECT * FROM b) SELECT * FROM a WHERE x IN (SELECT x FROM c)", {"b", "c"}),
        ("WITH visits AS (SELECT * FROM cdap.visits) SELECT * FROM visits", {"visits"}),
        ("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n FROM r, q) SELECT * FROM r", {"q"}),
        ("SELECT * FROM visits FOR TIMESTAMP AS OF TIMESTAMP '2024-01-01 00:00:00 UTC'", {"visits"}),
        ("TABLE visits", {"visits"}),
        ("INSERT INTO a SELECT * FROM b", {"b"}),
        ("INSERT INTO a SELECT a.* FROM a JOIN b USING (x)", {"a", "b"}),
        ("CREATE TABLE a WITH (table_type='ICEBERG', location='s3://b/', is_external=false) AS SELECT 1 FROM b", {"b"}),
        ("UNLOAD (SELECT ')' FROM visits) TO 's3://b/k' WITH (format='PARQUET')", {"visits"}),
        ("EXPLAIN ANALYZE VERBOSE SELECT * FROM visits", {"visits"}),
        ("MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN DELETE", {"a", "b"}),
        ("DELETE FROM a WHERE x IN (SELECT x FROM b)", {"a", "b"}),
        ("UPDATE a SET x = 1", {"a"}),
        ('SELECT * FROM "cdap"."visits$files"', set()),
        ("SELECT * FROM other_catalog.cdap.visits", set()),
        ("SELECT 1", set()),
        ("CREATE OR REPLACE VIEW v AS SELECT * FROM visits", set()),
        ("CREATE EXTERNAL TABLE a (x int) LOCATION 's3://b/'", set()),
        ("DROP TABLE visits", set()),
        ("VACUUM visits", set()),
        ("OPTIMIZE visits REWRITE DATA USING BIN_PACK", set()),
        ("EXPLAIN SELECT * FROM visits", set()),
        ("", set()),
    ],
)
def test_a_statement_reads_the_tables_that_it_takes_rows_from(sql: str, tables: set[str]) -> None:
    assert tables_read(sql, "cdap") == {("cdap", name) for name in tables}


def line(
    key: str,
    at: str = "06/May/2024:23:30:00 +0000",
    *,
    operation: str = "REST.GET.OBJECT",
    status: str = "206",
    sent: str = "100",
    agent: str = '"aws-sdk-java/2.20.0 exec-env/athena"',
    requester: str = "arn:aws:sts::123456789012:assumed-role/analysts/ann",
    bucket: str = "example-cdap",
    end: str = " s9lz+5c= SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader example-cdap.s3.amazonaws.com TLSV1.2 - - -",
) -> str:
    """A record as S3 writes it, its fields in the order of AWS's documentation."""
    return (
        f"79a59df900b949e5 {bucket} [{at}] 192.0.2.3 {requester} 3E57427F3EXAMPLE {operation} {key} "
        f'"GET /{key} HTTP/1.1" {status} - {sent} 5000 70 10 "-" {agent} -{end}'
    )


@pytest.fixture
def logs(settings: Settings) -> ObjectStore:
    """A bucket of access logs."""
    client("s3", settings).create_bucket(
        Bucket="example-logs", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return open_store("s3://example-logs", settings)


def test_fetches_of_objects_of_the_lake_are_counted_by_key_and_day(logs: ObjectStore) -> None:
    january = "cdap/lake/visits/data/run-1/month%253D2024-01-01/0.parquet"
    spaced = "cdap/lake/visits/data/source%253Da%252520b.parquet"  # a key that has a %20 in it itself
    logs.write("s3/2024-05-06-23-31-00-A", "\n".join([line(january), line(january, sent="-"), line(spaced)]).encode())
    logs.write("s3/2024-05-07-00-31-00-B", f"{line(january, '07/May/2024:00:00:01 +0000', end='')}\n".encode())
    logs.write("other/2024-05-07-00-31-00-C", line(january).encode())
    found = fetched_objects(logs, "s3/", LAKE, SINCE, UNTIL)
    assert found.objects == {
        ("visits/data/run-1/month=2024-01-01/0.parquet", date(2024, 5, 6)): Fetched(2, 100),
        ("visits/data/run-1/month=2024-01-01/0.parquet", date(2024, 5, 7)): Fetched(1, 100),
        ("visits/data/source=a%20b.parquet", date(2024, 5, 6)): Fetched(1, 100),
    }
    assert found.unclear == 0


def test_what_is_no_fetch_of_somebody_else_is_left_out(logs: ObjectStore) -> None:
    key = "cdap/lake/a"
    others = [
        line(key, operation="REST.PUT.OBJECT"),
        line(key, operation="REST.COPY.OBJECT_GET"),
        line(key, status="403"),
        line(key, status="304"),
        line(key, bucket="other"),
        line("cdap/lake-of-others/a"),
        line("cdap/archive/data/a"),
        line(key, "30/Apr/2024:23:59:59 +0000"),
        line(key, "01/Jun/2024:00:00:00 +0000"),
        line(key, agent='"Boto3/1.44.8 md/Botocore#1.44.8 lang/python#3.11 cdap"'),
        line(key, requester=f"{OWN_ROLE}run-1", agent='"aws-sdk-cpp/1.11"'),
    ]
    logs.write("s3/a", "\n".join(others).encode())
    assert fetched_objects(logs, "s3/", LAKE, SINCE, UNTIL, [OWN_ROLE]).objects == {}


def test_a_record_that_cannot_be_read_is_counted_and_hides_no_other(logs: ObjectStore) -> None:
    odd = ['"Mozilla/5.0 (say "hi")"', "-", '""']
    records = ["not a record", *(line("cdap/lake/a", agent=agent) for agent in odd), "", line("cdap/lake/a")[:90]]
    logs.write("s3/a", "\n".join(records).encode() + b"\n\xff\n")
    found = fetched_objects(logs, "s3/", LAKE, SINCE, UNTIL)
    assert found.objects == {("a", date(2024, 5, 6)): Fetched(3, 300)}
    assert found.unclear == 3


def test_more_logs_than_a_page_are_read(logs: ObjectStore) -> None:
    for number in range(1001):
        logs.write(f"s3/{number:04d}", line("cdap/lake/a").encode())
    assert fetched_objects(logs, "s3/", LAKE, SINCE, UNTIL).objects == {("a", date(2024, 5, 6)): Fetched(1001, 100_100)}


def test_logs_that_were_written_before_the_asked_time_are_not_fetched(logs: ObjectStore) -> None:
    logs.write("s3/a", line("cdap/lake/a", "01/Jan/2200:00:00:00 +0000").encode())
    later = datetime(2100, 1, 1, tzinfo=UTC)
    assert fetched_objects(logs, "s3/", LAKE, later, later + timedelta(days=40_000)).objects == {}
