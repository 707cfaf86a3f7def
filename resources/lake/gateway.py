"""The gateway for somebody's own queries: one SELECT over tables of the lake, and tables as expressions; read-only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ibis
    import pandas as pd

    from resources.iceberg.table import TableSpec
    from resources.lake.lakehouse import Lakehouse


class QueryRefused(ValueError):
    """A query that is no single SELECT over tables of the lake."""


class Lake:
    """A read-only view of the lake as it was when opened; open again to see later commits."""

    def __init__(self, lakehouse: Lakehouse, specs: Mapping[str, TableSpec]) -> None:
        self._specs = specs
        self._session = lakehouse.in_process()
        self._tables: dict[str, ibis.Table] = {}

    @property
    def tables(self) -> list[str]:
        """The names of all tables, built or not."""
        return sorted(self._specs)

    def describe(self, name: str) -> TableSpec:
        """The declared columns of a table and what they mean. Raises :class:`QueryRefused` for no such table."""
        if name not in self._specs:
            raise QueryRefused(f"there is no table {name}; there are {', '.join(self.tables)}")
        return self._specs[name]

    def table(self, name: str) -> ibis.Table:
        """A table as an Ibis expression; one that was never built has no rows."""
        if name not in self._tables:
            self._tables[name] = self._session.read(self.describe(name))
            self._session.reads.flush(self._session.clock())
        return self._tables[name]

    def sql(self, query: str) -> pd.DataFrame:
        """The result of one SELECT over tables of the lake.

        Raises :class:`QueryRefused` for anything else: another statement, a file, a table function.
        """
        import sqlglot
        from sqlglot import exp

        from resources.engines.engine import IN_PROCESS, QueryFailed

        try:
            statements = sqlglot.parse(query, dialect=IN_PROCESS)
        except sqlglot.errors.SqlglotError as error:
            raise QueryRefused(f"the query cannot be read: {_plain(error)}") from error
        tree = statements[0] if len(statements) == 1 else None
        if not isinstance(tree, exp.Query):
            raise QueryRefused("one SELECT is what can be run here; the lake is changed by runs alone")
        own = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
        for name in own:
            # a file's name as the name of a CTE would open that file wherever the CTE is out of scope
            if not name.isidentifier():
                raise QueryRefused(f"{name!r} cannot name a common table expression; use letters, digits and _")
        for table in list(tree.find_all(exp.Table)):
            if not isinstance(table.this, exp.Identifier) or table.args.get("db"):
                raise QueryRefused(f"{table.sql()} is no table of the lake; there are {', '.join(self.tables)}")
            name = table.name.lower()
            if name not in own:
                if not table.alias:
                    table.set("alias", exp.TableAlias(this=exp.to_identifier(name)))
                table.set("this", exp.to_identifier(self.table(name).op().name))
        try:
            return self._session.engine.query(tree.sql(dialect=IN_PROCESS))
        except QueryFailed as error:
            raise QueryRefused(f"the query cannot be run: {_plain(error)}") from error


def _plain(error: Exception) -> str:
    """The first line of an engine's or parser's error, without the terminal's underlining."""
    return re.sub(r"\x1b\[\d*m", "", str(error).splitlines()[0])
