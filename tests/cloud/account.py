"""The AWS account that tests see: its address, its keys, and a hand on what goes wrong in it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import requests

from tests.cloud.processes import died, running
from tests.cloud.trino import ATHENA_CATALOG, PROBE_BUCKET

READY = 60  # seconds
CUTOFF = 10**9  # bytes that a query of the workgroup may scan, Athena's and the product's setting


def database_of(bucket: str) -> str:
    """The Glue database of a test that has ``bucket``, or a prefix of one, to itself."""
    return bucket.rsplit("/", 1)[-1].replace("-", "_")


@dataclass
class Aws:
    """A running account: S3, Glue, Athena and SQS behind one endpoint."""

    endpoint: str
    region: str = "eu-central-1"
    access_key: str = "testing"
    secret_key: str = "testing"
    bucket: str = "cdap-lake"
    workgroup: str = "cdap"
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead any AWS client here."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str) -> Any:
        """boto3's client of a service, one for all tests."""
        if service not in self._clients:
            self._clients[service] = boto3.Session().client(
                service,
                endpoint_url=self.endpoint,
                region_name=self.region,
                aws_access_key_id=self.access_key,
                aws_secret_access_key=self.secret_key,
            )
        return self._clients[service]

    def make_bucket(self, name: str) -> str:
        """Make a bucket and return its name."""
        self.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": self.region})
        return name

    def make_workgroup(self, name: str, cutoff: int | None = CUTOFF) -> str:
        """Make a workgroup whose queries may scan ``cutoff`` bytes, and return its name."""
        configuration: dict[str, Any] = {"ResultConfiguration": {"OutputLocation": f"s3://{self.bucket}/athena/"}}
        if cutoff is not None:
            configuration["BytesScannedCutoffPerQuery"] = cutoff
        self.client("athena").create_work_group(Name=name, Configuration=configuration)
        return name

    @contextlib.contextmanager
    def faults(self, *faults: dict[str, Any]) -> Iterator[Callable[[], list[int]]]:
        """Put faults in force (fields of :mod:`tests.cloud.faults`); the value tells how often each has fired."""
        told = requests.post(f"{self.endpoint}/_faults", json=list(faults), timeout=10)
        if not told.ok:
            raise ValueError(told.text)
        try:
            yield lambda: [fault["fired"] for fault in requests.get(f"{self.endpoint}/_faults", timeout=10).json()]
        finally:
            requests.delete(f"{self.endpoint}/_faults", timeout=10)

    def requests(self, caller: str = "product") -> list[dict[str, Any]]:
        """The calls since :meth:`forget_requests`: service, action, method, path, caller, and how many of each."""
        found = requests.get(f"{self.endpoint}/_requests", timeout=10).json()
        return [call for call in found if call["caller"] == caller]

    def forget_requests(self) -> None:
        """Begin the log of calls anew."""
        requests.delete(f"{self.endpoint}/_requests", timeout=10)


@contextlib.contextmanager
def aws_account(port: int, trino: str, folder: Path, catalog: str = ATHENA_CATALOG) -> Iterator[Aws]:
    """Run an account on ``port`` until the context ends; its Athena is the Trino at ``trino``, its Glue a catalog."""
    log = folder / "aws.log"
    account = Aws(f"http://127.0.0.1:{port}")
    told = {"port": str(port), "region": account.region, "trino": trino, "catalog": catalog}
    command = [sys.executable, "-m", "tests.cloud.aws", *(f"--{name}={value}" for name, value in told.items())]
    with running(command, log, Path(__file__).parents[2]) as process:
        until = time.monotonic() + READY
        while True:
            if told := died(process, log):
                raise RuntimeError(f"AWS {told}")
            try:
                requests.get(f"{account.endpoint}/_faults", timeout=5)
            except requests.ConnectionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                break
        for bucket in (PROBE_BUCKET, account.bucket):
            account.make_bucket(bucket)
        account.make_workgroup(account.workgroup)
        try:
            yield account
        finally:
            for client in account._clients.values():
                client.close()
