"""A home whose deliveries, exports, pages and locks are in a bucket, and what S3 tells of an object there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resources.settings import Settings
from resources.stores.object_store import ObjectStore
from resources.stores.s3_store import S3Store

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


def tags(store: ObjectStore, key: str) -> dict[str, str]:
    """The tags of an object."""
    assert isinstance(store, S3Store)
    told = store.client.get_object_tagging(Bucket=store.bucket, Key=store.full(key))["TagSet"]
    return {tag["Key"]: tag["Value"] for tag in told}
