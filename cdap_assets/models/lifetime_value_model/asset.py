"""The asset ``lifetime_value_model``: fitted on the newest snapshot, registered with its evidence for review."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.features.labels import VALUE_HORIZON
from cdap_assets.models.comparison import Comparison, Incumbent, compare_value
from cdap_assets.models.gates import GateResult, gate_specs
from cdap_assets.models.lifetime_value_model import NAME, VERSION
from cdap_assets.models.lifetime_value_model.judging import (
    COLUMNS,
    GATES,
    RESAMPLES,
    SEED,
    fit,
    gates,
    leak_gates,
    out_of_time,
    segments_of,
)
from cdap_assets.models.purpose import Selection
from cdap_assets.models.registering import (
    Candidate,
    interval_metrics,
    learn_intervals,
    made_up_customer,
    train_version,
)
from cdap_assets.models.training import (
    DataEnds,
    LabelledFrame,
    TrainingConfig,
    customers_at,
    value_frame,
)
from resources.clock import Clock
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Session
from resources.registry.model_registry import ModelRegistry

if TYPE_CHECKING:
    import pandas as pd

    from ml.lifetime import LifetimeValue
    from ml.protocol import ValueOutOfTime
    from ml.segments import SegmentGap


def train(session: Session, cutoff: date | None, selection: Selection, incumbent: Incumbent | None) -> Candidate:
    """Test out of time, fit on the newest snapshot that the session reads, and gather the evidence.

    Raises what :func:`~cdap_assets.models.registering.train_version` tells of: ``TooLittleHistory`` and
    ``PurposeRefused``.
    """
    selection.require(COLUMNS, NAME)
    frame = value_frame(session, cutoff)
    days = sorted(partition[0] for partition in session.partitions(CUSTOMER_FEATURES.name))
    fitted_on = max(day for day in days if cutoff is None or day <= cutoff)
    customers = customers_at(session, fitted_on)
    tested = out_of_time(frame)
    segments = segments_of(tested)
    model = fit(customers)
    learn_intervals(model, "spend", tested.predictions["predicted"], tested.predictions)
    comparison = compare_value(tested.predictions, incumbent, COLUMNS, VALUE_HORIZON, seed=SEED, resamples=RESAMPLES)
    currency = str(customers["currency"].iloc[0])
    results = [*gates(tested, segments, comparison, currency), *leak_gates(tested)]
    return _candidate(frame, cutoff, fitted_on, selection, tested, segments, model, customers, comparison, results)


def _candidate(
    frame: LabelledFrame,
    cutoff: date | None,
    fitted_on: date,
    selection: Selection,
    tested: "ValueOutOfTime",
    segments: "Sequence[SegmentGap]",
    model: "LifetimeValue",
    customers: "pd.DataFrame",
    comparison: Comparison,
    results: Sequence[GateResult],
) -> Candidate:
    from cdap_assets.models.lifetime_value_model.review import value_review
    from ml.evaluation.drift import Reference

    pooled, last = tested.pooled, tested.snapshots[-1]
    currency = str(customers["currency"].iloc[0])
    example = made_up_customer(customers, COLUMNS)
    inputs = customers[COLUMNS].astype(float)
    spread = {**inputs, "expected_spend": model.predict(inputs, VALUE_HORIZON)["expected_spend"]}
    return Candidate(
        name=NAME,
        label="spend",
        description="Spend to expect of each customer; see review.html of the run before approving.",
        code_version=VERSION,
        model=model,
        example=example,
        prediction=model.predict(example, VALUE_HORIZON),
        params={
            "features": ", ".join(COLUMNS),
            "allowed_features": ", ".join(selection.used),
            "as_of": cutoff.isoformat() if cutoff else "",
            "seed": SEED,
            "resamples": RESAMPLES,
            "horizon_days": VALUE_HORIZON,
            "fitted_on": fitted_on.isoformat(),
        },
        metrics={
            **interval_metrics(
                mae=pooled.mae,
                mae_past_spend=pooled.naive_mae,
                mae_gain=pooled.mae_gain,
                rmse=pooled.rmse,
                bias_percent=pooled.bias_percent,
                gini=pooled.gini,
                gini_past_spend=pooled.naive_gini,
                mae_last=last.mae,
                bias_percent_last=last.bias_percent,
                gini_last=last.gini,
            ),
            "test_rows": pooled.n,
        },
        gates=results,
        tags={
            "tested_from": frame.test_snapshots[0].isoformat(),
            "tested_to": frame.test_snapshots[-1].isoformat(),
            "labels_closed": fitted_on.isoformat(),
        },
        frame=frame,
        selection=selection,
        comparison=comparison,
        reference=Reference.of(spread).to_json(),
        headline=(
            f"MAE **{pooled.mae.value:.0f} {currency}** [{pooled.mae.low:.0f}, {pooled.mae.high:.0f}] against "
            f"{pooled.naive_mae.value:.0f} of past spend; bias {pooled.bias_percent.value:+.1f} %, "
            f"Gini {pooled.gini.value:.3f}"
        ),
        review=lambda context: value_review(
            frame, tested, segments, model, comparison, results, selection, spread, currency, context
        ),
    )


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
    day, run_id = config.cutoff, context.run.run_id
    return train_version(NAME, COLUMNS, train, run_id, day, lakehouse, registry, clock(), data_ends.day)
