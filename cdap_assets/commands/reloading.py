"""While `cdap ui` runs, Dagster loads contracts anew when their files change: nobody has to press Reload."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from resources.settings import Settings

EVERY = 5.0  # seconds

Files = frozenset[tuple[str, int, int]]


def follow_contracts(settings: Settings, reload: Callable[[], bool], stop: threading.Event) -> None:
    """Call ``reload`` after each change of a contract, and again while it says that it failed, until ``stop``."""
    known = contract_files(settings)
    while not stop.wait(EVERY):
        now = contract_files(settings)
        if now != known and reload():
            known = now


def contract_files(settings: Settings) -> Files:
    """Name, time of writing and size of each contract."""
    found = set()
    for path in settings.contracts.glob("*.yaml"):
        with suppress(FileNotFoundError):  # an editor took it away since the folder was listed
            stat = path.stat()
            found.add((path.name, stat.st_mtime_ns, stat.st_size))
    return frozenset(found)


def reload_definitions(address: tuple[str, int]) -> bool:
    """Have the Dagster at ``address`` load its definitions anew; false when it could not, as one that starts."""
    from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError, ReloadRepositoryLocationStatus
    from requests import RequestException

    from cdap_assets.commands.run_origin import LOCATION

    try:
        client = DagsterGraphQLClient(*address)
        return client.reload_repository_location(LOCATION).status is ReloadRepositoryLocationStatus.SUCCESS
    except (DagsterGraphQLClientError, RequestException):
        return False
