"""A real Trino on loopback with Iceberg catalogs, as the engine behind Athena's API and as a self-hosted one."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import requests
import trino as client

from tests.cloud.processes import died, free_port, running
from tests.cloud.trino_files import java, trino_home

ATHENA_CATALOG = "awsdatacatalog"  # as Athena calls Glue
ENGINE_KEY = "engine"  # the access key that tells Trino's calls from the product's
READY = 120  # seconds
PROBE_BUCKET = "cdap-trino-probe"
JVM = (
    "-Xmx1536M", "-Xmn384M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Dfile.encoding=UTF-8",
    "-XX:MetaspaceSize=512M", "-XX:ReservedCodeCacheSize=256M",  # else classes and code call for whole collections
    "-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote",  # Trino writes classes anew for each query
    "-Djdk.attach.allowAttachSelf=true", "-Djdk.nio.maxCachedBufferSize=2000000",
    "--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)  # fmt: skip


class Answer(NamedTuple):
    """What a statement gave: column names, rows of Python values, and Trino's own statistics of it."""

    columns: list[str]
    rows: list[list[Any]]
    stats: dict[str, Any]

    @property
    def scanned_bytes(self) -> int:
        """Bytes read from storage, exactly."""
        return int(self.stats["physicalInputBytes"])


def iceberg_catalog(endpoint: str, region: str, **more: str) -> dict[str, str]:
    """Properties of an Iceberg catalog whose files are on the S3 of ``endpoint``."""
    return {
        "connector.name": "iceberg",
        "fs.hadoop.enabled": "false",
        "fs.native-s3.enabled": "true",
        "s3.endpoint": endpoint,
        "s3.region": region,
        "s3.path-style-access": "true",
        "s3.aws-access-key": ENGINE_KEY,
        "s3.aws-secret-key": ENGINE_KEY,
        "iceberg.table-statistics-enabled": "false",
        "iceberg.dynamic-filtering.wait-timeout": "0s",
        "iceberg.max-partitions-per-writer": "100",  # Athena's limit
        "parquet.small-file-threshold": "0B",  # else a small file is read whole, and scanned bytes say nothing
        "iceberg.expire-snapshots.min-retention": "0s",
        "iceberg.remove-orphan-files.min-retention": "0s",
        "iceberg.allowed-extra-properties": "*",
        **more,
    }


def glue_catalog(endpoint: str, region: str) -> dict[str, str]:
    """Properties of a catalog that is the Glue of ``endpoint``."""
    glue = {
        "endpoint-url": endpoint,
        "region": region,
        "aws-access-key": ENGINE_KEY,
        "aws-secret-key": ENGINE_KEY,
        "default-warehouse-dir": f"s3://{PROBE_BUCKET}/",
    }
    return iceberg_catalog(
        endpoint,
        region,
        **{"iceberg.catalog.type": "glue"},
        **{"iceberg.extended-statistics.enabled": "false"},  # Athena writes none beside a table's files
        **{f"hive.metastore.glue.{key}": value for key, value in glue.items()},
    )


class Server:
    """A Trino that somebody runs at ``uri``: statements in a catalog of it, and the end of them."""

    def __init__(
        self, uri: str, catalog: str = ATHENA_CATALOG, properties: Mapping[str, str] | None = None, word: str = ""
    ) -> None:
        """A ``catalog`` with ``properties`` is added when the server is ready; ``word`` is what it calls itself."""
        self.uri, self.catalog = uri, catalog
        self._properties, self._word = properties, word
        self._ready = threading.Event()
        self._probing = threading.Lock()

    def connect(self, catalog: str | None = None, schema: str | None = None, **options: Any) -> Any:
        """A DBAPI connection of Trino's client."""
        host, port = self.uri.removeprefix("http://").split(":")
        named = {"catalog": catalog or self.catalog, "schema": schema}
        return client.dbapi.connect(host=host, port=int(port), user="cdap", max_attempts=1, **named, **options)

    def query(self, sql: str, catalog: str | None = None) -> Answer:
        """Run a statement to its end. Raises the client's ``TrinoQueryError``."""
        self.await_ready()
        return self._query(sql, catalog)

    def _query(self, sql: str, catalog: str | None = None) -> Answer:
        with contextlib.closing(self.connect(catalog)) as connection, contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(sql)
            rows = cursor.fetchall()
            return Answer([column.name for column in cursor.description or ()], rows, dict(cursor.stats))

    def add_catalog(self, name: str, properties: Mapping[str, str]) -> None:
        """Add a catalog to the running server, such as one of a REST catalog (see :func:`iceberg_catalog`)."""
        self.await_ready()
        self._add(name, properties)

    def _add(self, name: str, properties: Mapping[str, str]) -> None:
        told = dict(properties)
        connector = told.pop("connector.name")
        listed = ", ".join(f"\"{key}\" = '{value}'" for key, value in told.items())
        self._query(f'CREATE CATALOG IF NOT EXISTS "{name}" USING {connector} WITH ({listed})', "system")

    def cancel(self, query_id: str) -> None:
        """End a query as its user would."""
        requests.delete(f"{self.uri}/v1/query/{query_id}", headers={"X-Trino-User": "cdap"}, timeout=10)

    def kill(self, query_id: str, reason: str = "killed") -> None:
        """End a query as an administrator would: it fails with ``reason``."""
        self.query(f"CALL system.runtime.kill_query(query_id => '{query_id}', message => '{reason}')")

    def await_ready(self) -> None:
        """Wait until a table can be written. Raises ``RuntimeError`` after two minutes."""
        with self._probing:
            until = time.monotonic() + READY
            while not self._ready.is_set():
                try:
                    self._probe()
                except (client.exceptions.Error, requests.RequestException) as error:
                    self._refuse_dead()
                    if time.monotonic() > until:
                        raise RuntimeError(f"Trino at {self.uri} is not ready after {READY} s: {error}") from error
                    time.sleep(0.3)
                else:
                    self._ready.set()

    def _refuse_dead(self) -> None:
        """Raise if the process is known to have ended; of somebody else's server nothing is known."""

    def _probe(self) -> None:
        # a server that somebody left on this port must not pass for ours
        found = requests.get(f"{self.uri}/v1/info", timeout=10).json()["environment"]
        if self._word and found != self._word:
            raise RuntimeError(f"another Trino ({found}) answers at {self.uri}")
        if self._properties:
            self._add(self.catalog, self._properties)
        # a SELECT passes seconds before a write that is partitioned by a transform does
        schema = f"probe_{uuid.uuid4().hex}"
        self._query(f"CREATE SCHEMA {schema} WITH (location = 's3://{PROBE_BUCKET}/{schema}')")
        try:
            self._query(f"CREATE TABLE {schema}.written WITH (partitioning = ARRAY['bucket(n, 2)']) AS SELECT 1 AS n")
            self._query(f"DROP TABLE {schema}.written")
        finally:
            self._query(f"DROP SCHEMA {schema}")


