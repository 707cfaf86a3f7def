"""Review pages on loopback: each as it was written, and nothing else."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdap_assets.commands.serving import pages_server
from resources.settings import Settings
from resources.stores.stores import open_store


@contextmanager
def served(settings: Settings) -> Iterator[None]:
    """Serve the pages of an installation."""
    server = pages_server(settings)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return Settings(home=tmp_path, pages_port=free.getsockname()[1])


def write(settings: Settings, name: str, content: str = "x") -> None:
    open_store(settings.root("pages"), settings).write(name, content.encode())


def status(settings: Settings, name: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(settings.page_url(name), timeout=10)
    answer.value.close()
    return answer.value.code


def test_a_page_is_served_as_it_is_now(settings: Settings) -> None:
    with served(settings):
        for content in ("<p>Žofie</p>", "<p>顧客</p>"):
            write(settings, "plan-2024-03-03-1.html", content)
            with urllib.request.urlopen(settings.page_url("plan-2024-03-03-1.html?a=1"), timeout=10) as answer:
                assert answer.read().decode() == content
                assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_nothing_but_pages_is_served(settings: Settings) -> None:
    for name in (".a-1.html.partial", "notes.txt", "below/a.html", ".hidden.html", "../outside.html"):
        write(settings, name)
    unserved = ("", "notes.txt", "below/a.html", ".hidden.html", "gone.html", "../outside.html", "%2e%2e/outside.html")
    with served(settings):
        assert {name: status(settings, name) for name in unserved} == dict.fromkeys(unserved, 404)
