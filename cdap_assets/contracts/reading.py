"""Reads one ODCS 3.1 YAML file into a Contract and checks all that can be known without data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from open_data_contract_standard.model import OpenDataContractStandard
from pydantic import BaseModel, ValidationError

from cdap_assets.contracts.checking import OutputCheck, located
from cdap_assets.contracts.contract import RAW_COLUMNS, Contract, History, Join, Output, SourceColumn
from cdap_assets.contracts.custom_properties import ColumnProperties, ContractProperties, OutputProperties
from cdap_assets.contracts.document import ContractError, Document, Place, did_you_mean
from cdap_assets.contracts.expression import Expression, ExpressionError, parse
from cdap_assets.contracts.mapping import with_defaults
from resources.engines.file_format import FileFormat
from resources.iceberg.table import INSTANT, Column

_Model = TypeVar("_Model", bound=BaseModel)

_SOURCE_NAME = re.compile(r"[a-z][a-z0-9_]*")
_COLUMN_NAME = re.compile(r"[^.\s\"][^.\"]*")
_DECIMAL_TYPE = re.compile(r"decimal\((\d{1,2}), ?(\d{1,2})\)")
_TYPES = {
    "string": "string",
    "integer": "int64",
    "number": "float64",
    "boolean": "boolean",
    "date": "date",
    "timestamp": INSTANT,
}
_OPTIONS = ("format", "pattern", "minimum", "maximum")


def read_contract(path: Path, entities: Mapping[str, tuple[Column, ...]]) -> Contract:
    """The contract in the ODCS 3.1 YAML file at ``path``.

    ``entities`` are the canonical tables by name with the columns that a mapping may fill; those that are not
    nullable must be filled. Raises ContractError with file, line and column for whatever is missing, unknown
    or does not fit. What reads a joined source's columns is checked only by ``read_contracts``.
    """
    return Reader(path, entities).contract


def read_contracts(
    folder: Path, entities: Mapping[str, tuple[Column, ...]]
) -> tuple[dict[str, Contract], dict[str, ContractError]]:
    """All contracts in ``folder`` (``*.yaml``), by name, and the errors of those that are broken, by file stem.

    A broken contract leaves the rest working. Of two contracts with one name the second by file name is an
    error, and so is a contract that joins a source without a working contract.
    """
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


class Reader:
    """One contract and the document it was read from, so that later checks can still say where."""

    def __init__(self, path: Path, entities: Mapping[str, tuple[Column, ...]]) -> None:
        self.document = Document(path)
        self.entities = entities
        self.content = self.document.content
        self._check_standard()
        self._places: dict[str, Place] = {}
        self.contract = self._contract()
        self._check_times()
        for output in self.contract.outputs:
            if not output.joins:
                self._check_output(output, {self.contract.name: self.contract})

    def check_joins(self, contracts: Mapping[str, Contract]) -> None:
        """Check the outputs that read other sources; raises ContractError."""
        for output in self.contract.outputs:
            if output.joins:
                self._check_output(output, contracts)

    def _check_output(self, output: Output, contracts: Mapping[str, Contract]) -> None:
        place = self._places[output.name]
        table = self.content["schema"][place[1]]
        columns = self.entities[output.entity]
        OutputCheck(self.document, place, table, output, self.contract, contracts).run(columns)

    # the standard's own fields

    def _check_standard(self) -> None:
        try:
            standard = OpenDataContractStandard.model_validate(self.content)
        except ValidationError as error:
            raise self._validation_error((), error, OpenDataContractStandard) from error
        self._refuse_unknown_fields(standard, self.content, ())
        for field, pattern, example in (
            ("apiVersion", r"v3\.1\.\d+", "v3.1.0"),
            ("kind", "DataContract", "DataContract"),
            ("name", _SOURCE_NAME.pattern, "till_receipts (small letters, digits, underscores)"),
            ("version", r"\d+\.\d+\.\d+", "1.0.0"),
            ("id", ".+", "a name that stays the contract's for ever"),
        ):
            found = self.content.get(field)
            if not re.fullmatch(pattern, found or ""):
                raise self.document.error((field,), f"expected {field} such as {example}, found {found!r}")

    def _refuse_unknown_fields(self, model: BaseModel, raw: Mapping[str, Any], place: Place) -> None:
        """ODCS's model lets a misspelt field of a column pass in silence; here it is an error."""
        fields = {field.alias or name: name for name, field in type(model).model_fields.items()}
        for key, value in raw.items():
            if key not in fields:
                raise self.document.error((*place, key), f"unknown field {key}; {did_you_mean(key, fields)}")
            read = getattr(model, fields[key])
            if isinstance(read, BaseModel):
                self._refuse_unknown_fields(read, value, (*place, key))
            elif isinstance(read, list):
                for number, item in enumerate(read):
                    if isinstance(item, BaseModel):
                        self._refuse_unknown_fields(item, value[number], (*place, key, number))

    def _properties(
        self, model: type[_Model], owner: Mapping[str, Any], place: Place
    ) -> tuple[_Model, dict[str, Place]]:
        """The custom properties of ``owner``, and the place of each one's value."""
        values: dict[str, Any] = {}
        places: dict[str, Place] = {}
        for number, item in enumerate(owner.get("customProperties") or []):
            here = (*place, "customProperties", number)
            name = item.get("property")
            if not name or "value" not in item:
                raise self.document.error(here, "expected property and value")
            if name in values:
                raise self.document.error(here, f"the property {name} is given twice; keep one")
            values[name], places[name] = item["value"], (*here, "value")
        try:
            return model.model_validate(values), places
        except ValidationError as error:
            raise self._validation_error((*place, "customProperties"), error, model, places) from error

    def _validation_error(
        self, place: Place, error: ValidationError, model: type[BaseModel], places: Mapping[str, Place] | None = None
    ) -> Exception:
        first = error.errors(include_url=False)[0]
        loc = tuple(first["loc"])
        named = (places or {}).get(str(loc[0])) if loc else None
        where = (*named, *loc[1:]) if named else (*place, *loc)
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            message = f"{loc[-1]} is missing; add it"
        elif first["type"] == "extra_forbidden":
            known = [field.alias or name for name, field in model.model_fields.items()] if len(loc) == 1 else []
            message = f"unknown field {loc[-1]}" + (f"; {did_you_mean(str(loc[-1]), known)}" if known else "")
        else:
            message = f"{message}; found {first['input']!r}"
        return self.document.error(where, message)

    # the contract

    def _contract(self) -> Contract:
        own, places = self._properties(ContractProperties, self.content, ())
        self._property_places = places
        source, source_place = self._source()
        columns = self._columns(source, source_place)
        description = self.content.get("description") or {}
        team = self.content.get("team")
        name = self.content["name"]
        outputs = self._outputs(own, name)
        return Contract(
            name=name,
            version=self.content["version"],
            description=description.get("purpose") or source.get("description") or "",
            limitations=description.get("limitations") or "",
            owner=team.get("name") if isinstance(team, dict) else None,
            file=FileFormat(**dict(own.format)),
            columns=columns,
            timezone=own.timezone,
            event_time=own.event_time,
            event_time_zone=own.event_time_zone or own.timezone,
            currency=own.currency,
            key_space=own.key_space or name,
            live=own.live,
            ends=own.ends,
            history=History(**dict(own.history)) if own.history else None,
            purposes=own.purposes,
            retention=own.retention,
            archive=own.archive,
            legal_hold=own.legal_hold,
            min_hot=own.min_hot,
            max_quarantined_share=own.max_quarantined_share,
            outputs=outputs,
            path=self.document.path,
        )

    def _source(self) -> tuple[Mapping[str, Any], Place]:
        sources = []
        for number, table in enumerate(self.content.get("schema") or []):
            place: Place = ("schema", number)
            if not table.get("name"):
                raise self.document.error(place, "name is missing; add it")
            if table.get("physicalType") not in ("file", "canonical"):
                raise self.document.error(
                    (*place, "physicalType"),
                    f"expected physicalType file (the source) or canonical (an output), "
                    f"found {table.get('physicalType')!r}",
                )
            if table["physicalType"] == "file":
                sources.append((table, place))
        if len(sources) != 1:
            raise self.document.error(
                ("schema",), f"expected one table of physicalType file (the source), found {len(sources)}"
            )
        return sources[0]

    def _columns(self, source: Mapping[str, Any], place: Place) -> tuple[SourceColumn, ...]:
        columns: list[SourceColumn] = []
        for number, raw in enumerate(source.get("properties") or []):
            here = (*place, "properties", number)
            column = self._column(raw, here)
            if column.name.lower() in RAW_COLUMNS:
                raise self.document.error(
                    here, f"the name {column.name} is kept for the platform ({', '.join(RAW_COLUMNS)}); rename it"
                )
            if column.name.lower() in (other.name.lower() for other in columns):
                raise self.document.error(here, f"the column {column.name} is declared twice (letter case aside)")
            columns.append(column)
        if not columns:
            raise self.document.error((*place, "properties"), "expected the source's columns, found none")
        return tuple(columns)

    def _column(self, raw: Mapping[str, Any], place: Place) -> SourceColumn:
        name = raw.get("name") or ""
        if not _COLUMN_NAME.fullmatch(name):
            raise self.document.error(place, f"expected a name without dots and quotation marks, found {name!r}")
        logical, physical = raw.get("logicalType"), raw.get("physicalType")
        if logical not in _TYPES:
            raise self.document.error(
                (*place, "logicalType"), f"unknown logicalType {logical}; {did_you_mean(str(logical), _TYPES)}"
            )
        type_ = _TYPES[logical]
        if logical == "number" and physical is not None:
            size = _DECIMAL_TYPE.fullmatch(physical)
            if size is None or not 0 < int(size[1]) <= 38 or int(size[2]) > int(size[1]):
                raise self.document.error(
                    (*place, "physicalType"), f"expected decimal(precision, scale) up to 38 digits, found {physical!r}"
                )
            type_ = f"decimal({int(size[1])}, {int(size[2])})"
        options = raw.get("logicalTypeOptions") or {}
        for option in options:
            if option not in _OPTIONS:
                raise self.document.error(
                    (*place, "logicalTypeOptions", option), f"unknown option {option}; {did_you_mean(option, _OPTIONS)}"
                )
        pattern = options.get("pattern")
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise self.document.error(
                (*place, "logicalTypeOptions", "pattern"), f"not a regular expression: {error}"
            ) from error
        properties, _ = self._properties(ColumnProperties, raw, place)
        return SourceColumn(
            name=name,
            type=type_,
            required=bool(raw.get("required")),
            unique=bool(raw.get("unique")),
            primary_key=bool(raw.get("primaryKey")),
            description=raw.get("description") or "",
            personal=properties.personal_data,
            enum=tuple(item["value"] for item in raw.get("enum") or []),
            pattern=pattern,
            minimum=self._bound(logical, options, "minimum", place),
            maximum=self._bound(logical, options, "maximum", place),
            format=options.get("format"),
            purposes=properties.purposes,
            sensitive=properties.sensitive,
        )

    def _bound(self, logical: str, options: Mapping[str, Any], name: str, place: Place) -> Any:
        value = options.get(name)
        kinds: Any = {"integer": int, "number": (int, float), "date": date, "timestamp": (date, datetime)}.get(
            logical, ()
        )
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
            raise self.document.error(
                (*place, "logicalTypeOptions", name), f"a {logical} column has no {name} such as {value!r}"
            )
        return value

    def _check_times(self) -> None:
        contract = self.contract
        types = contract.raw_types
        named = [("eventTime", contract.event_time)] if contract.event_time else []
        for what, column in named:
            if column not in [declared.name for declared in contract.columns]:
                raise self._property_error(what, f"unknown column {column}; {did_you_mean(column, types)}")
            if types[column] not in ("date", INSTANT):
                raise self._property_error(what, f"{column} is {types[column]}; expected a date or timestamp column")
        if not contract.live and contract.ends is None:
            raise self._property_error("live", "a closed data set (live: false) needs ends, its last day")
        if contract.live and contract.ends is not None:
            raise self._property_error("ends", "a data set that ends is closed; add live: false")
        if contract.history and (contract.history.lag is None) == (contract.history.valid_from is None):
            raise self._property_error("history", "expected either lag or validFrom")
        if contract.history and contract.history.lag is not None and contract.event_time is None:
            raise self._property_error("history", "a lag is counted from the event time; give eventTime or validFrom")
        if contract.file.type == "csv" and not contract.file.header and not contract.file.columns:
            raise self._property_error("format", "csv without a header needs columns, the names in file order")

    def _property_error(self, name: str, message: str) -> Exception:
        return self.document.error(self._property_places.get(name, ("customProperties",)), message)

    # outputs

    def _outputs(self, own: ContractProperties, name: str) -> tuple[Output, ...]:
        outputs: list[Output] = []
        for number, table in enumerate(self.content["schema"]):
            if table["physicalType"] == "canonical":
                output = self._output(table, ("schema", number), own)
                if output.name in self._places:
                    raise self.document.error(("schema", number), f"the output {output.name} is declared twice")
                self._places[output.name] = ("schema", number)
                if name in output.sources:
                    raise self.document.error(("schema", number), f"{name} cannot be joined with itself")
                outputs.append(output)
        return tuple(outputs)

    def _output(self, table: Mapping[str, Any], place: Place, own: ContractProperties) -> Output:
        entity = table.get("physicalName") or table["name"]
        if entity not in self.entities:
            raise self.document.error(
                (*place, "physicalName" if table.get("physicalName") else "name"),
                f"unknown canonical table {entity}; {did_you_mean(entity, self.entities)}",
            )
        columns = self.entities[entity]
        known = [column.name for column in columns]
        mapped: dict[str, Expression] = {}
        for number, raw in enumerate(table.get("properties") or []):
            here = (*place, "properties", number)
            target = raw.get("name") or ""
            if target not in known:
                raise self.document.error(here, f"{entity} has no column {target!r}; {did_you_mean(target, known)}")
            if target in mapped:
                raise self.document.error(here, f"the column {target} is mapped twice")
            mapped[target] = self._parsed(raw.get("transformLogic") or "", (*here, "transformLogic"))
        properties, places = self._properties(OutputProperties, table, place)
        filled = with_defaults(mapped, columns, own.currency)
        missing = [column for column in columns if not column.nullable and column.name not in filled]
        if missing:
            hint = "; or give the contract a currency" if missing[0].name == "currency" else ""
            raise self.document.error(
                (*place, "properties"),
                f"{entity} needs {missing[0].name} ({missing[0].description}); map it with transformLogic{hint}",
            )
        where = self._parsed(properties.where, places["where"]) if properties.where else None
        if where is not None:
            for aggregate in where.aggregates():
                raise self.document.error(places["where"], f"{aggregate.sql} is not known before grouping")
        return Output(
            name=table["name"],
            entity=entity,
            columns=filled,
            joins=tuple(Join(join.source, tuple(join.on.items()), join.how) for join in properties.joins),
            where=where,
            group_by=properties.group_by,
        )

    def _parsed(self, text: str, place: Place) -> Expression:
        try:
            return parse(text)
        except ExpressionError as error:
            raise located(self.document, error, place) from error
