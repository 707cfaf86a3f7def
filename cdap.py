"""The lake for analysts: `cdap.open()` in a notebook gives read-only tables and SQL over them.

>>> import cdap
>>> lake = cdap.open()
>>> lake.sql("select segment, count(*) as customers from customer_profile group by segment")
>>> lake.table("customer_profile").filter(lambda t: t.recency_days > 56).to_pandas()
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from resources.settings import Settings

if TYPE_CHECKING:
    import ibis
    import pandas as pd

    from resources.table import TableSpec

__all__ = ["Lake", "QueryRefused", "open"]


class QueryRefused(ValueError):
    """A query that is no single SELECT over tables of the lake."""


class Lake:
    """A read-only view of the lake as it was when opened; open again to see later commits."""

    def __init__(self, settings: Settings) -> None:
        from cdap_assets.lineage import read_lineage
        from resources.lakehouse import Lakehouse

        self._specs = read_lineage(settings).specs
        self._session = Lakehouse(settings).in_process()
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
            self._session.reads.flush(self._session.lakehouse.clock())
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


def open(home: str | Path | None = None) -> Lake:
    """The lake of an installation; default is ``CDAP_HOME``, or ``.cdap`` below the working folder."""
    return Lake(Settings.load(Path(home) if home else None))
