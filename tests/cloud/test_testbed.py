"""The test bed itself: what is written through Athena's API is there, and what goes wrong does so as on AWS."""

from __future__ import annotations

import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

import numpy
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError
from pyiceberg.catalog.glue import GlueCatalog

from tests.cloud.account import Aws
from tests.cloud.trino import Server, glue_catalog

RETRIES = {"commit.retry.num-retries": "20", "commit.retry.max-wait-ms": "500"}
LONGEST_STATEMENT = 262_144  # bytes, by Athena's quotas
NUMBERS = "SELECT n FROM UNNEST(SEQUENCE(1, {})) AS t(n) ORDER BY n"
# a minute of work for two cores, in pieces that a cancellation can come between
LONG = f"SELECT count(*) FROM {', '.join('UNNEST(SEQUENCE(1, 2000))' for _ in range(3))}"
TAIL = 48 * 1024  # bytes at the end of each Parquet file that Trino reads for its footer


@pytest.fixture
def catalog(aws: Aws, bucket: str) -> GlueCatalog:
    """pyiceberg's Glue catalog, with an empty bucket as its warehouse."""
    keys = {"access-key-id": aws.access_key, "secret-access-key": aws.secret_key, "region": aws.region}
    glue = {f"glue.{name}": value for name, value in keys.items()} | {"glue.endpoint": aws.endpoint}
    s3 = {f"s3.{name}": value for name, value in keys.items()} | {"s3.endpoint": aws.endpoint}
    return GlueCatalog("test", None, warehouse=f"s3://{bucket}", **glue, **s3)


@pytest.fixture
def database(catalog: GlueCatalog) -> str:
    """A new database."""
    name = f"shop_{uuid.uuid4().hex[:8]}"
    catalog.create_namespace(name)
    return name


def start(aws: Aws, sql: str, database: str = "default", **more: Any) -> str:
    """Start a query and return its id."""
    context = {"Catalog": "AwsDataCatalog", "Database": database}
    started = aws.client("athena").start_query_execution(
        QueryString=sql, QueryExecutionContext=context, **({"WorkGroup": aws.workgroup} | more)
    )
    return str(started["QueryExecutionId"])


