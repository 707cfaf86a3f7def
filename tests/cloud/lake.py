"""A lake on S3 and Glue whose sessions compute by Athena, and what tests ask of the places it leaves files in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from resources.iceberg.catalog import references, staging_database
from resources.iceberg.table import TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.cloud.account import CUTOFF, Aws, database_of
from tests.resources.visits import VISITS, numbers

GB = 10**9


def lake_on(aws: Aws, bucket: str, home: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Lakehouse:
    """The lake of a bucket, in a database that is named after it; this process is led to the account."""
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    told = {"athena_workgroup": aws.workgroup, "query_budget_gb": CUTOFF / GB} | more
    return Lakehouse(
        Settings(
            home=home,
            target="aws",
            warehouse=f"s3://{bucket}/shop",
            database=database_of(bucket),
            region=aws.region,
            s3_endpoint=aws.endpoint,
            threads=1,
            memory_limit="1GB",
            **told,
        )
    )


def staged(lake: Lakehouse) -> list[str]:
    """What stands in the staging database."""
    return sorted(name for _, name in lake.catalog.list_tables(staging_database(lake.settings)))


def stored(lake: Lakehouse, prefix: str = "visits/") -> set[str]:
    """The keys of all files below a prefix of the lake, referenced or not."""
    return {found.key for found in lake.stores.lake.list(prefix)}


def referenced(lake: Lakehouse, name: str = "visits") -> set[str]:
    """The keys of the files that a table's metadata names."""
    table = lake.load(name)
    assert table is not None
    return {lake.stores.lake.key(location) for location in references(table)}


def in_process_reads(lake: Lakehouse, spec: TableSpec = VISITS) -> list[int]:
    """The visits that a reader in this process reads who comes now."""
    with lake.in_process() as session:
        return numbers(session, spec)
