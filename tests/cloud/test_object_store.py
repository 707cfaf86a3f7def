"""S3 keeps the contract that a folder keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from resources.stores.object_store import ObjectStore, read_bytes
from resources.stores.s3_store import S3Store
from resources.stores.stores import open_store
from tests.cloud.account import Aws
from tests.cloud.s3 import on_s3
from tests.resources.stores.test_object_store import StoreContract


class TestS3Store(StoreContract):
    """A prefix of a bucket."""

    @pytest.fixture
    def store(self, aws: Aws, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
        for name, value in aws.environment.items():
            monkeypatch.setenv(name, value)
        return open_store(f"s3://{bucket}/some/prefix", on_s3(tmp_path, bucket))

    def test_keys_of_a_neighbour_are_not_seen(self, store: S3Store) -> None:
        store.client.put_object(Bucket=store.bucket, Key="some/prefix-2/k", Body=b"")
        store.client.put_object(Bucket=store.bucket, Key="some/other", Body=b"")
        assert list(store.list()) == []

    def test_a_file_is_replaced_if_it_is_of_the_version_that_was_seen(self, store: S3Store) -> None:
        store.write("k", b"1")
        [first] = store.list("k")
        assert store.replace("k", b"2", first.version) is not None
        assert store.replace("k", b"3", first.version) is None
        assert store.replace("none", b"", first.version) is None
        assert read_bytes(store, "k") == b"2"

    def test_an_address_of_spark_is_the_same_object(self, store: S3Store) -> None:
        assert store.key(store.location("k").replace("s3://", "s3a://")) == "k"
