"""What a data contract says of one source, frozen; ``reading`` makes it from an ODCS 3.1 YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cdap_assets.contracts.document import ContractError
from resources.file_format import FileFormat
from resources.table import INSTANT, Column, PersonalData

if TYPE_CHECKING:
    from cdap_assets.contracts.mapping import Output


__all__ = [
    "RAW_COLUMNS",
    "Contract",
    "ContractError",
    "FileFormat",
    "History",
    "SourceColumn",
    "read_contract",
    "read_contracts",
]

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


def read_contract(path: Path, entities: Mapping[str, tuple[Column, ...]]) -> Contract:
    """The contract in the ODCS 3.1 YAML file at ``path``.

    ``entities`` are the canonical tables by name with the columns that a mapping may fill; those that are not
    nullable must be filled. Raises ContractError with file, line and column for whatever is missing, unknown
    or does not fit. What reads a joined source's columns is checked only by ``read_contracts``.
    """
    from cdap_assets.contracts.reading import Reader

    return Reader(path, entities).contract


def read_contracts(
    folder: Path, entities: Mapping[str, tuple[Column, ...]]
) -> tuple[dict[str, Contract], dict[str, ContractError]]:
    """All contracts in ``folder`` (``*.yaml``), by name, and the errors of those that are broken, by file stem.

    A broken contract leaves the rest working. Of two contracts with one name the second by file name is an
    error, and so is a contract that joins a source without a working contract.
    """
    from cdap_assets.contracts.reading import Reader

    readers: dict[str, Reader] = {}
    errors: dict[str, ContractError] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            reader = Reader(path, entities)
            earlier = readers.setdefault(reader.contract.name, reader)
            if earlier is not reader:
                raise reader.document.error(
                    ("name",), f"{earlier.contract.path.name} already names its source {reader.contract.name}"
                )
        except ContractError as error:
            errors[path.stem] = error
    contracts = {name: reader.contract for name, reader in readers.items()}
    declared = dict(contracts)
    for name, reader in readers.items():
        try:
            reader.check_joins(declared)
        except ContractError as error:
            errors[reader.contract.path.stem] = error
            del contracts[name]
    return contracts, errors
