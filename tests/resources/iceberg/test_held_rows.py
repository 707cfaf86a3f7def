"""Which tables hold rows, where the catalog is shared: one that does not answer is not waited for."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from resources.iceberg.held_rows import tables_with_rows
from resources.settings import Settings

NAMES = ("contacts", "products")


@pytest.fixture
def nobody() -> str:
    """An address of this machine where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("catalog", ["glue", "rest"])
def test_a_shared_catalog_that_does_not_answer_tells_of_no_table_that_it_is_empty(
    tmp_path: Path, nobody: str, catalog: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", nobody)
    places = {"glue": {"region": "eu-central-1"}, "rest": {"catalog_uri": nobody}}
    settings = Settings(
        home=tmp_path, catalog=catalog, engine="duckdb", warehouse="s3://bucket/lake", **places[catalog]
    )
    began = time.monotonic()
    assert tables_with_rows(settings, NAMES) == set(NAMES)
    assert time.monotonic() - began < 10  # boto3's own patience is minutes
    assert "the catalog did not say which tables hold rows" in caplog.text
