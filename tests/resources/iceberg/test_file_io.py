"""Tables of one bucket share a client of S3; what is reached in another way has one of its own."""

from __future__ import annotations

from pyiceberg.io import load_file_io

from resources.iceberg.catalog import FILE_IO
from resources.iceberg.file_io import SharedFileIO

HERE = {"s3.region": "eu-central-1", "s3.endpoint": "http://127.0.0.1:9", "py-io-impl": FILE_IO}


def client(**properties: str) -> object:
    """What a load of a table with these properties would read by."""
    io = load_file_io({**HERE, **properties})
    assert isinstance(io, SharedFileIO)
    return io.fs_by_scheme("s3", "bucket")


def test_two_tables_with_properties_of_their_own_are_read_by_one_client() -> None:
    assert client(**{"write.metadata.previous-versions-max": "50"}) is client(**{"commit.retry.num-retries": "20"})


def test_another_endpoint_or_key_is_another_client() -> None:
    key = {"s3.access-key-id": "ann", "s3.secret-access-key": "x"}
    assert len({id(client()), id(client(**{"s3.endpoint": "http://127.0.0.1:8"})), id(client(**key))}) == 3


def test_a_table_on_disk_is_read_from_disk() -> None:
    assert load_file_io(HERE).new_input("file:///nowhere/at/all").exists() is False
