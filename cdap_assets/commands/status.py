"""`cdap status`: what an installation holds, as data and as tables."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

from rich.markup import escape
from rich.table import Table

from cdap_assets.commands.home import console
from cdap_assets.lineage import Lineage, read_lineage
from cdap_assets.models import lapse_model
from cdap_assets.models.champion import MODELS
from cdap_assets.raw.deliveries import ledger
from cdap_assets.retention.ledger import contacts_of, plan_rows, plan_states
from resources.lakehouse import Lakehouse
from resources.model_registry import ModelRegistry, ModelVersion
from resources.settings import Settings


def status(settings: Settings) -> dict[str, Any]:
    """Everything that `cdap status --json` prints."""
    lineage, lakehouse, registry = read_lineage(settings), Lakehouse(settings), ModelRegistry(settings)
    with lakehouse.in_process() as session:
        deliveries = [
            {
                "id": entry.delivery.id,
                "source": entry.delivery.source,
                "file": entry.delivery.path,
                "state": entry.event,
                "rows": entry.rows,
                "accepted": entry.accepted,
                "quarantined": entry.quarantined,
                "at": entry.at.isoformat(timespec="seconds"),
                "note": entry.note,
            }
            for entry in ledger(session).values()
        ]
        plans = []
        for state in plan_states(session).values():
            rows = plan_rows(session, state.plan_id)
            contacts = contacts_of(rows, state)
            plans.append(
                {
                    "id": state.plan_id,
                    "state": state.state,
                    "by": state.by if not state.open else None,
                    "contacts": len(contacts) if state.approved_contacts is None else state.approved_contacts,
                    "cost": str(sum(contacts["cost"], Decimal(0))),
                    "value_at_stake": str(sum(contacts["value_at_stake"], Decimal(0))),
                    "currency": rows["currency"].iloc[0],
                    "reviewed": bool(rows["reviewed"].all()),
                    "exports": len(state.exports),
                }
            )
    states = [lakehouse.state(name) for name in lineage.specs]
    return {
        "home": str(settings.home),
        "data_ends": lineage.closed.isoformat() if lineage.closed else None,
        "broken_contracts": {name: str(error) for name, error in lineage.broken.items()},
        "tables": [
            {"name": s.name, "rows": s.rows, "snapshot_id": str(s.snapshot_id) if s.snapshot_id else None}
            for s in states
        ],
        "deliveries": deliveries,
        "models": [model_row(version) for version in registry.all_versions(MODELS)],
        "plans": plans,
        "failures": failures(settings),
    }


def model_row(version: ModelVersion) -> dict[str, Any]:
    """A model version with its figures beside the naive baseline."""
    return {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "kind": version.tags.get("kind"),
        "gates": version.tags.get("gates"),
        "reviewed": version.reviewed,
        "approved_by": version.tags.get("approved_by"),
        "figures": dict(version.metrics),
    }


def failures(settings: Settings, most: int = 5) -> list[dict[str, Any]]:
    """The newest failed runs that the failure sensor noted."""
    path = settings.home / "failures.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[-most:]]


def show_status(found: dict[str, Any]) -> None:
    """Print a status for people."""
    console.print(f"home [bold]{found['home']}[/]")
    for name, error in found["broken_contracts"].items():
        console.print(f"[red]contract {name} cannot be read:[/] {escape(error)}")
    console.print()
    tables = _table("table", "rows:right", "snapshot:right")
    for row in found["tables"]:
        tables.add_row(row["name"], f"{row['rows']:,}", row["snapshot_id"] or "-")
    console.print(tables)
    show_what_came_of_it(found, found["plans"])
    for failure in found["failures"]:
        console.print(f"[red]failed[/] {failure['at']} {failure['job']} {escape(' '.join(failure['error']))}")


def show_what_came_of_it(found: dict[str, Any], plans: list[dict[str, Any]]) -> None:
    """Sources, models and plans: what `cdap run` and `cdap status` both end with."""
    console.print()
    show_sources(found["deliveries"])
    console.print()
    show_models(found["models"])
    console.print()
    show_plans(plans)


def show_sources(rows: list[dict[str, Any]]) -> None:
    """What each source delivered, was accepted of it and held back; refused files with the reason."""
    sources = sorted({row["source"] for row in rows})
    table = _table("source", "files:right", "rows:right", "accepted:right", "quarantined:right")
    for source in sources:
        mine = [row for row in rows if row["source"] == source and row["state"] in ("accepted", "replayed")]
        counts = (sum(row[name] for row in mine) for name in ("rows", "accepted", "quarantined"))
        table.add_row(source, f"{len(mine):,}", *(f"{count:,}" for count in counts))
    console.print(table if sources else "nothing was delivered yet")
    _show_refused(rows)


def show_deliveries(rows: list[dict[str, Any]]) -> None:
    """Deliveries with what was accepted, held back or refused."""
    table = _table("delivery", "state", "accepted:right", "quarantined:right")
    for row in rows:
        table.add_row(row["id"], row["state"], f"{row['accepted']:,}", f"{row['quarantined']:,}")
        table.add_row(f"[dim]  {escape(row['file'].split('/', 1)[-1])}[/]")
    console.print(table if rows else "nothing was delivered yet")
    _show_refused(rows)


def _show_refused(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["state"] == "refused" and row["note"]:
            console.print(f"[red]refused[/] {escape(row['note'])}")


def show_models(rows: list[dict[str, Any]]) -> None:
    """Model versions with their out-of-time figures beside the naive baseline."""
    for row in rows:
        figure, baseline = figures_of(row["name"], row["figures"])
        alias = "champion" if "champion" in row["aliases"] else ", ".join(row["aliases"])
        review = f"approved by {row['approved_by']}" if row["reviewed"] else "unreviewed"
        gates = "never tried" if row["gates"] is None else row["gates"]
        kind = row["kind"] if row["kind"] == lapse_model.FREQUENCY_ALONE else ""
        told = [f"[bold]{row['name']}[/] v{row['version']}", kind, alias, f"gates {gates}", escape(review)]
        console.print("  ".join(part for part in told if part))
        console.print(f"  {escape(figure)}\n  {escape(baseline)}")
    if not rows:
        console.print("no model was trained yet")


def figures_of(name: str, figures: dict[str, float]) -> tuple[str, str]:
    """The figures of a version in words, and those of its baseline."""
    if name == lapse_model.NAME:
        lift = f"{figures['auc_lift']:+.3f} [{figures['auc_lift_low']:+.3f}, {figures['auc_lift_high']:+.3f}]"
        return (
            f"AUC {figures['auc']:.3f}, log loss {figures['log_loss']:.3f}, lift {lift}",
            f"frequency alone: AUC {figures['auc_frequency']:.3f}",
        )
    return (
        f"MAE {figures['mae']:.0f}, bias {figures['bias_percent']:+.1f} %, Gini {figures['gini']:.3f}",
        f"past spend: MAE {figures['mae_past_spend']:.0f}, Gini {figures['gini_past_spend']:.3f}",
    )


def show_plans(rows: list[dict[str, Any]]) -> None:
    """Plans with their state."""
    table = _table("plan", "state", "contacts:right", "cost:right", "value at stake:right", "models")
    for row in rows:
        by = f" by {row['by']}" if row["by"] else ""
        cost, stake = (f"{Decimal(row[name]):,.2f} {row['currency']}" for name in ("cost", "value_at_stake"))
        reviewed = "reviewed" if row["reviewed"] else "unreviewed"
        table.add_row(row["id"], row["state"] + escape(by), f"{row['contacts']:,}", cost, stake, reviewed)
    console.print(table if rows else "no plan was drafted yet")


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        name, _, justify = column.partition(":")
        table.add_column(name, justify="right" if justify else "left", overflow="fold")
    return table


def show_run(found: dict[str, Any], lineage: Lineage, snapshot: date) -> None:
    """What ends `cdap run`: customers, sources, models, the snapshot's plan or why there is none."""
    rows = {row["name"]: row["rows"] for row in found["tables"]}
    console.print(f"\ncustomers [bold]{rows['customer_profile']:,}[/]  order lines {rows['order_lines']:,}")
    show_what_came_of_it(found, plans_of(found, snapshot))
    show_gaps(found, lineage, snapshot)