def ended(aws: Aws, query_id: str) -> dict[str, Any]:
    """The execution of a query that has ended, after a wait of at most a minute."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = aws.client("athena").get_query_execution(QueryExecutionId=query_id)["QueryExecution"]
        if found["Status"]["State"] not in ("QUEUED", "RUNNING"):
            return dict(found)
        time.sleep(0.05)
    raise TimeoutError(f"{query_id} is still {found['Status']['State']}")


def run(aws: Aws, sql: str, database: str = "default", **more: Any) -> dict[str, Any]:
    """The execution of a query that succeeded."""
    execution = ended(aws, start(aws, sql, database, **more))
    assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
    return execution


def rows(aws: Aws, sql: str, database: str = "default") -> list[tuple[str | None, ...]]:
    """The result of a query, header first, in pages."""
    query_id = run(aws, sql, database)["QueryExecutionId"]
    pages = aws.client("athena").get_paginator("get_query_results").paginate(QueryExecutionId=query_id)
    found = [row["Data"] for page in pages for row in page["ResultSet"]["Rows"]]
    return [tuple(cell.get("VarCharValue") for cell in row) for row in found]


def error_of(call: Any, **arguments: Any) -> str:
    """The code of the error that a call to AWS meets."""
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return str(error.value.response["Error"]["Code"])


def test_a_row_inserted_through_athena_is_read_by_pyiceberg_with_its_microseconds(
    aws: Aws, trino: Server, catalog: GlueCatalog, database: str
) -> None:
    schema = pa.schema([("order_id", pa.string()), ("ordered_at", pa.timestamp("us")), ("net", pa.decimal128(18, 4))])
    table = catalog.create_table(f"{database}.orders", schema)
    insert = "INSERT INTO orders VALUES ('Ä1', TIMESTAMP '2024-01-02 03:04:05.123456', DECIMAL '-0.1000')"
    inserted = run(aws, insert, database)
    [row] = table.refresh().scan().to_arrow().to_pylist()
    assert row["ordered_at"] == datetime(2024, 1, 2, 3, 4, 5, 123456)
    results = aws.client("athena").get_query_results(QueryExecutionId=inserted["QueryExecutionId"])
    assert (results["UpdateCount"], results["ResultSet"]["Rows"]) == (1, [])
    assert rows(aws, f'SELECT * FROM "awsdatacatalog"."{database}"."orders"') == [
        ("order_id", "ordered_at", "net"),
        ("Ä1", "2024-01-02 03:04:05.123456", "-0.1000"),
    ]


def test_values_are_told_as_athena_writes_them(aws: Aws, trino: Server) -> None:
    told = {
        "1": ("1", "integer", 10, 0),
        "9007199254740993": ("9007199254740993", "bigint", 19, 0),
        "1e10": ("1.0E10", "double", 17, 0),
        "1e-5": ("1.0E-5", "double", 17, 0),
        "-123.25e0": ("-123.25", "double", 17, 0),
        "-0e0": ("-0.0", "double", 17, 0),
        "nan()": ("NaN", "double", 17, 0),
        "-infinity()": ("-Infinity", "double", 17, 0),
        "1 = 1": ("true", "boolean", 0, 0),
        "DATE '2024-02-29'": ("2024-02-29", "date", 0, 0),
        "TIMESTAMP '2024-01-02 03:04:05.000001'": ("2024-01-02 03:04:05.000001", "timestamp", 3, 0),
        "CAST(100 AS decimal(18, 4))": ("100.0000", "decimal", 18, 4),
        "''": ("", "varchar", 2147483647, 0),
        "CAST(NULL AS varchar)": (None, "varchar", 2147483647, 0),
        "ARRAY[1, NULL]": ("[1, null]", "array", 0, 0),
    }
    sql = ", ".join(f"{expression} AS c{number}" for number, expression in enumerate(told))
    result = aws.client("athena").get_query_results(QueryExecutionId=run(aws, f"SELECT {sql}")["QueryExecutionId"])
    columns = result["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
    values = [cell.get("VarCharValue") for cell in result["ResultSet"]["Rows"][1]["Data"]]
    found = [
        (value, column["Type"], column["Precision"], column["Scale"])
        for value, column in zip(values, columns, strict=True)
    ]
    assert dict(zip(told, found, strict=True)) == told


def test_a_long_result_comes_in_pages(aws: Aws, trino: Server) -> None:
    found = rows(aws, NUMBERS.format(2500))
    assert found == [("n",), *((str(number),) for number in range(1, 2501))]
    query_id = run(aws, NUMBERS.format(5))["QueryExecutionId"]
    first = aws.client("athena").get_query_results(QueryExecutionId=query_id, MaxResults=2)
    assert [row["Data"][0]["VarCharValue"] for row in first["ResultSet"]["Rows"]] == ["n", "1"]
    rest = aws.client("athena").get_query_results(QueryExecutionId=query_id, NextToken=first["NextToken"])
    assert "NextToken" not in rest


def test_a_stopped_query_is_cancelled_in_trino_too(aws: Aws, trino: Server) -> None:
    query_id = start(aws, f"{LONG} -- {(mark := uuid.uuid4().hex)}")
    time.sleep(1)
    aws.client("athena").stop_query_execution(QueryExecutionId=query_id)
    assert ended(aws, query_id)["Status"]["State"] == "CANCELLED"
    found = trino.query(f"SELECT state, error_code FROM system.runtime.queries WHERE query LIKE '{LONG} -- {mark}'")
    assert found.rows == [["FAILED", "USER_CANCELED"]]


def test_a_query_that_trino_kills_fails_with_trinos_reason(aws: Aws, trino: Server) -> None:
    query_id = start(aws, f"{LONG} -- {(mark := uuid.uuid4().hex)}")
    running = f"SELECT query_id FROM system.runtime.queries WHERE state = 'RUNNING' AND query LIKE '{LONG} -- {mark}'"
    while not (found := trino.query(running).rows):
        time.sleep(0.1)
    trino.kill(found[0][0], "the cluster shrank")
    status = ended(aws, query_id)["Status"]
    assert status["State"] == "FAILED"
    assert "the cluster shrank" in status["StateChangeReason"]


def test_a_wrong_statement_fails_as_the_users_error(aws: Aws, trino: Server) -> None:
    status = ended(aws, start(aws, "SELECT nothing"))["Status"]
    assert status["State"] == "FAILED"
    assert status["StateChangeReason"] == "COLUMN_NOT_FOUND: line 1:8: Column 'nothing' cannot be resolved"
    assert (status["AthenaError"]["ErrorCategory"], status["AthenaError"]["Retryable"]) == (2, False)


def test_a_start_that_is_repeated_with_its_token_runs_once(aws: Aws, trino: Server) -> None:
    token = uuid.uuid4().hex
    first = start(aws, "SELECT 1", ClientRequestToken=token)
    assert start(aws, "SELECT 1", ClientRequestToken=token) == first
    with pytest.raises(ClientError, match="Idempotent parameters do not match"):
        start(aws, "SELECT 2", ClientRequestToken=token)


def test_what_athena_refuses_is_refused(aws: Aws, trino: Server) -> None:
    with pytest.raises(ClientError, match=str(LONGEST_STATEMENT)):
        start(aws, f"SELECT '{'x' * LONGEST_STATEMENT}'")
    with pytest.raises(ClientError, match="WorkGroup nobody is not found"):
        start(aws, "SELECT 1", WorkGroup="nobody")
    with pytest.raises(ClientError, match="No output location provided"):
        start(aws, "SELECT 1", WorkGroup="primary")


def test_scanned_bytes_are_trinos_own_and_grow_with_the_columns_read(
    aws: Aws, trino: Server, catalog: GlueCatalog, database: str
) -> None:
    columns = {"n": pa.array(range(50_000)), "text": pa.array([uuid.uuid4().hex for _ in range(50_000)])}
    table = catalog.create_table(f"{database}.wide", pa.table(columns).schema)
    table.append(pa.table(columns))
    one = run(aws, "SELECT sum(n) FROM wide", database)["Statistics"]["DataScannedInBytes"]
    both = run(aws, "SELECT sum(n), max(text) FROM wide", database)["Statistics"]["DataScannedInBytes"]
    assert trino.query(f"SELECT sum(n) FROM {database}.wide").scanned_bytes == one
    [task] = table.scan().plan_files()
    sizes = task.file.column_sizes
    assert one == sizes[1] + TAIL
    assert both == sizes[1] + sizes[2] + TAIL


def test_a_query_above_the_limit_of_its_workgroup_is_cancelled(
    aws: Aws, trino: Server, catalog: GlueCatalog, database: str
) -> None:
    numbers = pa.table({"n": numpy.random.default_rng(4).integers(0, 2**62, 1_400_000)})  # of 8 bytes each on disk
    catalog.create_table(f"{database}.numbers", numbers.schema).append(numbers)
    narrow = aws.make_workgroup(f"narrow-{uuid.uuid4().hex[:8]}", cutoff=10_000_000)  # the least that Athena takes
    status = ended(aws, start(aws, "SELECT max(n) FROM numbers", database, WorkGroup=narrow))["Status"]
    assert (status["State"], status["StateChangeReason"]) == ("CANCELLED", "Bytes scanned limit was exceeded")
    run(aws, "SELECT max(n) FROM numbers", database)


def test_a_statement_writes_to_a_hundred_partitions_and_to_no_more(
    aws: Aws, trino: Server, catalog: GlueCatalog, database: str
) -> None:
    with catalog.create_table(f"{database}.daily", pa.schema([("n", pa.int64())])).update_spec() as spec:
        spec.add_identity("n")
    run(aws, f"INSERT INTO daily {NUMBERS.format(100)}", database)
    status = ended(aws, start(aws, f"INSERT INTO daily {NUMBERS.format(101)}", database))["Status"]
    assert status["StateChangeReason"] == (
        "ICEBERG_TOO_MANY_OPEN_PARTITIONS: Exceeded limit of 100 open writers for partitions: 101"
    )


def test_eight_commits_at_once_to_one_glue_table_lose_none(catalog: GlueCatalog, database: str) -> None:
    row = pa.table({"n": [1]})
    catalog.create_table(f"{database}.busy", row.schema, properties=RETRIES)
    ready = threading.Barrier(8)

    def append(_: int) -> None:
        table = catalog.load_table(f"{database}.busy")
        ready.wait()
        table.append(row)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(8)))
    table = catalog.load_table(f"{database}.busy")
    assert table.scan().to_arrow().num_rows == 8
    assert len(table.snapshots()) == 8


def test_an_update_of_a_version_that_has_passed_is_refused_by_glue(
    aws: Aws, catalog: GlueCatalog, database: str
) -> None:
    glue, table = aws.client("glue"), {"Name": "t", "Parameters": {"step": "1"}}
    glue.create_table(DatabaseName=database, TableInput=table)
    glue.update_table(DatabaseName=database, TableInput=table, VersionId="1")
    code = error_of(glue.update_table, DatabaseName=database, TableInput=table, VersionId="1")
    assert code == "ConcurrentModificationException"


def test_of_many_who_create_an_object_one_wins(aws: Aws, bucket: str) -> None:
    s3 = aws.client("s3")

    def create(number: int) -> str:
        try:
            return str(s3.put_object(Bucket=bucket, Key="lock", Body=str(number), IfNoneMatch="*")["ETag"])
        except ClientError as error:
            return str(error.response["Error"]["Code"])

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(create, range(8)))
    assert told.count("PreconditionFailed") == 7
    [etag] = set(told) - {"PreconditionFailed"}
    s3.put_object(Bucket=bucket, Key="lock", Body="next", IfMatch=etag)
    assert error_of(s3.put_object, Bucket=bucket, Key="lock", Body="late", IfMatch=etag) == "PreconditionFailed"


def test_an_object_written_is_told_of_by_a_queue(aws: Aws, bucket: str) -> None:
    sqs = aws.client("sqs")
    queue = sqs.create_queue(QueueName=bucket)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    told = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    aws.client("s3").put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=told)
    aws.client("s3").put_object(Bucket=bucket, Key="landing/orders 1.csv", Body=b"x")
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    records = [record for message in messages for record in json.loads(message["Body"]).get("Records", [])]
    assert [unquote_plus(record["s3"]["object"]["key"]) for record in records] == ["landing/orders 1.csv"]


def fault_of(service: str, action: str, status: int, code: str, **more: Any) -> dict[str, Any]:
    """A fault that outlives botocore's own retries of one call."""
    return {"service": service, "action": action, "status": status, "code": code, "times": 10} | more


