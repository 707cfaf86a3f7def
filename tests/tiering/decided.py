"""A look at storage as tests make it up: rows of storage_tiers with the decisions that they need."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
import yaml

from cdap_assets.storage.tables import STORAGE_TIERS
from cdap_assets.tiering.assets import published
from cdap_assets.tiering.storage_policy import FILE
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings

LOOKED = datetime(2024, 6, 1, 4)
AT = LOOKED + timedelta(hours=1)


def policy(settings: Settings, **told: Any) -> None:
    """Write storage.yaml."""
    (settings.home / FILE).write_text(yaml.safe_dump(told), encoding="utf-8")


def decided(month: int, decision: str = "archive", saving: str = "0.5", table: str = "order_lines", **more: Any) -> Any:
    """A row of storage_tiers: a month of a table with the decision on it."""
    year, number = divmod(month, 12)
    first = date(2010 + year, number + 1, 1)
    move = "0.01" if decision != "stay" else "0"
    return {
        "as_of": LOOKED,
        "table_name": table,
        "partition": f"month={first}",
        "partition_values": json.dumps([{"date": first.isoformat()}]),
        "tier": "hot",
        "storage_class": "disk",
        "since": LOOKED,
        "objects": 1,
        "bytes": 100,
        "written_at": LOOKED,
        "last_read": None,
        "storage_month": Decimal(1),
        "decision": decision,
        "to_tier": "archived" if decision == "archive" else "hot",
        "to_class": "archive_directory" if decision == "archive" else "",
        "move_cost": Decimal(move),
        "saving": Decimal(saving if decision != "stay" else "0"),
        "kind": "saves" if decision != "stay" else "no saving",
        "reason": "90 days unread, 1 KB in 1 object: saves 0.5 USD a month after 0.01 USD to move",
        "currency": "USD",
        "seen": 7,
        **more,
    }


def look(lake: Lakehouse, *rows: Any) -> None:
    """Publish a look at storage."""
    with lake.in_process() as session:
        published(session, STORAGE_TIERS, rows)


def skipped(result: dg.SensorResult | dg.SkipReason) -> str:
    """Why a tick started nothing."""
    assert isinstance(result, dg.SkipReason), result
    return str(result.skip_message)
