"""A lake of one machine moves to S3 and Glue with its history, and Athena goes on where DuckDB was."""

from __future__ import annotations

from pathlib import Path

import ibis
import pytest

from resources.lake.lakehouse import Lakehouse
from resources.lake.migration import migrate
from resources.settings import Settings
from tests.cloud.account import Aws
from tests.cloud.lake import lake_on, referenced, stored
from tests.cloud.trino import Server
from tests.resources.lake.test_migration import COUNTS, WIDER, fill, history
from tests.resources.visits import SECOND, numbers, put, visits


def test_a_local_lake_goes_on_by_athena_where_it_was(
    aws: Aws, trino: Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Lakehouse(Settings(home=tmp_path / "local", threads=1, memory_limit="1GB"))
    fill(source)
    target = lake_on(aws, bucket, tmp_path / "home", monkeypatch)
    moved = {one.table: one for one in migrate(source, target)}
    assert (moved["visits"].rows, moved["visits"].snapshots, moved["visits"].was_there) == (4, 3, False)
    for name in ("counts", "visits"):
        assert history(target, name) == history(source, name)
    assert stored(target) == referenced(target)
    first = history(source, "visits")[0][0]
    with source.session() as old, target.session("run") as new:
        assert new.last_publish("counts") == old.last_publish("counts")
        assert new.partitions("visits") == old.partitions("visits")
        assert numbers(new, WIDER) == [1, 3, 4, 20]
        assert new.read(COUNTS).n.max().to_pyarrow().as_py() == 4
        then = f"SELECT visit FROM {target.database}.visits FOR VERSION AS OF {first} ORDER BY 1"
        assert [row[0] for row in trino.query(then).rows] == [1, 2, 3]
        new.publish(WIDER, visits((21, SECOND)).mutate(shop=ibis.literal("Ä")), replace={"day": [SECOND]})
        assert numbers(new, WIDER) == [1, 3, 4, 21]
        assert new.changed_since("visits", history(source, "visits")[-1][0]) == {(SECOND,)}
    with target.in_process() as session:
        assert numbers(session, WIDER) == [1, 3, 4, 21]


def test_a_move_that_s3_interrupts_is_finished_by_the_next(
    aws: Aws, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Lakehouse(Settings(home=tmp_path / "local", threads=1, memory_limit="1GB"))
    put(source, [(1, SECOND)])
    target = lake_on(aws, bucket, tmp_path / "home", monkeypatch)
    refused = {"service": "s3", "action": "^PUT /.*json", "code": "AccessDenied", "status": 403, "times": 1}
    with aws.faults(refused), pytest.raises(Exception, match="AccessDenied"):
        list(migrate(source, target))
    assert target.names() == []
    aws.forget_requests()
    assert [one.was_there for one in migrate(source, target)] == [False]
    put_again = [call["path"] for call in aws.requests() if call["action"] == "PutObject"]
    assert not [path for path in put_again if path.endswith(".parquet")]
    assert [one.was_there for one in migrate(source, target)] == [True]
    with target.in_process() as session:
        assert numbers(session) == [1]