@pytest.mark.parametrize(
    ("service", "action", "status", "code", "call", "arguments"),
    [
        ("s3", "PutObject", 503, "SlowDown", "put_object", {"Bucket": "cdap-lake", "Key": "k", "Body": b"x" * 100_000}),
        ("s3", "^PUT /cdap-lake/a/", 503, "SlowDown", "put_object", {"Bucket": "cdap-lake", "Key": "a/k"}),
        ("s3", "HeadObject", 503, "503", "head_object", {"Bucket": "cdap-lake", "Key": "k"}),
        ("s3", "ListObjectsV2", 400, "ExpiredToken", "list_objects_v2", {"Bucket": "cdap-lake"}),
        ("glue", "GetDatabases", 400, "ThrottlingException", "get_databases", {}),
        ("glue", "GetDatabases", 400, "ExpiredTokenException", "get_databases", {}),
        ("athena", "ListWorkGroups", 500, "InternalServerException", "list_work_groups", {}),
        ("sqs", "ListQueues", 400, "ThrottlingException", "list_queues", {}),
    ],
)
def test_a_call_meets_the_fault_that_was_asked_for(
    aws: Aws, service: str, action: str, status: int, code: str, call: str, arguments: dict[str, Any]
) -> None:
    with aws.faults(fault_of(service, action, status, code)) as fired:
        assert error_of(getattr(aws.client(service), call), **arguments) == code
        assert fired()[0] > 0


