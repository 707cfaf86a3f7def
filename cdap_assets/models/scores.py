"""Scores: every customer of a snapshot by the champions, with plain reasons for the lapse risk."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.features.labels import ACTIVE_DAYS, VALUE_HORIZON
from cdap_assets.models import lapse_model, lifetime_value_model
from cdap_assets.models.champion import champions_or_failure
from cdap_assets.models.lifetime_value_model import judging as value_judging
from cdap_assets.models.links import champion_links
from cdap_assets.models.tables import CUSTOMER_SCORES
from cdap_assets.models.training import as_floats
from cdap_assets.table_assets.dagster_asset import requested_keys
from cdap_assets.table_assets.figures import figures_metadata
from cdap_assets.table_assets.promises import broken_promises, kept_promises, promise_specs
from cdap_assets.table_assets.table_metadata import publish_metadata
from resources.iceberg.errors import InvariantViolated
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import InProcess
from resources.registry.model_registry import ModelRegistry
from resources.registry.model_version import ModelVersion
from resources.settings import Settings

if TYPE_CHECKING:
    import ibis
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa

VERSION = "2"
BATCH = 50_000  # customers in memory at a time


def scores_asset(partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """The asset ``customer_scores``, one partition per snapshot date."""

    @dg.asset(
        name=CUSTOMER_SCORES.name,
        group_name="models",
        deps=["customer_features", "champion"],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=VERSION,
        description=CUSTOMER_SCORES.description,
        metadata={"cdap/table": CUSTOMER_SCORES.name},
        check_specs=promise_specs(CUSTOMER_SCORES),
    )
    def customer_scores(
        context: dg.AssetExecutionContext,
        lakehouse: dg.ResourceParam[Lakehouse],
        registry: dg.ResourceParam[ModelRegistry],
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        dates = [date.fromisoformat(key) for key in requested_keys(context)]
        if not dates:
            raise dg.Failure("customer_scores is built per snapshot date, and this run names none", allow_retries=False)
        champions = champions_or_failure(registry)
        refuse_leak(champions, dates)
        models = {name: registry.load(version) for name, version in champions.items()}
        try:
            with (
                lakehouse.in_process(context.run.run_id) as session,
                spooled(lakehouse.settings, score_batches(session, dates, champions, models)) as spool,
            ):
                published = session.publish(
                    CUSTOMER_SCORES,
                    session.engine.scan(CUSTOMER_SCORES, spool, "scored"),
                    replace={"snapshot_date": dates},
                    provenance={"code_version": VERSION, "models": model_versions(champions)},
                )
                # a score comes from a model: no column of it is made of columns by name
                metadata = publish_metadata(CUSTOMER_SCORES, published, CUSTOMER_SCORES.empty(), session)
                promises = kept_promises(CUSTOMER_SCORES, session)
        except InvariantViolated as error:
            yield from broken_promises(CUSTOMER_SCORES, error)
            raise
        if published.total_rows:
            metadata = {**figures_metadata(lakehouse, CUSTOMER_SCORES, expected_lapses), **metadata}
        yield dg.MaterializeResult(
            metadata={**champion_links(registry, champions), **metadata, "models": model_versions(champions)},
            check_results=promises,
        )

    return customer_scores


def expected_lapses(customer_scores: "ibis.Table") -> "ibis.Table":
    """How many regulars of each snapshot will lapse: the sum of their probabilities."""
    import ibis

    regulars = customer_scores.filter(customer_scores.lapse_probability.notnull())
    sums = regulars.group_by("snapshot_date").aggregate(value=regulars.lapse_probability.sum())
    return sums.mutate(figure=ibis.literal("expected_lapses"))


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
    session: InProcess, dates: list[date], champions: dict[str, ModelVersion], models: dict[str, Any]
) -> Iterator["pd.DataFrame"]:
    """Scored customers, a batch at a time."""
    features = session.read(CUSTOMER_FEATURES, {"snapshot_date": dates})
    features = features.mutate(spend_per_day_all=features.monetary_value)
    lapse, value = champions[lapse_model.NAME], champions[lifetime_value_model.NAME]
    for batch in session.engine.batches(features, BATCH):
        if batch.num_rows:
            scored = score(batch.to_pandas(), models[lapse_model.NAME], models[lifetime_value_model.NAME])
            yield scored.assign(
                lapse_model_version=lapse.version,
                value_model_version=value.version,
                reviewed=lapse.reviewed and value.reviewed,
                features_snapshot_id=session.snapshot_id(CUSTOMER_FEATURES.name),
            )


@contextmanager
def spooled(settings: Settings, batches: Iterator["pd.DataFrame"]) -> Iterator[list[str]]:
    """Batches of scores in a Parquet file of this machine, written as they come; no file for no batch.

    The engine publishes from it in one commit, so no more than a batch is ever in memory. Gone afterwards.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _spool_schema()
    spill = settings.home / "spill"
    spill.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=spill, prefix="scores-") as folder:
        path, written = Path(folder) / "scores.parquet", False
        with pq.ParquetWriter(path, schema) as writer:
            for batch in batches:
                writer.write_table(pa.Table.from_pandas(batch, schema=schema, preserve_index=False))
                written = True
        yield [str(path)] if written else []