class Trino(Server):
    """A Trino of our own, from the start of the context to its end; the first query waits until it is ready."""

    def __init__(self, catalogs: Mapping[str, Mapping[str, str]]) -> None:
        """Raises :class:`~tests.cloud.trino_files.TrinoMissing` if this machine cannot run one."""
        self._java, self._home = java(), trino_home()
        self._catalogs = catalogs
        self._port = free_port()
        self._ends = contextlib.ExitStack()
        super().__init__(f"http://127.0.0.1:{self._port}", word=f"test_{secrets.token_hex(8)}")

    @property
    def word(self) -> str:
        """What this server, and no other, calls itself."""
        return self._word

    def __enter__(self) -> Trino:
        folder = Path(tempfile.mkdtemp(prefix="cdap-trino-"))
        self._ends.callback(shutil.rmtree, folder, ignore_errors=True)
        self._configure(folder)
        self._log = folder / "log"
        settings = {
            "node.environment": self._word,
            "node.id": self._word,
            "node.data-dir": folder / "data",
            "java.io.tmpdir": folder,  # native libraries are unpacked there, and stay
            "node.bind-ip": "127.0.0.1",
            "node.internal-address": "127.0.0.1",
            "plugin.dir": self._home / "plugin",
            "config": folder / "config.properties",
            "log.levels-file": folder / "log.properties",
        }
        options = [f"-D{key}={value}" for key, value in settings.items()]
        command = [str(self._java), *JVM, *options, "-cp", f"{self._home}/lib/*", "io.trino.server.TrinoServer"]
        self._process = self._ends.enter_context(running(command, self._log, folder))
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it has nothing to save, and takes seconds to end by itself
        self._ends.close()

    def _configure(self, folder: Path) -> None:
        config = {
            "coordinator": "true",
            "node-scheduler.include-coordinator": "true",
            "http-server.http.port": self._port,
            "discovery.uri": self.uri,
            "query.max-memory": "600MB",
            "query.max-memory-per-node": "600MB",
            "memory.heap-headroom-per-node": "300MB",
            "task.concurrency": "1",
            # tables of tests are small: what a plan costs is more than what a better one saves,
            # and filters that a join would send to a scan are sent by requests of their own
            "join-distribution-type": "BROADCAST",
            "optimizer.join-reordering-strategy": "NONE",
            "enable-dynamic-filtering": "false",
            "enable-stats-calculator": "false",
            "redistribute-writes": "false",
            # on one node a further stage is only a further round of messages
            "use-preferred-write-partitioning": "false",
            "distributed-sort": "false",
            "task.max-worker-threads": "4",
            "task.max-writer-count": "1",  # so that a writer's limit of partitions is a statement's, as on Athena
            "catalog.management": "dynamic",
            "web-ui.enabled": "false",
        }
        _write(folder / "config.properties", config)
        _write(folder / "log.properties", {"io.trino": "WARN", "io.airlift": "WARN"})
        catalogs = folder / "etc" / "catalog"  # below the working folder, where Trino looks
        catalogs.mkdir(parents=True)
        for name, properties in self._catalogs.items():
            _write(catalogs / f"{name}.properties", properties)

    def _refuse_dead(self) -> None:
        if told := died(self._process, self._log):
            raise RuntimeError(f"Trino {told}")


def _write(path: Path, properties: Mapping[str, object]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
