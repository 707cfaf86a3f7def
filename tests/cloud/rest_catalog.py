"""The reference REST catalog of Apache Iceberg: a catalog that is nobody's cloud, over the S3 of tests."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import requests
from filelock import FileLock

from tests.cloud.account import Aws
from tests.cloud.processes import died, free_port, running
from tests.cloud.trino_files import FETCHING, TrinoMissing, cache, java

POM = Path(__file__).with_suffix(".pom.xml")
READY = 60  # seconds


@contextlib.contextmanager
def rest_catalog(aws: Aws, bucket: str, folder: Path) -> Iterator[str]:
    """Run one until the context ends; the value is its address."""
    port = free_port()
    settings = {
        "CATALOG_REST_PORT": str(port),
        "CATALOG_WAREHOUSE": f"s3://{bucket}/warehouse",
        "CATALOG_IO__IMPL": "org.apache.iceberg.aws.s3.S3FileIO",
        "CATALOG_S3_ENDPOINT": aws.endpoint,
        "CATALOG_S3_PATH__STYLE__ACCESS": "true",
        **aws.environment,
    }
    told = ["env", *(f"{name}={value}" for name, value in settings.items())]
    command = [*told, java(), "-Xmx256M", "-cp", f"{libraries()}/*", "org.apache.iceberg.rest.RESTCatalogServer"]
    log, address = folder / "log", f"http://127.0.0.1:{port}"
    with running(command, log, folder) as process:
        until = time.monotonic() + READY
        while True:
            if ended := died(process, log):
                raise RuntimeError(f"the REST catalog {ended}")
            try:
                requests.get(f"{address}/v1/config", timeout=5)
            except requests.ConnectionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
            else:
                break
        yield address


def libraries() -> Path:
    """The folder of its libraries, fetched if it is absent. Raises ``TrinoMissing`` without Maven."""
    lib = cache() / f"rest-catalog-{POM.stat().st_size}"
    with FileLock(f"{lib}.lock"):
        if not lib.exists():
            if not shutil.which("mvn"):
                raise TrinoMissing("the REST catalog is fetched by Maven, and there is no mvn")
            with tempfile.TemporaryDirectory(dir=cache(), prefix="fetching-") as folder:
                fetched = Path(folder) / "lib"
                fetch = [
                    "mvn",
                    "-q",
                    "-B",
                    "-f",
                    str(POM),
                    "dependency:copy-dependencies",
                    f"-DoutputDirectory={fetched}",
                ]
                done = subprocess.run(fetch, capture_output=True, text=True, timeout=FETCHING, check=False, cwd=folder)
                if done.returncode:
                    raise TrinoMissing(f"Maven did not fetch the REST catalog:\n{(done.stdout + done.stderr)[-2000:]}")
                fetched.rename(lib)
    return lib
