"""What tests of the cloud share: AWS on loopback whose Athena is a real Trino, started once."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import real_account
from tests.cloud.account import Aws, aws_account
from tests.cloud.processes import ended_by_sigterm, free_port
from tests.cloud.trino import ATHENA_CATALOG, Trino, glue_catalog
from tests.cloud.trino_files import TrinoMissing

HERE = Path(__file__).parent
ASKED_AGAIN = 0.2  # seconds, at most, after the last question whether a query has ended


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder ``cloud``."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("cloud")


@pytest.fixture(scope="session")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Aws, Trino | None]]:
    if real_account.BUCKET in os.environ:
        with real_account.real_account() as account:
            yield account, None
        return
    # Trino takes longest: it starts first and nobody waits for it but a query
    port = free_port()
    region = Aws.region
    try:
        trino = Trino({ATHENA_CATALOG: glue_catalog(f"http://127.0.0.1:{port}", region)})
    except TrinoMissing as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    with (
        pytest.MonkeyPatch.context() as patch,
        ended_by_sigterm(),
        trino,
        aws_account(port, trino.uri, tmp_path_factory.mktemp("aws")) as account,
    ):
        # nobody is billed or throttled for a question, and a query takes less than the waits between two
        patch.setattr("resources.engines.athena.LONGEST_WAIT", ASKED_AGAIN)
        yield account, trino


@pytest.fixture(scope="session")
def aws(_servers: tuple[Aws, Trino | None]) -> Aws:
    """The AWS account; an Athena query waits in its queue until Trino is ready."""
    return _servers[0]


@pytest.fixture(scope="session")
def trino(_servers: tuple[Aws, Trino | None]) -> Trino:
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
