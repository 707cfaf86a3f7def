"""One raw asset per contract: it takes what has landed, and says what it took, held back and refused."""

import hashlib
from collections.abc import Iterator, Sequence

import dagster as dg

from cdap_assets.contracts.contract import Contract
from cdap_assets.raw.deliveries import LedgerEntry, Taken, take
from cdap_assets.raw.tables import raw_table
from cdap_assets.table_assets.promises import broken_promises, kept_promises, promise_specs
from cdap_assets.table_assets.table_metadata import column_schema
from resources.clock import Calendar
from resources.iceberg.errors import InvariantViolated
from resources.lake.lakehouse import Lakehouse

GROUP = "raw"


def raw_asset(contract: Contract) -> dg.AssetsDefinition:
    """The asset of a source's raw table, with its checks on refused files and quarantined rows."""
    spec = raw_table(contract)

    @dg.asset(
        name=spec.name,
        group_name=GROUP,
        description=spec.description,
        code_version=contract.version,
        owners=[contract.owner] if contract.owner and "@" in contract.owner else None,
        metadata={"cdap/table": spec.name, "contract": contract.path.name, "landing": f"landing/{contract.name}/"},
        check_specs=[
            *promise_specs(spec),
            dg.AssetCheckSpec("files_accepted", asset=spec.name, description="no landed file was refused"),
            dg.AssetCheckSpec(
                "rows_accepted",
                asset=spec.name,
                description=f"no row is in quarantine; at most {contract.max_quarantined_share:.0%} of a file may be",
            ),
        ],
    )
    def raw(
        context: dg.AssetExecutionContext,
        lakehouse: dg.ResourceParam[Lakehouse],
        installation: dg.ResourceParam[Calendar],
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        try:
            with lakehouse.in_process(context.run.run_id) as session:
                taken = take(session, lakehouse.settings, contract, installation.now())
                promises = kept_promises(spec, session)
        except InvariantViolated as error:
            yield from broken_promises(spec, error)
            raise
        for path, message in taken.refused.items():
            context.log.error("refused %s: %s", path, message)
        state = lakehouse.state(spec.name)
        yield dg.MaterializeResult(
            data_version=data_version(taken.entries),
            metadata={
                "dagster/row_count": state.rows,
                "dagster/size_bytes": state.size_bytes,
                "dagster/table_name": f"cdap.{spec.name}",
                "dagster/column_schema": column_schema(spec),
                "snapshot_id": str(state.snapshot_id),
                "deliveries": dg.MetadataValue.md(ledger_table(taken.entries)),
                "newly_accepted": sum(result.accepted for result in taken.ingested.values()),
                "newly_quarantined": sum(result.quarantined for result in taken.ingested.values()),
                **({"rows_quarantined": sum(e.quarantined for e in counted(taken))} if counted(taken) else {}),
            },
            check_results=[*promises, *checks(spec.name, taken)],
        )

    return raw


def broken_asset(name: str, message: str) -> dg.AssetsDefinition:
    """What stands for a contract that cannot be read: an asset that fails with the reason, beside the rest."""

    @dg.asset(name=f"raw_{name}", group_name=GROUP, description=f"**This contract cannot be read.** {message}")
    def raw() -> None:
        raise dg.Failure(message, allow_retries=False)

    return raw


def data_version(entries: Sequence[LedgerEntry]) -> dg.DataVersion:
    """The accepted content of a source: the same deliveries read by the same contracts are the same data."""
    told = sorted(f"{e.delivery.id} {e.event} {e.contract_version} {e.accepted}" for e in entries)
    return dg.DataVersion(hashlib.sha256("\n".join(told).encode()).hexdigest()[:16])


def checks(asset: str, taken: Taken) -> list[dg.AssetCheckResult]:
    """Whether files are refused or rows held back, over everything that the ledger knows of the source."""
    refused = [entry for entry in taken.entries if entry.event == "refused"]
    accepted = counted(taken)
    held, rows = sum(e.quarantined for e in accepted), sum(e.rows for e in accepted)
    told = "\n\n".join(entry.note or "" for entry in refused)
    return [
        dg.AssetCheckResult(
            asset_key=asset,
            check_name="files_accepted",
            passed=not refused,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"refused": len(refused), "accepted": len(accepted), "newly_accepted": len(taken.ingested)},
            description=told or None,
        ),
        dg.AssetCheckResult(
            asset_key=asset,
            check_name="rows_accepted",
            passed=held == 0,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"quarantined": held, "rows": rows, "share": held / rows if rows else 0.0},
        ),
    ]


def counted(taken: Taken) -> list[LedgerEntry]:
    """The deliveries whose rows count: taken, and not taken back."""
    return [entry for entry in taken.entries if entry.event in ("accepted", "replayed")]


def ledger_table(entries: Sequence[LedgerEntry]) -> str:
    """The newest deliveries as a markdown table."""
    if not entries:
        return "*nothing was delivered yet*"
    lines = ["| file | state | rows | accepted | quarantined | at (UTC) |", "|---|---|---:|---:|---:|---|"]
    for e in entries[-10:]:
        name = e.delivery.path.rsplit("/", 1)[-1]
        lines.append(
            f"| {name} | {e.event} | {e.rows:,} | {e.accepted:,} | {e.quarantined:,} | {e.at:%Y-%m-%d %H:%M} |"
        )
    return "\n".join(lines)
