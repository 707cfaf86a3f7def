"""From delivered values to typed ones: what a column's contract says a value must be, or why it is not."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

import ibis
import ibis.expr.datatypes as dt

from cdap_assets.contracts.contract import Contract, SourceColumn
from resources.engines.builtins import parse_instant, parse_time, utc_time

if TYPE_CHECKING:
    import ibis.expr.types as ir

INTEGER = r"^[+-]?\d{1,19}$"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"
# no year 0000, which an engine reads as 1 BC; no offset beyond 14 hours, which it reads as days
_DATE = r"([1-9]\d{3}|\d[1-9]\d{2}|\d{2}[1-9]\d|\d{3}[1-9])-\d{2}-\d{2}"
_TIME = r"\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?"
ISO_DATE = rf"^{_DATE}$"
ISO_LOCAL = rf"^{_DATE}[T ]{_TIME}$"
ISO_OFFSET = rf"^{_DATE}[T ]{_TIME}(Z|[+-](0\d|1[0-4])(:?[0-5]\d)?)$"
TRUE = ("true", "t", "yes", "y", "1")
FALSE = ("false", "f", "no", "n", "0")


def typed(value: ir.Value, column: SourceColumn, zone: str) -> ir.Value:
    """The value in the column's type, null where it cannot be read as such. Timestamps become UTC.

    Texts are matched by our own patterns before a cast, for engines disagree on what they accept; nothing
    is rounded: a number with more decimals than the column has does not read.
    """
    target = dt.dtype(column.type)
    if value.type().is_string():
        text = value.strip()
        return _from_text(text, column, target, zone)
    return _from_typed(value, column, target, zone)


def _from_text(text: ir.StringValue, column: SourceColumn, target: dt.DataType, zone: str) -> ir.Value:
    if target.is_string():
        return text
    if target.is_integer():
        return _where(text.re_search(INTEGER), text.try_cast(column.type), column.type)
    if target.is_decimal():
        # at least one digit on either side of the point; beyond the scale only zeros
        pattern = rf"^[+-]?(\d+(\.\d{{0,{target.scale}}}0*)?|\.0*\d{{0,{target.scale}}}0*)$"
        return _where(text.re_search(pattern), text.try_cast(column.type), column.type)
    if target.is_floating():
        return _where(text.re_search(NUMBER), text.try_cast(column.type), column.type)
    if target.is_boolean():
        word = text.lower()
        return ibis.cases((word.isin(TRUE), True), (word.isin(FALSE), False), else_=ibis.null("boolean"))
    if column.format:
        wall = parse_time(text, column.format)
        if target.is_date():
            return wall.cast("date")
        return wall if "%z" in column.format else utc_time(wall, ibis.literal(zone))
    if target.is_date():
        return _where(text.re_search(ISO_DATE), text.try_cast("date"), "date")
    wall = _where(text.re_search(ISO_LOCAL), text.replace("T", " ").try_cast("timestamp(6)"), "timestamp(6)")
    instant = _where(text.re_search(ISO_OFFSET), parse_instant(text).cast("timestamp(6)"), "timestamp(6)")
    return instant.coalesce(utc_time(wall, ibis.literal(zone)))


def _from_typed(value: ir.Value, column: SourceColumn, target: dt.DataType, zone: str) -> ir.Value:
    source = value.type()
    if target.is_string():
        return value.cast("string")
    if target.is_timestamp():
        if source.is_timestamp() and source.timezone is not None:
            return value.cast("timestamp('UTC')").cast("timestamp(6)")
        wall = value.try_cast("timestamp(6)")
        return utc_time(wall, ibis.literal(zone))
    result = value.try_cast(column.type)
    if source.is_floating() and not target.is_floating():
        exact = (result.cast("float64") - value).abs() <= 1e-9 * value.abs() + 1e-9
        return _where(~value.isnan() & ~value.isinf() & exact, result, column.type)
    if source.is_decimal() and target.is_decimal():
        return _where(result == value, result, column.type)
    return result


def _where(condition: ir.BooleanValue, value: ir.Value, type_: str) -> ir.Value:
    return ibis.ifelse(condition, value, ibis.null(type_))


def problem(delivered: ir.Value, value: ir.Value, column: SourceColumn) -> ir.StringValue:
    """What is wrong with a value, in words that name the column and what was expected; null when nothing is.

    The value itself is not told: the reason is shown where personal data must not be.
    """
    tests: list[tuple[ir.BooleanValue, str]] = []
    if column.required:
        blank = value == "" if value.type().is_string() else ibis.literal(False)
        tests.append((delivered.isnull() | blank.coalesce(False), "is required and empty"))
    written = f" as {column.format}" if column.format else ""
    tests.append((delivered.notnull() & value.isnull(), f"is no {column.type}{written}"))
    if column.enum:
        tests.append((~value.isin(list(column.enum)), f"is none of {', '.join(map(str, column.enum))}"))
    if column.pattern:
        tests.append((~value.cast("string").re_search(f"^(?:{column.pattern})$"), f"does not match {column.pattern}"))
    if column.minimum is not None:
        tests.append((value < _bound(column.minimum), f"is below {column.minimum}"))
    if column.maximum is not None:
        tests.append((value > _bound(column.maximum), f"is above {column.maximum}"))
    return ibis.cases(
        *((condition.coalesce(False), f"{column.name} {told}") for condition, told in tests),
        else_=ibis.null("string"),
    )


def _bound(value: float | date) -> ir.Value:
    return ibis.literal(value)


def event_columns(
    contract: Contract, values: dict[str, ir.Value], delivered_at: datetime, *, history: bool
) -> tuple[ir.Value, ir.Value]:
    """(event time in UTC or null, known time in UTC) of a row.

    Rows loaded as history were not known today for the first time: the contract says since when, and never
    later than the delivery itself.
    """
    now = ibis.literal(delivered_at).cast("timestamp(6)")
    if contract.event_time is None:
        occurred = ibis.null("timestamp(6)")
    else:
        event = values[contract.event_time]
        is_date = event.type().is_date()
        occurred = utc_time(event.cast("timestamp(6)"), ibis.literal(contract.event_time_zone)) if is_date else event
    if not history or contract.history is None:
        return occurred, now
    if contract.history.lag is not None:
        seconds = int(contract.history.lag.total_seconds())
        known = occurred + ibis.interval(seconds=seconds)
    else:
        since = contract.history.valid_from
        known = utc_time(ibis.literal(since).cast("timestamp(6)"), ibis.literal(contract.timezone))
    return occurred, ibis.least(known.coalesce(now), now)
