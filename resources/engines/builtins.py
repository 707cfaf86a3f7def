"""Functions that engines spell differently, under one name each; an engine defines them when it connects."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import ibis


@ibis.udf.scalar.builtin(name="cdap_local_time")
def local_time(instant: datetime, zone: str) -> datetime:  # type: ignore[empty-body]
    """The wall clock in ``zone`` at a UTC ``instant``; Ibis alone drops the zone silently."""


@ibis.udf.scalar.builtin(name="cdap_utc_time")
def utc_time(local: datetime, zone: str) -> datetime:  # type: ignore[empty-body]
    """The UTC instant of a wall clock in ``zone``; a doubled hour means its first, a skipped one moves on."""


@ibis.udf.scalar.builtin(name="cdap_quotient", signature=(("decimal(38, 10)", "decimal(38, 10)"), "decimal(38, 10)"))
def quotient(over: Decimal, under: Decimal) -> Decimal:  # type: ignore[empty-body]
    """The quotient of two decimals(38, 10), to ten decimals, halves away from zero. ``under`` is not 0."""


@ibis.udf.scalar.builtin(name="cdap_sha256")
def sha256(text: str) -> str:  # type: ignore[empty-body]
    """SHA-256 of the UTF-8 text, as 64 lower-case hex digits."""


@ibis.udf.scalar.builtin(name="cdap_parse_time")
def parse_time(text: str, form: str) -> datetime:  # type: ignore[empty-body]
    """The wall clock that ``text`` states in the strptime ``form``, UTC if that has %z; null when it does not."""


@ibis.udf.scalar.builtin(name="cdap_parse_instant")
def parse_instant(text: str) -> datetime:  # type: ignore[empty-body]
    """The UTC instant of an ISO 8601 text that states its offset; null when it cannot be read."""


@ibis.udf.scalar.builtin(name="cdap_json")
def json_text(row) -> str:  # type: ignore[empty-body, no-untyped-def]
    """A row as JSON text."""
