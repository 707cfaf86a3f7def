"""Exports and pages in a bucket: whole, in the audit, and served from there."""

from __future__ import annotations

import hashlib
import io
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

from cdap_assets.retention import ledger
from cdap_assets.retention.export import export
from cdap_assets.retention.tables import PLAN_EVENTS
from resources.stores.object_store import read_bytes
from resources.stores.stores import open_store
from tests.cloud.account import Aws
from tests.cloud.processes import free_port
from tests.cloud.s3 import PREFIX, on_s3
from tests.commands.test_serving import served
from tests.retention.lake import NOON, PlanLake, policy


@pytest.fixture(autouse=True)
def _environment(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)


def test_an_export_is_in_the_bucket_and_the_audit_names_its_digest(bucket: str, tmp_path: Path) -> None:
    lake, settings = PlanLake(tmp_path / "home", ["=1+1", "k1", "k2"]), on_s3(tmp_path / "home", bucket)
    plan = lake.draft(rules=policy(holdout_share=0.0, control_share=0.0))
    with lake.session() as session:
        ledger.approve(session, plan, by="Ann", at=NOON)
        files = export(session, settings, plan, by="Ann", at=NOON)
        [noted] = [row for row in session.read(PLAN_EVENTS).to_pyarrow().to_pylist() if row["event"] == "exported"]
    assert files.csv == f"{files.folder}/{plan}.csv"
    assert files.folder.startswith(f"s3://{bucket}/{PREFIX}/exports/{plan}-")
    store = open_store(files.folder, settings)
    csv = read_bytes(store, f"{plan}.csv")
    assert hashlib.sha256(csv).hexdigest() == noted["file_sha256"]
    assert b"'=1+1" in csv
    keys = pd.read_parquet(io.BytesIO(read_bytes(store, f"{plan}.parquet")))["customer_key"]
    assert sorted(keys) == sorted(lake.keys)
    assert not lake.settings.exports.exists()


def test_a_page_is_served_from_the_bucket(bucket: str, tmp_path: Path) -> None:
    settings = on_s3(tmp_path, bucket, pages_port=free_port())
    open_store(settings.root("pages"), settings).write("plan-1.html", "<p>Žofie</p>".encode())
    with served(settings), urllib.request.urlopen(settings.page_url("plan-1.html"), timeout=10) as answer:
        assert answer.read().decode() == "<p>Žofie</p>"
