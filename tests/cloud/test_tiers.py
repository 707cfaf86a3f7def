"""Partitions on their way between the storage classes of S3: what S3 is told, and what readers see meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pytest
import requests
from botocore.exceptions import ClientError

from resources.iceberg.errors import NotMoved, PartitionsArchived
from resources.iceberg.placement import placed_now
from resources.lake.lakehouse import Lakehouse
from resources.lake.sweep import sweep
from resources.stores.object_store import ObjectStore
from resources.stores.s3_store import S3Store
from resources.tiers.checking import harmful_rules
from resources.tiers.classes import SMALLEST_IN_IA, ask_back, class_of, is_readable
from resources.tiers.journal import Journal, Kind, Move
from resources.tiers.keys import partitions_with
from resources.tiers.lifecycle import lifecycle
from resources.tiers.moving import Moved, begun, carry_out, finish_pending
from tests.cloud import real_account
from tests.cloud.account import Aws, aws_account
from tests.cloud.lake import lake_on
from tests.cloud.processes import ended_by_sigterm, free_port
from tests.cloud.s3 import tags
from tests.resources.visits import FIRST, SECOND, THIRD, VISITS, put

AT = datetime(2024, 6, 1, 5)
LATER = date(2024, 6, 8)
LONG_AFTER = datetime.fromisoformat("2200-01-01T00:00:00+00:00")
NO_TRINO = "http://127.0.0.1:9"  # no test here asks Athena
MANY = 60_000  # visits whose file is larger than 128 KB
SLOW_DOWN = {"service": "s3", "status": 503, "code": "SlowDown"}
DENIED = {"service": "s3", "status": 403, "code": "AccessDenied", "message": "Access Denied"}
# the commit happens, and its answer does not come
LOST_COMMIT = {"service": "glue", "action": "UpdateTable", "status": 503, "code": "InternalFailure", "when": "after"}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """An account whose Athena has no Trino, which takes long to start."""
    if real_account.BUCKET in os.environ:
        pytest.skip("a real account bills a cold object for months, and gives it back after hours")
    with ended_by_sigterm(), aws_account(free_port(), NO_TRINO, tmp_path_factory.mktemp("aws")) as account:
        yield account


@pytest.fixture
def empty(aws: Aws, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lakehouse:
    """A lake without tables in a bucket that keeps versions, under our lifecycle rules."""
    s3 = aws.client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=lifecycle("shop", 7, 3))
    return lake_on(aws, bucket, tmp_path, monkeypatch, engine="duckdb")


@pytest.fixture
def visited(empty: Lakehouse) -> Lakehouse:
    """Three days: the first in two files, one of which is larger than 128 KB."""
    put(empty, [(1, FIRST), (2, SECOND), (3, THIRD)], append=True)
    numbers = ibis.range(1000, 1000 + MANY).unnest().name("visit").as_table()
    many = numbers.mutate(
        person=numbers.visit.hash().cast("string"),
        day=ibis.literal(FIRST),
        spent=ibis.literal("1.50").cast(VISITS.schema()["spent"]),
    )
    with empty.session() as session:
        session.publish(VISITS, many, append=True)
    return empty


class Thaw:
    """How far S3 is with what it was asked for: an object is on its way from the first look after it was asked."""

    def __init__(self, aws: Aws) -> None:
        self._address = f"{aws.endpoint}/moto-api/state-manager"

    def begins(self) -> None:
        self._set({"progression": "manual", "times": 1})

    def goes_on(self) -> None:
        self._set({"progression": "manual", "times": 10**6})

    def is_done(self) -> None:
        self._set({"progression": "immediate"})

    def _set(self, transition: dict[str, Any]) -> None:
        told = {"model_name": "s3::keyrestore", "transition": transition}
        assert requests.post(f"{self._address}/set-transition", json=told, timeout=10).ok


@pytest.fixture
def thaw(aws: Aws) -> Iterator[Thaw]:
    """Restores that take their time."""
    thaw = Thaw(aws)
    thaw.begins()
    yield thaw
    thaw.is_done()


def move(lake: Lakehouse, kind: Kind, *days: date, **how: Any) -> Moved:
    return carry_out(lake, begun(kind, "visits", [(day,) for day in days], AT, **how))


def count(lake: Lakehouse, *days: date) -> int:
    """The visits that a reader who comes now reads of some days, or of all; each visit is there once."""
    with lake.in_process() as session:
        read = session.read(VISITS, {"day": list(days)} if days else None)
        [figures] = read.aggregate(rows=read.count(), visits=read.visit.nunique()).to_pyarrow().to_pylist()
    assert figures["rows"] == figures["visits"]
    return int(figures["rows"])


def of_class(store: ObjectStore, prefix: str = "") -> dict[str, set[str]]:
    """The keys below a prefix by their storage class."""
    found: dict[str, set[str]] = {}
    for one in store.list(prefix):
        found.setdefault(one.storage_class, set()).add(one.key)
    return found


def data_keys(lake: Lakehouse, day: date = FIRST) -> set[str]:
    """The keys of the files that the table has of a day."""
    table = lake.load("visits")
    assert table is not None
    rows = table.inspect.files().to_pylist()
    return {lake.stores.lake.key(row["file_path"]) for row in rows if row["partition"]["day"] == day}


def pending(lake: Lakehouse) -> list[Move]:
    return list(Journal(lake.stores.archive).pending())


def asked_of(store: ObjectStore) -> list[dict[str, Any]]:
    """What S3 is asked to restore from now on."""
    assert isinstance(store, S3Store)
    asked: list[dict[str, Any]] = []
    store.client.meta.events.register(
        "provide-client-params.s3.RestoreObject", lambda params, **_: asked.append(params)
    )
    return asked


@pytest.mark.parametrize("storage_class", ["STANDARD_IA", "GLACIER_IR"])
def test_a_cool_partition_has_its_larger_objects_in_another_class_where_they_are(
    visited: Lakehouse, storage_class: str
) -> None:
    before = {found.key: found for found in visited.stores.lake.list()}
    moved = move(visited, "cool", FIRST, storage_class=storage_class)
    assert (moved.files, moved.rows, moved.waiting) == (2, MANY + 1, False)
    after = {found.key: found for found in visited.stores.lake.list()}
    cooled = {key for key, found in after.items() if found.storage_class != "STANDARD"}
    large = {key for key in data_keys(visited) if before[key].size >= SMALLEST_IN_IA}
    assert cooled == large
    assert len(cooled) == 1
    assert {after[key].storage_class for key in cooled} == {storage_class}
    # metadata was added and no data
    assert set(before) <= set(after)
    assert not any(key.endswith(".parquet") for key in set(after) - set(before))
    assert [tags(visited.stores.lake, key) for key in cooled] == [{"cdap-tier": "cool"}]
    assert count(visited) == MANY + 3
    assert count(visited, FIRST) == MANY + 1
    table = visited.load("visits")
    assert table is not None
    assert [(one.tier, one.storage_class) for one in placed_now(table).values()] == [("cool", storage_class)]


def test_the_class_that_an_object_left_is_billed_until_its_version_expires(visited: Lakehouse, aws: Aws) -> None:
    assert isinstance(visited.stores.lake, S3Store)
    move(visited, "cool", FIRST, storage_class="STANDARD_IA")
    [cooled] = of_class(visited.stores.lake)["STANDARD_IA"]
    told = aws.client("s3").list_object_versions(
        Bucket=visited.stores.lake.bucket, Prefix=visited.stores.lake.full(cooled)
    )
    assert [(one["IsLatest"], one["StorageClass"]) for one in told["Versions"]] == [
        (True, "STANDARD_IA"),
        (False, "STANDARD"),
    ]
    rules = aws.client("s3").get_bucket_lifecycle_configuration(Bucket=visited.stores.lake.bucket)["Rules"]
    assert rules == lifecycle("shop", 7, 3)["Rules"]


def test_a_warm_partition_is_standard_again(visited: Lakehouse) -> None:
    move(visited, "cool", FIRST, storage_class="GLACIER_IR")
    [cooled] = of_class(visited.stores.lake)["GLACIER_IR"]
    move(visited, "warm", FIRST)
    assert set(of_class(visited.stores.lake)) == {"STANDARD"}
    assert tags(visited.stores.lake, cooled) == {"cdap-tier": "hot"}
    assert count(visited) == MANY + 3
    table = visited.load("visits")
    assert table is not None
    assert placed_now(table) == {}


def test_compacted_objects_are_one_and_standard(visited: Lakehouse) -> None:
    move(visited, "cool", FIRST, storage_class="STANDARD_IA")
    moved = move(visited, "compact", FIRST)
    assert moved.files == 2
    [key] = data_keys(visited)
    assert class_of(visited.stores.lake, key) == "STANDARD"
    assert count(visited) == MANY + 3


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_partition_lies_cold_in_the_archive_and_is_refused(visited: Lakehouse, storage_class: str) -> None:
    moved = move(visited, "archive", FIRST, storage_class=storage_class, sought_by="visit", offer="12 hours")
    assert (moved.files, moved.rows) == (2, MANY + 1)
    files = of_class(visited.stores.archive, "data/")
    assert set(files) == {storage_class}
    assert len(files[storage_class]) == 2
    for key in files[storage_class]:
        ask_back(visited.stores.archive, key, 1, "Bulk")  # moto tells no tags of an object that cannot be read; S3 does
        assert tags(visited.stores.archive, key) == {"cdap-tier": "archived"}
    # what says what is archived is always readable
    others = of_class(visited.stores.archive)["STANDARD"]
    assert {key.split("/")[0] for key in others} == {"manifests", "keys"}
    assert set(of_class(visited.stores.lake)) == {"STANDARD"}
    with pytest.raises(PartitionsArchived, match=r"day=2024-03-01 is archived .*12 hours"):
        count(visited)
    assert count(visited, SECOND, THIRD) == 2
    table = visited.load("visits")
    assert table is not None
    placed = placed_now(table)
    sought = partitions_with(visited, replace(VISITS, sought_by="visit"), placed, pa.array([1, 2]))
    assert sought == {(FIRST,)}


@pytest.mark.parametrize(
    ("storage_class", "speed"), [("GLACIER", "Expedited"), ("GLACIER", "Standard"), ("DEEP_ARCHIVE", "Bulk")]
)
def test_a_restore_waits_in_the_journal_until_s3_has_fetched_what_it_was_asked_for(
    visited: Lakehouse, thaw: Thaw, storage_class: str, speed: str
) -> None:
    move(visited, "archive", FIRST, storage_class=storage_class)
    archived = of_class(visited.stores.archive, "data/")[storage_class]
    asked = asked_of(visited.stores.archive)
    moved = move(visited, "restore", FIRST, speed=speed, due=LATER)
    assert moved.waiting
    thaw.goes_on()
    for _look in range(2):
        assert [one.waiting for one in finish_pending(visited)] == [True]
    # each object was asked for once, however often was looked
    assert {params["Key"].removeprefix("shop/archive/") for params in asked} == archived
    assert [params["RestoreRequest"] for params in asked] == [
        {"Days": 7, "GlacierJobParameters": {"Tier": speed}} for _ in archived
    ]
    assert [one.kind for one in pending(visited)] == ["restore"]
    assert not all(is_readable(visited.stores.archive, key) for key in archived)
    with pytest.raises(PartitionsArchived):
        count(visited)

    thaw.is_done()
    [done] = finish_pending(visited)
    assert (done.waiting, done.files, done.rows) == (False, 2, MANY + 1)
    assert pending(visited) == []
    assert count(visited) == MANY + 3
    # the copies in the table are like any other file; the archived ones stay where they are
    assert set(of_class(visited.stores.lake)) == {"STANDARD"}
    assert [tags(visited.stores.lake, key) for key in data_keys(visited)] == [{}, {}]
    assert of_class(visited.stores.archive, "data/")[storage_class] == archived
    assert len(asked) == len(archived)


def test_s3_chooses_the_speed_of_a_restore_that_names_none(visited: Lakehouse) -> None:
    move(visited, "archive", FIRST, storage_class="GLACIER")
    asked = asked_of(visited.stores.archive)
    assert not move(visited, "restore", FIRST).waiting
    assert [params["RestoreRequest"] for params in asked] == [{"Days": 7}] * 2
    assert count(visited) == MANY + 3


def test_a_restored_partition_is_returned_without_a_copy_and_expires_with_its_archive(visited: Lakehouse) -> None:
    move(visited, "archive", FIRST, storage_class="GLACIER")
    archived = {found.key: found.modified for found in visited.stores.archive.list("data/")}
    move(visited, "restore", FIRST, speed="Standard", due=LATER)
    move(visited, "return", FIRST)
    with pytest.raises(PartitionsArchived):
        count(visited, FIRST)
    assert {found.key: found.modified for found in visited.stores.archive.list("data/")} == archived
    assert move(visited, "expire", FIRST).rows == MANY + 1
    assert count(visited) == 2
    sweep(visited, older_than=LONG_AFTER)
    assert list(visited.stores.archive.list()) == []


def test_an_expedited_restore_of_deep_archive_is_refused_before_anything_is_asked(visited: Lakehouse) -> None:
    move(visited, "archive", FIRST, storage_class="DEEP_ARCHIVE")
    asked = asked_of(visited.stores.archive)
    with pytest.raises(NotMoved, match=r"Deep Archive, which has no Expedited \(ask for Standard or Bulk\)"):
        move(visited, "restore", FIRST, speed="Expedited")
    assert asked == []
    assert pending(visited) == []


def test_a_restore_for_which_s3_has_no_room_now_is_asked_again_later(visited: Lakehouse, aws: Aws, thaw: Thaw) -> None:
    move(visited, "archive", FIRST, storage_class="GLACIER")
    # S3 says it by a 503, which boto3 tries again for half a minute first
    busy = {"service": "s3", "action": "^POST /", "status": 409, "code": "GlacierExpeditedRetrievalNotAvailable"}
    with aws.faults(busy | {"times": 2}) as fired:
        assert move(visited, "restore", FIRST, speed="Expedited").waiting
        assert fired() == [2]
    asked = asked_of(visited.stores.archive)
    thaw.is_done()
    assert [one.waiting for one in finish_pending(visited)] == [False]
    assert len(asked) == 2
    assert count(visited) == MANY + 3


def test_a_lost_object_is_named_and_keeps_no_other_move_from_being_finished(visited: Lakehouse, thaw: Thaw) -> None:
    move(visited, "archive", FIRST, storage_class="GLACIER")
    move(visited, "archive", SECOND, storage_class="GLACIER")
    first, second = (data for data in _data_by_move(visited))
    for day in (FIRST, SECOND):
        assert move(visited, "restore", day, speed="Standard").waiting
    visited.stores.archive.delete(sorted(first)[:1])
    thaw.is_done()
    finished = []
    with pytest.raises(FileNotFoundError, match=f"{sorted(first)[0]} is not there: put it back"):
        finished.extend(finish_pending(visited))
    assert [done.rows for done in finished] == [1]
    assert count(visited, SECOND) == 1
    assert [one.partitions for one in pending(visited)] == [((FIRST,),)]
    assert second <= {found.key for found in visited.stores.archive.list()}


def _data_by_move(lake: Lakehouse) -> list[set[str]]:
    """The archived files of each move, the larger move first."""
    found: dict[str, set[str]] = {}
    for one in lake.stores.archive.list("data/"):
        found.setdefault(one.key.split("/")[2], set()).add(one.key)
    return sorted(found.values(), key=len, reverse=True)


@pytest.mark.parametrize("kind", ["cool", "archive"])
def test_a_move_takes_its_time_while_s3_asks_to_slow_down(visited: Lakehouse, aws: Aws, kind: Kind) -> None:
    actions = ["CopyObject", "HeadObject", "PutObject"]
    with aws.faults(*(SLOW_DOWN | {"action": action, "times": 2} for action in actions)) as fired:
        storage_class = "STANDARD_IA" if kind == "cool" else "GLACIER"
        assert move(visited, kind, FIRST, storage_class=storage_class).rows == MANY + 1
        assert fired() == [2, 2, 2]
    assert pending(visited) == []
    assert count(visited, SECOND, THIRD) == 2


@pytest.mark.parametrize("after", [0, 1])
def test_an_archive_that_fails_before_its_commit_leaves_the_table_as_it_was(
    visited: Lakehouse, aws: Aws, after: int
) -> None:
    with (
        aws.faults(DENIED | {"action": "CopyObject", "after": after}),
        pytest.raises(ClientError, match="AccessDenied"),
    ):
        move(visited, "archive", FIRST, storage_class="GLACIER")
    assert count(visited) == MANY + 3
    assert set(of_class(visited.stores.archive)) == {"STANDARD"}
    assert [done.rows for done in finish_pending(visited)] == [MANY + 1]
    assert set(of_class(visited.stores.archive, "data/")) == {"GLACIER"}
    assert pending(visited) == []
    with pytest.raises(PartitionsArchived):
        count(visited)


@pytest.mark.parametrize("after", [2, 3])
def test_an_archive_that_fails_after_its_commit_becomes_cold_later(visited: Lakehouse, aws: Aws, after: int) -> None:
    with (
        aws.faults(DENIED | {"action": "CopyObject", "after": after}),
        pytest.raises(ClientError, match="AccessDenied"),
    ):
        move(visited, "archive", FIRST, storage_class="GLACIER")
    with pytest.raises(PartitionsArchived):
        count(visited)
    assert "STANDARD" in of_class(visited.stores.archive, "data/")
    assert [done.rows for done in finish_pending(visited)] == [MANY + 1]
    assert set(of_class(visited.stores.archive, "data/")) == {"GLACIER"}
    assert pending(visited) == []


def test_a_restore_that_fails_in_its_second_copy_is_finished_by_the_next_run(visited: Lakehouse, aws: Aws) -> None:
    move(visited, "archive", FIRST, storage_class="GLACIER")
    with aws.faults(DENIED | {"action": "CopyObject", "after": 1}), pytest.raises(ClientError, match="AccessDenied"):
        move(visited, "restore", FIRST, speed="Standard")
    with pytest.raises(PartitionsArchived):
        count(visited)
    assert [done.rows for done in finish_pending(visited)] == [MANY + 1]
    assert count(visited) == MANY + 3


def test_a_commit_whose_answer_was_lost_is_not_made_twice(visited: Lakehouse, aws: Aws) -> None:
    table = visited.load("visits")
    assert table is not None
    before = len(table.metadata.snapshots)
    steps: list[tuple[Kind, dict[str, str]]] = [
        ("cool", {"storage_class": "STANDARD_IA"}),
        ("archive", {"storage_class": "GLACIER"}),
        ("restore", {"speed": "Standard"}),
        ("compact", {}),
    ]
    for number, (kind, how) in enumerate(steps, start=1):
        with aws.faults(LOST_COMMIT) as fired:
            move(visited, kind, FIRST, **how)
            assert fired() == [1]
        table = visited.load("visits")
        assert table is not None
        assert len(table.metadata.snapshots) == before + number
        assert pending(visited) == []
    assert count(visited) == MANY + 3


def test_a_publish_in_place_of_an_archived_partition_whose_answer_was_lost_leaves_a_whole_table(
    visited: Lakehouse, aws: Aws
) -> None:
    move(visited, "archive", FIRST, storage_class="GLACIER")
    with aws.faults(LOST_COMMIT) as fired:
        put(visited, [(100, FIRST)], replace={"day": [FIRST]})
        assert fired() == [1]
    assert count(visited) == 3


def test_a_rule_of_the_bucket_that_would_archive_live_tables_is_named(visited: Lakehouse, aws: Aws) -> None:
    assert harmful_rules(visited) == []
    bucket = visited.stores.lake.bucket  # type: ignore[attr-defined]
    by_age = {
        "ID": "by age",
        "Status": "Enabled",
        "Filter": {"Prefix": "shop/"},
        "Transitions": [{"Days": 90, "StorageClass": "GLACIER"}],
    }
    rules = [*lifecycle("shop", 7, 3)["Rules"], by_age]
    aws.client("s3").put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    [told] = harmful_rules(visited)
    assert told.startswith("lifecycle rule by age moves objects below shop/lake/, shop/archive/, ")
    aws.client("s3").delete_bucket_lifecycle(Bucket=bucket)
    assert harmful_rules(visited) == []
