"""Reads of the lake that did not come through us, on AWS: told by Athena's history and by S3's access logs.

Neither is whole. Athena keeps 45 days, and does not say which table a view or a prepared statement stands for; S3
delivers logs hours late, and now and then not at all. What they show was read; what they do not show may have been.
No text of a query and nobody's name is kept, logged or put into a message.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import sqlglot
import sqlglot.expressions as sge
from sqlglot.optimizer.scope import traverse_scope

from resources.stores.aws import OURS
from resources.stores.object_store import ObjectStore, read_bytes

if TYPE_CHECKING:
    from mypy_boto3_athena.client import AthenaClient
    from mypy_boto3_athena.type_defs import QueryExecutionTypeDef

    from resources.settings import Settings

PAGE = 50  # queries, Athena's limit
TRIES = 3  # for single queries that Athena left out of an answer
GLUE = "awsdatacatalog"

_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*(\w+|\(|$)", re.DOTALL)
_ANALYSED = re.compile(r"EXPLAIN\s+ANALYZE\s+(?:VERBOSE\s+)?", re.IGNORECASE)
_UNLOADED = re.compile(r"UNLOAD\s*\((.*)\)\s*TO\b", re.IGNORECASE | re.DOTALL)
_READS = frozenset({"SELECT", "WITH", "(", "TABLE", "VALUES", "INSERT", "CREATE", "MERGE", "UPDATE", "DELETE"})
# what reads no rows, or reads them to keep a table in order
_READS_NOTHING = frozenset(
    {"", "SHOW", "DESCRIBE", "DESC", "DROP", "ALTER", "MSCK", "EXPLAIN", "PREPARE", "DEALLOCATE", "VACUUM", "OPTIMIZE"}
)

# docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html: fields by place; more may come to stand at the end
_RECORD = re.compile(
    r"\S+ (?P<bucket>\S+) \[(?P<at>[^]]+)] \S+ (?P<requester>\S+) \S+ (?P<operation>\S+) (?P<key>\S+) "
    r'(?:".*?"|-) (?P<status>\d{3}|-) \S+ (?P<sent>\d+|-) (?:\d+|-) (?:\d+|-) (?:\d+|-) '
    r'(?:".*?"|-) (?:"(?P<agent>.*?)"|-) \S+(?: |$)'
)
_WHEN = "%d/%b/%Y:%H:%M:%S %z"
_GET = "REST.GET.OBJECT"


@dataclass(frozen=True)
class QueriedTables:
    """How many queries read each table on each day (UTC), and of how many nobody can tell what they read."""

    tables: Mapping[str, Mapping[date, int]]
    unclear: int


@dataclass(frozen=True)
class Fetched:
    """How many requests fetched of an object, and how many bytes they got; a query makes several."""

    requests: int
    bytes: int


@dataclass(frozen=True)
class FetchedObjects:
    """What was fetched of each object by key and day (UTC), and how many records nobody can read."""

    objects: Mapping[tuple[str, date], Fetched]
    unclear: int


def queried_tables(settings: Settings, workgroup: str, since: datetime, until: datetime) -> QueriedTables:
    """The tables of our database that queries of an Athena ``workgroup`` read from ``since`` to before ``until``.

    Counted are queries that ended well, still run, or scanned something before they ended; not those that
    Athena answered from an earlier result. Athena does not tell whose a query is: what names our staging database
    is ours and left out; what else we ask is not known as ours, so ``workgroup`` should be one that we do not use.

    All of the history is asked for, 50 queries a request, for Athena promises no order.
    Raises ``ValueError`` for a naive instant.
    """
    from resources.iceberg.catalog import staging_database
    from resources.stores.aws import client

    _refuse_naive(since, until)
    athena: AthenaClient = client("athena", settings)
    staging, unclear = re.compile(rf"\b{staging_database(settings)}\b", re.IGNORECASE), 0
    found: dict[str, Counter[date]] = defaultdict(Counter)
    pages = athena.get_paginator("list_query_executions").paginate(
        WorkGroup=workgroup, PaginationConfig={"PageSize": PAGE}
    )
    for page in pages:
        executions, missing = _executions(athena, page.get("QueryExecutionIds", []))
        unclear += missing
        for execution in executions:
            at = execution["Status"]["SubmissionDateTime"].astimezone(UTC)
            sql, context = execution.get("Query", ""), execution.get("QueryExecutionContext", {})
            if not since <= at < until or not _has_read(execution) or staging.search(sql):
                continue
            tables = tables_read(sql, context.get("Database", "default"), context.get("Catalog", GLUE))
            if tables is None:
                unclear += 1
                continue
            for name in {name for database, name in tables if database == settings.database}:
                found[name][at.date()] += 1
    return QueriedTables({name: dict(days) for name, days in found.items()}, unclear)


def tables_read(sql: str, database: str, catalog: str = GLUE) -> set[tuple[str, str]] | None:
    """The tables of Glue, as database and name, that a statement of Athena reads rows of; ``None``: cannot be told.

    ``database`` and ``catalog`` are those that it was sent with. Left out are the names of its own ``WITH``, the
    table that it makes or only adds to, and tables of metadata such as ``visits$files``.
    """
    word = _first_word(sql)
    if word == "EXPLAIN" and (analysed := _ANALYSED.search(sql)):
        sql = sql[analysed.end() :]
        word = _first_word(sql)
    elif word == "UNLOAD" and (unloaded := _UNLOADED.search(sql)):
        sql = unloaded[1]
        word = _first_word(sql)
    if word in _READS_NOTHING:
        return set()
    if word not in _READS:
        return None
    try:
        with _silent():
            statements = sqlglot.parse(sql, dialect="athena")
            tables = [table for one in statements if one is not None for table in _tables_of(one)]
    except sqlglot.errors.SqlglotError:
        return None
    if any(isinstance(one, sge.Command) for one in statements):
        return None
    named = {(one.catalog or catalog, one.db or database, one.name) for one in tables if "$" not in one.name}
    return {(place.lower(), name.lower()) for source, place, name in named if name and source.lower() == GLUE}


def _tables_of(statement: sge.Expr) -> Iterator[sge.Table]:
    if isinstance(statement, sge.Create) and (statement.kind == "VIEW" or statement.expression is None):
        return
    if isinstance(statement, sge.Merge | sge.Update | sge.Delete):
        # each reads the table that it changes; its WITH, if any, names no table of the catalog
        own = {one.alias_or_name for one in statement.find_all(sge.CTE)}
        yield from (one for one in statement.find_all(sge.Table) if one.db or one.name not in own)
        return
    for scope in traverse_scope(statement):
        yield from (source for source in scope.sources.values() if isinstance(source, sge.Table))


def _first_word(sql: str) -> str:
    found = _FIRST_WORD.match(sql)
    return found[1].upper() if found else ""


@contextmanager
def _silent() -> Iterator[None]:
    """Keep sqlglot from logging the statements that it does not understand: they hold what people looked for."""

    def nothing(_record: logging.LogRecord) -> bool:
        return False

    logger = logging.getLogger("sqlglot")
    logger.addFilter(nothing)
    try:
        yield
    finally:
        logger.removeFilter(nothing)


def _executions(athena: AthenaClient, ids: Sequence[str]) -> tuple[list[QueryExecutionTypeDef], int]:
    """The queries of a page, and how many Athena did not tell of."""
    told: list[QueryExecutionTypeDef] = []
    asked = list(ids)
    for _try in range(TRIES):
        if not asked:
            break
        answer = athena.batch_get_query_execution(QueryExecutionIds=asked)
        told += answer.get("QueryExecutions", [])
        asked = [one["QueryExecutionId"] for one in answer.get("UnprocessedQueryExecutionIds", [])]
    return told, len(asked)


def _has_read(execution: QueryExecutionTypeDef) -> bool:
    statistics: Mapping[str, Any] = execution.get("Statistics", {})
    if statistics.get("ResultReuseInformation", {}).get("ReusedPreviousResult"):
        return False
    ended_badly = execution["Status"]["State"] in ("FAILED", "CANCELLED")
    return not ended_badly or statistics.get("DataScannedInBytes", 0) > 0


def fetched_objects(
    logs: ObjectStore, prefix: str, lake: str, since: datetime, until: datetime, ours: Iterable[str] = ()
) -> FetchedObjects:
    """What was fetched of the objects below ``lake`` from ``since`` to before ``until``, by S3's server access logs.

    The logs lie in the store ``logs`` under keys that begin with ``prefix``; ``lake`` is an address such as
    ``s3://bucket/shop/lake``, and keys are relative to it. Left out is what our own AWS clients fetched, and what
    requesters did whose names begin with one of ``ours``, such as
    ``arn:aws:sts::123456789012:assumed-role/cdap-runs/``: DuckDB and pyiceberg read through Arrow, whose user agent
    does not say that it is us. Raises ``ValueError`` for a naive instant.
    """
    _refuse_naive(since, until)
    place = urlsplit(lake)
    root, own = f"{place.path.strip('/')}/".lstrip("/"), tuple(ours)
    requests: Counter[tuple[str, date]] = Counter()
    sent: Counter[tuple[str, date]] = Counter()
    unclear = 0
    for record in _records(logs, prefix, since):
        if record is None:
            unclear += 1
            continue
        key = unquote(unquote(record["key"]))  # of what a client asked for, a log has the key encoded twice
        if record["bucket"] != place.netloc or record["operation"] != _GET or not key.startswith(root):
            continue
        if record["status"] not in ("200", "206") or OURS in (record["agent"] or "").split():
            continue
        at = datetime.strptime(record["at"], _WHEN).astimezone(UTC)
        if since <= at < until and not record["requester"].startswith(own):
            what = key.removeprefix(root), at.date()
            requests[what] += 1
            sent[what] += 0 if record["sent"] == "-" else int(record["sent"])
    return FetchedObjects({what: Fetched(count, sent[what]) for what, count in requests.items()}, unclear)


def _records(logs: ObjectStore, prefix: str, since: datetime) -> Iterator[re.Match[str] | None]:
    """The records of logs, ``None`` for one that cannot be read."""
    for found in logs.list(prefix):
        if found.modified < since:
            continue  # a request is in no log that was written before it
        with suppress(FileNotFoundError):  # a log that expired since it was listed
            for line in read_bytes(logs, found.key).decode(errors="replace").splitlines():
                if line.strip():
                    yield _RECORD.match(line)


def _refuse_naive(*instants: datetime) -> None:
    for instant in instants:
        if instant.tzinfo is None:
            raise ValueError(f"{instant} has no time zone; give an aware datetime")
