"""`python -m benchmarks.engines`: the feature build on DuckDB and on Athena over the same lake, and what both read.

It asks the account that ``AWS_ENDPOINT_URL`` and the other ``AWS_`` variables lead to, and plays none itself:
`python -m tests.cloud python -m benchmarks.engines` runs it in the account of the tests, with a Trino as its Athena
(Java 24 or newer and Maven). Then one machine plays everything, S3 included, so the seconds compare shapes and not
clouds; bytes and commits are what an account would see.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3
import ibis
import requests

from benchmarks.process import Failed, attempt, in_own_process
from benchmarks.results import Results, one_line, table
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

RUNS = 3
SNAPSHOTS = (1, 8)
NAME = "cdap-benchmark"  # of the bucket and of the workgroup that are made
CUTOFF = 10**9  # bytes that a query of the workgroup may scan
LEAST = "scanned / least: the least is the compressed column chunks that the question needs, read once."


@dataclass(frozen=True)
class Question:
    """What was asked of Athena: bytes scanned, expected before, and the least that its columns and partitions hold."""

    name: str
    scanned: int
    expected: int
    least: int


def main() -> None:
    """Build a shop here, move it to the account, ask both, keep each row in benchmarks/results, and print markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=main.__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is about 0.6 M order lines and 3.1 M events")
    scale = parser.parse_args().scale
    if "AWS_ENDPOINT_URL" not in os.environ:
        sys.exit("AWS_ENDPOINT_URL is not set. In the account of the tests: python -m tests.cloud " + parser.prog)
    warnings.simplefilter("ignore")
    make_account()
    size = f"{scale:g}x"
    seconds, asked, commits = Results("engines"), Results("engines, scanned"), Results("engines, commit")
    with TemporaryDirectory(prefix="cdap-benchmark-") as folder:
        home = Path(folder) / "home"
        in_own_process(open_shop, home, scale=scale)
        in_own_process(build, home, dates=snapshots(max(SNAPSHOTS)))
        moved = in_own_process(move, home)
        figures = {"MB": moved.result[1]}
        seconds.add("moved with history", size, seconds=moved.result[0], peak_mb=moved.peak_mb, figures=figures)
        compare(seconds, home, size)
        found = attempt(questions, home)
        if isinstance(found, Failed):
            asked.add("questions", size, error=one_line(found.error))
        else:
            for q in found.result:
                mb, expected, least = q.scanned / 10**6, q.expected / q.scanned, q.scanned / q.least
                told = {"scanned MB": mb, "expected / scanned": expected, "scanned / least": least}
                asked.add(q.name, size, figures=told)
        calls = attempt(commit_calls, home)
        if isinstance(calls, Failed):
            commits.add("one publish", size, error=one_line(calls.error))
        else:
            for call, count in calls.result.items():
                commits.add(call, size, figures={"in one publish": count})
    for results in (seconds, asked, commits):
        print(f"{table(results.rows)}\n")
    print(LEAST)


def make_account() -> None:
    """Make the bucket and the workgroup."""
    place = {"LocationConstraint": os.environ["AWS_REGION"]}
    boto3.client("s3").create_bucket(Bucket=NAME, CreateBucketConfiguration=place)
    configuration = {
        "ResultConfiguration": {"OutputLocation": f"s3://{NAME}/athena/"},
        "BytesScannedCutoffPerQuery": CUTOFF,
    }
    boto3.client("athena").create_work_group(Name=NAME, Configuration=configuration)


def move(home: Path) -> tuple[float, float]:
    """Copy the lake of ``home`` to the account: seconds, and MB."""
    started = time.perf_counter()
    moved = sum(table.bytes for table in migrate(Lakehouse(Settings.load(home)), _on_aws(home)))
    return time.perf_counter() - started, moved / 10**6


def _on_aws(home: Path) -> Lakehouse:
    changes = {
        "target": "aws",
        "catalog": "glue",
        "engine": "athena",
        "warehouse": f"s3://{NAME}/lake",
        "region": os.environ["AWS_REGION"],
        "s3_endpoint": os.environ["AWS_ENDPOINT_URL"],
        "athena_workgroup": NAME,
    }
    return Lakehouse(Settings.load(home).model_copy(update=changes))


HERE = "DuckDB, files of this machine"
WAYS: dict[str, Callable[[Path], Session]] = {
    HERE: lambda home: Lakehouse(Settings.load(home)).in_process(),
    "DuckDB, files on S3": lambda home: _on_aws(home).in_process(),
    "Athena, files on S3": lambda home: _on_aws(home).session(),
}


def compare(results: Results, home: Path, size: str) -> None:
    """A row for each way and number of snapshots, with its ratio to the first way."""
    for count in SNAPSHOTS:
        first = 0.0
        for way in WAYS:
            found = attempt(built, way, home, count)
            told = f"{size}, {count} snapshot{'s' * (count > 1)}"
            if isinstance(found, Failed):
                results.add(way, told, error=one_line(found.error), peak_mb=found.peak_mb)
                continue
            if way == HERE:
                first = found.result
            ratio = {"ratio": found.result / first, "against": HERE} if first else {}
            results.add(way, told, seconds=found.result, peak_mb=found.peak_mb, **ratio)


def built(way: str, home: Path, count: int) -> float:
    """Seconds of the features of the latest ``count`` snapshots, the median."""
    return statistics.median(_build(lambda: WAYS[way](home), count) for _ in range(RUNS))


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


def questions(home: Path) -> list[Question]:
    """What Athena scans for four questions and for the features of one snapshot."""
    cloud = _on_aws(home)
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
    return asked


def _asked(session: Session, name: str, spec: TableSpec, only: dict[str, list[object]], columns: list[str]) -> Question:
    rows = session.read(spec, only)
    source = list(session.sources.values())[-1]
    rows.aggregate(**{column: rows[column].max() for column in columns}).to_pyarrow()
    query = session.engine.queries[-1]
    sizes = footprint(source.files, source.columns)
    return Question(name, query.scanned_bytes, query.expected_bytes, sum(sizes.columns[c] for c in columns))


def commit_calls(home: Path) -> dict[str, float]:
    """Iceberg snapshots of one publish, and calls of AWS by us where the account tells them."""
    cloud, log = _on_aws(home), f"{os.environ['AWS_ENDPOINT_URL']}/_requests"
    before = cloud.load(CUSTOMER_FEATURES.name)
    requests.delete(log, timeout=10)
    _build(cloud.session, 1)
    told = requests.get(log, timeout=10)
    after = cloud.load(CUSTOMER_FEATURES.name)
    assert before is not None
    assert after is not None
    ours = [call for call in told.json() if call["caller"] == "product"] if told.ok else []
    calls = {f"{call['service']} {call['action']}": call["count"] for call in ours}
    return {"Iceberg snapshots": len(after.snapshots()) - len(before.snapshots()), **dict(sorted(calls.items()))}


if __name__ == "__main__":
    main()