def test_a_fault_lets_calls_pass_before_it_and_ends(aws: Aws, bucket: str) -> None:
    fault = {"service": "s3", "action": "PutObject", "after": 1, "times": 1, "status": 403, "code": "AccessDenied"}
    put = aws.client("s3").put_object
    with aws.faults(fault) as fired:
        put(Bucket=bucket, Key="1", Body=b"")
        assert error_of(put, Bucket=bucket, Key="2", Body=b"") == "AccessDenied"
        put(Bucket=bucket, Key="3", Body=b"")
        assert fired() == [1]
    listed = aws.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    assert [found["Key"] for found in listed] == ["1", "3"]


def test_a_call_whose_answer_is_lost_was_carried_out(aws: Aws, catalog: GlueCatalog, database: str) -> None:
    glue, table = aws.client("glue"), {"Name": "t", "Parameters": {"step": "1"}}
    with aws.faults(fault_of("glue", "CreateTable", 400, "InternalServiceException", when="after", times=1)):
        code = error_of(glue.create_table, DatabaseName=database, TableInput=table)
    assert code == "InternalServiceException"
    assert glue.get_table(DatabaseName=database, Name="t")["Table"]["Parameters"] == {"step": "1"}


def test_a_fault_of_the_engines_calls_fails_the_query(
    aws: Aws, trino: Server, catalog: GlueCatalog, database: str
) -> None:
    catalog.create_table(f"{database}.kept", pa.schema([("n", pa.int64())]))
    denied = fault_of("s3", f"^PUT /.*/{database}.db/kept/data/", 403, "AccessDenied", caller="engine")
    with aws.faults(denied) as fired:
        status = ended(aws, start(aws, "INSERT INTO kept VALUES 1", database))["Status"]
        assert fired()[0] > 0
    assert (status["State"], status["StateChangeReason"].partition(":")[0]) == ("FAILED", "HIVE_WRITER_CLOSE_ERROR")
    assert rows(aws, "SELECT * FROM kept", database) == [("n",)]


