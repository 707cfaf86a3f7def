"""The tables of retention: plans row by row, what people decided about them, and who is in which arm."""

from __future__ import annotations

from cdap_assets.features.customer_features import SNAPSHOT_DATE
from cdap_assets.identity.customer_xref import CUSTOMER_ID
from resources.iceberg.table import INSTANT, MONEY, Column, Invariant, TableSpec

PLAN_ID = Column("plan_id", "string", "snapshot date and number of the draft", nullable=False)
CONTACT, CONTROL, HOLDOUT, NOT_SELECTED, EXCLUDED = "contact", "control", "holdout", "not selected", "excluded"

RETENTION_PLAN = TableSpec(
    "retention_plan",
    (
        PLAN_ID,
        SNAPSHOT_DATE,
        CUSTOMER_ID,
        Column("decision", "string", f"{CONTACT}, {CONTROL}, {HOLDOUT}, {NOT_SELECTED} or {EXCLUDED}", nullable=False),
        Column("why_not", "string", "why the customer is not contacted"),
        Column("rank", "int64", "1 = most value at stake per cost"),
        Column("channel", "string", "how the customer would be reached"),
        Column("cost", MONEY, "of the contact", unit="currency"),
        Column("lapse_probability", "float64", "from customer_scores", nullable=False),
        Column(
            "expected_margin", MONEY, "expected spend times margin over the horizon", nullable=False, unit="currency"
        ),
        Column("value_at_stake", MONEY, "lapse probability times expected margin", nullable=False, unit="currency"),
        Column("currency", "string", "ISO 4217 code", nullable=False),
        *(
            column
            for number in (1, 2, 3)
            for column in (
                Column(f"theme_{number}", "string", "what the reason is about"),
                Column(f"reason_{number}", "string", "in words"),
            )
        ),
        Column("reviewed", "boolean", "a person had approved the models behind it", nullable=False),
        # a plan drafted before these columns were here has none
        Column("lapse_model_version", "int64", "the champion that scored; empty where it was not kept"),
        Column("value_model_version", "int64", "the champion that scored; empty where it was not kept"),
    ),
    key=("plan_id", "customer_id"),
    partition_by=("plan_id",),
    invariants=(
        Invariant(
            "contact",
            "a contact has a channel, a cost and a rank",
            lambda t: (t.decision == CONTACT) & (t.channel.isnull() | t.cost.isnull() | t["rank"].isnull()),
        ),
        Invariant(
            "worth it",
            "a contact's value at stake covers its cost",
            lambda t: (t.decision == CONTACT) & (t.value_at_stake < t.cost),
        ),
    ),
    description=(
        "Drafted plans: every regular of the snapshot with the decision and, if not contacted, why. A draft is "
        "what is proposed; what people decided about it is in `plan_events`."
    ),
)

PLAN_EVENTS = TableSpec(
    "plan_events",
    (
        PLAN_ID,
        Column("event", "string", "drafted, dropped, added, (partly) approved, rejected or exported", nullable=False),
        Column("customer_id", "string", "of a dropped or added customer", personal="pseudonymous"),
        Column("by", "string", "the person, or 'cdap' for a draft", nullable=False, personal="direct"),
        Column("note", "string", "the person's reason, or a figure"),
        Column("contacts", "int64", "contacts that the event left in the plan"),
        Column("file_sha256", "string", "of an exported file"),
        Column("at", INSTANT, "when (UTC)", nullable=False),
    ),
    description="What happened to each plan, in order; only ever added to.",
)

ARMS = TableSpec(
    "arms",
    (
        CUSTOMER_ID,
        Column("arm", "string", f"{HOLDOUT} (for good), {CONTACT} or {CONTROL} (of one plan)", nullable=False),
        Column("plan_id", "string", "empty for the universal holdout"),
        Column("at", INSTANT, "when assigned (UTC)", nullable=False),
    ),
    description=(
        "Who was assigned to which arm. Written once and never changed or assigned anew: `contact` and `control` "
        "when a plan is approved, the universal holdout when a customer is first considered."
    ),
)
