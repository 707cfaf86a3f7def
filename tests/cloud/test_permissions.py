"""What the lake asks of AWS is what docs/aws.md allows the role of runs."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resources.lake.lakehouse import Lakehouse
from resources.lake.sweep import sweep
from resources.settings import Settings
from resources.stores.landing_queue import LandingQueue
from tests.cloud.account import CUTOFF, Aws
from tests.cloud.permissions import calls, refused
from tests.cloud.s3 import on_s3
from tests.resources.visits import FIRST, SECOND, VISITS, now_reads, visits


@pytest.fixture(params=["duckdb", "athena"])
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, aws: Aws, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings of an account where everything of docs/aws.md was created, and nothing has been asked yet."""
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    database = f"cdap_{uuid.uuid4().hex[:8]}"
    for name in (database, f"{database}_staging"):
        aws.client("glue").create_database(DatabaseInput={"Name": name})
    sqs = aws.client("sqs")
    queue = sqs.create_queue(QueueName=database)["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps({"Event": "s3:TestEvent"}))
    aws.forget_requests()
    return on_s3(
        tmp_path,
        bucket,
        database=database,
        landing_queue=queue,
        athena_workgroup=aws.workgroup,
        query_budget_gb=CUTOFF / 10**9,
    ).model_copy(update={"engine": request.param})


def test_the_lake_asks_for_nothing_that_runs_are_not_allowed(settings: Settings, aws: Aws) -> None:
    lake = Lakehouse(settings)
    with lake.session() as session:
        session.publish(VISITS, visits((1, FIRST), (2, SECOND)))
        session.publish(VISITS, visits((3, SECOND)), replace={"day": [SECOND]})
    assert now_reads(lake) == [1, 3]
    lake.stores.lake.write("visits/data/left-behind.parquet", b"")
    assert sweep(lake, older_than=datetime.now(UTC) + timedelta(hours=1)).files
    queue = LandingQueue(settings)
    queue.delete([notice.handle for notice in queue.receive(10)])

    asked = calls(aws)
    assert {("glue", "UpdateTable"), ("s3", "PutObject"), ("s3", "DeleteObjects"), ("sqs", "ReceiveMessage")} <= asked
    assert (("athena", "StartQueryExecution") in asked) == (settings.engine == "athena")
    assert refused(["cdap-runs"], asked) == set()
