"""storage.yaml: where data may lie and for how long, as the owner of an installation decides, beside its contracts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cdap_assets.contracts.contract import Contract
from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.features.labels import LAPSE_LABELS, VALUE_LABELS
from cdap_assets.lineage import Lineage
from cdap_assets.models.tables import CUSTOMER_SCORES
from cdap_assets.policy_file import PolicyError, read_policy_file
from cdap_assets.raw.tables import DELIVERIES, QUARANTINE, raw_table
from cdap_assets.retention.tables import ARMS, PLAN_EVENTS, RETENTION_PLAN
from cdap_assets.storage.decision import Rules
from cdap_assets.storage.prices import PriceError, Prices, RestoreSpeed, read_prices
from cdap_assets.storage.tables import STORAGE_TABLES
from resources.settings import Settings

FILE, PRICE_FILE = "storage.yaml", "prices.yaml"
LOCAL = "local"  # the prices of a home on a disk
READ_WHOLE = {
    **dict.fromkeys((CUSTOMER_FEATURES.name, LAPSE_LABELS.name, VALUE_LABELS.name), "training"),
    CUSTOMER_SCORES.name: "monitoring",
    **dict.fromkeys((RETENTION_PLAN.name, PLAN_EVENTS.name, ARMS.name), "the ledger of plans"),
    **dict.fromkeys((DELIVERIES.name, QUARANTINE.name), "ingestion"),
}

AGING = {"month", "snapshot_date"}  # partition columns that tell how old their rows are
Days = Annotated[int, Field(ge=1, le=36_500)]


class StoragePolicyError(PolicyError):
    """storage.yaml or a contract asks of storage what cannot be; the message names the field and what to do."""


class TablePolicy(BaseModel):
    """What is said of one table; what is not said comes from its contract, then from the whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: bool | None = Field(default=None, description="whether partitions may leave the table and be restored")
    min_hot_days: Annotated[int, Field(ge=0)] | None = None
    retention_days: Days | None = Field(default=None, description="partitions are deleted so long after their last day")
    legal_hold: bool = Field(default=False, description="nothing is deleted, whatever else is said")


class RestorePolicy(BaseModel):
    """How a restore is asked for, and how long its partitions stay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    speed: RestoreSpeed = "Standard"
    days: Days = 7


class Elsewhere(BaseModel):
    """Where reads are told of that do not come through CDAP, on AWS; without any, only ours count.

    ``athena_workgroups`` are those that people query the lake in, not the one of CDAP. ``access_logs`` is the
    ``s3://bucket/prefix`` of S3's server access logs of the lake's bucket; ``ours`` begin the names of requesters
    that are CDAP itself, such as ``arn:aws:sts::123456789012:assumed-role/cdap-runs/``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    athena_workgroups: tuple[str, ...] = ()
    access_logs: str = Field(default="", pattern=r"^(s3://[a-z0-9][a-z0-9.-]+(/.*)?)?$")
    ours: tuple[str, ...] = ()


