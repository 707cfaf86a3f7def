"""A home with scored customers and nothing else: plans are drafted and decided on it within a second."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import pandas as pd

from cdap_assets.curated.entities import ENTITIES
from cdap_assets.identity.customer_xref import CUSTOMER_XREF, id_of
from cdap_assets.models.tables import CUSTOMER_SCORES
from cdap_assets.retention.candidates import DraftInputs
from cdap_assets.retention.drafting import Candidates, draft
from cdap_assets.retention.ledger import record_draft
from cdap_assets.retention.plan import write_draft
from cdap_assets.retention.plan_id import PlanId
from cdap_assets.retention.retention_policy import RetentionPolicy
from cdap_assets.retention.tables import ARMS, CONTACT, RETENTION_PLAN
from resources.iceberg.table import Column
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Session
from resources.settings import Settings
from tests.rows import table

if TYPE_CHECKING:
    from collections.abc import Iterator

S = date(2024, 3, 3)
NOON = datetime(2024, 3, 3, 12)


# retention_plan as it was before model versions were columns
VERSIONS = {"lapse_model_version", "value_model_version"}
PLAN_BEFORE = replace(
    RETENTION_PLAN,
    columns=(
        *(column for column in RETENTION_PLAN.columns if column.name not in VERSIONS),
        Column("models", "string", "the model versions behind it", nullable=False),
    ),
)


def policy(**other: Any) -> RetentionPolicy:
    """A policy under which every regular worth 1 euro may be contacted, but for what a test says."""
    plain: dict[str, Any] = {
        "currency": "EUR",
        "margin": "0.5",
        "budget": "1000",
        "max_contacts": 1000,
        "holdout_share": 0.1,
        "control_share": 0.3,
        "channels": [{"name": "letter", "cost": "1"}],
    }
    return RetentionPolicy.model_validate({**plain, **other})


def regulars(keys: Sequence[str], spend: Sequence[float] | None = None) -> pd.DataFrame:
    """Scores of regulars who spend differently and lapse with 50 %."""
    amounts = spend or [20.0 + number for number in range(len(keys))]
    return pd.DataFrame(
        {
            "customer_id": [id_of(("shop", key)) for key in keys],
            "lapse_probability": 0.5,
            "expected_spend": [Decimal(str(amount)) for amount in amounts],
            "currency": "EUR",
            **{f"theme_{n}": f"theme {n}" for n in (1, 2, 3)},
            **{f"reason_{n}": f"because of {n}" for n in (1, 2, 3)},
            "reviewed": True,
            "lapse_model_version": 1,
            "value_model_version": 2,
        }
    )


@dataclass
class PlanLake:
    """The lake with what is delivered to it; each method is a process of its own."""

    home: Path
    keys: list[str] = field(default_factory=lambda: [f"k{number:02}" for number in range(60)])
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = Settings(home=self.home, threads=1, memory_limit="1GB")
        with self.session() as session:
            own = [{"customer_key": key, "customer_id": id_of(("shop", key))} for key in self.keys]
            session.publish(CUSTOMER_XREF, table(CUSTOMER_XREF, *own))
        self.score(S)

    @contextmanager
    def session(self) -> Iterator[Session]:
        with Lakehouse(self.settings).session() as session:
            yield session

    def score(self, snapshot: date, *, reviewed: bool = True, **other: Any) -> None:
        """Publish scores of every customer for a snapshot."""
        rows = regulars(self.keys).assign(snapshot_date=snapshot, eligible=True)
        rows = rows.assign(expected_purchases=1.0, reviewed=reviewed, **other)
        rows = rows.assign(lapse_low=0.4, lapse_high=0.6, spend_low=0.0, spend_high=200.0, features_snapshot_id=1)
        with self.session() as session:
            expression = ibis.memtable(rows[list(CUSTOMER_SCORES.names)])
            session.publish(CUSTOMER_SCORES, expression, replace={"snapshot_date": [snapshot]})

    def publish(self, name: str, *rows: dict[str, Any]) -> None:
        """Replace a canonical table or the cross-reference."""
        spec = CUSTOMER_XREF if name == "customer_xref" else ENTITIES[name].table
        with self.session() as session:
            session.publish(spec, table(spec, *rows))

    def draft(self, snapshot: date = S, rules: RetentionPolicy | None = None, at: datetime = NOON) -> PlanId:
        with self.session() as session, self.session() as decided:
            return write_draft(DraftInputs(snapshot, rules or policy(), session, decided, at)).plan_id

    def draft_before(self, snapshot: date = S, *, reviewed: bool = True) -> PlanId:
        """A first draft as it was written before model versions were columns; its page asks no registry."""
        plan = PlanId(snapshot, 1)
        scores = regulars(self.keys).assign(reviewed=reviewed, models="lapse_model v1, lifetime_value_model v2")
        rows = draft(Candidates(scores, frozenset(), {}), policy(), plan).assign(snapshot_date=snapshot)
        with self.session() as session:
            expression = ibis.memtable(rows[list(PLAN_BEFORE.names)])
            session.publish(PLAN_BEFORE, expression, replace={"plan_id": [str(plan)]})
            record_draft(session, plan, int((rows["decision"] == CONTACT).sum()), NOON)
        return plan

    def arms(self, plan_id: PlanId | None = None) -> list[tuple[str, str]]:
        """(customer, arm) of a plan, or of the universal holdout."""
        with self.session() as session:
            rows = session.read(ARMS).to_pyarrow().to_pylist()
        wanted = None if plan_id is None else str(plan_id)
        return sorted((row["customer_id"], row["arm"]) for row in rows if row["plan_id"] == wanted)


def later(weeks: int) -> date:
    """A snapshot date after ``S``."""
    return S + timedelta(days=7 * weeks)
