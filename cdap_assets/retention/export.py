"""Activation files of an approved plan: CSV and Parquet for the sending tool, each export in the audit."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import ibis

from cdap_assets.identity.customer_xref import CUSTOMER_XREF
from cdap_assets.retention.ledger import (
    APPROVED,
    PARTLY,
    contacts_of,
    plan_rows,
    plan_state,
    record_export,
)
from cdap_assets.retention.plan_id import PlanId, PlanRefused
from cdap_assets.table_assets.snapshots import cutoff
from resources.lake.session import Session
from resources.settings import Settings
from resources.stores.object_store import readable

if TYPE_CHECKING:
    import pandas as pd

# a spreadsheet runs a cell that begins with one of these (OWASP, CSV injection)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
COLUMNS = ["plan_id", "customer_id", "key_space", "customer_key", "channel", "reason_1", "reason_2", "reason_3"]


@dataclass(frozen=True)
class Export:
    """Where the files of one export are, and the rows in each."""

    folder: str
    csv: str
    parquet: str
    rows: int


def export(session: Session, settings: Settings, plan_id: PlanId, *, by: str, at: datetime) -> Export:
    """Write the approved contacts of a plan, one row per customer key, and note it in the audit.

    In a home the files appear together or not at all, in S3 each whole. Raises :class:`PlanRefused` for a plan
    that is not approved.
    """
    state = plan_state(session, plan_id)
    if state.state not in (APPROVED, PARTLY):
        raise PlanRefused(f"plan {plan_id} is {state.state}; only an approved plan is exported")
    contacts = contacts_of(plan_rows(session, plan_id), state)
    rows = _with_keys(session, contacts, cutoff(state.snapshot, settings.zone))
    csv = neutral(rows).to_csv(index=False, lineterminator="\r\n").encode()
    parquet = io.BytesIO()
    rows.to_parquet(parquet, index=False)
    folder = f"{plan_id}-{at:%Y%m%dT%H%M%S%f}"
    # noted first: a note without files misleads nobody, files without a note are what an audit is against
    digest = hashlib.sha256(csv).hexdigest()
    record_export(session, plan_id, by=by, file=f"exports/{folder}/", sha256=digest, rows=len(rows), at=at)
    store = session.tables.stores.at(settings.root("exports"))
    store.write_together(folder, {f"{plan_id}.parquet": parquet.getvalue(), f"{plan_id}.csv": csv})
    csv_place, parquet_place = (readable(store.location(f"{folder}/{plan_id}.{kind}")) for kind in ("csv", "parquet"))
    return Export(readable(store.location(folder)), csv_place, parquet_place, len(rows))


def _with_keys(session: Session, contacts: pd.DataFrame, at: datetime) -> pd.DataFrame:
    """The contacts with the keys that they had at the plan's cut-off; a merge since then takes none away."""
    xref = session.read(CUSTOMER_XREF)
    chosen = ibis.memtable(contacts[["customer_id"]])
    held = (xref.valid_from.isnull() | (xref.valid_from <= at)) & (xref.valid_to.isnull() | (xref.valid_to > at))
    keys = xref.filter(held).semi_join(chosen, "customer_id")
    frame = (
        keys.select("customer_id", "key_space", "customer_key").order_by(["customer_id", "customer_key"]).to_pandas()
    )
    return contacts.merge(frame, on="customer_id", how="left")[COLUMNS]


def neutral(rows: pd.DataFrame) -> pd.DataFrame:
    """Text cells that a spreadsheet would take for a formula, with an apostrophe in front."""

    def quoted(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value

    return rows.map(quoted)
