"""Whatever goes wrong between us and AWS: no row is lost or doubled, the message says what it was, a rerun heals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pyiceberg.exceptions import CommitFailedException

from resources.engines.engine import QueryFailed
from resources.iceberg import catalog
from resources.iceberg.errors import CommitUnknown
from resources.lake.lakehouse import Lakehouse
from resources.stores.aws import CredentialsExpired
from tests.cloud.account import Aws
from tests.cloud.lake import in_process_reads, lake_on, referenced, staged, stored
from tests.cloud.trino import Server
from tests.resources.visits import FIRST, SECOND, VISITS, now_reads, operations, put, visits


@pytest.fixture
def lake(aws: Aws, trino: Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lakehouse]:
    """A lake that holds one visit."""
    monkeypatch.setitem(catalog.PROPERTIES, "commit.retry.num-retries", "2")
    lake = lake_on(aws, bucket, tmp_path / "home", monkeypatch)
    append_in_process(lake, 1)
    yield lake
    assert staged(lake) == []


def append_in_process(lake: Lakehouse, *numbers: int) -> None:
    """Add visits by the engine of this process."""
    with lake.in_process() as session:
        session.publish(VISITS, visits(*((number, FIRST) for number in numbers)), append=True)


def heals(lake: Lakehouse, *then: int) -> None:
    """A run of its own appends, all of it is one table, and nothing unreferenced is left in the table's folder."""
    append_in_process(Lakehouse(lake.settings), 9)
    assert in_process_reads(lake) == [*then, 9]


def fault(service: str, action: str, code: str, status: int = 400, **more: Any) -> dict[str, Any]:
    return {"service": service, "action": action, "code": code, "status": status, "times": 1, "message": code} | more


THROTTLED = [
    fault("athena", "StartQueryExecution", "TooManyRequestsException"),
    fault("athena", "StartQueryExecution", "InternalServerException", 500, after=1, when="after"),
    fault("athena", "GetQueryExecution", "ThrottlingException", times=2),
    fault("glue", "GetTable", "ThrottlingException", times=2),
    fault("glue", "CreateTable", "ThrottlingException"),
    fault("s3", "^P.* /.*avro", "SlowDown", 503, times=2),
    fault("s3", "^GET /.*json", "SlowDown", 503, times=2),
    fault("s3", "HeadObject", "SlowDown", 503, times=2),
    fault("s3", "DeleteObjects", "SlowDown", 503),
]


def test_what_aws_throttles_is_asked_again_and_done_once(aws: Aws, lake: Lakehouse) -> None:
    with aws.faults(*THROTTLED) as fired:
        put(lake, [(2, SECOND)], append=True)
        assert fired() == [one["times"] for one in THROTTLED]
    assert now_reads(lake) == [1, 2]
    assert operations(lake) == ["append", "append"]
    assert stored(lake) == referenced(lake)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_insert_that_failed_inside_athena_is_made_anew_and_no_row_is_doubled(
    aws: Aws, lake: Lakehouse, when: str
) -> None:
    killed = {"service": "athena", "action": "Query", "match": "INSERT", "times": 2, "retryable": True, "when": when}
    with aws.faults(killed) as fired:
        put(lake, [(2, SECOND)], append=True)
        assert fired() == [2]
    assert now_reads(lake) == [1, 2]
    assert stored(lake) == referenced(lake)


def test_an_insert_that_always_fails_inside_athena_publishes_nothing_and_says_why(aws: Aws, lake: Lakehouse) -> None:
    killed = {
        "service": "athena",
        "action": "Query",
        "match": "INSERT",
        "times": 99,
        "retryable": True,
        "when": "after",
    }
    with aws.faults(killed) as fired, pytest.raises(QueryFailed, match="failed: GENERIC_INTERNAL_ERROR: a fault of"):
        put(lake, [(2, SECOND)], append=True)
    assert in_process_reads(lake) == [1]
    assert stored(lake) == referenced(lake)
    heals(lake, 1)
    assert fired is not None


def test_a_query_that_somebody_kills_is_not_sent_again(aws: Aws, lake: Lakehouse) -> None:
    killed = {"service": "athena", "action": "Query", "match": "INSERT", "outcome": "CANCELLED", "message": "killed"}
    with aws.faults(killed) as fired:
        with pytest.raises(QueryFailed, match=r"Athena query \S+ cancelled: killed\nThe statement was: INSERT INTO"):
            put(lake, [(2, SECOND)], append=True)
        assert fired() == [1]
    assert in_process_reads(lake) == [1]
    assert stored(lake) == referenced(lake)
    heals(lake, 1)


@pytest.mark.parametrize("append", [True, False])
def test_a_commit_that_meets_another_is_made_anew(aws: Aws, lake: Lakehouse, append: bool) -> None:
    conflict = fault("glue", "UpdateTable", "ConcurrentModificationException")
    with aws.faults(conflict) as fired, lake.in_process() as session:
        session.publish(VISITS, visits((2, SECOND)), append=append)
        assert fired() == [1]
    assert in_process_reads(lake) == ([1, 2] if append else [2])
    assert len(operations(lake)) == 2