def plans_of(found: dict[str, Any], snapshot: date) -> list[dict[str, Any]]:
    """The plans of one snapshot date."""
    return [plan for plan in found["plans"] if plan["id"].startswith(snapshot.isoformat())]


def show_gaps(found: dict[str, Any], lineage: Lineage, snapshot: date) -> None:
    """What a person must know of the result: models that may not serve, and a data set that has ended."""
    absent = without_champion(found["models"])
    if absent:
        console.print(f"\n[yellow]No plan for {snapshot}:[/] {absent}")
    if lineage.closed:
        console.print(f'\n[yellow]This data set is closed: it ends on {lineage.closed}. "Now" is {snapshot}.[/]')


def without_champion(models: list[dict[str, Any]]) -> str | None:
    """Which models have no champion, and what to do; ``None`` when all have one or none was trained."""
    serving = {row["name"] for row in models if "champion" in row["aliases"]}
    newest = {row["name"]: row for row in reversed(models) if row["name"] not in serving}
    told = [f"{name} v{row['version']} has gates {row['gates']}" for name, row in newest.items()]
    return (
        f"{'; '.join(told)}. A version that fails a gate may not serve, and nobody can approve it: its review "
        "page says what is wrong (`cdap ui`). Profiles, segments and features are ready meanwhile; more data, or "
        "a later snapshot, is tried by `cdap run`."
        if told
        else None
    )
