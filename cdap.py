"""The lake for analysts: `cdap.open()` in a notebook gives read-only tables and SQL over them.

>>> import cdap
>>> lake = cdap.open()
>>> lake.sql("select segment, count(*) as customers from customer_profile group by segment")
>>> lake.table("customer_profile").filter(lambda t: t.recency_days > 56).to_pandas()
"""

from __future__ import annotations

from pathlib import Path

from cdap_assets.installation import Installation
from resources.lake.gateway import Lake, QueryRefused
from resources.settings import Settings

__all__ = ["Lake", "QueryRefused", "open"]


def open(home: str | Path | None = None) -> Lake:
    """The lake of an installation; default is ``CDAP_HOME``, or ``.cdap`` below the working folder."""
    found = Installation.of(Settings.load(Path(home) if home else None))
    return Lake(found.lakehouse, found.lineage.specs)
