"""Who is who: every source key with the customer it belongs to, and from when to when that was held true."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256 as python_sha256
from typing import TYPE_CHECKING, Any

import ibis

from cdap_assets.curated.entities import CUSTOMER_KEY, KEY_SPACE
from cdap_assets.table_assets.table_asset import InPython, table_asset
from resources.engines.builtins import sha256
from resources.iceberg.table import INSTANT, Column, TableSpec

if TYPE_CHECKING:
    import ibis.expr.types as ir

Key = tuple[str, str]
ID_DIGITS = 20

CUSTOMER_ID = Column(
    "customer_id", "string", "the customer, persistent and opaque", nullable=False, personal="pseudonymous"
)

CUSTOMER_XREF = TableSpec(
    "customer_xref",
    (
        KEY_SPACE,
        CUSTOMER_KEY,
        CUSTOMER_ID,
        Column("valid_from", INSTANT, "from when this was held true (UTC); empty: from the start"),
        Column("valid_to", INSTANT, "until when (UTC); empty: still"),
    ),
    key=("key_space", "customer_key", "valid_from"),
    description=(
        "The cross-reference from source keys to customers. Keys of one key space name the same person; "
        "`customer_links` (stated by a source, or found by identity resolution) join keys from the instant "
        "they were known, so what was believed earlier stays readable."
    ),
)


def _links(customer_links: ibis.Table) -> ibis.Table:
    return customer_links


@table_asset(
    CUSTOMER_XREF,
    group="identity",
    in_python={"linked": InPython(_links, lambda links: linked_keys(links), CUSTOMER_XREF.schema())},
)
def customer_xref(
    customer_days: ibis.Table,
    customer_traits: ibis.Table,
    contacts: ibis.Table,
    events: ibis.Table,
    touches: ibis.Table,
    responses: ibis.Table,
    subscriptions: ibis.Table,
    consents: ibis.Table,
    linked: ibis.Table,
) -> ibis.Table:
    """Every key ever seen; keys in links by connected components at each instant that a link was known."""
    sides = (customer_days, customer_traits, contacts, events, touches, responses, subscriptions, consents)
    keys = ibis.union(*(side.select("key_space", "customer_key") for side in sides), distinct=True)
    alone = keys.anti_join(linked, ["key_space", "customer_key"])
    alone = alone.mutate(
        customer_id=customer_id(alone.key_space, alone.customer_key),
        valid_from=ibis.null(INSTANT),
        valid_to=ibis.null(INSTANT),
    )
    return alone.union(linked)


def customer_id(key_space: ir.StringValue, customer_key: ir.StringValue) -> ir.StringValue:
    """The id of a key that stands alone: opaque, and the same on every engine and in every run."""
    return ibis.literal("c") + sha256(key_space + ibis.literal("\x1f") + customer_key).substr(0, ID_DIGITS)


def id_of(key: Key) -> str:
    """:func:`customer_id` for one key."""
    return "c" + python_sha256("\x1f".join(key).encode()).hexdigest()[:ID_DIGITS]


def linked_keys(links: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Validity rows of all keys that occur in ``links`` (rows of ``customer_links``).

    At each instant a component of keys bears the smallest id among its members, so the order in which
    deliveries arrive does not matter. Periods of one key with one id are joined.
    """
    edges = [
        Edge(
            (row["key_space"], row["customer_key"]),
            (row["other_key_space"], row["other_key"]),
            row["known_at"],
            row["superseded_at"],
        )
        for row in links
    ]
    return [
        {"key_space": key[0], "customer_key": key[1], "customer_id": owner, "valid_from": start, "valid_to": end}
        for group in _ever_connected(edges)
        for key, owner, start, end in _periods(group)
    ]


@dataclass(frozen=True)
class Edge:
    """A link between two keys, and the UTC instants between which it was held true."""

    left: Key
    right: Key
    known_at: datetime
    superseded_at: datetime | None

    def held(self, instant: datetime) -> bool:
        """Whether the link was known and not superseded."""
        return self.known_at <= instant and (self.superseded_at is None or self.superseded_at > instant)


def _ever_connected(edges: list[Edge]) -> list[list[Edge]]:
    """Edges that could ever touch each other: only these need to be replayed together, instant by instant."""
    from scipy.cluster.hierarchy import DisjointSet

    sets = DisjointSet(key for edge in edges for key in (edge.left, edge.right))
    for edge in edges:
        sets.merge(edge.left, edge.right)
    groups: dict[Key, list[Edge]] = {}
    for edge in edges:
        groups.setdefault(sets[edge.left], []).append(edge)
    return list(groups.values())


def _periods(edges: list[Edge]) -> list[tuple[Key, str, datetime | None, datetime | None]]:
    """(key, customer id, from, to) for every key of ``edges`` and each period with one id."""
    keys = sorted({key for edge in edges for key in (edge.left, edge.right)})
    instants = sorted({i for edge in edges for i in (edge.known_at, edge.superseded_at) if i is not None})
    spans: dict[Key, list[tuple[str, datetime | None]]] = {key: [(id_of(key), None)] for key in keys}
    for instant in instants:
        owners = components(keys, [(edge.left, edge.right) for edge in edges if edge.held(instant)])
        for key in keys:
            if spans[key][-1][0] != owners[key]:
                spans[key].append((owners[key], instant))
    return [
        (key, owner, start, end)
        for key, begun in spans.items()
        for (owner, start), (_next, end) in zip(begun, [*begun[1:], ("", None)], strict=True)
    ]


def components(keys: Iterable[Key], edges: Iterable[tuple[Key, Key]]) -> dict[Key, str]:
    """The customer id of each key when ``edges`` join keys: the smallest id of its connected component."""
    from scipy.cluster.hierarchy import DisjointSet

    sets = DisjointSet(keys)
    for left, right in edges:
        sets.merge(left, right)
    return {key: owner for subset in sets.subsets() for owner in [min(map(id_of, subset))] for key in subset}


def resolve(rows: ibis.Table, customer_xref: ibis.Table, instant: ir.TimestampValue | datetime | None) -> ibis.Table:
    """``rows`` with ``customer_id`` as the cross-reference held at ``instant`` (UTC), or holds now for ``None``.

    ``instant`` may be a column of ``rows``.
    """
    xref = customer_xref
    if instant is None:
        held = xref.valid_to.isnull()
    else:
        held = (xref.valid_from.isnull() | (xref.valid_from <= instant)) & (
            xref.valid_to.isnull() | (xref.valid_to > instant)
        )
    conditions = [rows.key_space == xref.key_space, rows.customer_key == xref.customer_key]
    if instant is None:
        xref_now = xref.filter(held).select("key_space", "customer_key", "customer_id")
        return rows.join(xref_now, ["key_space", "customer_key"])
    return rows.join(xref, [*conditions, held]).select(*rows.columns, "customer_id")
