"""What tests of the cloud share: AWS on loopback whose Athena is a real Trino, one for all processes."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import real_account
from tests.cloud.account import Aws, aws_account
from tests.cloud.processes import ended_by_sigterm, free_port
from tests.cloud.shared_trino import shared_trino
from tests.cloud.trino import Server, glue_catalog
from tests.cloud.trino_files import TrinoMissing

HERE = Path(__file__).parent
ASKED_AGAIN = 0.2  # seconds, at most, after the last question whether a query has ended


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder ``cloud``."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("cloud")


@pytest.fixture(scope="session")
def _servers(tmp_path_factory: pytest.TempPathFactory, shared_folder: Path) -> Iterator[tuple[Aws, Server | None]]:
    if real_account.BUCKET in os.environ:
        with real_account.real_account() as account:
            yield account, None
        return
    port = free_port()
    catalog, properties = f"glue_{port}", glue_catalog(f"http://127.0.0.1:{port}", Aws.region)
    with contextlib.ExitStack() as servers:
        patch = servers.enter_context(pytest.MonkeyPatch.context())
        servers.enter_context(ended_by_sigterm())
        try:
            # Trino takes longest: it starts first and nobody waits for it but a query
            trino = servers.enter_context(shared_trino(shared_folder / "trino", catalog, properties))
        except TrinoMissing as missing:
            if os.environ.get("CI") == "true":
                pytest.fail(str(missing))
            pytest.skip(str(missing))
        account = servers.enter_context(aws_account(port, trino.uri, tmp_path_factory.mktemp("aws"), catalog))
        # nobody is billed or throttled for a question, and a query takes less than the waits between two
        patch.setattr("resources.engines.athena.LONGEST_WAIT", ASKED_AGAIN)
        yield account, trino


@pytest.fixture(scope="session")
def aws(_servers: tuple[Aws, Server | None]) -> Aws:
    """The AWS account; an Athena query waits in its queue until Trino is ready."""
    return _servers[0]


@pytest.fixture(scope="session")
def trino(_servers: tuple[Aws, Server | None]) -> Server:
    """The Trino behind Athena, ready."""
    _account, server = _servers
    if server is None:
        pytest.skip("a real account has no Trino to look into")
    server.await_ready()
    return server


@pytest.fixture
def bucket(aws: Aws) -> str:
    """A new bucket."""
    return aws.make_bucket(f"cdap-{uuid.uuid4().hex[:12]}")
