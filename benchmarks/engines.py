"""`python -m benchmarks.engines`: the feature build on DuckDB and on a Trino behind Athena's API, and what both read.

Needs what the tests of AWS need: Java 24 or newer and Maven. One machine plays everything, S3 included, so the
seconds compare shapes and not clouds; bytes and commits are what an account would see.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import ibis

from benchmarks.shop import build, open_shop, snapshots
from cdap_assets.features.customer_features import CUSTOMER_FEATURES, customer_features
from cdap_assets.lineage import read_lineage
from cdap_assets.table_assets.snapshots import snapshot_rows
from resources.engines.scan_estimate import footprint, scans
from resources.iceberg.table import TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.migration import migrate
from resources.lake.session import Session
from resources.settings import Settings
from tests.cloud.account import Aws, aws_account
from tests.cloud.processes import free_port
from tests.cloud.trino import ATHENA_CATALOG, Trino, glue_catalog

RUNS = 3
SNAPSHOTS = (1, 8)
BUCKET = "cdap-benchmark"


@dataclass(frozen=True)
class Question:
    """What was asked of Athena: bytes scanned, expected before, and the least that its columns and partitions hold."""

    name: str
    scanned: int
    expected: int
    least: int


def main() -> None:
    """Build a shop here, move it to an account on loopback, ask both, and print markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=main.__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is about 0.6 M order lines and 3.1 M events")
    scale = parser.parse_args().scale
    warnings.simplefilter("ignore")
    with TemporaryDirectory(prefix="cdap-benchmark-") as folder, _account(Path(folder)) as account:
        home = Path(folder) / "home"
        delivered = open_shop(home, scale=scale)
        build(home, dates=snapshots(max(SNAPSHOTS)))
        local = Lakehouse(Settings.load(home))
        started = time.perf_counter()
        cloud = _on_aws(home, account)
        moved = sum(table.bytes for table in migrate(local, cloud))
        print(f"{os.cpu_count()} cores; {delivered.order_lines:,} order lines, {delivered.events:,} events\n")
        print(f"moved {moved / 10**6:,.0f} MB with history in {time.perf_counter() - started:.1f} s\n")
        print(f"## Features, seconds (medians of {RUNS})\n\n{_features(local, cloud)}\n")
        print(f"## Bytes that Athena scanned\n\n{_questions(cloud)}\n")
        print(f"## Commits of one publish\n\n{_commits(cloud, account)}")


@contextmanager
def _account(folder: Path) -> Iterator[Aws]:
    port = free_port()
    with (
        Trino({ATHENA_CATALOG: glue_catalog(f"http://127.0.0.1:{port}", Aws.region)}) as trino,
        aws_account(port, trino.uri, folder) as account,
    ):
        os.environ.update(account.environment)
        account.make_bucket(BUCKET)
        trino.await_ready()
        yield account


def _on_aws(home: Path, account: Aws) -> Lakehouse:
    changes = {
        "target": "aws",
        "catalog": "glue",
        "engine": "athena",
        "warehouse": f"s3://{BUCKET}/lake",
        "region": account.region,
        "s3_endpoint": account.endpoint,
        "athena_workgroup": account.workgroup,
    }
    return Lakehouse(Settings.load(home).model_copy(update=changes))


def _features(local: Lakehouse, cloud: Lakehouse) -> str:
    ways: dict[str, Callable[[], Session]] = {
        "DuckDB, files of this machine": local.in_process,
        "DuckDB, files on S3": cloud.in_process,
        "Athena (Trino), files on S3": cloud.session,
    }
    lines = ["| way | snapshots | s | ratio |", "| --- | --- | --- | --- |"]
    for count in SNAPSHOTS:
        first = 0.0
        for name, session in ways.items():
            seconds = statistics.median(_build(session, count) for _ in range(RUNS))
            first = first or seconds
            lines.append(f"| {name} | {count} | {seconds:.2f} | {seconds / first:.2f} |")
    return "\n".join(lines)


def _build(open_session: Callable[[], Session], count: int) -> float:
    with open_session() as session:
        started = time.perf_counter()
        rows = _expression(session, count)
        session.publish(CUSTOMER_FEATURES, rows, replace={"snapshot_date": snapshots(count)})
        return time.perf_counter() - started


def _expression(session: Session, count: int) -> ibis.Table:
    specs = read_lineage(session.tables.settings).specs
    tables = {name: session.read(specs[name]) for name in customer_features.inputs}
    return customer_features(snapshot_rows(snapshots(count), session.tables.settings.zone), **tables)


def _questions(cloud: Lakehouse) -> str:
    specs = read_lineage(cloud.settings).specs
    with cloud.session() as session:
        months = sorted(month for (month,) in session.partitions("order_lines"))
        newest = {"month": months[-1:]}
        asked = [
            _asked(session, "net of one month of order lines", specs["order_lines"], newest, ["net"]),
            _asked(session, "three columns of one month", specs["order_lines"], newest, ["net", "quantity", "line"]),
            _asked(session, "net of all order lines", specs["order_lines"], {}, ["net"]),
            _asked(session, "customer days, whole", specs["customer_days"], {}, ["net", "orders", "lines"]),
        ]
    with cloud.session() as session:
        features = _expression(session, 1)
        read = scans(features)
        session.publish(CUSTOMER_FEATURES, features, replace={"snapshot_date": snapshots(1)})
        insert = session.engine.queries[0]
        sizes = {name: footprint(source.files, source.columns) for name, source in session.sources.items()}
        least = sum(
            max(sum(sizes[name].columns[column] for column in columns) for other, columns in read if other == name)
            for name in {name for name, _columns in read if name in sizes}
        )
        asked.append(Question("features of one snapshot", insert.scanned_bytes, insert.expected_bytes, least))
    lines = ["| question | scanned MB | expected / scanned | scanned / least |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {q.name} | {q.scanned / 10**6:,.3f} | {q.expected / q.scanned:.2f} | {q.scanned / q.least:.2f} |"
        for q in asked
    ]
    return "\n".join([*lines, "", "The least: the compressed column chunks that the question needs, read once."])


def _asked(session: Session, name: str, spec: TableSpec, only: dict[str, list[object]], columns: list[str]) -> Question:
    rows = session.read(spec, only)
    source = list(session.sources.values())[-1]
    rows.aggregate(**{column: rows[column].max() for column in columns}).to_pyarrow()
    query = session.engine.queries[-1]
    sizes = footprint(source.files, source.columns)
    return Question(name, query.scanned_bytes, query.expected_bytes, sum(sizes.columns[c] for c in columns))


def _commits(cloud: Lakehouse, account: Aws) -> str:
    before = cloud.load(CUSTOMER_FEATURES.name)
    account.forget_requests()
    _build(cloud.session, 1)
    calls = {(call["service"], call["action"]): call["count"] for call in account.requests()}
    after = cloud.load(CUSTOMER_FEATURES.name)
    assert before is not None
    assert after is not None
    lines = [f"{len(after.snapshots()) - len(before.snapshots())} Iceberg snapshot; calls of AWS by us:", ""]
    lines += [f"- {service} {action}: {count}" for (service, action), count in sorted(calls.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
