"""DuckDB reads S3 objects right however many of its threads read one file at once."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from resources.engines.object_files import object_files
from resources.settings import Settings
from tests.cloud.account import Aws

ROWS, GROUP, READS = 400_000, 5_000, 40


def test_threads_that_read_one_object_at_once_each_read_their_own_place(
    tmp_path: Path, aws: Aws, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings(
        home=tmp_path,
        target="aws",
        engine="duckdb",
        warehouse=f"s3://{bucket}/x",
        region=aws.region,
        s3_endpoint=aws.endpoint,
    )
    drawn = np.random.default_rng(1)
    rows = pa.table({"a": drawn.integers(0, 10**12, ROWS), "b": drawn.normal(size=ROWS)})
    files = object_files(settings)
    pq.write_table(rows, f"{bucket}/x/one.parquet", row_group_size=GROUP, filesystem=files.fs)
    expected = (ROWS, int(pa.compute.sum(rows["a"]).as_py()))
    with duckdb.connect(config={"threads": 4}) as con:
        con.register_filesystem(files)
        query = f"SELECT count(b), sum(a)::BIGINT FROM 's3://{bucket}/x/one.parquet'"
        found = {con.execute(query).fetchall()[0] for _ in range(READS)}
    assert found == {expected}
