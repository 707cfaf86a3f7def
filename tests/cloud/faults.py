"""What goes wrong between the product and AWS, on request, and a log of what the product called."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from tests.cloud.trino import ENGINE_KEY

Environ = dict[str, Any]
S3_BY_QUERY = [  # what a request is by its first matching query parameter, before its method alone says it
    ("GET", "uploadId", "ListParts"),
    ("GET", "uploads", "ListMultipartUploads"),
    ("GET", "location", "GetBucketLocation"),
    ("GET", "list-type", "ListObjectsV2"),
    ("PUT", "partNumber", "UploadPart"),
    ("PUT", "notification", "PutBucketNotificationConfiguration"),
    ("POST", "uploads", "CreateMultipartUpload"),
    ("POST", "uploadId", "CompleteMultipartUpload"),
    ("POST", "delete", "DeleteObjects"),
    ("DELETE", "uploadId", "AbortMultipartUpload"),
]
S3_OF_BUCKETS = {"GET": "ListObjects", "HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}
S3_OF_OBJECTS = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}


@dataclass
class CallFault:
    """The next ``times`` matching calls, after ``after`` that pass, are answered by an error of AWS.

    ``action`` is the operation's name, or for S3 also a pattern of ``METHOD /bucket/key``. With ``when`` "after" the
    call is carried out and its answer lost. ``caller`` "engine" means the calls of the Trino behind Athena.
    """

    service: str
    action: str
    times: int = 1
    after: int = 0
    status: int = 503
    code: str = "SlowDown"
    message: str = "Please reduce your request rate."
    when: Literal["before", "after"] = "before"
    caller: Literal["product", "engine"] = "product"
    seen: int = field(default=0, init=False)
    fired: int = field(default=0, init=False)

    def matches(self, call: Call) -> bool:
        named = self.action == call.action
        addressed = self.service == "s3" and re.search(self.action, f"{call.method} {call.path}")
        return call.service == self.service and call.caller == self.caller and bool(named or addressed)


@dataclass
class QueryFault:
    """The next ``times`` Athena queries whose SQL holds ``match`` end as ``outcome``, before or after they ran."""

    service: Literal["athena"]
    action: Literal["Query"]
    match: str = ""
    times: int = 1
    after: int = 0
    outcome: Literal["FAILED", "CANCELLED"] = "FAILED"
    error_category: int = 1
    error_type: int = 200
    retryable: bool = False
    message: str = "GENERIC_INTERNAL_ERROR: a fault of the test"
    when: Literal["before", "after"] = "before"
    seen: int = field(default=0, init=False)
    fired: int = field(default=0, init=False)


Fault = CallFault | QueryFault


@dataclass(frozen=True)
class Call:
    """One request to AWS, as its log tells it."""

    service: str
    action: str
    method: str
    path: str
    caller: str


class Faults:
    """The faults in force and the calls so far, behind ``/_faults`` and ``/_requests`` in front of an application."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._calls: Counter[Call] = Counter()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_AUTHORIZATION" not in environ and environ["PATH_INFO"] in ("/_faults", "/_requests"):
            return self._control(environ, start_response)
        call = call_of(environ)
        with self._lock:
            self._calls[call] += 1
            fault = self._due(lambda fault: isinstance(fault, CallFault) and fault.matches(call))
        if not isinstance(fault, CallFault):
            return self._app(environ, start_response)
        if fault.when == "after":
            for _part in self._app(environ, lambda *_: lambda _: None):
                pass
        else:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        return _answer(call, fault, start_response)

    def of_query(self, sql: str) -> QueryFault | None:
        """The fault that the next run of ``sql`` meets, counted as fired."""
        with self._lock:
            fault = self._due(lambda fault: isinstance(fault, QueryFault) and bool(re.search(fault.match, sql)))
        return fault if isinstance(fault, QueryFault) else None

    def _due(self, matches: Callable[[Fault], bool]) -> Fault | None:
        for fault in filter(matches, self._faults):
            fault.seen += 1
            if fault.seen > fault.after and fault.fired < fault.times:
                fault.fired += 1
                return fault
        return None

    def _control(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, told = environ["REQUEST_METHOD"], environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, answer = "200 OK", []
        with self._lock:
            if environ["PATH_INFO"] == "/_requests":
                answer = [{**asdict(call), "count": count} for call, count in self._calls.items()]
                if method == "DELETE":
                    self._calls.clear()
            elif method == "POST":
                try:
                    self._faults = [fault_of(each) for each in json.loads(told)]
                except (TypeError, ValueError, KeyError) as error:
                    status, answer = "400 Bad Request", [{"message": f"not a list of faults: {error}"}]
            else:
                answer = [asdict(fault) for fault in self._faults]
                if method == "DELETE":
                    self._faults = []
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]


def fault_of(told: dict[str, Any]) -> Fault:
    """A fault from its JSON. Raises ``TypeError`` for a field that it does not have, ``re.error`` for a pattern."""
    query = told["action"] == "Query"
    re.compile(told.get("match", "") if query else told["action"])
    return QueryFault(**told) if query else CallFault(**told)


def call_of(environ: Environ) -> Call:
    """Which operation of which service a request is, by its signature, its target header, method and path."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    scope = re.search(r"Credential=([^/]*)/[^/]*/[^/]*/([^/]*)/", environ.get("HTTP_AUTHORIZATION", ""))
    key, service = scope.groups() if scope else ("", "s3")
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    action = target.rpartition(".")[2] or (_s3_action(environ) if service == "s3" else f"{method} {path}")
    return Call(service, action, method, path, "engine" if key == ENGINE_KEY else "product")


def _s3_action(environ: Environ) -> str:
    method, query = environ["REQUEST_METHOD"], parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    for verb, parameter, action in S3_BY_QUERY:
        if method == verb and parameter in query:
            return action
    if "HTTP_X_AMZ_COPY_SOURCE" in environ:
        return "CopyObject"
    bucket, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
    if not bucket:
        return "ListBuckets"
    return (S3_OF_OBJECTS if key else S3_OF_BUCKETS).get(method, f"{method} {environ.get('QUERY_STRING', '')}")


def _answer(call: Call, fault: CallFault, start_response: Callable[..., Any]) -> list[bytes]:
    if call.service == "s3":
        kind = "application/xml"
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{escape(fault.code)}</Code>'
            f"<Message>{escape(fault.message)}</Message><RequestId>fault</RequestId></Error>"
        )
    else:
        kind, body = "application/x-amz-json-1.1", json.dumps({"__type": fault.code, "message": fault.message})
    content = b"" if call.method == "HEAD" else body.encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(content))), ("x-amzn-ErrorType", fault.code)]
    start_response(f"{fault.status} Fault", headers)
    return [content]
