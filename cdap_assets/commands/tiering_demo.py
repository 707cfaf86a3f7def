"""`cdap storage demo`: a year of the example's data ageing month by month, by a clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.table import Table

from cdap_assets.commands.home import console
from cdap_assets.commands.new_home import make_home
from cdap_assets.commands.running import execute
from cdap_assets.installation import Installation
from cdap_assets.lineage import Lineage
from cdap_assets.tiering.batches import batched
from cdap_assets.tiering.look import STAY, look, tier_rows
from cdap_assets.tiering.moves import chosen, restore, tier
from cdap_assets.tiering.storage_policy import FILE, read_terms
from cdap_assets.work.stages import Stage
from pages.formats import binary_size
from resources.clock import Clock
from resources.iceberg.errors import PartitionsArchived
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from resources.tiers.moving import Moved

if TYPE_CHECKING:
    from resources.iceberg.table import TableSpec

TABLES = ("order_lines", "raw_transactions")
MONTH = timedelta(days=30)
MONTHS = 12
FORGOTTEN = timedelta(days=15)  # after which one more month of orders is no longer read
STILL_READ = 3  # months of orders that somebody looks at to the end
TIMES = 1000  # the example is small: its cost is shown as if it were so many times larger
COLUMNS = ("month", "hot", "cool", "archived", f"USD x {TIMES:,}", "unmoved", "what moved")
ASKED_FOR = date(2017, 2, 1)
# margin 0, for the example is small; young data may move, for it is all written today
POLICY = {"apply": True, "prices": "local", "margin": 0, "min_hot_days": 30, "restore": {"days": 20}}


def demonstrate(home: Path, began: datetime) -> None:
    """Make ``home`` with the example's tables, and show a year from ``began`` (UTC) in which less and less is read."""
    now = began
    installation = _home(home, lambda: now)
    lineage, lakehouse = installation.lineage, installation.lakehouse
    spec = lineage.specs["order_lines"]
    months = sorted(partition[0] for partition in _months(lakehouse, "order_lines"))
    rows = sum(_read(lakehouse, spec, [month]) for month in months)
    console.print(
        f"order_lines: {rows:,} rows in {len(months)} months. Somebody reads them every five days, and from fortnight "
        "to fortnight one month less."
    )
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for number in range(1, MONTHS + 1):
        for day in range(0, MONTH.days, 5):
            passed = (number - 1) * MONTH + timedelta(days=day)
            now = began + passed
            _read(lakehouse, spec, months[min(passed // FORGOTTEN, len(months) - STILL_READ) :])
        now = began + number * MONTH
        decided, moves = _follow(lakehouse, lineage, now)
        table.add_row(f"{number}", *_figures(decided), "; ".join(moves) or "nothing")
    console.print(table)
    _bring_back(lakehouse, spec, now)


def _home(home: Path, clock: Clock) -> Installation:
    if not home.exists():
        make_home(home, example=True, first_snapshot=date(2017, 1, 1), timezone="America/New_York")
    (home / FILE).write_text(yaml.safe_dump(POLICY), encoding="utf-8")
    installation = Installation.of(Settings.load(home), clock)
    execute(installation, Stage("refresh_lake", "lake", "the example's tables"))
    return installation


def _months(lakehouse: Lakehouse, name: str) -> set[tuple[Any, ...]]:
    with lakehouse.in_process() as session:
        return session.partitions(name)


def _read(lakehouse: Lakehouse, spec: TableSpec, months: Sequence[date]) -> int:
    with lakehouse.in_process() as session:
        return int(session.read(spec, {"month": list(months)}).count().to_pyarrow().as_py())


def _follow(lakehouse: Lakehouse, lineage: Lineage, at: datetime) -> tuple[list[dict[str, Any]], list[str]]:
    """Decide, and do what was decided; the rows of storage_tiers before, and what was moved in words."""
    seen = look(lakehouse, read_terms(lakehouse.settings, lineage), at)
    rows = [row for row in tier_rows(seen) if row["table_name"] in TABLES]
    batches = batched([row for row in rows if row["decision"] != STAY], seen.terms.policy)
    return rows, [_words(tier(lakehouse, lineage, batch, at)) for batch in batches]


def _words(moved: Moved) -> str:
    before, after = binary_size(moved.bytes_before), binary_size(moved.bytes_after)
    size = before if moved.bytes_before == moved.bytes_after else f"{before} to {after}"
    return f"{moved.move.kind} {len(moved.move.partitions)} of {moved.move.table} ({size})"


def _figures(rows: Sequence[dict[str, Any]]) -> list[str]:
    tiers = [sum(row["bytes"] for row in rows if row["tier"] == tier) for tier in ("hot", "cool", "archived")]
    cost = sum((row["storage_month"] for row in rows), Decimal(0))
    hot = sum((row["monthly_hot"] for row in rows), Decimal(0))
    return [*map(binary_size, tiers), f"{cost * TIMES:.3f}", f"{hot * TIMES:.3f}"]


def _bring_back(lakehouse: Lakehouse, spec: TableSpec, at: datetime) -> None:
    """An archived month is asked for: refused, restored, read."""
    try:
        _read(lakehouse, spec, [ASKED_FOR])
    except PartitionsArchived as error:
        console.print(f"\na query of {ASKED_FOR:%B %Y} is refused:\n  {error}", markup=False)
        moved = restore(lakehouse, spec.name, chosen(lakehouse, spec.name, [f"month={ASKED_FOR}"]), at)
        console.print(f"restored until {moved.move.due}: {_read(lakehouse, spec, [ASKED_FOR]):,} rows")
    else:
        console.print(f"{ASKED_FOR:%B %Y} is still readable")
