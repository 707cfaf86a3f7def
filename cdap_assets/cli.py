"""The `cdap` command: a thin face of the lineage. Heavy libraries are imported where a command needs them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

import typer

from cdap_assets.commands import deliveries, models, plans, storage
from cdap_assets.commands.home import console, fail, home_installation, home_settings, told

app = typer.Typer(
    help="Customer Data Analytics Platform: from customer files to a reviewed retention plan.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.add_typer(plans.app, name="plan")
app.add_typer(models.app, name="models")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(storage.app, name="storage")


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a date; write YYYY-MM-DD") from error


@app.command()
def init(
    home: Path,
    example: bool = typer.Option(False, "--example", help="with contracts and files of the example panel"),
    timezone: str = typer.Option("UTC", help="whose midnight is the cut-off of a snapshot"),
    first_snapshot: str = typer.Option("2020-01-05", help="first weekly snapshot, a Sunday; about when data begins"),
    target: Literal["local", "aws"] = typer.Option("local", help="aws: tables on S3, in Glue, computed by Athena"),
) -> None:
    """Make an installation: everything of it lives in HOME; on AWS, what a person writes of it."""
    from cdap_assets.commands.new_home import make_aws_home, make_home

    if example and target == "aws":
        raise fail("the example is for a local home: leave out --example or --target aws")
    with told():
        if target == "aws":
            make_aws_home(home, timezone=timezone, first_snapshot=_date(first_snapshot))
        else:
            make_home(home, example=example, timezone=timezone, first_snapshot=_date(first_snapshot))
    console.print(f"made {home.absolute()}")
    if target == "aws":
        console.print("next: create what docs/aws.md lists, write its names into settings.env, and write a contract")
        console.print("(contracts/orders.yaml.example shows how)")
    elif not example:
        console.print("next: write a contract (contracts/orders.yaml.example shows how), drop files into")
        console.print(f"landing/<source>/, and run `CDAP_HOME={home} cdap run`")


@app.command()
def run(snapshot: str | None = typer.Option(None, help="a Sunday; default: the newest snapshot date")) -> None:
    """The main job: from delivered files to a drafted retention plan."""
    home = home_installation()
    from cdap_assets.commands.running import RunFailed
    from cdap_assets.commands.running import run as run_stages
    from cdap_assets.commands.showing import show_gaps, show_plans, show_run
    from cdap_assets.commands.status import status

    for error in home.lineage.broken.values():
        console.print(f"[red]contract left out:[/] {error}")
    if not home.lineage.contracts:
        raise fail(
            f"there is no contract in {home.settings.contracts}; contracts/orders.yaml.example shows how to write one"
        )
    with told():
        try:
            done = run_stages(home, _date(snapshot) if snapshot else None)
        except RunFailed as error:
            raise fail(str(error)) from error
        found = status(home)
    if done.stages:
        show_run(found, done.snapshot)
        console.print(f"\ndone in {done.seconds:.0f} s")
    else:
        console.print(f"nothing is new: everything is up to date for {done.snapshot} ({done.seconds:.1f} s)")
        show_plans(found.plans_of(done.snapshot))
        show_gaps(found, done.snapshot)
    console.print(
        "look further: [bold]cdap ui[/]  [bold]cdap status[/]  [bold]cdap plan list[/]  [bold]cdap models list[/]"
    )


@app.command()
def backtest(
    source: Path = typer.Argument(metavar="INPUT", help="CSV or Parquet, one row per order or order line"),
    customer: str = typer.Option("customer_id", help="column of the customer id"),
    order_date: str = typer.Option("date", "--date", help="column of the order date"),
    amount: str | None = typer.Option(
        None, help="column of the money, in one currency; default: amount, or purchases only where there is none"
    ),
    date_format: str | None = typer.Option(None, help="how dates are written, as %d/%m/%Y; default: ISO 8601"),
    calibration_end: str = typer.Option(..., help="last day the forecast may know, YYYY-MM-DD"),
    holdout_end: str = typer.Option(..., help="last day that is forecast, YYYY-MM-DD"),
    output: Path = typer.Option(..., help="CSV of one row per customer"),
    report: Path | None = typer.Option(None, help="one HTML page with figures, plots and what to trust"),
) -> None:
    """How well would forecasts have worked on my customers? Needs no installation."""
    from cdap_assets.commands.backtesting import Request, run_backtest

    with told():
        run_backtest(
            Request(
                source=source,
                customer_column=customer,
                date_column=order_date,
                amount_column=amount,
                date_format=date_format,
                calibration_end=_date(calibration_end),
                holdout_end=_date(holdout_end),
                output=output,
                report=report,
            )
        )


@app.command()
def ui() -> None:
    """Dagster, MLflow and the review pages, on loopback."""
    settings = home_settings()
    from cdap_assets.commands.serving import serve

    with told():
        serve(settings)


@app.command()
def status(as_json: bool = typer.Option(False, "--json")) -> None:
    """Home, what is due next and why, tables, deliveries, models, plans."""
    home = home_installation()
    from cdap_assets.commands.showing import show_status
    from cdap_assets.commands.status import Next
    from cdap_assets.commands.status import as_json as json_of
    from cdap_assets.commands.status import status as find

    with told():
        found, next = find(home), Next.of(home)
    if as_json:
        console.print_json(json_of(found, next))
    else:
        show_status(found, next)


@app.command()
def sql(query: str, as_csv: bool = typer.Option(False, "--csv")) -> None:
    """Read the lake with a SQL query, such as "select segment, count(*) from customer_profile group by 1"."""
    home = home_installation()
    from resources.lake.gateway import Lake

    with told():
        frame = Lake(home.lakehouse, home.lineage.specs).sql(query)
    typer.echo(frame.to_csv(index=False) if as_csv else frame.to_string(index=False), nl=not as_csv)


@app.command()
def cost(
    select: str | None = typer.Option(None, help="assets as Dagster selects them, such as 'group:features'"),
    snapshot: str | None = typer.Option(None, help="a Sunday; default: the newest snapshot date"),
    anew: bool = typer.Option(False, "--anew", help="as if every table were rebuilt whole"),
) -> None:
    """What the next run would scan and cost on Athena, told from table metadata before anything runs.

    With --select, what building these tables would; with --anew, what building everything would.
    """
    home = home_installation()
    from cdap_assets.commands.costing import selected_tables, show_costs
    from cdap_assets.work.scan_cost import scan_costs
    from cdap_assets.work.stages import chosen_snapshot, snapshot_stage

    with told():
        target = chosen_snapshot(home, _date(snapshot) if snapshot else None)
        chosen = selected_tables(home, select) if select else None
        # of all that could be built, the next run builds the snapshots that are due
        due = snapshot_stage(home, target) if chosen is None and not anew else None
        dates = [target] if chosen is not None or anew else due.partitions if due else ()
        costs = scan_costs(home.lineage, home.lakehouse, dates, chosen, anew=anew)
    show_costs(costs, home.settings)


@app.command()
def reproduce(model: str, version: int) -> None:
    """Train a model version again from the table snapshots in its record, and compare every metric."""
    from cdap_assets.commands.reproducing import reproduce_version

    reproduce_version(model, version)


@app.command()
def migrate(home: Path) -> None:
    """Move the lake of HOME, with its history, and its deliveries into this installation: from a laptop to AWS."""
    settings = home_settings()
    from cdap_assets.commands.migrating import move
    from resources.lake.lakehouse import Lakehouse
    from resources.settings import Settings

    with told():
        if not (home / "settings.env").exists():
            raise ValueError(f"{home} is not an installation: it has no settings.env")
        move(Lakehouse(Settings.load(home)), Lakehouse(settings))


@app.command()
def backfill(first: str = typer.Option(..., "--from"), last: str = typer.Option(..., "--to")) -> None:
    """Build features and labels of a range of snapshots anew, after a contract fix or a history load."""
    home = home_installation()
    from cdap_assets.commands.running import RunFailed
    from cdap_assets.commands.running import backfill as build

    with told():
        try:
            weeks = build(home, _date(first), _date(last))
        except RunFailed as error:
            raise fail(str(error)) from error
    console.print(f"built {len(weeks)} snapshots, {weeks[0]} to {weeks[-1]}")
