"""Where the connections of an installation come from, where they are not this process's plain ones.

In Dagster's runs they come from the resources that its UI shows (:mod:`resources.dagster`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    from mypy_boto3_s3.client import S3Client


@dataclass(frozen=True)
class Connections:
    """What opens a DuckDB in memory, and what gives the client of S3; ``None``: the plain one of this process."""

    duckdb: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]] | None = None
    s3: Callable[[], S3Client] | None = None
