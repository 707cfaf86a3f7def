"""The declared columns of what models write; who reads scores needs neither models nor Dagster for that."""

from __future__ import annotations

from cdap_assets.features.customer_features import SNAPSHOT_DATE
from cdap_assets.features.labels import ACTIVE_DAYS, LAPSE_HORIZON, VALUE_HORIZON
from cdap_assets.identity.customer_xref import CUSTOMER_ID
from cdap_assets.models import lapse_model, lifetime_value_model
from resources.iceberg.table import MONEY, Column, Invariant, TableSpec

# by model: the column that tells which version scored
VERSION_COLUMNS = {lapse_model.NAME: "lapse_model_version", lifetime_value_model.NAME: "value_model_version"}

CUSTOMER_SCORES = TableSpec(
    "customer_scores",
    (
        SNAPSHOT_DATE,
        CUSTOMER_ID,
        Column("eligible", "boolean", f"bought in the {ACTIVE_DAYS} days before the cut-off", nullable=False),
        Column("lapse_probability", "float64", f"of no purchase in {LAPSE_HORIZON} days; empty if not eligible"),
        Column("lapse_low", "float64", "the rate among customers scored alike is at least this, of an 80 % interval"),
        Column("lapse_high", "float64", "and at most this; both are empty where the champion has learned no interval"),
        Column("expected_purchases", "float64", f"purchase days in {VALUE_HORIZON} days", nullable=False),
        Column("expected_spend", MONEY, f"net spend in {VALUE_HORIZON} days", nullable=False, unit="currency"),
        Column("spend_low", MONEY, "one customer in ten scored alike spends less", unit="currency"),
        Column(
            "spend_high",
            MONEY,
            "one in ten spends more; both are empty where the champion has learned no interval",
            unit="currency",
        ),
        Column("currency", "string", "ISO 4217 code", nullable=False),
        Column("theme_1", "string", "what the first reason is about"),
        Column("reason_1", "string", "what raises the lapse risk most, in words"),
        Column("theme_2", "string", "what the second reason is about"),
        Column("reason_2", "string", "what raises it next"),
        Column("theme_3", "string", "what the third reason is about"),
        Column("reason_3", "string", "what raises it then"),
        Column("lapse_model_version", "int64", "the champion that scored", nullable=False),
        Column("value_model_version", "int64", "the champion that scored", nullable=False),
        Column("reviewed", "boolean", "a person had approved both champions", nullable=False),
        Column("features_snapshot_id", "int64", "Iceberg snapshot of customer_features that was read", nullable=False),
    ),
    key=("snapshot_date", "customer_id"),
    partition_by=("snapshot_date",),
    invariants=(
        Invariant("probability", "lapse_probability is 0 to 1", lambda t: ~t.lapse_probability.between(0, 1)),
        Invariant("spend", "expected_spend is not negative", lambda t: t.expected_spend < 0),
        Invariant("lapse_interval", "lapse_low is at most lapse_high", lambda t: t.lapse_low > t.lapse_high),
        Invariant("spend_interval", "spend_low is at most spend_high", lambda t: t.spend_low > t.spend_high),
    ),
    description=(
        "One row per customer and snapshot: lapse probability of regulars, expected purchases and spend with 80 % "
        "intervals, up to three plain reasons, and the model versions and the snapshot of features they come from."
    ),
)