@pytest.mark.parametrize("append", [True, False])
def test_a_commit_that_loses_every_race_leaves_the_table_as_it_was(aws: Aws, lake: Lakehouse, append: bool) -> None:
    before = stored(lake)
    conflict = fault("glue", "UpdateTable", "ConcurrentModificationException", times=99)
    with aws.faults(conflict) as fired, lake.in_process() as session:
        with pytest.raises(CommitFailedException, match="Glue detected concurrent update"):
            session.publish(VISITS, visits((2, SECOND)), append=append)
        assert fired() == [3]
    assert in_process_reads(lake) == [1]
    left = {key for key in stored(lake) - before if not key.endswith("/")}
    assert {key for key in left if not key.endswith(".metadata.json")} == set()  # those are the sweep's
    heals(lake, 1)


@pytest.mark.parametrize("append", [True, False])
@pytest.mark.parametrize("times", [1, 3, 99])
def test_a_commit_whose_answer_is_lost_is_found_and_made_once(
    aws: Aws, lake: Lakehouse, times: int, append: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.stores.aws.TRIES", 5)
    lost = fault("glue", "UpdateTable", "InternalServiceException", 500, times=times, when="after")
    with aws.faults(lost) as fired:
        with Lakehouse(lake.settings).in_process() as session:
            published = session.publish(VISITS, visits((2, SECOND)), append=append)
        assert fired() == [min(times, 5)]  # botocore asks again, and Glue then says that the version has passed
    assert published.snapshot_id == lake.state("visits").snapshot_id
    assert in_process_reads(lake) == ([1, 2] if append else [2])
    assert len(operations(lake)) == 2
    heals(lake, *([1, 2] if append else [2]))


def test_a_commit_of_which_glue_says_nothing_more_is_told_as_unknown(
    aws: Aws, lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.stores.aws.TRIES", 2)
    silent = [
        fault("glue", "UpdateTable", "InternalServiceException", 500, times=99, when="after"),
        fault("glue", "GetTable", "InternalServiceException", 500, times=99, after=3),
    ]
    told = "as before or as published, never between; run again"
    fresh = Lakehouse(lake.settings)
    with aws.faults(*silent), fresh.in_process() as session, pytest.raises(CommitUnknown, match=told):
        session.publish(VISITS, visits((2, SECOND)), replace={"day": [SECOND]})
    assert in_process_reads(lake) == [1, 2]
    with lake.in_process() as session:
        session.publish(VISITS, visits((2, SECOND)), replace={"day": [SECOND]})
    assert in_process_reads(lake) == [1, 2]


@pytest.mark.parametrize("append", [True, False])
def test_a_commit_that_another_overtakes_in_glue_keeps_both(lake: Lakehouse, append: bool) -> None:
    load, overtaken = lake.catalog.load_table, []

    def load_then_be_overtaken(name: tuple[str, str]) -> object:
        table = load(name)
        if not overtaken and name == (lake.database, "visits") and table.current_snapshot() is not None:
            overtaken.append(name)
            append_in_process(Lakehouse(lake.settings), 3)
        return table

    with lake.in_process() as slow:
        lake.catalog.load_table = load_then_be_overtaken  # type: ignore[method-assign, assignment]
        slow.publish(VISITS, visits((2, SECOND)), append=append)
    lake.catalog.load_table = load  # type: ignore[method-assign]
    assert overtaken
    assert in_process_reads(lake) == ([1, 2, 3] if append else [2])
    assert stored(lake) - {key for key in stored(lake) if key.endswith(".json")} <= referenced(lake)


EXPIRED = {
    "the start of a query": [fault("athena", "StartQueryExecution", "ExpiredTokenException", times=99)],
    "the wait for a query": [fault("athena", "GetQueryExecution", "ExpiredTokenException", times=99)],
    "the commit": [fault("glue", "UpdateTable", "ExpiredTokenException", times=99)],
}


@pytest.mark.parametrize("at", EXPIRED)
def test_credentials_that_run_out_are_named_with_what_to_do(aws: Aws, lake: Lakehouse, at: str) -> None:
    told = r"no longer accepts the credentials.*Renew them.*run again"
    with aws.faults(*EXPIRED[at]), pytest.raises(CredentialsExpired, match=told):
        put(lake, [(2, SECOND)], append=True)
    assert in_process_reads(lake) == [1]
    heals(lake, 1)


@pytest.mark.parametrize("action", [r"^\w+ /.*/data/", "^"])
def test_credentials_that_run_out_while_files_are_read_are_named(aws: Aws, lake: Lakehouse, action: str) -> None:
    with aws.faults(
        fault("s3", action, "ExpiredToken", times=999), fault("s3", "ListObjectsV2", "ExpiredToken", times=9)
    ):
        for work in (in_process_reads, lambda lake: append_in_process(lake, 2)):
            with pytest.raises(CredentialsExpired, match="ExpiredToken from ListObjectsV2"):
                work(lake)
    assert in_process_reads(lake) == [1]
    heals(lake, 1)


def test_another_error_of_aws_is_not_taken_for_expired_credentials(aws: Aws, lake: Lakehouse) -> None:
    denied = fault("glue", "GetTable", "AccessDeniedException", times=99)
    with aws.faults(denied), pytest.raises(ClientError, match="AccessDeniedException"):
        in_process_reads(lake)