def _spool_schema() -> "pa.Schema":
    """The declared columns, with money as the floats that models give; the engine makes it decimal."""
    import pyarrow as pa

    declared = CUSTOMER_SCORES.schema().to_pyarrow()
    return pa.schema(
        [pa.field(f.name, pa.float64() if pa.types.is_decimal(f.type) else f.type) for f in declared],
    )


def score(rows: "pd.DataFrame", lapse: Any, value: Any) -> "pd.DataFrame":
    """Scores of feature rows. Customers who are no regulars have no lapse probability and no reasons."""
    import numpy as np

    from cdap_assets.models.themes import themes_of
    from ml.explain import reasons

    expected = value.predict(rows[value_judging.COLUMNS].astype(float), VALUE_HORIZON)
    eligible = (rows[f"purchase_days_{ACTIVE_DAYS}"] > 0).to_numpy()
    scored = rows[["snapshot_date", "customer_id", "currency"]].copy()
    scored["eligible"] = eligible
    scored[["lapse_probability", "lapse_low", "lapse_high"]] = np.nan
    scored["expected_purchases"] = expected["expected_purchases"].to_numpy()
    scored["expected_spend"] = expected["expected_spend"].round(4).to_numpy()
    scored["spend_low"], scored["spend_high"] = interval(value, scored["expected_spend"].to_numpy())
    for number in (1, 2, 3):
        scored[f"theme_{number}"] = None
        scored[f"reason_{number}"] = None
    regulars = as_floats(rows[eligible])
    if len(regulars):
        probability = lapse.predict_proba(regulars)[:, 1]
        low, high = interval(lapse, probability)
        scored.loc[eligible, ["lapse_probability", "lapse_low", "lapse_high"]] = np.column_stack(
            [probability, low, high]
        )
        found = reasons(lapse, regulars, themes_of(lapse.feature_names_in_))
        for number in (1, 2, 3):
            told = [given[number - 1] if len(given) >= number else (None, None) for given in found]
            scored.loc[eligible, f"theme_{number}"] = [theme for theme, _sentence in told]
            scored.loc[eligible, f"reason_{number}"] = [sentence for _theme, sentence in told]
    return scored


def interval(
    model: Any, predicted: "npt.NDArray[np.float64]"
) -> "tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]":
    """The 80 % intervals that a model learned out of time; empty for a version that was registered without."""
    import numpy as np

    learned = getattr(model, "intervals_", None)
    if learned is None:
        return np.full(len(predicted), np.nan), np.full(len(predicted), np.nan)
    low, high = learned.interval(predicted)
    return low, high
