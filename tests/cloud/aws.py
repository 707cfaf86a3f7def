"""AWS on loopback as a process of its own: moto with Glue's locks and S3's, and Athena over a Trino.

``python -m tests.cloud.aws --port 5000 --trino http://127.0.0.1:8080``
"""

from __future__ import annotations

import argparse
import logging
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.glue.responses import GlueResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.responses import S3Response
from werkzeug.serving import make_server

from tests.cloud.athena import Athena, serve
from tests.cloud.faults import Faults
from tests.cloud.trino import ATHENA_CATALOG, Server, glue_catalog


class Services(DomainDispatcherApplication):
    """Moto's services by the host that a request is for; each host is looked up once.

    Moto by itself lists its folder and tries up to two hundred patterns at every request.
    """

    def __init__(self) -> None:
        super().__init__(create_backend_app)
        self.get_backend_for_host = cache(super().get_backend_for_host)  # type: ignore[method-assign]


def lock_glue() -> None:
    """Let Glue refuse an update of a version that is no longer current, as AWS does; moto loses a commit there."""
    lock = threading.Lock()
    update = GlueResponse.update_table

    def checked(self: GlueResponse) -> Any:
        told = self.parameters
        with lock:
            expected = told.get("VersionId")
            table = self.glue_backend.get_table(told["DatabaseName"], told["TableInput"]["Name"])
            if expected is not None and expected != table.as_dict()["VersionId"]:
                raise JsonRESTError(
                    "ConcurrentModificationException", "Update table failed due to concurrent modifications."
                )
            return update(self)

    _replace(GlueResponse, "update_table", checked)
    for name in ("create_table", "delete_table"):
        _replace(GlueResponse, name, _one_at_a_time(getattr(GlueResponse, name), lock))


def lock_s3() -> None:
    """Let of several conditional writes of one key one win; moto looks and writes without a lock."""
    lock = threading.Lock()
    put = S3Response.put_object
    alone = _one_at_a_time(put, lock)

    def put_object(self: S3Response) -> Any:
        return (alone if {"If-Match", "If-None-Match"} & set(self.headers) else put)(self)

    _replace(S3Response, "put_object", put_object)


def _replace(response: type, name: str, operation: Callable[[Any], Any]) -> None:
    setattr(response, name, operation)


def _one_at_a_time(operation: Callable[[Any], Any], lock: threading.Lock) -> Callable[[Any], Any]:
    def alone(self: Any) -> Any:
        with lock:
            return operation(self)

    return alone


def main() -> None:
    """Serve until the process is ended."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--region", default="eu-central-1")
    options.add_argument("--trino", required=True, help="the address of the Trino that Athena's SQL runs on")
    options.add_argument("--catalog", default=ATHENA_CATALOG, help="what Trino calls the Glue of this account")
    told = options.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    lock_glue()
    lock_s3()
    faults = Faults(Services())
    # a catalog that is not there yet is added before the first query
    properties = glue_catalog(f"http://127.0.0.1:{told.port}", told.region)
    server = Server(told.trino, told.catalog, None if told.catalog == ATHENA_CATALOG else properties)
    serve(Athena(server, faults))
    make_server("127.0.0.1", told.port, faults, threaded=True, request_handler=MotoRequestHandler).serve_forever()


if __name__ == "__main__":
    main()
