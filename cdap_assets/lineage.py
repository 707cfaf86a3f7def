"""The tables of an installation, in the order of the lineage, as its contracts make them.

Tables and contracts alone: models, jobs, sensors and resources join them in :mod:`cdap_assets.definitions`. Nothing is
read here but contract files, so that every command can afford it; who asks which tables are assets looks into the
catalog once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property, partial

from cdap_assets.contracts.contract import Contract
from cdap_assets.contracts.document import ContractError
from cdap_assets.contracts.reading import read_contracts
from cdap_assets.curated.canonical import canonical_assets
from cdap_assets.curated.entities import ENTITIES
from cdap_assets.curated.orders import customer_categories, customer_days, orders, weekly_revenue
from cdap_assets.features.customer_features import customer_features
from cdap_assets.features.labels import covered_until, label_assets
from cdap_assets.identity.customer_xref import customer_xref
from cdap_assets.models.tables import CUSTOMER_SCORES
from cdap_assets.profiles.cohorts import cohort_retention
from cdap_assets.profiles.profile import customer_profile
from cdap_assets.profiles.segments import customer_segments
from cdap_assets.raw.tables import DELIVERIES, QUARANTINE, raw_table
from cdap_assets.retention.outcomes import outcomes_asset
from cdap_assets.retention.tables import ARMS, PLAN_EVENTS, RETENTION_PLAN
from cdap_assets.storage.tables import STORAGE_TABLES
from cdap_assets.table_assets.table_asset import TableAsset
from resources.iceberg.held_rows import tables_with_rows
from resources.iceberg.table import TableSpec
from resources.settings import Settings


@dataclass(frozen=True)
class Lineage:
    """Contracts, the broken ones with their reason, and every table that is made of others.

    ``with_rows`` tells which of some tables hold rows.
    """

    contracts: Mapping[str, Contract]
    broken: Mapping[str, ContractError]
    tables: tuple[TableAsset, ...]
    with_rows: Callable[[Collection[str]], Collection[str]]

    @cached_property
    def unfilled(self) -> frozenset[str]:
        """Canonical tables that no contract fills and that hold no rows: they read as empty, and are no assets.

        One that a contract filled until it was removed holds rows until it is rebuilt: as long it is an asset.
        """
        filled = {output.entity for contract in self.contracts.values() for output in contract.outputs}
        unfilled = frozenset(ENTITIES) - filled
        return unfilled - frozenset(self.with_rows(sorted(unfilled)))

    @property
    def assets(self) -> tuple[TableAsset, ...]:
        """The tables that are assets now, by one look into the catalog that this process makes once."""
        return tuple(asset for asset in self.tables if asset.name not in self.unfilled)

    @property
    def specs(self) -> dict[str, TableSpec]:
        """The declared schema of every table by name."""
        raw = [raw_table(contract) for contract in self.contracts.values()]
        decided = [CUSTOMER_SCORES, RETENTION_PLAN, PLAN_EVENTS, ARMS]
        own = [DELIVERIES, QUARANTINE, *raw, *(asset.table for asset in self.tables), *decided, *STORAGE_TABLES]
        return {spec.name: spec for spec in own}

    def table(self, name: str) -> TableAsset:
        """The asset of a table that Dagster builds from others. Raises ``KeyError``."""
        return {asset.name: asset for asset in self.tables}[name]

    @property
    def order_sources(self) -> dict[str, date | None]:
        """Sources that fill order_lines, with the last day of a closed one's data (``None``: live)."""
        return {
            contract.name: None if contract.live else contract.ends
            for contract in self.contracts.values()
            if any(output.entity == "order_lines" for output in contract.outputs)
        }

    @property
    def closed(self) -> date | None:
        """The last day of the data when every order source is a closed data set."""
        ends = list(self.order_sources.values())
        known = [end for end in ends if end is not None]
        return max(known) if known and len(known) == len(ends) else None


def read_lineage(settings: Settings) -> Lineage:
    """The lineage of a home; a contract that cannot be read is set aside with its reason."""
    entities = {name: entity.mapped for name, entity in ENTITIES.items()}
    contracts, broken = read_contracts(settings.contracts, entities) if settings.contracts.exists() else ({}, {})
    bare = Lineage(contracts, broken, (), partial(tables_with_rows, settings))
    ends = bare.order_sources
    tables = (
        *canonical_assets(contracts),
        orders,
        replace(customer_days, figures=weekly_revenue(lambda days: covered_until(days, ends))),
        customer_categories,
        customer_xref,
        customer_segments,
        customer_profile,
        cohort_retention,
        customer_features,
        *label_assets(ends),
        outcomes_asset(settings, ends),
    )
    return replace(bare, tables=tables)