def test_a_race_for_glue_that_the_engine_loses_it_runs_again(
    aws: Aws, trino: Server, catalog: GlueCatalog, database: str
) -> None:
    catalog.create_table(f"{database}.raced", pa.schema([("n", pa.int64())]))
    lost = fault_of("glue", "UpdateTable", 400, "ConcurrentModificationException", times=2, caller="engine")
    with aws.faults(lost) as fired:
        run(aws, "INSERT INTO raced VALUES 1", database)
        assert fired() == [2]
    assert rows(aws, "SELECT * FROM raced", database) == [("n",), ("1",)]


def test_a_catalog_is_added_to_the_running_trino(aws: Aws, trino: Server, database: str) -> None:
    trino.add_catalog("second", glue_catalog(aws.endpoint, aws.region))
    assert trino.query(f"SHOW SCHEMAS LIKE '{database}'", catalog="second").rows == [[database]]


@pytest.mark.parametrize(("when", "kept"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize("outcome", ["FAILED", "CANCELLED"])
def test_a_query_meets_the_end_that_was_asked_for(
    aws: Aws, trino: Server, catalog: GlueCatalog, database: str, outcome: str, when: str, kept: int
) -> None:
    table = catalog.create_table(f"{database}.t", pa.schema([("n", pa.int64())]))
    fault = {
        "service": "athena",
        "action": "Query",
        "match": r"INSERT INTO t\b",
        "outcome": outcome,
        "retryable": True,
        "message": "the node went away",
        "when": when,
    }
    with aws.faults(fault) as fired:
        run(aws, "SELECT 1")
        status = ended(aws, start(aws, "INSERT INTO t VALUES 1", database))["Status"]
        assert fired() == [1]
    assert (status["State"], status["StateChangeReason"]) == (outcome, "the node went away")
    assert status.get("AthenaError", {}).get("Retryable") == (True if outcome == "FAILED" else None)
    assert table.refresh().scan().to_arrow().num_rows == kept


def test_a_fault_with_a_field_that_it_does_not_have_is_refused(aws: Aws) -> None:
    with pytest.raises(ValueError, match="tmies"), aws.faults({"service": "s3", "action": "PutObject", "tmies": 1}):
        pytest.fail("the fault was taken")


def test_the_log_of_calls_tells_the_product_from_the_engine(
    aws: Aws, trino: Server, catalog: GlueCatalog, database: str, bucket: str
) -> None:
    catalog.create_table(f"{database}.t", pa.schema([("n", pa.int64())]))
    aws.forget_requests()
    run(aws, "INSERT INTO t VALUES 1", database)
    aws.client("s3").delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "none"}]})
    of_product = {(call["service"], call["action"]) for call in aws.requests()}
    assert of_product == {
        ("athena", "StartQueryExecution"),
        ("athena", "GetQueryExecution"),
        ("s3", "DeleteObjects"),
    }
    of_engine = {(call["service"], call["action"]) for call in aws.requests("engine")}
    assert {("glue", "GetTable"), ("glue", "UpdateTable"), ("s3", "PutObject")} <= of_engine
