"""A self-hosted Trino: statements over its client, cancelled with the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from resources.engines.engine import Query, QueryFailed, shortened
from resources.settings import SettingsError

if TYPE_CHECKING:
    import ibis

    from resources.settings import Settings

# What Trino calls its own trouble, which may have passed at another try; the rest is the statement's.
PASSING = {"INTERNAL_ERROR", "INSUFFICIENT_RESOURCES", "EXTERNAL"}


class Trino:
    """One catalog of one Trino; nothing there is billed by what is scanned."""

    def __init__(self, settings: Settings) -> None:
        try:
            import trino
        except ModuleNotFoundError as error:
            raise SettingsError("a Trino needs its client: install cdap[trino]") from error
        address = urlsplit(settings.trino_uri)
        self.catalog = address.path.strip("/")
        if not (address.hostname and self.catalog):
            raise SettingsError(f"CDAP_TRINO_URI {settings.trino_uri!r} is no https://user@host:port/catalog")
        user, password = address.username or "cdap", settings.trino_password.get_secret_value()
        self._connection = trino.dbapi.connect(
            host=address.hostname,
            port=address.port or (443 if address.scheme == "https" else 8080),
            user=user,
            auth=trino.auth.BasicAuthentication(user, password) if password else None,
            http_scheme=address.scheme,
            source="cdap",
            catalog=self.catalog,
        )

    def run(self, sql: str, schema: ibis.Schema | None = None) -> tuple[list[tuple[Any, ...]], Query]:
        """The rows of a statement as Python values, and what it took.

        Cancels it when the wait is interrupted. Raises :class:`QueryFailed` with Trino's reason.
        """
        import trino

        cursor = self._connection.cursor()
        try:
            cursor.execute(sql)
            rows = [tuple(row) for row in cursor.fetchall()]
        except trino.exceptions.TrinoQueryError as error:
            raise QueryFailed(
                f"Trino query {error.query_id} failed: {error.error_name}: {error.message}\n"
                f"The statement was: {shortened(sql)}",
                retryable=error.error_type in PASSING,
            ) from error
        except BaseException:
            cursor.cancel()
            raise
        statistics = cursor.stats or {}
        scanned = int(statistics.get("physicalInputBytes", 0))
        return rows, Query(str(cursor.query_id), scanned, statistics.get("elapsedTimeMillis", 0) / 1000, 0.0)
