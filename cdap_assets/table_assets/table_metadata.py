"""What a published table tells the Dagster UI: rows, bytes, schema, lineage, snapshot, a preview without persons."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources.engines.engine import Query
from resources.iceberg.column_lineage import column_lineage
from resources.iceberg.table import Column, TableSpec
from resources.lake.session import Published, Session

if TYPE_CHECKING:
    import ibis


def publish_metadata(
    spec: TableSpec,
    published: Published,
    expression: ibis.Table,
    session: Session,
    unfilled: Collection[str] = (),
) -> dict[str, Any]:
    """Metadata of one materialization. Shows only columns that point at no person.

    Columns of ``unfilled`` tables are told as no origins: they have no rows, and no page in Dagster.
    Where queries are billed: their ids, the bytes they scanned and cost, and the bytes expected before they ran.
    """
    lineage = column_lineage(expression, session.table_of)
    return {
        "dagster/row_count": published.total_rows,
        "dagster/size_bytes": published.size_bytes,
        "dagster/table_name": f"cdap.{spec.name}",
        "dagster/column_schema": column_schema(spec),
        "dagster/column_lineage": dg.TableColumnLineage(
            {
                column: [
                    dg.TableColumnDep(dg.AssetKey(table), source) for table, source in origins if table not in unfilled
                ]
                for column, origins in lineage.items()
                if column in spec.names
            }
        ),
        "snapshot_id": str(published.snapshot_id),
        "rows_written": published.rows,
        "replaced": published.replaced,
        "preview": dg.MetadataValue.md(preview(published.sample)),
        **query_metadata(session.engine.queries),
    }


def query_metadata(queries: Sequence[Query]) -> dict[str, Any]:
    """What the queries of a session took: USD, bytes, ids; empty where none is billed."""
    if not queries:
        return {}
    return {
        "query_cost_usd": round(sum(query.cost for query in queries), 6),
        "scanned_bytes": sum(query.scanned_bytes for query in queries),
        "expected_bytes": sum(query.expected_bytes for query in queries),
        "query_ids": dg.MetadataValue.md("\n".join(f"- `{query.id}`" for query in queries)),
    }


def table_spec_asset(spec: TableSpec, group: str) -> dg.AssetSpec:
    """A table that no asset builds but that assets read, such as what people decided."""
    return dg.AssetSpec(
        spec.name,
        group_name=group,
        description=spec.description,
        metadata={"cdap/table": spec.name, "dagster/column_schema": column_schema(spec)},
    )


def column_schema(spec: TableSpec) -> dg.TableSchema:
    """The declared columns with their meaning, and what the lakehouse enforces before a commit."""
    rules = [f"unique: ({', '.join(spec.key)})"] if spec.key else []
    rules += [f"partitioned by {', '.join(spec.partition_by)}"] if spec.partition_by else []
    rules += [invariant.description for invariant in spec.invariants]
    return dg.TableSchema(
        columns=[_column(column) for column in spec.columns],
        constraints=dg.TableConstraints(other=rules) if rules else None,
    )


def _column(column: Column) -> dg.TableColumn:
    tags = {} if column.personal == "none" else {"personal_data": column.personal}
    return dg.TableColumn(
        column.name,
        column.type,
        column.description or None,
        dg.TableColumnConstraints(nullable=column.nullable),
        tags={**tags, **({"unit": column.unit} if column.unit else {})},
    )


def preview(rows: list[dict[str, Any]]) -> str:
    """A markdown table of a few rows, at most eight columns wide so that the UI shows it in place."""
    if not rows:
        return "*no rows*"
    columns = list(rows[0])[:8]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")[:40]
