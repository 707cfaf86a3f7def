"""A real AWS account in place of the one on loopback: `make cloud-test`. It makes little, and deletes what it made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NoReturn

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.cloud.account import CUTOFF, Aws, database_of

BUCKET = "CDAP_CLOUD_BUCKET"  # an existing bucket; tests write below cdap-test/ in it and nowhere else
PREFIX = "cdap-test"
WORKGROUP = "cdap-test"


class RealAccount(Aws):
    """The account of the credentials in the environment; what plays faults or reads its log is skipped."""

    def __init__(self) -> None:
        super().__init__("", region=boto3.Session().region_name, bucket=os.environ[BUCKET], workgroup=WORKGROUP)
        self._made: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        return {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = boto3.client(service)
        return self._clients[service]

    def make_bucket(self, name: str) -> str:
        """A prefix of its own in the one bucket."""
        self._made.append(f"{self.bucket}/{PREFIX}/{name}")
        return self._made[-1]

    def make_workgroup(self, name: str, cutoff: int | None = CUTOFF) -> NoReturn:
        pytest.skip(f"workgroup {name} with a limit of {cutoff} is for the account on loopback")

    def faults(self, *faults: dict[str, Any]) -> NoReturn:
        pytest.skip(f"{len(faults)} faults are for the account on loopback")

    def requests(self, caller: str = "product") -> NoReturn:
        pytest.skip(f"a log of the requests of the {caller} is kept by the account on loopback")

    def forget_requests(self) -> None:
        """There is no log."""

    def make_own_workgroup(self) -> None:
        """The workgroup of all tests: 1 GB is the most that a query may scan, half a cent."""
        results = {"OutputLocation": f"s3://{self.bucket}/{PREFIX}/athena/"}
        self.client("athena").create_work_group(
            Name=WORKGROUP, Configuration={"ResultConfiguration": results, "BytesScannedCutoffPerQuery": CUTOFF}
        )

    def clean(self) -> None:
        """Delete the workgroup, the databases and the files of all tests, in that order, however they ended."""
        self.client("athena").delete_work_group(WorkGroup=WORKGROUP, RecursiveDeleteOption=True)
        for made in self._made:
            for database in (database_of(made), f"{database_of(made)}_staging"):
                self._drop(database)
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{PREFIX}/")
        for page in pages:
            if keys := [{"Key": found["Key"]} for found in page.get("Contents", [])]:
                self.client("s3").delete_objects(Bucket=self.bucket, Delete={"Objects": keys})

    def _drop(self, database: str) -> None:
        glue = self.client("glue")
        try:
            glue.delete_database(Name=database)  # with its tables, whose files are deleted after it
        except ClientError as error:
            if error.response["Error"]["Code"] != "EntityNotFoundException":
                raise


@contextlib.contextmanager
def real_account() -> Iterator[RealAccount]:
    """The account until the context ends, and nothing of the tests in it afterwards."""
    account = RealAccount()
    account.make_own_workgroup()
    try:
        yield account
    finally:
        account.clean()
