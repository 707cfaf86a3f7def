"""Scores: every customer of a snapshot by the champions, with plain reasons for the lapse risk."""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from cdap_assets.features.customer_features import CUSTOMER_FEATURES, SNAPSHOT_DATE
from cdap_assets.features.labels import ACTIVE_DAYS, LAPSE_HORIZON, VALUE_HORIZON
from cdap_assets.identity.customer_xref import CUSTOMER_ID
from cdap_assets.models import lapse_model, lifetime_value_model
from cdap_assets.models.champion import MODELS, missing, serving
from cdap_assets.models.training import as_floats
from cdap_assets.table_asset import requested_keys
from cdap_assets.table_metadata import publish_metadata
from resources.lakehouse import Lakehouse
from resources.model_registry import ModelRegistry, ModelVersion
from resources.session import Session
from resources.table import MONEY, Column, Invariant, TableSpec

if TYPE_CHECKING:
    import pandas as pd

BATCH = 100_000

CUSTOMER_SCORES = TableSpec(
    "customer_scores",
    (
        SNAPSHOT_DATE,
        CUSTOMER_ID,
        Column("eligible", "boolean", f"bought in the {ACTIVE_DAYS} days before the cut-off", nullable=False),
        Column("lapse_probability", "float64", f"of no purchase in {LAPSE_HORIZON} days; empty if not eligible"),
        Column("expected_purchases", "float64", f"purchase days in {VALUE_HORIZON} days", nullable=False),
        Column("expected_spend", MONEY, f"net spend in {VALUE_HORIZON} days", nullable=False, unit="currency"),
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
    ),
    key=("snapshot_date", "customer_id"),
    partition_by=("snapshot_date",),
    invariants=(
        Invariant("probability", "lapse_probability is 0 to 1", lambda t: ~t.lapse_probability.between(0, 1)),
        Invariant("spend", "expected_spend is not negative", lambda t: t.expected_spend < 0),
    ),
    description=(
        "One row per customer and snapshot: lapse probability of regulars, expected purchases and spend, up to "
        "three plain reasons, and the model versions they come from."
    ),
)


def scores_asset(partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """The asset ``customer_scores``, one partition per snapshot date."""

    @dg.asset(
        name=CUSTOMER_SCORES.name,
        group_name="models",
        deps=["customer_features", "champion"],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version="1",
        description=CUSTOMER_SCORES.description,
        metadata={"cdap/table": CUSTOMER_SCORES.name},
    )
    def customer_scores(
        context: dg.AssetExecutionContext,
        lakehouse: dg.ResourceParam[Lakehouse],
        registry: dg.ResourceParam[ModelRegistry],
    ) -> dg.MaterializeResult:
        import ibis
        import pandas as pd

        dates = [date.fromisoformat(key) for key in requested_keys(context)]
        if not dates:
            raise dg.Failure("customer_scores is built per snapshot date, and this run names none", allow_retries=False)
        champions = serving(registry)
        if len(champions) < len(MODELS):
            raise dg.Failure(missing(champions), allow_retries=False)
        refuse_leak(champions, dates)
        models = {name: registry.load(version) for name, version in champions.items()}
        with lakehouse.in_process(context.run.run_id) as session:
            batches = list(score_batches(session, dates, champions, models))
            expression = ibis.memtable(pd.concat(batches)) if batches else CUSTOMER_SCORES.empty()
            published = session.publish(
                CUSTOMER_SCORES,
                expression,
                replace={"snapshot_date": dates},
                provenance={"code_version": "1", "models": model_versions(champions)},
            )
            metadata = publish_metadata(CUSTOMER_SCORES, published, expression, session)
        return dg.MaterializeResult(metadata={**metadata, "models": model_versions(champions)})

    return customer_scores


def model_versions(champions: dict[str, ModelVersion]) -> str:
    """The champions in words: what scores record and `cdap run` compares."""
    return ", ".join(f"{v.name} v{v.version}{'' if v.reviewed else ' (unreviewed)'}" for v in champions.values())


def refuse_leak(champions: dict[str, ModelVersion], dates: list[date]) -> None:
    """Raise ``dg.Failure`` when a champion learned from days on or after a snapshot it is to score."""
    for version in champions.values():
        closed = date.fromisoformat(version.tags["labels_closed"])
        early = [day for day in dates if closed > day]
        if early:
            raise dg.Failure(
                f"{version.name} version {version.version} learned from days up to {closed}, after the snapshot "
                f"{min(early)}: its score there would know the future. Train as of that date "
                f"(`cdap run --snapshot {min(early)}`) and approve that version, or score a later snapshot.",
                allow_retries=False,
            )


def score_batches(
    session: Session, dates: list[date], champions: dict[str, ModelVersion], models: dict[str, Any]
) -> Iterator["pd.DataFrame"]:
    """Scored customers, in batches that bound the memory."""
    features = session.read(CUSTOMER_FEATURES, {"snapshot_date": dates})
    features = features.mutate(spend_per_day_all=features.monetary_value)
    lapse, value = champions[lapse_model.NAME], champions[lifetime_value_model.NAME]
    for batch in session.engine.batches(features, BATCH):
        rows = batch.to_pandas()
        if rows.empty:
            continue
        scored = score(rows, models[lapse_model.NAME], models[lifetime_value_model.NAME])
        yield scored.assign(
            lapse_model_version=lapse.version,
            value_model_version=value.version,
            reviewed=lapse.reviewed and value.reviewed,
        )


def score(rows: "pd.DataFrame", lapse: Any, value: Any) -> "pd.DataFrame":
    """Scores of feature rows. Customers who are no regulars have no lapse probability and no reasons."""
    import numpy as np

    from cdap_assets.models.themes import themes_of
    from ml.explanation import reasons

    expected = value.predict(rows[lifetime_value_model.COLUMNS].astype(float), VALUE_HORIZON)
    eligible = (rows[f"purchase_days_{ACTIVE_DAYS}"] > 0).to_numpy()
    scored = rows[["snapshot_date", "customer_id", "currency"]].copy()
    scored["eligible"] = eligible
    scored["lapse_probability"] = np.nan
    scored["expected_purchases"] = expected["expected_purchases"].to_numpy()
    scored["expected_spend"] = expected["expected_spend"].round(4).to_numpy()
    for number in (1, 2, 3):
        scored[f"theme_{number}"] = None
        scored[f"reason_{number}"] = None
    regulars = as_floats(rows[eligible])
    if len(regulars):
        scored.loc[eligible, "lapse_probability"] = lapse.predict_proba(regulars)[:, 1]
        found = reasons(lapse, regulars, themes_of(lapse.feature_names_in_))
        for number in (1, 2, 3):
            told = [given[number - 1] if len(given) >= number else (None, None) for given in found]
            scored.loc[eligible, f"theme_{number}"] = [theme for theme, _sentence in told]
            scored.loc[eligible, f"reason_{number}"] = [sentence for _theme, sentence in told]
    return scored
