"""Which tables hold rows, by one quick look that makes nothing: for who must know before the lake is opened."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from resources.iceberg.catalog import catalog_as_it_is, catalog_failures
from resources.iceberg.placement import placed_now
from resources.settings import SettingsError

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from resources.settings import Settings

logger = logging.getLogger(__name__)


def tables_with_rows(settings: Settings, names: Collection[str]) -> frozenset[str]:
    """Those of ``names`` that hold rows, archived ones included; all of them when the catalog does not answer."""
    try:
        return _with_rows(settings, names)
    except SettingsError:
        return frozenset(names)  # packages of AWS are missing, which whoever opens the lake is told
    except catalog_failures(settings) as error:
        # by its kind alone: an error of a connection may tell the address with its token
        logger.warning("the catalog did not say which tables hold rows: %s", type(error).__name__)
        return frozenset(names)


def _with_rows(settings: Settings, names: Collection[str]) -> frozenset[str]:
    catalog = catalog_as_it_is(settings)
    if catalog is None:
        return frozenset()
    from pyiceberg.exceptions import NoSuchNamespaceError

    try:
        there = {identifier[-1] for identifier in catalog.list_tables(settings.database)}
    except NoSuchNamespaceError:
        return frozenset()
    return frozenset(name for name in names if name in there and _rows(catalog.load_table((settings.database, name))))


def _rows(table: Table) -> bool:
    snapshot = table.current_snapshot()
    if snapshot is None:
        return False
    told = snapshot.summary.additional_properties if snapshot.summary else {}
    archived = any(one.tier == "archived" for one in placed_now(table).values())
    return archived or int(told.get("total-records", 0)) > 0
