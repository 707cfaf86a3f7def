"""The class, the tags and the copies of single objects on S3, and how many requests they take."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resources.stores.object_store import read_bytes
from resources.stores.s3_store import S3Store
from resources.stores.stores import open_store
from resources.tiers import classes
from resources.tiers.classes import ask_back, class_of, copy, is_readable, set_class
from tests.cloud import real_account
from tests.cloud.account import Aws
from tests.cloud.s3 import on_s3, tags

pytestmark = pytest.mark.skipif(
    real_account.BUCKET in os.environ, reason="a real account bills a cold object for months"
)
PAGE = 1000  # objects that S3 tells or deletes by one request
SMALLEST_PART = 5 << 20  # bytes


@pytest.fixture
def store(aws: Aws, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """A prefix of a bucket that keeps versions."""
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    aws.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    found = open_store(f"s3://{bucket}/some", on_s3(tmp_path, bucket))
    assert isinstance(found, S3Store)
    return found


def test_an_object_larger_than_one_request_copies_is_copied_in_parts(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classes, "COPIED_AT_ONCE", SMALLEST_PART)
    monkeypatch.setattr(classes, "PART", SMALLEST_PART)
    content = os.urandom(SMALLEST_PART + 1)
    store.write("k", content)
    set_class(store, "k", "STANDARD_IA", "cool")
    copy(store, "k", store, "copy")
    assert [class_of(store, key) for key in ("k", "copy")] == ["STANDARD_IA", "STANDARD"]
    assert [tags(store, key) for key in ("k", "copy")] == [{"cdap-tier": "cool"}, {}]
    assert [read_bytes(store, key) == content for key in ("k", "copy")] == [True, True]
    told = store.client.head_object(Bucket=store.bucket, Key=store.full("copy"))
    assert told["ETag"].strip('"').endswith("-2")
    assert "Uploads" not in store.client.list_multipart_uploads(Bucket=store.bucket)


def test_an_object_that_fits_one_request_costs_one(store: S3Store, aws: Aws) -> None:
    store.write("k", os.urandom(9 << 20))  # boto3's own copy would take three
    aws.forget_requests()
    set_class(store, "k", "GLACIER_IR", "cool")
    calls = Counter({call["action"]: call["count"] for call in aws.requests()})
    assert calls.total() - calls["HeadObject"] == calls["CopyObject"] == 1


def test_a_class_that_an_object_has_is_not_set_again(store: S3Store, aws: Aws) -> None:
    store.write("k", b"x")
    set_class(store, "k", "GLACIER", "archived")
    aws.forget_requests()
    set_class(store, "k", "GLACIER", "archived")
    assert {call["action"] for call in aws.requests()} == {"HeadObject"}


def test_an_object_that_is_not_there_is_not_readable_and_cannot_be_asked_back(store: S3Store) -> None:
    assert not is_readable(store, "none")
    with pytest.raises(FileNotFoundError, match="some/none is not there"):
        ask_back(store, "none", 3, "Bulk")
    with pytest.raises(FileNotFoundError, match="some/none is not there"):
        class_of(store, "none")


def test_more_objects_than_a_page_are_listed_and_deleted_whole(store: S3Store, aws: Aws) -> None:
    keys = [f"data/{number:04d}" for number in range(PAGE + 1)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: store.write(key, b""), keys))
    aws.forget_requests()
    assert [found.key for found in store.list("data/")] == keys
    assert store.delete(keys) == len(keys)
    assert list(store.list()) == []
    calls = Counter({call["action"]: call["count"] for call in aws.requests()})
    assert (calls["ListObjectsV2"], calls["DeleteObjects"]) == (3, 2)
