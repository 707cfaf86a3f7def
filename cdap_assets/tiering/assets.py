"""Storage as assets: what the lake holds, where each partition should be, and what that costs over time."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import dagster as dg

from cdap_assets.lineage import Lineage
from cdap_assets.storage.tables import GROUP, STORAGE_INVENTORY, STORAGE_SAVINGS, STORAGE_TABLES, STORAGE_TIERS
from cdap_assets.table_assets.promises import broken_promises, kept_promises, promise_specs
from cdap_assets.table_assets.table_metadata import publish_metadata
from cdap_assets.tiering.look import inventory_rows, look, saving_rows, tier_rows
from cdap_assets.tiering.storage_policy import read_terms
from resources.clock import Calendar
from resources.iceberg.errors import InvariantViolated
from resources.iceberg.table import TableSpec
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Session

CENT = Decimal("0.000001")  # prices of one partition are small


def storage_assets(lineage: Lineage, refused: str | None) -> dg.AssetsDefinition:
    """``storage_inventory``, ``storage_tiers`` and ``storage_savings``, in one pass over table metadata.

    With ``refused`` they fail with the reason: the policy asks for what cannot be, and nothing moves.
    """

    @dg.multi_asset(
        name="look_at_storage",
        pool=GROUP,
        specs=[
            dg.AssetSpec(STORAGE_INVENTORY.name, group_name=GROUP, description=STORAGE_INVENTORY.description),
            dg.AssetSpec(
                STORAGE_TIERS.name,
                deps=[STORAGE_INVENTORY.name],
                group_name=GROUP,
                description=_described(STORAGE_TIERS, refused),
            ),
            dg.AssetSpec(
                STORAGE_SAVINGS.name,
                deps=[STORAGE_TIERS.name],
                group_name=GROUP,
                description=STORAGE_SAVINGS.description,
            ),
        ],
        check_specs=[check for spec in STORAGE_TABLES for check in promise_specs(spec)],
    )
    def look_at_storage(
        context: dg.AssetExecutionContext,
        lakehouse: dg.ResourceParam[Lakehouse],
        installation: dg.ResourceParam[Calendar],
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        from cdap_assets.tiering.storage_page import PAGE, write_storage_page

        if refused:
            raise dg.Failure(refused, allow_retries=False)
        at = installation.now()
        seen = look(lakehouse, read_terms(lakehouse.settings, lineage), at)
        tiers = tier_rows(seen)
        page = {"page": dg.MetadataValue.url(lakehouse.settings.page_url(PAGE))}
        try:
            with lakehouse.in_process(context.run.run_id) as session:
                yield published(session, STORAGE_INVENTORY, inventory_rows(seen), links=page)
                yield published(session, STORAGE_TIERS, tiers, links=page)
                saved = published(session, STORAGE_SAVINGS, saving_rows(tiers, at), {"day": [at.date()]}, links=page)
        except InvariantViolated as error:
            for spec in STORAGE_TABLES:
                yield from broken_promises(spec, error)
            raise
        write_storage_page(lakehouse, seen, tiers)
        yield saved

    return look_at_storage


def published(
    session: Session,
    spec: TableSpec,
    rows: Sequence[Mapping[str, Any]],
    replace: Mapping[str, Sequence[Any]] | None = None,
    *,
    links: Mapping[str, dg.MetadataValue[Any]] | None = None,
) -> dg.MaterializeResult:
    """Publish rows as a table of storage, in place of all of it or of ``replace``; ``links`` open its metadata."""
    import ibis
    import pyarrow as pa

    plain = [{name: _stored(row.get(name)) for name in spec.names} for row in rows]
    schema = spec.schema()
    # not through pandas, which takes decimals for floats
    expression = ibis.memtable(pa.Table.from_pylist(plain, schema=schema.to_pyarrow()), schema=schema)
    done = session.publish(spec, expression, replace=replace, inputs={})
    return dg.MaterializeResult(
        asset_key=spec.name,
        metadata={**(links or {}), **publish_metadata(spec, done, expression, session)},
        check_results=kept_promises(spec, session),
    )


def _stored(value: Any) -> Any:
    return value.quantize(CENT) if isinstance(value, Decimal) else value


def _described(spec: TableSpec, refused: str | None) -> str:
    return f"**The storage policy is refused.** {refused}" if refused else spec.description
