"""Objects below a prefix of an S3 bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from resources.stores.object_store import StoredObject, key_below

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from resources.settings import Settings

DELETE_AT_ONCE = 1000  # S3's limit
CONDITION_FAILED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}


class S3Store:
    """A prefix of an S3 bucket. ``s3`` gives its client; by default it has a plain one."""

    def __init__(self, root: str, settings: Settings, s3: Callable[[], S3Client] | None = None) -> None:
        parts = urlsplit(root)
        self.bucket, self.prefix = parts.netloc, parts.path.strip("/")
        self.root = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        self._settings = settings
        self._s3 = s3

    @cached_property
    def client(self) -> S3Client:
        """boto3's client, which repeats what S3 throttled."""
        from resources.stores.aws import client

        return self._s3() if self._s3 else client("s3", self._settings)

    def full(self, key: str) -> str:
        """The key in the bucket."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def location(self, key: str) -> str:
        return f"{self.root}/{key}" if key else self.root

    def key(self, location: str) -> str:
        return key_below(self.root, location)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.full(prefix))
        for page in pages:
            for found in page.get("Contents", []):
                key = found["Key"][len(self.prefix) :].lstrip("/")
                written, version = found["LastModified"].astimezone(UTC), found["ETag"].strip('"')
                yield StoredObject(key, found["Size"], written, version, found.get("StorageClass", "STANDARD"))

    def exists(self, key: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            self.client.head_object(Bucket=self.bucket, Key=self.full(key))
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
                return False
            raise
        return True

    def open(self, key: str) -> BinaryIO:
        try:
            body: Any = self.client.get_object(Bucket=self.bucket, Key=self.full(key))["Body"]
        except self.client.exceptions.NoSuchKey as error:
            raise FileNotFoundError(self.location(key)) from error
        return body

    def write(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self.full(key), Body=content)

    def create(self, key: str, content: bytes) -> bool:
        from botocore.exceptions import ClientError

        try:
            self.client.put_object(Bucket=self.bucket, Key=self.full(key), Body=content, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] in CONDITION_FAILED:
                return False
            raise
        return True

    def write_together(self, folder: str, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            self.write(f"{folder}/{name}", content)

    def replace(self, key: str, content: bytes, version: str) -> str | None:
        """Write a file if it is of ``version`` still, decided by S3: its new version, or ``None`` if it is not."""
        from botocore.exceptions import ClientError

        try:
            answer = self.client.put_object(Bucket=self.bucket, Key=self.full(key), Body=content, IfMatch=version)
        except ClientError as error:
            if error.response["Error"]["Code"] in {*CONDITION_FAILED, "NoSuchKey", "404"}:
                return None
            raise
        return answer["ETag"].strip('"')

    def delete(self, keys: Iterable[str]) -> int:
        deleted = 0
        chosen = list(keys)
        for start in range(0, len(chosen), DELETE_AT_ONCE):
            batch = chosen[start : start + DELETE_AT_ONCE]
            answer = self.client.delete_objects(
                Bucket=self.bucket, Delete={"Objects": [{"Key": self.full(key)} for key in batch], "Quiet": True}
            )
            if failed := answer.get("Errors"):
                raise PermissionError(
                    f"{len(failed)} of {len(batch)} objects of {self.root} were not deleted; the first: "
                    f"{failed[0].get('Key')}: {failed[0].get('Message')}. Check s3:DeleteObject and delete again."
                )
            deleted += len(batch)
        return deleted
