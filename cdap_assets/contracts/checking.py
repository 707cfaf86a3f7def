"""Checks an output against the declared columns of its sources, before there is any data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ibis

from cdap_assets.contracts.contract import Contract, Join, Output
from cdap_assets.contracts.document import ContractError, Document, Place, did_you_mean
from cdap_assets.contracts.expression import Expression, ExpressionError
from cdap_assets.contracts.mapping import Rows
from resources.iceberg.table import Column


def located(document: Document, error: ExpressionError, place: Place) -> ContractError:
    """The error of an expression that stands at ``place``, at its own character there."""
    return document.error(place, f"{error.message}; in: {error.text}", offset=error.position)


class OutputCheck:
    """One output with the contracts it reads; ``run`` raises ContractError at the first thing that does not fit."""

    def __init__(
        self,
        document: Document,
        place: Place,
        table: Mapping[str, Any],
        output: Output,
        contract: Contract,
        contracts: Mapping[str, Contract],
    ) -> None:
        self.document = document
        self.place = place
        self.output = output
        self.contract = contract
        self.contracts = contracts
        self.available = dict(contract.raw_types)
        self.logic: dict[str, Place] = {
            raw["name"]: (*place, "properties", number, "transformLogic")
            for number, raw in enumerate(table.get("properties") or [])
        }
        self.properties: dict[str, Place] = {
            item["property"]: (*place, "customProperties", number, "value")
            for number, item in enumerate(table.get("customProperties") or [])
        }

    def run(self, columns: tuple[Column, ...]) -> None:
        """Check joins, grouping, and that every expression fits its target among the entity's ``columns``."""
        for number, join in enumerate(self.output.joins):
            self._join(join, (*self.properties["joins"], number))
        for number, column in enumerate(self.output.group_by):
            self._known(column, (*self.properties["groupBy"], number))
        for name, expression in self.output.columns.items():
            self._names(expression, self.logic.get(name, self.place))
        needed = (self.contract.name, *self.output.sources)
        tables = {name: ibis.table(self.contracts[name].raw_types, name=name) for name in needed}
        try:
            rows = Rows(self.output, self.contract, tables)
        except ExpressionError as error:
            raise located(self.document, error, self.properties.get("where", self.place)) from error
        # What the author wrote comes first: a default made from it would only repeat its error elsewhere.
        for target in sorted(columns, key=lambda column: column.name not in self.logic):
            try:
                rows.target(target)
            except ExpressionError as error:
                raise located(self.document, error, self.logic.get(target.name, self.place)) from error

    def _known(self, column: str, place: Place, offset: int = 0) -> None:
        if column not in self.available:
            message = f"unknown column {column}; {did_you_mean(column, self.available)}"
            raise self.document.error(place, message, offset)

    def _join(self, join: Join, place: Place) -> None:
        if join.source not in self.contracts:
            message = f"no working contract {join.source}; {did_you_mean(join.source, self.contracts)}"
            raise self.document.error((*place, "source"), message)
        if self.output.sources.count(join.source) > 1:
            raise self.document.error((*place, "source"), f"{join.source} is joined twice; keep one join")
        other = self.contracts[join.source]
        for left, right in join.on:
            here = (*place, "on", left)
            self._known(left, here)
            if right not in other.raw_types:
                message = f"{join.source} has no column {right}; {did_you_mean(right, other.raw_types)}"
                raise self.document.error(here, message)
            if self.available[left] != other.raw_types[right]:
                message = f"{left} is {self.available[left]} but {join.source}.{right} is {other.raw_types[right]}"
                raise self.document.error(here, message)
        keys = [{column.name} for column in other.columns if column.unique]
        keys += [set(other.primary_key)] if other.primary_key else []
        joined_on = {right for _, right in join.on}
        if not any(key <= joined_on for key in keys):
            listed = " or ".join(", ".join(sorted(key)) for key in keys) or "none; declare primaryKey: true there"
            message = f"on must name a key of {join.source}, or rows would multiply; its keys: {listed}"
            raise self.document.error((*place, "on"), message)
        self.available |= {f"{join.source}.{name}": type_ for name, type_ in other.raw_types.items()}

    def _names(self, expression: Expression, place: Place) -> None:
        for name, position in expression.placed_columns():
            self._known(name, place, position)
        if not self.output.group_by:
            for aggregate in expression.aggregates():
                raise self.document.error(place, f"{aggregate.sql} needs groupBy; add it to the output or drop it")
            return
        for name, position in expression.outside_aggregates():
            if name not in self.output.group_by:
                message = f"{name} is neither in groupBy nor in an aggregate; write min({name}), say"
                raise self.document.error(place, message, position)
