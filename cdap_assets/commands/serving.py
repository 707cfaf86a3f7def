"""`cdap ui`: Dagster, MLflow and the review pages on loopback, started and stopped together."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from cdap_assets.commands.home import console
from resources.model_registry import ModelRegistry
from resources.settings import Settings

LOOPBACK = "127.0.0.1"
PATIENCE = 15  # seconds for a server to end by itself


class _Pages(http.server.SimpleHTTPRequestHandler):
    """Serves the pages folder; tells nobody what was read."""

    def log_message(self, format: str, *args: object) -> None:
        del format, args

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        del path
        self.send_error(404)


def serve(settings: Settings) -> None:
    """Serve until interrupted. Every address is on loopback."""
    settings.pages.mkdir(parents=True, exist_ok=True)
    registry = ModelRegistry(settings)
    _ = registry.client  # sets up the database once, before the server's workers race for it
    handler = functools.partial(_Pages, directory=str(settings.pages))
    pages = http.server.ThreadingHTTPServer((LOOPBACK, settings.pages_port), handler)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    workspace = Path(__file__).parents[2] / "workspace.yaml"
    location = ["-w", str(workspace)] if workspace.exists() else ["-m", "cdap_assets.definitions"]
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
            *location,
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
    with quiet.open("ab") as log:
        # a group each: both servers start workers of their own, which are to end with them
        processes = [
            subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) for command in commands.values()
        ]
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        console.print(f"Dagster  http://{LOOPBACK}:{settings.dagster_port}")
        console.print(f"MLflow   {settings.mlflow_uri or f'http://{LOOPBACK}:{settings.mlflow_port}'}")
        for page in sorted(settings.pages.glob("*.html")):
            console.print(f"page     {settings.page_url(page.name)}")
        console.print(f"[dim]what they say is in {quiet}; Ctrl-C stops them[/]")
        try:
            for process in processes:
                process.wait()
        except KeyboardInterrupt:
            console.print("stopping")
        finally:
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
