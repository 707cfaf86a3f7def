"""The tables of an installation, in the order of the lineage, as its contracts make them.

Tables and contracts alone: models, jobs, sensors and resources join them in :mod:`cdap_assets.definitions`. Nothing is
read here but contract files, so that every command can afford it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from cdap_assets.contracts.contract import Contract
from cdap_assets.contracts.document import ContractError
from cdap_assets.contracts.reading import read_contracts
from cdap_assets.curated.canonical import canonical_assets
from cdap_assets.curated.entities import ENTITIES
from cdap_assets.curated.orders import customer_categories, customer_days, orders
from cdap_assets.features.customer_features import customer_features
from cdap_assets.features.labels import label_assets
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
from resources.iceberg.table import TableSpec
from resources.settings import Settings


@dataclass(frozen=True)
class Lineage:
    """Contracts, the broken ones with their reason, and every table that Dagster builds from them."""

    contracts: Mapping[str, Contract]
    broken: Mapping[str, ContractError]
    tables: tuple[TableAsset, ...]

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
    bare = Lineage(contracts, broken, ())
    tables = (
        *canonical_assets(contracts),
        orders,
        customer_days,
        customer_categories,
        customer_xref,
        customer_segments,
        customer_profile,
        cohort_retention,
        customer_features,
        *label_assets(bare.order_sources),
        outcomes_asset(settings, bare.order_sources),
    )
    return Lineage(contracts, broken, tables)
