"""What a table promises: columns with types and meaning, key, partitions, invariants. Not where it lives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import ibis
    import ibis.expr.types as ir

PersonalData = Literal["none", "pseudonymous", "quasi", "direct"]

MONEY = "decimal(18, 4)"
INSTANT = "timestamp(6)"


@dataclass(frozen=True)
class Column:
    """A declared column.

    ``type`` is an Ibis type name; instants are ``timestamp(6)`` in UTC, money ``decimal(18, 4)``.
    ``personal`` says whether a value points at a person: ``direct`` (name, email), ``quasi`` (age,
    postcode), ``pseudonymous`` (a customer key). Previews show only columns that are ``none``.
    """

    name: str
    type: str
    description: str = ""
    nullable: bool = True
    personal: PersonalData = "none"
    unit: str = ""


@dataclass(frozen=True)
class Invariant:
    """What must hold for every row before anyone may read it: ``violates`` marks the rows that break it."""

    name: str
    description: str
    violates: Callable[[ibis.Table], ir.BooleanValue]

    @property
    def statement(self) -> str:
        """What holds, with the name that it is known by."""
        return f"{self.name}: {self.description}"


@dataclass(frozen=True)
class Promise:
    """What a table promises of its rows, by a name: ``key``, ``required`` or that of an invariant.

    ``statements`` are its parts: rows are counted against each by itself, and publishes record them.
    """

    name: str
    description: str
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Tried:
    """How many rows were tried on a statement, and how many of them break it."""

    rows: int
    broken: int = 0


@dataclass(frozen=True)
class TableSpec:
    """The declared schema of one Iceberg table.

    ``partition_by`` columns are identity partitions; ``key`` is unique among the rows of a partition. ``sought_by``
    is a column whose values stay readable when a partition is archived, for who must know where a key is.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    invariants: tuple[Invariant, ...] = ()
    description: str = ""
    sought_by: str = ""

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        for column in (*self.key, *self.partition_by, *([self.sought_by] if self.sought_by else [])):
            if column not in names:
                raise ValueError(f"table {self.name}: column {column} is not declared; declared are {names}")
        promised = [promise.name for promise in self.promises]
        if len(set(promised)) < len(promised):
            raise ValueError(f"table {self.name}: two promises have one name: {promised}")

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in declared order."""
        return tuple(column.name for column in self.columns)

    @property
    def required(self) -> dict[str, str]:
        """The statement on each column that is never null, by its name."""
        return {column.name: f"{column.name} is never null" for column in self.columns if not column.nullable}

    @property
    def promises(self) -> tuple[Promise, ...]:
        """Everything that holds for its rows before anyone may read them."""
        found = []
        if self.key:
            unique = f"({', '.join(self.key)}) is unique"
            found.append(Promise("key", unique, (unique,)))
        if self.required:
            found.append(Promise("required", f"never null: {', '.join(self.required)}", tuple(self.required.values())))
        return (*found, *(Promise(one.name, one.description, (one.statement,)) for one in self.invariants))

    def schema(self) -> ibis.Schema:
        """The declared types as an Ibis schema. All nullable: unions ask for equal types on both sides."""
        import ibis

        return ibis.schema({column.name: column.type for column in self.columns})

    def partition_schema(self) -> ibis.Schema:
        """The types of the partition columns, in their order."""
        import ibis

        types = self.schema()
        return ibis.schema({name: types[name] for name in self.partition_by})

    def empty(self) -> ibis.Table:
        """A table with the declared schema and no rows: what a table that was never built reads as."""
        import ibis

        return ibis.memtable([], schema=self.schema())
