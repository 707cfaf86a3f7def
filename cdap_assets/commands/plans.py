"""`cdap plan`: look at plans, change drafts, and decide about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from cdap_assets.commands.home import console, errors, home_installation, told
from cdap_assets.retention import decisions, ledger
from cdap_assets.retention.plan_id import PlanId, PlanRefused
from resources.stores.object_store import readable

if TYPE_CHECKING:
    from cdap_assets.installation import Installation
    from cdap_assets.retention.export import Export

app = typer.Typer(help="Look at retention plans, change drafts, decide about them.", no_args_is_help=True)
By = typer.Option(..., "--by", help="the person who decides")
SHOWN = 20


@app.command("list")
def list_plans(as_json: bool = typer.Option(False, "--json")) -> None:
    """All plans with their state."""
    from cdap_assets.commands.showing import show_plans
    from cdap_assets.commands.status import as_json as json_of
    from cdap_assets.commands.status import status

    with told():
        plans = status(home_installation()).plans
    if as_json:
        console.print_json(json_of(plans))
    else:
        show_plans(plans)


@app.command()
def show(plan_id: str, everyone: bool = typer.Option(False, "--all", help="every contact, not the first 20")) -> None:
    """Whom a plan contacts, and why."""
    from rich.table import Table

    home = home_installation()
    with told(), home.lakehouse.in_process() as session:
        wanted = PlanId.parse(plan_id)
        state = ledger.plan_state(session, wanted)
        rows = ledger.plan_rows(session, wanted)
        contacts = ledger.contacts_of(rows, state)
        console.print(f"plan [bold]{plan_id}[/]: {state.state} {f'by {state.by}' if not state.open else ''}")
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for name in ("customer", "lapse", "value at stake", "cost", "channel", "reasons"):
            table.add_column(name)
        shown = contacts if everyone else contacts.head(SHOWN)
        for row in shown.to_dict("records"):
            reasons = [row[f"reason_{n}"] for n in (1, 2, 3) if isinstance(row[f"reason_{n}"], str)]
            stake, cost = f"{row['value_at_stake']:.2f}", f"{row['cost']:.2f}"
            table.add_row(
                row["customer_id"], f"{row['lapse_probability']:.0%}", stake, cost, row["channel"], "; ".join(reasons)
            )
        console.print(table)
        if len(shown) < len(contacts):
            console.print(f"and {len(contacts) - len(shown):,} more; --all shows them")
    from cdap_assets.retention.plan_page import page_name

    console.print(f"page {readable(home.lakehouse.stores.pages.location(page_name(wanted)))}")


@app.command()
def diff(plan_id: str, other: str = typer.Argument(..., help="the plan to compare with")) -> None:
    """Who entered and left between two plans."""
    from cdap_assets.retention.plan_page import changed

    with told(), home_installation().lakehouse.in_process() as session:
        before = PlanId.parse(other)
        found = [
            ledger.contacts_of(ledger.plan_rows(session, wanted), ledger.plan_state(session, wanted))
            for wanted in (before, PlanId.parse(plan_id))
        ]
        change = changed(before.snapshot, *found)
    console.print(f"kept {change.kept:,}, entered {len(change.entered):,}, left {len(change.left):,}")
    for sign, customers in (("+", change.entered), ("-", change.left)):
        for customer in customers:
            console.print(f"{sign} {customer}")


@app.command()
def edit(
    plan_id: str,
    drop: list[str] = typer.Option([], "--drop", help="customer id to take out; may be repeated"),
    add: list[str] = typer.Option([], "--add", help="customer id to put in; may be repeated"),
    reason: str = typer.Option(..., "--reason"),
    by: str = By,
) -> None:
    """Take customers out of a draft or put some in, with a reason."""
    with told(), _reported() as desk:
        state = decisions.edit(desk, PlanId.parse(plan_id), drop=drop, add=add, by=by, reason=reason).state
    console.print(f"plan {plan_id}: {len(state.dropped)} dropped, {len(state.added)} added so far")


@app.command()
def approve(
    plan_id: str,
    by: str = By,
    first: int | None = typer.Option(None, "--first", help="approve only so many, by value at stake per cost"),
    note: str = typer.Option("", "--note"),
    export: bool = typer.Option(True, help="write the activation files at once"),
) -> None:
    """Approve a plan, whole or in part, and write its activation files."""
    with told(), _reported() as desk:
        wanted = PlanId.parse(plan_id)
        decided = decisions.approve(desk, wanted, by=by, first=first, note=note, with_files=export)
    state = decided.state
    console.print(f"plan {plan_id} is {state.state} by {by}: {state.approved_contacts:,} contacts")
    if decided.export:
        _show_export(plan_id, decided.export)


@app.command()
def reject(plan_id: str, by: str = By, reason: str = typer.Option(..., "--reason")) -> None:
    """Reject a plan, with a reason."""
    with told(), _reported() as desk:
        decisions.reject(desk, PlanId.parse(plan_id), by=by, reason=reason)
    console.print(f"plan {plan_id} is rejected by {by}")


@app.command("export")
def export_plan(plan_id: str, by: str = By) -> None:
    """Write the activation files of an approved plan again."""
    with told(), _reported() as desk:
        written = decisions.export(desk, PlanId.parse(plan_id), by=by)
    _show_export(plan_id, written)


@contextmanager
def _reported() -> Iterator[decisions.Desk]:
    """A desk for one decision, of which Dagster is told once it stands, also when what was to follow it has failed."""
    home = home_installation()
    try:
        yield decisions.Desk(home.lakehouse, home.registry, home.clock, home.lineage.closed)
    except decisions.Unfinished:
        _report(home)
        raise
    _report(home)


def _report(home: Installation) -> None:
    """Tell Dagster what was decided. Where it cannot be told the decision stands, and the next one makes up for it."""
    import dagster as dg
    from sqlalchemy.exc import SQLAlchemyError

    from cdap_assets.commands.instance import InstanceUnavailable, open_instance
    from cdap_assets.retention.materializations import report

    try:
        with ledger.deciding(home.settings), open_instance(home.settings.home) as instance:
            report(home.lakehouse, instance, instance.report_runless_asset_event)
    except (InstanceUnavailable, PlanRefused, OSError, SQLAlchemyError, dg.DagsterError) as error:
        errors.print("Dagster could not be told: its pages show `plan_events` and `arms` as they were until the next")
        errors.print(f"decision. What was decided stands. The reason: {str(error).splitlines()[0]}", markup=False)


def _show_export(plan_id: str, written: Export) -> None:
    console.print(f"{written.rows:,} rows in {written.csv} and {plan_id}.parquet")
