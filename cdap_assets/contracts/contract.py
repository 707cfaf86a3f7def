"""What a data contract says of one source, frozen; ``reading`` makes it from an ODCS 3.1 YAML file.

Plain values without YAML, Ibis or a file's place. What can be wrong with a contract is told by ``reading`` and
``checking``; what is done with one is the business of ``raw`` and ``curated``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

from cdap_assets.contracts.expression import Expression
from resources.engines.file_format import FileFormat
from resources.iceberg.table import INSTANT, PersonalData

# What every raw table has beside the source's own columns; expressions may use them.
RAW_COLUMNS: dict[str, str] = {
    "delivery_id": "string",
    "row_number": "int64",
    "occurred_at": INSTANT,
    "local_date": "date",
    "known_at": INSTANT,
    "until": INSTANT,
    "delivered_at": INSTANT,
    "retracted_at": INSTANT,
    "known_assumed": "boolean",
    "month": "date",
}


@dataclass(frozen=True)
class SourceColumn:
    """One column of the source as delivered.

    ``type`` is an Ibis type name: string, int64, float64, decimal(p, s), boolean, date or timestamp(6).
    ``format`` is how a date or timestamp is written in text files (strptime codes). ``enum`` lists the
    allowed values, ``pattern`` is a regular expression that the whole text matches, ``minimum`` and
    ``maximum`` are inclusive bounds; a row that breaks one of these is quarantined. ``purposes`` are what this
    column may be used for, ``None``: what the contract says; ``sensitive`` marks a trait such as income, which
    becomes a feature of a model only where the home's models.yaml allows it by name.
    """

    name: str
    type: str
    required: bool = False
    unique: bool = False
    primary_key: bool = False
    description: str = ""
    personal: PersonalData = "none"
    enum: tuple[str | int | float, ...] = ()
    pattern: str | None = None
    minimum: int | float | date | None = None
    maximum: int | float | date | None = None
    format: str | None = None
    purposes: tuple[str, ...] | None = None
    sensitive: bool = False


@dataclass(frozen=True)
class History:
    """When rows loaded as history are taken to have been known; exactly one of the two is given.

    ``lag``: event time plus this. ``valid_from``: undated reference data, known from 00:00 of this day in
    the contract's time zone.
    """

    lag: timedelta | None = None
    valid_from: date | None = None


@dataclass(frozen=True)
class Join:
    """An equi-join with another contract's raw table: ``on`` pairs a left column with one of ``source``.

    The pairs cover a key of ``source``. The caller passes tables in which at most one row of a key is valid
    at any instant, so that a row finds at most one at a time.
    """

    source: str
    on: tuple[tuple[str, str], ...]
    how: Literal["inner", "left"] = "inner"


@dataclass(frozen=True)
class Output:
    """How a contract fills one canonical table, ``entity``.

    ``columns`` maps target columns to expressions, defaults included; ``where`` keeps rows for which it is
    true; ``group_by`` names raw columns, and then every other column stands inside an aggregate.
    """

    name: str
    entity: str
    columns: Mapping[str, Expression]
    joins: tuple[Join, ...] = ()
    where: Expression | None = None
    group_by: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The joined sources, beside the contract's own."""
        return tuple(join.source for join in self.joins)


@dataclass(frozen=True)
class Contract:
    """One source: what its files hold, what that means, and which canonical tables it fills.

    ``event_time`` is the column that says when a row happened; naive values of it are written in
    ``event_time_zone``, while naive values of every other timestamp column are written in ``timezone``,
    which also gives the local day. ``live`` is false for a closed data set whose last day is ``ends``.
    ``purposes`` are all that the source may be used for, such as ``model_training``; none stated: no limit.
    ``retention`` is how long rows are kept; None keeps them, and so does ``legal_hold`` whatever it says. ``archive``
    says whether old partitions may leave the raw table (None: storage.yaml decides), ``min_hot`` how long they stay
    at least. A delivery whose share of quarantined rows
    exceeds ``max_quarantined_share`` is refused.
    """

    name: str
    version: str
    description: str
    limitations: str
    owner: str | None
    file: FileFormat
    columns: tuple[SourceColumn, ...]
    timezone: str
    event_time: str | None
    event_time_zone: str
    currency: str | None
    key_space: str
    live: bool
    ends: date | None
    history: History | None
    purposes: tuple[str, ...]
    retention: timedelta | None
    archive: bool | None
    legal_hold: bool
    min_hot: timedelta | None
    max_quarantined_share: float
    outputs: tuple[Output, ...]
    path: Path

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The columns that name one row of the source; empty when the contract names none."""
        return tuple(column.name for column in self.columns if column.primary_key)

    @property
    def raw_types(self) -> dict[str, str]:
        """The Ibis types of the raw table that expressions read: the source's columns and RAW_COLUMNS."""
        return {column.name: column.type for column in self.columns} | RAW_COLUMNS
