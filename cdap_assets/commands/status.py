"""What an installation holds: tables, deliveries, models, plans and failed runs, as plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from cdap_assets.installation import Installation
from cdap_assets.models.serving import MODELS
from cdap_assets.raw.deliveries import LedgerEntry, ledger
from cdap_assets.retention.ledger import PlanState, contacts_of, plan_rows, plan_states
from cdap_assets.retention.retention_policy import RetentionPolicyError
from cdap_assets.work.run_lock import LOCK
from cdap_assets.work.stages import due, latest_snapshot, nothing_due
from resources.lake.session import Session
from resources.registry.model_version import CHAMPION, ModelVersion
from resources.settings import Settings
from resources.stores.lock import holder_of

MOST_FAILURES = 5


@dataclass(frozen=True)
class TableRow:
    """A table as it reads now; no snapshot before its first publish."""

    name: str
    rows: int
    snapshot_id: str | None


@dataclass(frozen=True)
class DeliveryRow:
    """A delivery with its newest state; ``at`` is in ISO 8601, UTC."""

    id: str
    source: str
    file: str
    state: str
    rows: int
    accepted: int
    quarantined: int
    at: str
    note: str | None

    @classmethod
    def of(cls, entry: LedgerEntry) -> DeliveryRow:
        """The row of a ledger's entry."""
        return cls(
            entry.delivery.id,
            entry.delivery.source,
            entry.delivery.path,
            entry.event,
            entry.rows,
            entry.accepted,
            entry.quarantined,
            entry.at.isoformat(timespec="seconds"),
            entry.note,
        )


@dataclass(frozen=True)
class ModelRow:
    """A model version with its figures and those of its naive baseline."""

    name: str
    version: int
    aliases: tuple[str, ...]
    kind: str | None
    gates: str | None
    reviewed: bool
    approved_by: str | None
    figures: Mapping[str, float]

    @classmethod
    def of(cls, version: ModelVersion) -> ModelRow:
        """The row of a registered version."""
        tags = version.tags
        return cls(
            version.name,
            version.version,
            version.aliases,
            tags.get("kind"),
            tags.get("gates"),
            version.reviewed,
            tags.get("approved_by"),
            dict(version.metrics),
        )

    @property
    def serves(self) -> bool:
        """Whether it is the champion."""
        return CHAMPION in self.aliases


@dataclass(frozen=True)
class PlanRow:
    """A plan with its state; money is in ``currency``, and ``by`` is who decided."""

    id: str
    state: str
    by: str | None
    contacts: int
    cost: Decimal
    value_at_stake: Decimal
    currency: str
    reviewed: bool
    exports: int
    snapshot: date

    @classmethod
    def of(cls, session: Session, state: PlanState) -> PlanRow:
        """The row of a plan, with the contacts it has after its edits."""
        rows = plan_rows(session, state.plan_id)
        contacts = contacts_of(rows, state)
        return cls(
            id=str(state.plan_id),
            state=state.state,
            by=None if state.open else state.by,
            contacts=len(contacts) if state.approved_contacts is None else state.approved_contacts,
            cost=sum(contacts["cost"], Decimal(0)),
            value_at_stake=sum(contacts["value_at_stake"], Decimal(0)),
            currency=str(rows["currency"].iloc[0]),
            reviewed=bool(rows["reviewed"].all()),
            exports=len(state.exports),
            snapshot=state.snapshot,
        )


@dataclass(frozen=True)
class Failure:
    """A run that failed, as the failure sensor noted it."""

    at: str
    run_id: str
    job: str
    error: tuple[str, ...]


@dataclass(frozen=True)
class Next:
    """What the main job does next for a snapshot date, and why; ``stage`` is empty when nothing is due.

    ``at_work`` is who runs the home now; ``automation`` says whether Dagster does what is due by itself.
    """

    snapshot: date
    stage: str
    why: str
    at_work: str
    automation: bool

    @classmethod
    def of(cls, home: Installation) -> Next:
        """What is due now. Runs nothing."""
        target = latest_snapshot(home)
        holder = holder_of(home.settings, LOCK)
        at_work = holder.name if holder else ""
        try:
            stage = next(due(home, target, record=False), None)
        except RetentionPolicyError as error:
            return cls(target, "scores and plan", f"cannot be told: {error}", at_work, home.settings.automation)
        told = (stage.title, stage.why) if stage else ("", nothing_due(home, target))
        return cls(target, *told, at_work, home.settings.automation)


@dataclass(frozen=True)
class Status:
    """Everything that `cdap status` tells. ``data_ends`` is the last day of a closed data set."""

    home: str
    data_ends: date | None
    broken_contracts: Mapping[str, str]
    tables: tuple[TableRow, ...]
    deliveries: tuple[DeliveryRow, ...]
    models: tuple[ModelRow, ...]
    plans: tuple[PlanRow, ...]
    failures: tuple[Failure, ...]

    def rows_of(self, table: str) -> int:
        """How many rows a table has."""
        return next(row.rows for row in self.tables if row.name == table)

    def plans_of(self, snapshot: date) -> tuple[PlanRow, ...]:
        """The plans of one snapshot date."""
        return tuple(plan for plan in self.plans if plan.snapshot == snapshot)


def status(home: Installation) -> Status:
    """Look at an installation as it is now."""
    lineage = home.lineage
    states = [home.lakehouse.state(name) for name in lineage.specs]
    with home.lakehouse.in_process() as session:
        delivered = tuple(DeliveryRow.of(entry) for entry in ledger(session).values())
        plans = tuple(PlanRow.of(session, state) for state in plan_states(session).values())
    return Status(
        home=str(home.settings.home),
        data_ends=lineage.closed,
        broken_contracts={name: str(error) for name, error in lineage.broken.items()},
        tables=tuple(
            TableRow(one.name, one.rows, None if one.snapshot_id is None else str(one.snapshot_id)) for one in states
        ),
        deliveries=delivered,
        models=tuple(ModelRow.of(version) for version in home.registry.all_versions(MODELS)),
        plans=plans,
        failures=failures(home.settings),
    )


def failures(settings: Settings) -> tuple[Failure, ...]:
    """The newest failed runs that the failure sensor noted."""
    path = settings.home / "failures.jsonl"
    if not path.exists():
        return ()
    lines = path.read_text(encoding="utf-8").splitlines()[-MOST_FAILURES:]
    noted = [json.loads(line) for line in lines]
    return tuple(Failure(one["at"], one["run_id"], one["job"], tuple(one["error"])) for one in noted)


def as_json(found: Any, next: Next | None = None) -> str:
    """A status with what comes next, or rows of one, as JSON text: money and days as text."""
    plain = asdict(found) if isinstance(found, Status) else [asdict(row) for row in found]
    return json.dumps({**plain, "next": asdict(next)} if next and isinstance(plain, dict) else plain, default=str)
