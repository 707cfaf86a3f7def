"""The custom properties of a contract: what ODCS has no field for, with their types and limits."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool
from pydantic.alias_generators import to_camel

_SPAN = re.compile(r"(\d+) (minute|hour|day|week)s?")


def _span(value: object) -> timedelta:
    match = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a span such as '1 day', '2 hours' or '52 weeks'")
    return timedelta(**{f"{match[2]}s": int(match[1])})


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:  # unknown, malformed, or a folder of the zone database
        raise ValueError("expected an IANA time zone such as Europe/Berlin or UTC") from error
    return value


Span = Annotated[timedelta, BeforeValidator(_span)]
Zone = Annotated[str, AfterValidator(_zone)]
Text = Annotated[str, Field(min_length=1)]


class _Properties(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


class FormatProperty(_Properties):
    """How files are written; ``columns`` names those of csv files without a header."""

    type: Literal["csv", "parquet", "jsonl"]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    header: StrictBool = True
    encoding: Text = "utf-8"
    columns: tuple[Text, ...] = ()
    null_values: tuple[str, ...] = ("",)


class HistoryProperty(_Properties):
    """When rows loaded as history count as known."""

    lag: Span | None = None
    valid_from: date | None = None


class ContractProperties(_Properties):
    """The custom properties of the contract itself."""

    timezone: Zone
    event_time_zone: Zone | None = None
    event_time: Text | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None
    key_space: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] | None = None
    live: StrictBool = True
    ends: date | None = None
    history: HistoryProperty | None = None
    purposes: tuple[Text, ...] = ()
    retention: Span | None = None
    archive: StrictBool | None = None
    legal_hold: StrictBool = False
    min_hot: Span | None = None
    max_quarantined_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    format: FormatProperty


class ColumnProperties(_Properties):
    """The custom properties of a source column."""

    personal_data: Literal["none", "pseudonymous", "quasi", "direct"] = "none"
    purposes: tuple[Text, ...] | None = None
    sensitive: StrictBool = False


class JoinProperty(_Properties):
    """An equi-join with another contract's source: left column to right column."""

    source: Text
    on: Annotated[dict[str, str], Field(min_length=1)]
    how: Literal["inner", "left"] = "inner"


class OutputProperties(_Properties):
    """The custom properties of a canonical output."""

    joins: tuple[JoinProperty, ...] = ()
    where: Text | None = None
    group_by: tuple[Text, ...] = ()
