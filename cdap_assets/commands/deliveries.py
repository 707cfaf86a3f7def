"""`cdap deliveries`: what was delivered, taking a delivery back, reading one again."""

from __future__ import annotations

import typer

from cdap_assets.commands.home import console, home_installation, told
from cdap_assets.contracts.contract import Contract
from cdap_assets.installation import Installation
from cdap_assets.raw import deliveries
from resources.lake.session import Session

app = typer.Typer(help="Look at deliveries, take one back, read one again.", no_args_is_help=True)


@app.command("list")
def list_deliveries(as_json: bool = typer.Option(False, "--json")) -> None:
    """All deliveries with their newest state."""
    from cdap_assets.commands.showing import show_deliveries
    from cdap_assets.commands.status import as_json as json_of
    from cdap_assets.commands.status import status

    with told():
        rows = status(home_installation()).deliveries
    if as_json:
        console.print_json(json_of(rows))
    else:
        show_deliveries(rows)


@app.command()
def retract(delivery_id: str, by: str = typer.Option(..., "--by", help="the person who decides")) -> None:
    """Take a delivery back: its rows count no more from now on. `cdap run` carries it on."""
    home = home_installation()
    with told(), home.lakehouse.in_process() as session:
        contract = _contract(home, session, delivery_id)
        entry = deliveries.retract(session, contract, delivery_id, by=by, at=home.clock())
    console.print(f"{entry.delivery.path}: {entry.accepted:,} rows are withdrawn; `cdap run` carries it on")


@app.command()
def replay(delivery_id: str) -> None:
    """Read a delivery again under the contract of today. `cdap run` carries it on."""
    home = home_installation()
    with told(), home.lakehouse.in_process() as session:
        contract = _contract(home, session, delivery_id)
        result = deliveries.replay(session, home.settings, contract, delivery_id, at=home.clock())
    console.print(f"{result.accepted:,} of {result.rows:,} rows accepted, {result.quarantined:,} in quarantine")


def _contract(home: Installation, session: Session, delivery_id: str) -> Contract:
    entry = deliveries.ledger(session).get(delivery_id)
    if entry is None:
        raise ValueError(f"delivery {delivery_id} is not in the ledger; see `cdap deliveries list`")
    contracts = home.lineage.contracts
    if entry.delivery.source not in contracts:
        raise ValueError(f"the contract of {entry.delivery.source} cannot be read; mend it first (`cdap status`)")
    return contracts[entry.delivery.source]
