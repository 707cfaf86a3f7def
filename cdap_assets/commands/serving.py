"""`cdap ui`: Dagster, MLflow and the review pages on loopback, started and stopped together."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from cdap_assets.commands.home import console
from cdap_assets.commands.reloading import follow_contracts, reload_definitions
from resources.registry.model_registry import ModelRegistry
from resources.settings import Settings
from resources.stores.object_store import ObjectStore, read_bytes
from resources.stores.stores import Stores

LOOPBACK = "127.0.0.1"
PAGE = re.compile(r"/([A-Za-z0-9_][\w.-]*\.html)", re.ASCII)
PATIENCE = 15  # seconds for a server to end by itself
# eight processes of MLflow's that would wait for evaluations of language models
WITHOUT_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


class _Pages(http.server.BaseHTTPRequestHandler):
    """Serves the pages of an installation; tells nobody what was read."""

    store: ObjectStore

    def log_message(self, format: str, *args: object) -> None:
        del format, args

    def do_GET(self) -> None:
        """Answer with a page, whole."""
        found = PAGE.fullmatch(urlsplit(self.path).path)
        try:
            content = read_bytes(self.store, found.group(1)) if found else None
        except FileNotFoundError:
            content = None
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def pages_server(settings: Settings) -> http.server.ThreadingHTTPServer:
    """The server of review pages on loopback, not yet serving."""
    handler = type("Pages", (_Pages,), {"store": Stores(settings).pages})
    return http.server.ThreadingHTTPServer((LOOPBACK, settings.pages_port), handler)


def serve(settings: Settings) -> None:
    """Serve until interrupted. Every address is on loopback."""
    registry = ModelRegistry(settings)
    _ = registry.client  # sets up the database once, before the server's workers race for it
    pages = pages_server(settings)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    workspace = Path(__file__).parents[1] / "templates" / "workspace.yaml"
    commands = {
        "Dagster": [
            sys.executable,
            "-m",
            "dagster",
            "dev",
            "-h",
            LOOPBACK,
            "-p",
            str(settings.dagster_port),
            "-w",
            str(workspace),
        ],
    }
    if not settings.mlflow_uri:
        commands["MLflow"] = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            LOOPBACK,
            "--port",
            str(settings.mlflow_port),
            "--backend-store-uri",
            registry.uri,
            "--workers",
            "1",
        ]
    quiet = settings.home / "ui.log"
    environment = {**WITHOUT_JOBS, **os.environ}
    with quiet.open("ab") as log:
        # a group each: both servers start workers of their own, which are to end with them
        processes = [
            subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
            for command in commands.values()
        ]
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        stop = threading.Event()
        reload = partial(reload_definitions, (LOOPBACK, settings.dagster_port))
        threading.Thread(target=follow_contracts, args=(settings, reload, stop), daemon=True).start()
        console.print(f"Dagster  http://{LOOPBACK}:{settings.dagster_port}")
        console.print(f"MLflow   {settings.mlflow_uri or f'http://{LOOPBACK}:{settings.mlflow_port}'}")
        for page in Stores(settings).pages.list():
            if PAGE.fullmatch(f"/{page.key}"):
                console.print(f"page     {settings.page_url(page.key)}")
        console.print(f"[dim]what they say is in {quiet}; Ctrl-C stops them[/]")
        try:
            for process in processes:
                process.wait()
        except KeyboardInterrupt:
            console.print("stopping")
        finally:
            stop.set()
            for process in processes:
                _end(process)
            pages.shutdown()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and its workers; after a while without mercy."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
