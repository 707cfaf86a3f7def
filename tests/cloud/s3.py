"""A home whose deliveries, exports, pages and locks are in a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resources.settings import Settings

PREFIX = "cdap"


def on_s3(home: Path, bucket: str, **other: Any) -> Settings:
    """Settings of an installation on S3 that computes in this process."""
    return Settings(
        home=home,
        target="aws",
        engine="duckdb",
        warehouse=f"s3://{bucket}/{PREFIX}",
        region="eu-central-1",
        threads=1,
        memory_limit="1GB",
        **other,
    )
