"""The lifetime value model: BG/NBD with Gamma-Gamma, tested out of time, registered for review."""

from datetime import UTC, date
from typing import TYPE_CHECKING

import dagster as dg

from cdap_assets.clock import Clock
from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.features.labels import VALUE_HORIZON
from cdap_assets.models.gates import GateResult, gate_checks, gate_specs, gates_tag
from cdap_assets.models.lapse_model import RESAMPLES, TrainingConfig
from cdap_assets.models.training import DataEnds, LabelledFrame, TooLittleHistory, customers_at, value_frame
from resources.lakehouse import Lakehouse
from resources.model_registry import ModelRegistry, ModelVersion
from resources.object_store import open_store

if TYPE_CHECKING:
    import pandas as pd

    from ml.lifetime import LifetimeValue, ValueEvaluation

NAME = "lifetime_value_model"
VERSION = "1"
SEED = 0
MOST_BIAS = 25.0
COLUMNS = ["frequency", "recency", "T", "spend_per_day_all"]
GATES = {
    "beats_past_spend": "its mean error is below that of assuming that everyone spends on as before",
    "unbiased": f"predicted and actual spend of all customers differ by at most {MOST_BIAS:.0f} %",
}


def fit(rows: "pd.DataFrame") -> "LifetimeValue":
    """The model of one snapshot's customers; it learns from their purchases before the snapshot."""
    from ml.lifetime import LifetimeValue

    return LifetimeValue().fit(rows[COLUMNS].astype(float))


def out_of_time(frame: LabelledFrame) -> dict[date, "ValueEvaluation"]:
    """Each test snapshot's model against what its customers then spent."""
    from ml.lifetime import evaluate

    found = {}
    for day in frame.test_snapshots:
        rows = frame.rows[frame.rows["snapshot_date"] == day]
        found[day] = evaluate(
            fit(rows), rows[COLUMNS].astype(float), rows["label"], VALUE_HORIZON, seed=SEED, resamples=RESAMPLES
        )
    return found


def gates(newest: "ValueEvaluation") -> list[GateResult]:
    """The gates, on the newest test snapshot."""
    mae, naive, bias = newest.model.mae.value, newest.naive.mae.value, newest.model.bias_percent.value
    return [
        GateResult(
            "beats_past_spend",
            mae < naive,
            mae,
            f"{mae:.2f} against {naive:.2f}",
            "below the baseline",
            "past spend alone predicts a customer as well",
        ),
        GateResult(
            "unbiased",
            abs(bias) <= MOST_BIAS,
            bias,
            f"{bias:+.1f} %",
            f"within {MOST_BIAS:.0f} %",
            "the total is off, and every value at stake with it",
        ),
    ]


@dg.asset(
    name=NAME,
    group_name="models",
    deps=["customer_features", "value_labels"],
    code_version=VERSION,
    check_specs=gate_specs(NAME, GATES),
    retry_policy=dg.RetryPolicy(max_retries=2, delay=10),
    description=(
        f"What a customer will spend in {VALUE_HORIZON} days: purchases by BG/NBD, money per purchase day by "
        "Gamma-Gamma. Fitted on the newest snapshot's histories, tested on snapshots whose label has closed. "
        "Registered in MLflow for review."
    ),
)
def lifetime_value_model(
    context: dg.AssetExecutionContext,
    config: TrainingConfig,
    lakehouse: dg.ResourceParam[Lakehouse],
    registry: dg.ResourceParam[ModelRegistry],
    clock: dg.ResourceParam[Clock],
    data_ends: dg.ResourceParam[DataEnds],
) -> dg.MaterializeResult:
    """Test out of time, fit on the newest snapshot, review, register."""
    from cdap_assets.models.review import Context, value_review

    with lakehouse.in_process(context.run.run_id) as session:
        try:
            frame = value_frame(session, config.cutoff)
        except TooLittleHistory as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        days = sorted(partition[0] for partition in session.partitions(CUSTOMER_FEATURES.name))
        fitted_on = max(day for day in days if config.cutoff is None or day <= config.cutoff)
        customers = customers_at(session, fitted_on)
    tested = out_of_time(frame)
    newest = tested[max(tested)]
    model, results = fit(customers), gates(newest)
    sample = customers[COLUMNS].astype(float).head(50)
    currency = str(customers["currency"].iloc[0])
    metrics = {
        "mae": newest.model.mae.value,
        "mae_past_spend": newest.naive.mae.value,
        "rmse": newest.model.rmse.value,
        "bias_percent": newest.model.bias_percent.value,
        "gini": newest.model.gini.value,
        "gini_past_spend": newest.naive.gini.value,
    }
    trained_at = clock().replace(tzinfo=UTC)

    def review(number: int, champion: ModelVersion | None) -> str:
        about = Context(number, champion, trained_at, VERSION, data_ends.day, currency)
        return value_review(frame, tested, model, results, about)

    version = registry.register(
        NAME,
        model,
        example=sample,
        prediction=model.predict(sample, VALUE_HORIZON),
        params={"horizon_days": VALUE_HORIZON, "fitted_on": fitted_on.isoformat()},
        metrics=metrics,
        tags={
            "gates": gates_tag(results),
            "code_version": VERSION,
            "tested_from": frame.test_snapshots[0].isoformat(),
            "tested_to": frame.test_snapshots[-1].isoformat(),
            "labels_closed": fitted_on.isoformat(),
        },
        datasets=frame.sources,
        description="Spend to expect of each customer; see review.html of the run before approving.",
        review=review,
        card={"label": "spend", "snapshots": [[str(day), *counts] for day, *counts in frame.card]},
    )
    if version.passed_gates:
        registry.serve_first(NAME, version.version)
    name = f"{NAME}-v{version.version}.html"
    pages = open_store(lakehouse.settings.root("pages"), lakehouse.settings)
    pages.write(name, registry.review_page(version).encode())
    return dg.MaterializeResult(
        metadata={
            "version": version.version,
            "gates": version.tags["gates"],
            "review": dg.MetadataValue.url(lakehouse.settings.page_url(name)),
            "out of time": dg.MetadataValue.md(
                f"MAE **{newest.model.mae.value:.0f} {currency}** against {newest.naive.mae.value:.0f} of past spend; "
                f"bias {newest.model.bias_percent.value:+.1f} %, Gini {newest.model.gini.value:.3f}"
            ),
            **{key: float(value) for key, value in metrics.items()},
        },
        check_results=gate_checks(NAME, results),
    )
