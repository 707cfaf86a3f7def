"""`cdap cost`: what a build would scan and cost on Athena, before it runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from cdap_assets.commands.home import console
from pages.formats import decimal_size

if TYPE_CHECKING:
    from cdap_assets.installation import Installation
    from cdap_assets.work.scan_cost import ScanCost
    from resources.settings import Settings

GB = 10**9  # bytes: Athena bills decimal ones


def selected_tables(home: Installation, selection: str) -> Collection[str]:
    """The assets that a Dagster selection such as ``group:features or +customer_profile`` names.

    Raises ``ValueError`` for a selection that cannot be read or names nothing.
    """
    import dagster as dg

    from cdap_assets.definitions import definitions_of

    graph = definitions_of(home).resolve_asset_graph()
    try:
        keys = dg.AssetSelection.from_string(selection).resolve(graph)
    except dg.DagsterError as error:
        raise ValueError(f"{selection!r} is not a selection of assets: {str(error).splitlines()[0]}") from error
    if not keys:
        raise ValueError(f"{selection!r} selects no asset; `group:features` or `+customer_profile` would")
    return {key.to_user_string() for key in keys}


def show_costs(costs: Sequence[ScanCost], settings: Settings) -> None:
    """A line per table with the reason, and the sum beside the budget of a run."""
    table = Table("table", "queries", "scans", "USD", "what would be built", box=None, pad_edge=False)
    work = [cost for cost in costs if cost.queries]
    for cost in work:
        told = cost.why if not cost.unbuilt else f"{cost.why}; not measured: {', '.join(cost.unbuilt)} not built yet"
        table.add_row(cost.asset, f"{cost.queries}", decimal_size(cost.bytes), f"{cost.cost:.4f}", told)
    total = sum(cost.bytes for cost in costs)
    table.add_row(
        "in all", f"{sum(c.queries for c in costs)}", decimal_size(total), f"{sum(c.cost for c in costs):.4f}", ""
    )
    console.print(table)
    if len(work) < len(costs):
        console.print(f"{len(costs) - len(work)} more are up to date; --anew tells what rebuilding them would cost")
    budget = settings.run_budget_gb * GB
    if total > budget:
        console.print(
            f"[red]more than CDAP_RUN_BUDGET_GB = {settings.run_budget_gb:g}[/]: as one run this would be refused"
        )
    console.print("[dim]Athena, 5 USD per TB scanned and at least 10 MB a query; ingestion, models and plans scan none")
