"""`cdap backtest`: how well forecasts would have worked on an order log, without an installation or Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cdap_assets.commands.home import console, fail
from cdap_assets.commands.order_file import OrderFileError, read_orders

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from ml.backtest import Backtest, Tell
    from ml.orders import OrderLog

# A log whose orders stop this long before the holdout's end does not hold the whole holdout.
LONGEST_SILENCE = timedelta(days=7)
FEWEST_OF_EACH = 10
COLUMNS = (
    "p_purchase",
    "expected_purchases",
    "median_purchases",
    "expected_spend",
    "median_spend",
    "spend_low",
    "spend_high",
)


@dataclass(frozen=True)
class Request:
    """What the command was asked for."""

    source: Path
    customer_column: str
    date_column: str
    amount_column: str | None
    date_format: str | None
    calibration_end: date
    holdout_end: date
    output: Path
    report: Path | None


def run_backtest(request: Request) -> None:
    """Read, fit, predict, score and write. Ends the command with one message when the input cannot be used."""
    from ml.forecast import CustomerBaseForecaster, TooFewCustomers

    if request.holdout_end <= request.calibration_end:
        raise fail(
            f"--holdout-end {request.holdout_end} must be after --calibration-end {request.calibration_end}: the "
            "days between them are forecast"
        )
    _refuse_targets(request)
    try:
        with _progress() as tell:
            tell("reading orders", 0, 1)
            orders = read_orders(
                request.source,
                customer=request.customer_column,
                date=request.date_column,
                amount=request.amount_column,
                date_format=request.date_format,
            )
            end = _number(request.calibration_end)
            _refuse_outside(request, orders.log)
            horizon = (request.holdout_end - request.calibration_end).days
            forecaster = CustomerBaseForecaster(horizon, progress=tell).fit(orders.log, end)
            forecast = forecaster.predict(orders.log, end)
            _write(request, forecast)
            unscored = _why_not_scored(request, orders.log)
            result = None
            if unscored is None:
                from ml.backtest import backtest

                result = backtest(forecaster, forecast, orders.log, end, tell=tell)
    except (OrderFileError, TooFewCustomers) as error:
        raise fail(str(error)) from error
    console.print(f"wrote {len(forecast):,} customers to {request.output}")
    if "expected_spend" not in forecast:
        why = "the log has no amounts" if orders.log.spend is None else "no amount by the calibration end is above 0"
        console.print(f"[yellow]without spend:[/] {why}; its columns are empty")
    if not forecaster.learned_:
        console.print(f"[yellow]BTYD models alone:[/] {forecaster.reason_}")
    if orders.returns:
        console.print(f"[yellow]left out:[/] {orders.returns:,} rows of days on which a customer only gave things back")
    if result is None:
        console.print(f"[yellow]not scored:[/] {unscored}")
    else:
        console.print(_figures(result))
    if request.report is not None:
        from pages.backtest import backtest_page

        page = backtest_page(
            name=request.source.name,
            calibration_end=request.calibration_end,
            holdout_end=request.holdout_end,
            first_day=_day(orders.log.first_day),
            forecaster=forecaster,
            forecast=forecast,
            result=result,
            unscored=unscored,
            returns=orders.returns,
        )
        request.report.write_text(page, encoding="utf-8")
        console.print(f"report: {request.report}")


def _write(request: Request, forecast: pd.DataFrame) -> None:
    partial = request.output.with_name(request.output.name + ".partial")
    forecast.reindex(columns=list(COLUMNS)).round(6).to_csv(partial, index_label="customer_id")
    partial.replace(request.output)


def _refuse_targets(request: Request) -> None:
    targets = [path for path in (request.output, request.report) if path is not None]
    if len({path.resolve() for path in (request.source, *targets)}) <= len(targets):
        raise fail("INPUT, --output and --report must be different files: what is written would replace the other")
    for path in targets:
        if path.is_dir():
            raise fail(f"{path} is a folder; name a file in it")
        if not path.absolute().parent.is_dir():
            raise fail(f"{path.absolute().parent} is no folder to write to; make it first")


def _refuse_outside(request: Request, log: OrderLog) -> None:
    first, last = _day(log.first_day), _last(log, request.calibration_end)
    if request.calibration_end < first:
        raise OrderFileError(
            f"{request.source}: the first order is on {first}, after --calibration-end {request.calibration_end}"
        )
    if last is None:
        return
    if request.calibration_end > last + LONGEST_SILENCE:
        raise OrderFileError(
            f"{request.source}: the last order is on {last}; with --calibration-end {request.calibration_end} "
            f"everybody would seem to have stopped buying. Use --calibration-end {last} or earlier"
        )


def _why_not_scored(request: Request, log: OrderLog) -> str | None:
    last = _last(log, request.holdout_end)
    if last is None or last <= request.calibration_end:
        return "the input holds no row after the calibration end"
    if last + LONGEST_SILENCE < request.holdout_end:
        return (
            f"the last order is on {last}, so the input does not hold all days up to {request.holdout_end}; what is "
            f"missing would count as not buying. Use --holdout-end {last} to score"
        )
    end = _number(request.calibration_end)
    bought = log.outcome(end, _number(request.holdout_end))["purchases"] > 0
    if min(bought.sum(), (~bought).sum()) < FEWEST_OF_EACH:
        return (
            f"{int(bought.sum()):,} of {len(bought):,} customers bought in the holdout; at least {FEWEST_OF_EACH} who "
            f"did and {FEWEST_OF_EACH} who did not are needed to tell them apart"
        )
    return None


def _figures(result: Backtest) -> Table:
    from rich.table import Table

    table = Table(title=f"{result.customers:,} customers, {result.buyers:,} bought", title_justify="left")
    for name in ("", "forecast", "95 % interval", "BG/NBD", "as before", "beside BG/NBD"):
        table.add_column(name, justify="left" if name in ("", "beside BG/NBD") else "right")
    for m in result.measures:
        table.add_row(
            m.name,
            f"{m.forecast.value:,.3f}",
            f"{m.forecast.low:,.3f} to {m.forecast.high:,.3f}",
            "" if m.bg_nbd is None else f"{m.bg_nbd.value:,.3f}",
            "" if m.as_before is None else f"{m.as_before.value:,.3f}",
            m.verdict,
        )
    return table


@contextmanager
def _progress() -> Iterator[Tell]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=1)

        def tell(what: str, done: int, of: int) -> None:
            progress.update(task, description=what, completed=done, total=of)

        yield tell


def _last(log: OrderLog, day: date) -> date | None:
    """The last order up to `day`: one stray date in the future says nothing of the days before it."""
    known = log.day[log.day <= _number(day)]
    return _day(int(known.max())) if len(known) else None


def _number(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _day(number: int) -> date:
    return date(1970, 1, 1) + timedelta(days=number)
