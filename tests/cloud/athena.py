"""Athena's API over a real Trino: executions, their states, errors, limits and results as Athena tells them."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import trino as client
from moto.athena.responses import AthenaResponse
from moto.core.exceptions import JsonRESTError

from tests.cloud.faults import Faults, QueryFault
from tests.cloud.trino import ATHENA_CATALOG, Server

LONGEST_STATEMENT = 262_144  # bytes
PAGE = 1000  # rows, with the one that names the columns
# Of Trino's kinds of errors: Athena's category (1 system, 2 user), type, and whether another try may pass
ERRORS = {"USER_ERROR": (2, 1000, False), "INSUFFICIENT_RESOURCES": (1, 0, True), "INTERNAL_ERROR": (1, 200, True)}
EXTERNAL = (1, 233, True)
PRECISIONS = {"bigint": 19, "integer": 10, "smallint": 5, "tinyint": 3, "double": 17, "real": 17, "varchar": 2**31 - 1}


@dataclass
class Execution:
    """One query, from its start on."""

    sql: str
    context: dict[str, str]
    workgroup: str
    output: str
    cutoff: int | None  # bytes scanned, at which the workgroup cancels
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    submitted: float = field(default_factory=time.time)
    state: str = "QUEUED"
    reason: str = ""
    error: dict[str, Any] | None = None
    completed: float | None = None
    stats: dict[str, Any] = field(default_factory=dict)
    columns: list[dict[str, Any]] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)
    written: int | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    def end(self, state: str, reason: str = "", error: tuple[int, int, bool] | None = None) -> None:
        """Settle the state; whoever asks after it finds all the rest in place."""
        self.reason, self.completed = reason, time.time()
        if error:
            category, kind, retryable = error
            self.error = {
                "ErrorCategory": category,
                "ErrorType": kind,
                "Retryable": retryable,
                "ErrorMessage": reason,
            }
        self.state = state

    def told(self) -> dict[str, Any]:
        """The execution as GetQueryExecution answers."""
        status = {
            "State": self.state,
            "SubmissionDateTime": self.submitted,
            "CompletionDateTime": self.completed,
            "StateChangeReason": self.reason or None,
            "AthenaError": self.error,
        }
        return {
            "QueryExecutionId": self.id,
            "Query": self.sql,
            "StatementType": "UTILITY" if self.sql.lstrip().upper().startswith("EXPLAIN") else "DML",
            "ResultConfiguration": {"OutputLocation": f"{self.output.rstrip('/')}/{self.id}.csv"},
            "QueryExecutionContext": self.context,
            "Status": {name: value for name, value in status.items() if value is not None},
            "Statistics": {
                "EngineExecutionTimeInMillis": self.stats.get("elapsedTimeMillis", 0),
                "TotalExecutionTimeInMillis": int(((self.completed or time.time()) - self.submitted) * 1000),
                "QueryQueueTimeInMillis": self.stats.get("queuedTimeMillis", 0),
                "DataScannedInBytes": self.stats.get("physicalInputBytes", 0),
            },
            "WorkGroup": self.workgroup,
            "EngineVersion": {
                "SelectedEngineVersion": "AUTO",
                "EffectiveEngineVersion": "Athena engine version 3",
            },
        }


class Athena:
    """The operations on queries, of one account in one region."""

    def __init__(self, server: Server, faults: Faults) -> None:
        self._server = server
        self._faults = faults
        self._executions: dict[str, Execution] = {}
        self._by_token: dict[str, Execution] = {}
        self._lock = threading.Lock()

    def start_query_execution(self, response: AthenaResponse) -> dict[str, Any]:
        sql, token = response._get_param("QueryString"), response._get_param("ClientRequestToken")
        name = response._get_param("WorkGroup") or "primary"
        if len(sql.encode()) > LONGEST_STATEMENT:
            raise _invalid(f"QueryString must have a length of at most {LONGEST_STATEMENT} bytes")
        configured = self.get_work_group(response, name)["WorkGroup"]["Configuration"]
        asked = (response._get_param("ResultConfiguration") or {}).get("OutputLocation")
        output = configured.get("ResultConfiguration", {}).get("OutputLocation")
        if not configured["EnforceWorkGroupConfiguration"]:
            output = asked or output
        if not output:
            raise _invalid(
                "No output location provided. An output location is required either through the Workgroup result "
                "configuration setting or as an API input."
            )
        context = response._get_param("QueryExecutionContext") or {}
        new = Execution(sql, context, name, output, configured.get("BytesScannedCutoffPerQuery"))
        with self._lock:
            known = self._by_token.setdefault(token, new) if token else new
            if known is not new:
                if (known.sql, known.context, known.workgroup) != (sql, context, name):
                    raise _invalid("Idempotent parameters do not match")
                return {"QueryExecutionId": known.id}
            self._executions[new.id] = new
        threading.Thread(target=self._run, args=[new], daemon=True).start()
        return {"QueryExecutionId": new.id}

    def get_query_execution(self, response: AthenaResponse) -> dict[str, Any]:
        return {"QueryExecution": self._execution(response).told()}

    def stop_query_execution(self, response: AthenaResponse) -> dict[str, Any]:
        execution = self._execution(response)
        execution.stopped.set()
        if query_id := execution.stats.get("queryId"):
            self._server.cancel(query_id)
        return {}

    def get_query_results(self, response: AthenaResponse) -> dict[str, Any]:
        execution = self._execution(response)
        if execution.state != "SUCCEEDED":
            raise _invalid(f"Query has not yet finished. Current state: {execution.state}")
        size = response._get_param("MaxResults") or PAGE
        if size > PAGE:
            raise _invalid(f"MaxResults is more than maximum allowed length {PAGE}.")
        start = int(response._get_param("NextToken") or 0)
        end = start + size
        page = [
            {"Data": [{} if value is None else {"VarCharValue": value} for value in row]}
            for row in execution.rows[start:end]
        ]
        answer: dict[str, Any] = {
            "ResultSet": {"Rows": page, "ResultSetMetadata": {"ColumnInfo": execution.columns}},
            "UpdateCount": execution.written or 0,
        }
        return answer | ({"NextToken": str(end)} if end < len(execution.rows) else {})

    def get_work_group(self, response: AthenaResponse, name: str | None = None) -> dict[str, Any]:
        name = name or response._get_param("WorkGroup")
        found = response.athena_backend.get_work_group(name)
        if found is None:
            raise _invalid(f"WorkGroup {name} is not found.")
        return {"WorkGroup": found}

    def _execution(self, response: AthenaResponse) -> Execution:
        query_id = response._get_param("QueryExecutionId")
        if query_id not in self._executions:
            raise _invalid(f"QueryExecution {query_id} was not found")
        return self._executions[query_id]

    def _run(self, execution: Execution) -> None:
        fault = self._faults.of_query(execution.sql)
        if fault and fault.when == "before":
            _fail(execution, fault)
            return
        try:
            self._server.await_ready()
            self._execute(execution)
        except client.exceptions.TrinoQueryError as error:
            _end_failed(execution, error)
        except (client.exceptions.Error, OSError, RuntimeError) as error:
            execution.end("FAILED", f"GENERIC_INTERNAL_ERROR: {error}", ERRORS["INTERNAL_ERROR"])
        else:
            if fault:
                _fail(execution, fault)
            elif execution.cutoff is not None and execution.stats["physicalInputBytes"] > execution.cutoff:
                # Trino looks once a second: a short query ends before it is stopped
                execution.end("CANCELLED", "Bytes scanned limit was exceeded")
            else:
                execution.end("SUCCEEDED")

    def _execute(self, execution: Execution) -> None:
        limits = {"query_max_scan_physical_bytes": f"{execution.cutoff}B"} if execution.cutoff is not None else {}
        # accounts of several test processes share a Trino: the Glue of this one has a name of its own there
        named = execution.context.get("Catalog", ATHENA_CATALOG).lower()
        catalog = self._server.catalog if named == ATHENA_CATALOG else named
        sql = execution.sql.replace(f'"{ATHENA_CATALOG}".', f'"{self._server.catalog}".')
        connection = self._server.connect(catalog, execution.context.get("Database"), session_properties=limits)

        def progress(stats: dict[str, Any]) -> None:
            execution.stats = stats
            execution.state = "RUNNING"
            if execution.stopped.is_set():
                # Trino knows a query only after its first answer: one that was stopped before is cancelled here
                self._server.cancel(stats["queryId"])

        with (
            contextlib.closing(connection),
            contextlib.closing(connection.cursor(legacy_primitive_types=True, stats_callback=progress)) as cursor,
        ):
            cursor.execute(sql)
            rows = cursor.fetchall()
            execution.stats = dict(cursor.stats)
            if cursor.update_type is not None:
                execution.written = max(cursor.rowcount, 0)
                execution.columns = [_column("rows", "bigint")]
                return
            types = [column.type_code for column in cursor.description]
            names = [column.name for column in cursor.description]
            execution.columns = [_column(name, type_) for name, type_ in zip(names, types, strict=True)]
            header = [] if execution.sql.lstrip().upper().startswith("EXPLAIN") else [list(names)]
            execution.rows = header + [[_text(*cell) for cell in zip(row, types, strict=True)] for row in rows]


def _fail(execution: Execution, fault: QueryFault) -> None:
    error = (fault.error_category, fault.error_type, fault.retryable) if fault.outcome == "FAILED" else None
    execution.end(fault.outcome, fault.message, error)


def _end_failed(execution: Execution, error: client.exceptions.TrinoQueryError) -> None:
    if execution.stopped.is_set() and error.error_name == "USER_CANCELED":
        execution.end("CANCELLED", "Query cancelled by user")
    elif error.error_name == "EXCEEDED_SCAN_LIMIT":
        execution.end("CANCELLED", "Bytes scanned limit was exceeded")
    else:
        execution.end("FAILED", f"{error.error_name}: {error.message}", ERRORS.get(error.error_type, EXTERNAL))


def _column(name: str, type_: str) -> dict[str, Any]:
    base = re.sub(r"\([^)]*\)", "", type_.partition("(")[0] if type_.startswith(("row", "array", "map")) else type_)
    precision, scale = PRECISIONS.get(base, 3 if base.startswith("timestamp") else 0), 0
    if decimal := re.fullmatch(r"decimal\((\d+), ?(\d+)\)", type_):
        precision, scale = int(decimal[1]), int(decimal[2])
    return {
        "CatalogName": "hive",
        "SchemaName": "",
        "TableName": "",
        "Name": name,
        "Label": name,
        "Type": base,
        "Precision": precision,
        "Scale": scale,
        "Nullable": "UNKNOWN",
        "CaseSensitive": base == "varchar",
    }


def _text(value: Any, type_: str) -> str | None:
    """A value of Trino's client protocol as Athena writes it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if type_ in ("double", "real"):
        return _double(float(value))
    if type_ == "varbinary":
        return base64.b64decode(value).hex(" ")
    if isinstance(value, list) and (element := re.fullmatch(r"array\((.*)\)", type_)):
        return f"[{', '.join(_text(each, element[1]) or 'null' for each in value)}]"
    return str(value)


def _double(value: float) -> str:
    """A float as Java writes it: shortest digits, an exponent below a thousandth and from ten million on."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    figures = "".join(map(str, digits))
    power = len(figures) - 1 + int(exponent)
    if value == 0 or -3 <= power < 7:
        plain = f"{Decimal(repr(value)):f}"
        return plain if "." in plain else f"{plain}.0"
    return f"{'-' * sign}{figures[0]}.{figures[1:] or '0'}E{power}"


def _invalid(message: str) -> JsonRESTError:
    return JsonRESTError("InvalidRequestException", message)


def serve(athena: Athena) -> None:
    """Put ``athena``'s operations in the place of moto's."""

    def operation(answer: Callable[[AthenaResponse], dict[str, Any]]) -> Callable[[AthenaResponse], str]:
        return lambda response: json.dumps(answer(response))

    for name in (
        "start_query_execution",
        "get_query_execution",
        "stop_query_execution",
        "get_query_results",
        "get_work_group",
    ):
        setattr(AthenaResponse, name, operation(getattr(athena, name)))
