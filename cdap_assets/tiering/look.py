"""A look at storage: every partition at one instant with the decision on it, as the rows of the tables of storage."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from cdap_assets.storage.decision import KINDS, ReasonKind, kind_in_words
from cdap_assets.storage.decision import TIERS as LIVE_TIERS
from cdap_assets.storage.tables import STORAGE_TIERS
from cdap_assets.tiering.elsewhere import note_reads_elsewhere
from cdap_assets.tiering.state import State, states
from cdap_assets.tiering.storage_policy import Terms
from resources.lake.lakehouse import Lakehouse
from resources.lake.reads import fold
from resources.stores.lock import exclusive

WAIT = 600  # seconds for another process that looks at storage
TIERS = (*LIVE_TIERS, "expired")
STAY = "stay"
COMPACT = "compact"
STAYING = (STAY, COMPACT)
MOST_KINDS = 4


@dataclass(frozen=True)
class Look:
    """What was seen ``at`` an instant (UTC), and the terms that it was decided by."""

    at: datetime
    terms: Terms
    states: tuple[State, ...]


def look(lakehouse: Lakehouse, terms: Terms, at: datetime) -> Look:
    """Every partition with the decision on it at ``at`` (UTC), once all reads until then are noted and added up."""
    with exclusive(lakehouse.settings, "reads", timeout=WAIT):
        fold(lakehouse.stores.reads)
        note_reads_elsewhere(lakehouse, terms.policy.elsewhere, at)  # of days on which our own show that we watched
        fold(lakehouse.stores.reads)
    return Look(at, terms, tuple(states(lakehouse, terms.rules, terms.prices, at)))


def decisions(lakehouse: Lakehouse) -> list[dict[str, Any]]:
    """The rows of ``storage_tiers``, without counting as a read of it."""
    with lakehouse.looking() as session:
        rows: list[dict[str, Any]] = session.read(STORAGE_TIERS).to_pyarrow().to_pylist()
    return rows


def counted_by_kind(rows: Iterable[Mapping[str, Any]]) -> str:
    """Partitions and why they are where they are, the most frequent kinds of reasons first."""
    kinds = Counter(kind_in_words(row["kind"]) for row in rows)
    if not kinds:
        return "there is no partition yet"
    told = "; ".join(f"{count} {words}" for words, count in kinds.most_common(MOST_KINDS))
    return f"{kinds.total()} partitions ({told})"


def inventory_rows(seen: Look) -> list[dict[str, Any]]:
    """Rows of ``storage_inventory``."""
    return [
        {
            **_common(state, seen.at),
            "rows": state.held.rows,
            "reads_91": state.recent_reads,
            "observed_since": state.holding.observed_since,
        }
        for state in seen.states
    ]


def tier_rows(seen: Look) -> list[dict[str, Any]]:
    """Rows of ``storage_tiers``."""
    rows = []
    for state in seen.states:
        decision = state.decision
        row = {
            **_common(state, seen.at),
            "storage_month": state.storage_month,
            "currency": seen.terms.prices.currency,
            "seen": state.held.seen,
        }
        if decision is None:
            gone: ReasonKind = "deleted"
            stays = {"decision": STAY, "to_tier": state.tier, "to_class": "", "kind": gone, "reason": KINDS[gone]}
            rows.append({**row, **stays, "move_cost": Decimal(0), "saving": Decimal(0)})
            continue
        monthly = {f"monthly_{tier}": decision.monthly.get(tier) for tier in LIVE_TIERS}
        told = {
            "decision": COMPACT if decision.compact else decision.action,
            "to_tier": "expired" if decision.action == "expire" else decision.tier,
            "to_class": decision.storage_class,
            "move_cost": decision.move_cost,
            "saving": decision.saving,
            "kind": decision.kind,
            "reason": decision.reason,
        }
        rows.append({**row, **monthly, **told})
    return rows


def saving_rows(rows: Iterable[Mapping[str, Any]], at: datetime) -> list[dict[str, Any]]:
    """Rows of ``storage_savings`` for one day, from those of ``storage_tiers``."""
    by_tier: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_tier.setdefault(row["tier"], []).append(row)
    nothing = Decimal(0)
    return [
        {
            "day": at.date(),
            "tier": tier,
            "partitions": len(held),
            "objects": sum(row["objects"] for row in held),
            "bytes": sum(row["bytes"] for row in held),
            "monthly_cost": sum((row.get(f"monthly_{tier}") or nothing for row in held), nothing),
            "monthly_cost_hot": sum((row.get("monthly_hot") or nothing for row in held), nothing),
            "proposed_moves": sum(row["decision"] != STAY for row in held),
            "proposed_saving": sum((row["saving"] for row in held), nothing),
            "currency": held[0]["currency"],
        }
        for tier in TIERS
        if (held := by_tier.get(tier, []))
    ]


def _common(state: State, at: datetime) -> dict[str, Any]:
    return {
        "as_of": at,
        "table_name": state.held.table,
        "partition": state.partition,
        "partition_values": json.dumps(state.values),
        "tier": state.tier,
        "storage_class": state.holding.storage_class if state.tier != "expired" else "",
        "since": state.since,
        "objects": len(state.held.sizes),
        "bytes": sum(state.held.sizes),
        "written_at": state.held.written or state.since,
        "last_read": state.last_read,
    }