class StoragePolicy(BaseModel):
    """The whole file; a home without one moves nothing and shows what it would move.

    Money is in the price book's currency. ``budget`` limits what the moves of one run cost at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    apply: bool = False
    prices: str = Field(default="", description="a region of the price book; empty: local, or that of the settings")
    horizon_days: Days = 365
    margin: Decimal = Field(default=Decimal("0.001"), ge=0, description="the least saving a month worth a move")
    min_hot_days: Annotated[int, Field(ge=0)] = 90
    budget: Decimal = Field(default=Decimal(5), ge=0)
    time_travel_days: Days = Field(default=7, description="older snapshots of tables go, unless something needs them")
    restore: RestorePolicy = RestorePolicy()
    elsewhere: Elsewhere = Elsewhere()
    tables: Mapping[str, TablePolicy] = Field(default_factory=dict)


@dataclass(frozen=True)
class Terms:
    """What one reading of storage.yaml, the contracts and the price book says: ``rules`` are by table."""

    policy: StoragePolicy
    prices: Prices
    rules: Mapping[str, Rules]


def read_terms(settings: Settings, lineage: Lineage) -> Terms:
    """The terms of a home. Raises :class:`StoragePolicyError`, and PriceError for a book that is wrong."""
    policy = read_storage_policy(settings.home)
    return Terms(policy, prices_of(settings, policy), rules_by_table(lineage, policy))


def read_storage_policy(home: Path) -> StoragePolicy:
    """The policy of a home. Raises :class:`StoragePolicyError` for a file that is not YAML, or wrong."""
    path = home / FILE
    return read_policy_file(path, StoragePolicy, refusal=StoragePolicyError) if path.exists() else StoragePolicy()


def prices_of(settings: Settings, policy: StoragePolicy) -> Prices:
    """The prices that a policy counts with: of the home's own book where it has one.

    Raises :class:`~cdap_assets.storage.prices.PriceError` for a book that is wrong or lacks the region.
    """
    own = settings.home / PRICE_FILE
    book = read_prices(own) if own.exists() else read_prices()
    return book.region(policy.prices or (settings.region if settings.warehouse else LOCAL))


def read_whole(lineage: Lineage) -> dict[str, str]:
    """Tables whose every partition something reads, with who: those of features, profiles and models above all."""
    found = dict(READ_WHOLE)
    for asset in lineage.tables:
        for name in asset.inputs:
            if asset.scope != "month" or name not in asset.driver:
                found.setdefault(name, asset.name)
    return found


def rules_by_table(lineage: Lineage, policy: StoragePolicy) -> dict[str, Rules]:
    """What each table may do: its own words in storage.yaml, else its contract's, else those of the whole file.

    Raises :class:`StoragePolicyError` for a table that there is not, for archiving or deleting what something
    reads whole (a feature, a profile or a model would then see less than there was), and for what has no old part.
    """
    kept = [name for name in lineage.specs if name not in {spec.name for spec in STORAGE_TABLES}]
    unread = {f"raw_{name}" for name in lineage.broken}  # its contract cannot be read now: it stays as it is
    if unknown := sorted(set(policy.tables) - set(kept) - unread):
        raise StoragePolicyError(f"{FILE}: tables: there is no table {', '.join(unknown)} that could move")
    contracts = {raw_table(contract).name: contract for contract in lineage.contracts.values()}
    return {name: _rules(name, contracts.get(name), lineage, policy) for name in kept}


def refusal(settings: Settings, lineage: Lineage) -> str | None:
    """Why the storage policy of a home cannot be used, if so; then nothing moves."""
    try:
        read_terms(settings, lineage)
    except (StoragePolicyError, PriceError) as error:
        return str(error)
    return None


def _rules(name: str, contract: Contract | None, lineage: Lineage, policy: StoragePolicy) -> Rules:
    """The rules of a table; only a raw one has a contract of its own."""
    own = policy.tables.get(name, TablePolicy())
    where = f"{FILE}: tables.{name}"
    archive, retention, min_hot, hold = own.archive, own.retention_days, own.min_hot_days, own.legal_hold
    if contract is not None:
        where = where if name in policy.tables else f"contract {contract.name}"
        archive = contract.archive if archive is None else archive
        hold = hold or contract.legal_hold
        if retention is None and contract.retention is not None:
            retention = contract.retention.days
            if not retention:
                raise StoragePolicyError(f"contract {contract.name}: a retention below a day; write whole days")
        if min_hot is None and contract.min_hot is not None:
            min_hot = contract.min_hot.days
    reader = read_whole(lineage).get(name)
    if reader and (archive or retention is not None):
        asked = "archive: true" if archive else f"a retention of {retention} days"
        raise StoragePolicyError(
            f"{where}: {asked} would take rows from {reader}, which reads all of {name}; leave it out"
        )
    ages = bool(AGING & {*lineage.specs[name].partition_by})
    if (archive or retention is not None) and not ages:
        raise StoragePolicyError(
            f"{where}: {name} is not partitioned by month or snapshot, so it has no old part that could be archived or "
            "deleted; leave archive and retention_days out"
        )
    return Rules(
        may_archive=archive is not False and reader is None and ages,
        legal_hold=hold,
        min_hot_days=policy.min_hot_days if min_hot is None else min_hot,
        retention_days=retention,
        margin=policy.margin,
        horizon_days=policy.horizon_days,
        time_travel_days=policy.time_travel_days,
    )
