"""A status printed for people: what `cdap run`, `cdap status` and the lists of each command show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from rich.markup import escape
from rich.table import Table

from cdap_assets.commands.home import console
from cdap_assets.commands.status import DeliveryRow, ModelRow, Next, PlanRow, Status
from cdap_assets.models import lapse_model


def show_status(found: Status, next: Next) -> None:
    """Everything."""
    console.print(f"home [bold]{found.home}[/]")
    for name, error in found.broken_contracts.items():
        console.print(f"[red]contract {name} cannot be read:[/] {escape(error)}")
    show_next(next)
    console.print()
    tables = _table("table", "rows:right", "snapshot:right")
    for row in found.tables:
        tables.add_row(row.name, f"{row.rows:,}", row.snapshot_id or "-")
    console.print(tables)
    _show_what_came_of_it(found, found.plans)
    for failure in found.failures:
        console.print(f"[red]failed[/] {failure.at} {failure.job} {escape(' '.join(failure.error))}")


def show_next(found: Next) -> None:
    """Who is at work, and what is due and why."""
    if found.at_work:
        console.print(f"at work: {escape(found.at_work)}")
    if found.stage:
        by = "the sensor main_job" if found.automation else "`cdap run`"
        console.print(f"due for {found.snapshot}: [bold]{found.stage}[/], {escape(found.why)} ({by} does it)")
    else:
        console.print(escape(found.why))


def show_run(found: Status, snapshot: date) -> None:
    """What ends `cdap run`: customers, sources, models, the snapshot's plan or why there is none."""
    customers, lines = found.rows_of("customer_profile"), found.rows_of("order_lines")
    console.print(f"\ncustomers [bold]{customers:,}[/]  order lines {lines:,}")
    _show_what_came_of_it(found, found.plans_of(snapshot))
    show_gaps(found, snapshot)


def _show_what_came_of_it(found: Status, plans: Sequence[PlanRow]) -> None:
    console.print()
    show_sources(found.deliveries)
    console.print()
    show_models(found.models)
    console.print()
    show_plans(plans)


def show_sources(rows: Sequence[DeliveryRow]) -> None:
    """What each source delivered, was accepted of it and held back; refused files with the reason."""
    sources = sorted({row.source for row in rows})
    table = _table("source", "files:right", "rows:right", "accepted:right", "quarantined:right")
    for source in sources:
        mine = [row for row in rows if row.source == source and row.state in ("accepted", "replayed")]
        counts = (
            sum(row.rows for row in mine),
            sum(row.accepted for row in mine),
            sum(row.quarantined for row in mine),
        )
        table.add_row(source, f"{len(mine):,}", *(f"{count:,}" for count in counts))
    console.print(table if sources else "nothing was delivered yet")
    _show_refused(rows)


def show_deliveries(rows: Sequence[DeliveryRow]) -> None:
    """Deliveries with what was accepted, held back or refused."""
    table = _table("delivery", "state", "accepted:right", "quarantined:right")
    for row in rows:
        table.add_row(row.id, row.state, f"{row.accepted:,}", f"{row.quarantined:,}")
        table.add_row(f"[dim]  {escape(row.file.split('/', 1)[-1])}[/]")
    console.print(table if rows else "nothing was delivered yet")
    _show_refused(rows)


def _show_refused(rows: Sequence[DeliveryRow]) -> None:
    for row in rows:
        if row.state == "refused" and row.note:
            console.print(f"[red]refused[/] {escape(row.note)}")


def show_models(rows: Sequence[ModelRow]) -> None:
    """Model versions with their out-of-time figures beside the naive baseline."""
    for row in rows:
        figure, baseline = figures_of(row.name, row.figures)
        alias = "champion" if row.serves else ", ".join(row.aliases)
        review = f"approved by {row.approved_by}" if row.reviewed else "unreviewed"
        kind = lapse_model.FREQUENCY_ALONE if row.kind == lapse_model.FREQUENCY_ALONE else ""
        told = [f"[bold]{row.name}[/] v{row.version}", kind, alias, f"gates {row.gates or 'never tried'}"]
        console.print("  ".join(part for part in (*told, escape(review)) if part))
        console.print(f"  {escape(figure)}\n  {escape(baseline)}")
    if not rows:
        console.print("no model was trained yet")


def figures_of(name: str, figures: Mapping[str, float]) -> tuple[str, str]:
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


def show_plans(rows: Sequence[PlanRow]) -> None:
    """Plans with their state."""
    table = _table("plan", "state", "contacts:right", "cost:right", "value at stake:right", "models")
    for row in rows:
        by = f" by {row.by}" if row.by else ""
        cost, stake = (f"{amount:,.2f} {row.currency}" for amount in (row.cost, row.value_at_stake))
        reviewed = "reviewed" if row.reviewed else "unreviewed"
        table.add_row(row.id, row.state + escape(by), f"{row.contacts:,}", cost, stake, reviewed)
    console.print(table if rows else "no plan was drafted yet")


def show_gaps(found: Status, snapshot: date) -> None:
    """What a person must know of the result: models that may not serve, and a data set that has ended."""
    absent = _without_champion(found.models)
    if absent:
        console.print(f"\n[yellow]No plan for {snapshot}:[/] {absent}")
    if found.data_ends:
        console.print(f'\n[yellow]This data set is closed: it ends on {found.data_ends}. "Now" is {snapshot}.[/]')


def _without_champion(models: Sequence[ModelRow]) -> str | None:
    """Which models have no champion, and what to do; ``None`` when all have one or none was trained."""
    serving = {row.name for row in models if row.serves}
    newest = {row.name: row for row in reversed(models) if row.name not in serving}
    told = [f"{name} v{row.version} has gates {row.gates}" for name, row in newest.items()]
    return (
        f"{'; '.join(told)}. A version that fails a gate may not serve, and nobody can approve it: its review "
        "page says what is wrong (`cdap ui`). Profiles, segments and features are ready meanwhile; more data, or "
        "a later snapshot, is tried by `cdap run`."
        if told
        else None
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        name, _, justify = column.partition(":")
        table.add_column(name, justify="right" if justify else "left", overflow="fold")
    return table
