"""The canonical tables as assets: the union of what contracts map to an entity, then the entity's versions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import ibis

from cdap_assets.contracts.contract import Contract, Output
from cdap_assets.contracts.mapping import build_output
from cdap_assets.curated.entities import ENTITIES, Entity
from cdap_assets.curated.versions import versions
from cdap_assets.raw.tables import raw_table
from cdap_assets.table_assets.table_asset import TableAsset
from resources.iceberg.table import INSTANT
from resources.lake.session import Session

Fills = tuple[tuple[Contract, Output], ...]


def canonical_assets(contracts: Mapping[str, Contract]) -> list[TableAsset]:
    """One asset per entity; an entity that no contract fills is an empty table."""
    return [_asset(entity, _fills(entity, contracts), contracts) for entity in ENTITIES.values()]


def _fills(entity: Entity, contracts: Mapping[str, Contract]) -> Fills:
    return tuple(
        (contract, output)
        for _name, contract in sorted(contracts.items())
        for output in contract.outputs
        if output.entity == entity.name
    )


def _asset(entity: Entity, fills: Fills, contracts: Mapping[str, Contract]) -> TableAsset:
    own = sorted({contract.name for contract, _output in fills})
    joined = {source for _contract, output in fills for source in output.sources}
    read = {name: contracts[name] for name in (*own, *sorted(joined - set(own)))}
    # reading by month is right where all versions of a row are found by its entity key, and joins see it whole
    by_month = own if not joined & set(own) and all(_keeps_month(entity, *fill) for fill in fills) else []

    def transform(**raw: ibis.Table) -> ibis.Table:
        if not fills:
            return entity.table.empty()
        delivered = {name: raw[f"raw_{name}"] for name in read}
        rows = versions(mapped_rows(entity, fills, read, delivered), ("source", *entity.identifies))
        return rows.select(entity.table.names)

    def months_of_moved_keys(session: Session, months: set[date | None]) -> set[date | None]:
        return _months_of_same_keys(session, entity, fills, read, by_month, months)

    return TableAsset(
        entity.table,
        transform,
        "curated",
        scope="month" if entity.dated else "whole",
        driver=tuple(f"raw_{name}" for name in by_month),
        version=_version(read.values()),
        inputs=tuple(f"raw_{name}" for name in read),
        other_months=months_of_moved_keys if entity.dated and fills else None,
    )


def _keeps_month(entity: Entity, contract: Contract, output: Output) -> bool:
    day = output.columns.get("local_date")
    own_day = day is not None and day.sql == "local_date"
    return own_day and not output.group_by and (not contract.primary_key or _keyed_alike(entity, contract, output))


def _keyed_alike(entity: Entity, contract: Contract, output: Output) -> bool:
    """Whether versions of one source row have one entity key, so that the entity's versions are the source's."""
    expressions = [output.columns[name] for name in entity.identifies if name in output.columns]
    read = {name for expression in expressions for name, _position in expression.placed_columns()}
    return read <= set(contract.primary_key)


def _version(contracts: Any) -> str:
    told = " ".join(sorted(f"{contract.name} {contract.version}" for contract in contracts))
    return hashlib.sha256(told.encode()).hexdigest()[:12] if told else "1"


def mapped_rows(
    entity: Entity, fills: Fills, contracts: Mapping[str, Contract], raw: Mapping[str, ibis.Table]
) -> ibis.Table:
    """What the contracts say of an entity: every delivered row, with known_at, until and delivered_at."""
    ready = {name: raw[name].mutate(until=raw[name].retracted_at) for name in raw}
    # a joined source finds at most one row at any instant: the version of its key that was valid then
    valid = {name: _valid(contracts[name], ready[name]) for name in ready}

    def tables(contract: Contract, output: Output) -> dict[str, ibis.Table]:
        if output.group_by:
            # a sum over rows must not count a row and its correction: groups are made of what is valid now
            return {name: valid[name].filter(valid[name].until.isnull()) for name in (contract.name, *output.sources)}
        if not output.sources and _keyed_alike(entity, contract, output):
            return {contract.name: ready[contract.name]}
        # of two versions of a row, joined to one change of a side, the row's own delivery decides
        sides = {
            name: valid[name].mutate(delivered_at=ibis.literal(datetime.min).cast(INSTANT)) for name in output.sources
        }
        return {**sides, contract.name: valid[contract.name]}

    parts = [build_output(output, contract, tables(contract, output), entity.mapped) for contract, output in fills]
    return ibis.union(*parts) if len(parts) > 1 else parts[0]


def _valid(contract: Contract, rows: ibis.Table) -> ibis.Table:
    if not contract.primary_key:
        return rows
    valid = versions(rows, contract.primary_key)
    return valid.mutate(until=valid.superseded_at)


def _months_of_same_keys(
    session: Session,
    entity: Entity,
    fills: Fills,
    contracts: Mapping[str, Contract],
    by_month: Sequence[str],
    months: set[date | None],
) -> set[date | None]:
    """``months`` and those that hold other versions of their rows: a correction may move a date.

    A month that comes in brings its own rows, which may have moved as well, so this goes on until none is
    new. Reads those months of raw, and of the stored table only files whose keys can match.
    """
    found, new = set(months), set(months)
    while new:
        only = {"month": sorted(new, key=str)}
        raw = {
            name: session.read(raw_table(contract), only if name in by_month else None)
            for name, contract in contracts.items()
        }
        keys = mapped_rows(entity, fills, contracts, raw).select("source", *entity.identifies).distinct()
        new = _stored_months(session, entity, session.engine.materialize(keys)) - found
        found |= new
    return found


def _stored_months(session: Session, entity: Entity, keys: ibis.Table) -> set[date | None]:
    lead = entity.identifies[0]
    bounds = keys.aggregate(low=keys[lead].min(), high=keys[lead].max()).to_pyarrow().to_pylist()[0]
    if bounds["low"] is None:
        return set()
    stored = session.read(entity.table, between={lead: (bounds["low"], bounds["high"])}, without_archived=True)
    same = stored.semi_join(keys, ["source", *entity.identifies]).month.as_table().distinct()
    archived = {partition[0] for partition in session.archived_with(entity.table, keys)}
    return archived | set(same.to_pyarrow()["month"].to_pylist())
