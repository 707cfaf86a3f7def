"""The lifetime value model: BG/NBD with Gamma-Gamma, tested out of time, registered for review."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.features.labels import VALUE_HORIZON
from cdap_assets.models import gates as gate
from cdap_assets.models.comparison import Comparison, Incumbent, compare_value
from cdap_assets.models.gates import LEAK_GATES, GateResult, gate_specs
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
from resources.lakehouse import Lakehouse
from resources.model_registry import ModelRegistry
from resources.session import Session

if TYPE_CHECKING:
    import pandas as pd

    from ml.lifetime import LifetimeValue
    from ml.protocol import ValueOutOfTime
    from ml.segments import SegmentGap

NAME = "lifetime_value_model"
VERSION = "2"
SEED = 0
RESAMPLES = 300
MOST_BIAS = 25.0
SEGMENT_BAR = 0.5  # of the mean spend of the segment, or of all customers where that is more
COLUMNS = ["frequency", "recency", "T", "spend_per_day_all"]
# inner borders of the bands that the level is judged in: weeks, purchase days, days
TENURE_WEEKS, PURCHASE_DAYS, RECENCY_DAYS = (13, 26, 52), (2, 5, 15), (28, 56, 91)
GATES = {
    "beats_past_spend": "its mean error is below that of assuming that everyone spends on as before",
    "unbiased": f"predicted and actual spend of all customers differ by at most {MOST_BIAS:.0f} %",
    "no_segment_badly_off": (
        "in no band of tenure, frequency or recency are predicted and actual mean spend further apart than "
        f"{SEGMENT_BAR:.0%} of its mean spend, or of that of all where it is more, beyond noise"
    ),
    "not_worse_than_champion": (
        "on the test customers whose future the champion did not know, neither mean error nor Gini is worse than the "
        "champion's with 95 % confidence"
    ),
    **LEAK_GATES,
}


def fit(rows: "pd.DataFrame") -> "LifetimeValue":
    """The model of one snapshot's customers; it learns from their purchases before the snapshot."""
    from ml.lifetime import LifetimeValue

    return LifetimeValue().fit(rows[COLUMNS].astype(float))


def out_of_time(frame: LabelledFrame) -> "ValueOutOfTime":
    """Each test snapshot's model against what its customers then spent."""
    from ml.lifetime import past_weekly_spend
    from ml.protocol import value_out_of_time

    def predict(rows: "pd.DataFrame") -> "pd.Series[float]":
        spend: pd.Series[float] = fit(rows).predict(rows[COLUMNS].astype(float), VALUE_HORIZON)["expected_spend"]
        return spend

    return value_out_of_time(
        frame.rows,
        test_snapshots=frame.test_snapshots,
        predict=predict,
        naive=lambda rows: past_weekly_spend(rows[COLUMNS].astype(float), VALUE_HORIZON),
        keep=COLUMNS,
        seed=SEED,
        resamples=RESAMPLES,
    )


def segments_of(tested: "ValueOutOfTime") -> "tuple[SegmentGap, ...]":
    """Predicted and actual mean spend by band of tenure, frequency and recency."""
    from ml.segments import bands, segment_gaps

    rows = tested.predictions
    kinds = {
        "tenure": bands(rows["T"], TENURE_WEEKS, "weeks"),
        "frequency": bands(rows["frequency"] + 1, PURCHASE_DAYS, "purchase days"),
        "recency": bands(7 * (rows["T"] - rows["recency"]), RECENCY_DAYS, "days"),
    }
    return segment_gaps(rows["label"], rows["predicted"], rows["customer_id"], kinds)


def segment_bar(mean: float) -> "Callable[[SegmentGap], float]":
    """The largest gap of a segment that passes, where ``mean`` is the mean spend of all."""
    return lambda gap: SEGMENT_BAR * max(abs(gap.observed), abs(mean))


def gates(
    tested: "ValueOutOfTime", segments: "Sequence[SegmentGap]", comparison: Comparison, currency: str
) -> list[GateResult]:
    """The gates on all test snapshots together; those of leaks are apart."""
    pooled = tested.pooled
    gain, bias = pooled.mae_gain, pooled.bias_percent.value
    return [
        GateResult(
            "beats_past_spend",
            gain.value > 0,
            gain.value,
            f"{pooled.mae.value:.2f} against {pooled.naive_mae.value:.2f}, better by {gain.value:.2f} "
            f"[{gain.low:.2f}, {gain.high:.2f}]",
            "better by more than 0",
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
        gate.no_segment_badly_off(
            segments,
            segment_bar(pooled.mean),
            f"at most {SEGMENT_BAR:.0%} of its mean spend or of that of all, or within noise",
            currency,
        ),
        gate.not_worse(comparison),
    ]


def leak_gates(tested: "ValueOutOfTime") -> list[GateResult]:
    """Whether a column the model reads knows the future, and whether the watch would see one that does."""
    from ml.leakage import CANARY, value_leaks, with_canary

    rows = tested.predictions
    real = value_leaks(rows, COLUMNS, rows["label"], rows["customer_id"], rows["predicted"])
    planted = with_canary(rows, rows["label"], seed=SEED)
    # BG/NBD and Gamma-Gamma learn from no label: there is no training that the planted column could enter
    found = value_leaks(planted, [*COLUMNS, CANARY], planted["label"], planted["customer_id"])
    return [gate.no_leak(real), gate.canary(found, CANARY, None)]


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
    from cdap_assets.models.value_review import value_review
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
