"""The small lake that features and labels are tested on: days, links and campaigns of two or three customers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from cdap_assets.curated.entities import ENTITIES
from cdap_assets.curated.orders import CUSTOMER_DAYS
from cdap_assets.features.customer_features import customer_features
from cdap_assets.identity.customer_xref import CUSTOMER_XREF, id_of, linked_keys
from cdap_assets.table_assets.snapshots import snapshot_rows
from tests.rows import found, table

ZONE = ZoneInfo("America/New_York")
S = date(2017, 6, 4)
ANN, BOB = id_of(("shop", "ann")), id_of(("shop", "bob"))
Rows = tuple[dict[str, Any], ...]


def day(before_s: int, customer: str = "ann", **other: Any) -> dict[str, Any]:
    """A customer day so many days before ``S``."""
    return {"customer_key": customer, "local_date": S - timedelta(days=before_s), **other}


@dataclass(frozen=True)
class Lake:
    """Rows of the inputs of features; keys without a link are customers of their own."""

    days: Rows = ()
    links: Rows = ()
    touches: Rows = ()
    responses: Rows = ()

    def plus(self, **more: Rows) -> Lake:
        """The same lake with further rows."""
        return replace(self, **{name: getattr(self, name) + rows for name, rows in more.items()})

    @property
    def customer_days(self) -> Any:
        return table(CUSTOMER_DAYS, *self.days)

    @property
    def customer_xref(self) -> Any:
        linked = linked_keys(self.links)
        seen = {(row["key_space"], row["customer_key"]) for row in linked}
        rows = [*self.days, *self.touches, *self.responses]
        alone = {("shop", row["customer_key"]) for row in rows} - seen
        own = [{"customer_key": key[1], "customer_id": id_of(key)} for key in sorted(alone)]
        return table(CUSTOMER_XREF, *linked, *own)

    def features(self, *snapshots: date) -> dict[tuple[date, str], dict[str, Any]]:
        """Feature rows by snapshot and customer."""
        result = customer_features(
            snapshot_rows(snapshots, ZONE),
            self.customer_days,
            self.customer_xref,
            table(ENTITIES["touches"].table, *self.touches),
            table(ENTITIES["responses"].table, *self.responses),
        )
        rows = found(result)
        assert len({(row["snapshot_date"], row["customer_id"]) for row in rows}) == len(rows)
        return {(row["snapshot_date"], row["customer_id"]): row for row in rows}


def link(one: str, other: str, known_at: Any, superseded_at: Any = None) -> dict[str, Any]:
    """Two keys of the shop that are one person."""
    return {
        "key_space": "shop",
        "customer_key": one,
        "other_key_space": "shop",
        "other_key": other,
        "known_at": known_at,
        "superseded_at": superseded_at,
    }


def sundays(count: int) -> Sequence[date]:
    """``S`` and the snapshot dates after it."""
    return [S + timedelta(days=7 * n) for n in range(count)]
