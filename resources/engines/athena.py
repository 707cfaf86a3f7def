"""Amazon Athena: statements in one workgroup, waited for, cancelled with the run, priced by what they scanned.

Not dagster-aws's ``AthenaClientResource``, though S3's client comes from there: it sends no request token, so that a
start whose answer was lost is billed twice, does not cancel when a run ends, asks every five seconds, and splits
results by lines, which loses a quoted line break (docs/decisions/0007-our-own-athena-client.md).
"""

from __future__ import annotations

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from resources.engines.engine import Query, QueryFailed, shortened
from resources.engines.scan_estimate import cost_of
from resources.settings import SettingsError

if TYPE_CHECKING:
    import ibis
    import ibis.expr.datatypes as dt
    from mypy_boto3_athena.client import AthenaClient
    from mypy_boto3_athena.type_defs import QueryExecutionTypeDef

    from resources.settings import Settings

GB = 10**9
FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0  # seconds between two questions after a query
PAGE = 1000  # rows, Athena's limit


class Athena:
    """One workgroup of one region. Its scan limit must be set, and not above ours: that is what holds in the end."""

    catalog = "awsdatacatalog"

    def __init__(self, settings: Settings) -> None:
        from resources.stores.aws import client

        self._settings = settings
        self._client: AthenaClient = client("athena", settings)
        self._refuse_unlimited()

    def _refuse_unlimited(self) -> None:
        name = self._settings.athena_workgroup
        found = self._client.get_work_group(WorkGroup=name)["WorkGroup"]
        limit = found.get("Configuration", {}).get("BytesScannedCutoffPerQuery")
        wanted = int(self._settings.query_budget_gb * GB)
        if limit is None or limit > wanted:
            told = (
                "no limit of bytes scanned per query" if limit is None else f"a limit of {limit / GB:,.3g} GB per query"
            )
            raise SettingsError(
                f"workgroup {name} has {told}, above the {wanted / GB:,.3g} GB of CDAP_QUERY_BUDGET_GB; set its "
                "BytesScannedCutoffPerQuery, so that AWS ends a query that scans more than was expected"
            )

    def run(self, sql: str, schema: ibis.Schema | None = None) -> tuple[list[tuple[Any, ...]], Query]:
        """The rows of a statement as Python values of ``schema``, and what it took.

        Cancels it when the wait is interrupted. Raises :class:`QueryFailed` with Athena's reason.
        """
        query_id = self._client.start_query_execution(
            QueryString=sql,
            ClientRequestToken=str(uuid.uuid4()),  # a start whose answer was lost is not started twice
            QueryExecutionContext={"Catalog": self.catalog, "Database": self._settings.database},
            WorkGroup=self._settings.athena_workgroup,
        )["QueryExecutionId"]
        ended = self._waited(query_id)
        statistics = ended.get("Statistics", {})
        scanned = int(statistics.get("DataScannedInBytes", 0))
        seconds = statistics.get("TotalExecutionTimeInMillis", statistics.get("EngineExecutionTimeInMillis", 0)) / 1000
        query = Query(query_id, scanned, seconds, cost_of(scanned))
        _refuse_failed(ended, sql, query)
        return self._rows(query_id, schema) if schema is not None else [], query

    def _waited(self, query_id: str) -> QueryExecutionTypeDef:
        from tenacity import retry, retry_if_result, wait_exponential

        @retry(
            retry=retry_if_result(lambda found: found["Status"]["State"] in ("QUEUED", "RUNNING")),
            wait=wait_exponential(multiplier=FIRST_WAIT, exp_base=1.5, max=LONGEST_WAIT),
        )
        def asked() -> QueryExecutionTypeDef:
            return self._client.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]

        try:
            return asked()
        except BaseException:
            # a run that was terminated leaves no query behind that scans on
            self._client.stop_query_execution(QueryExecutionId=query_id)
            raise

    def _rows(self, query_id: str, schema: ibis.Schema) -> list[tuple[Any, ...]]:
        pages = self._client.get_paginator("get_query_results").paginate(
            QueryExecutionId=query_id, PaginationConfig={"PageSize": PAGE}
        )
        rows = [row["Data"] for page in pages for row in page["ResultSet"]["Rows"]][1:]  # the first names the columns
        return [
            tuple(_value(cell.get("VarCharValue"), type_) for cell, type_ in zip(row, schema.types, strict=True))
            for row in rows
        ]


def _refuse_failed(ended: QueryExecutionTypeDef, sql: str, query: Query) -> None:
    status = ended["Status"]
    if status["State"] == "SUCCEEDED":
        return
    error = status.get("AthenaError", {})
    reason = status.get("StateChangeReason") or error.get("ErrorMessage") or "no reason was given"
    raise QueryFailed(
        f"Athena query {ended['QueryExecutionId']} {status['State'].lower()}: {reason}\n"
        f"The statement was: {shortened(sql)}",
        retryable=bool(error.get("Retryable")),
        query=query,
    )


def _value(text: str | None, type_: dt.DataType) -> Any:
    """A result's text as the Python value of its type; Athena tells every value as text."""
    if text is None:
        return None
    if type_.is_string():
        return text
    if type_.is_boolean():
        return text == "true"
    if type_.is_integer():
        return int(text)
    if type_.is_decimal():
        return Decimal(text)
    if type_.is_floating():
        return float(text)
    if type_.is_date():
        return date.fromisoformat(text)
    if type_.is_timestamp():
        return datetime.fromisoformat(text)
    raise TypeError(f"a result of type {type_} is not read; cast it in the expression")
