"""The asset ``lapse_model``: trained on closed snapshots, and registered with its evidence for review."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from cdap_assets.features.labels import ACTIVE_DAYS, LAPSE_HORIZON
from cdap_assets.models.comparison import Comparison, Incumbent, compare_lapse
from cdap_assets.models.gates import GateResult, gate_specs
from cdap_assets.models.lapse_model import NAME, VERSION
from cdap_assets.models.lapse_model.judging import (
    BLEND,
    GATES,
    RESAMPLES,
    RULES,
    SEED,
    Judged,
    canary,
    fit,
    gates,
    tested_best,
)
from cdap_assets.models.model_policy import ProfitTerms, read_model_policy
from cdap_assets.models.purpose import Selection
from cdap_assets.models.registering import (
    Candidate,
    interval_metrics,
    learn_intervals,
    made_up_customer,
    train_version,
)
from cdap_assets.models.training import (
    FEATURES,
    TRAINING_SNAPSHOTS,
    TRAINING_STEP,
    DataEnds,
    LabelledFrame,
    TrainingConfig,
    as_floats,
    lapse_frame,
)
from resources.clock import Clock
from resources.lake.lakehouse import Lakehouse
from resources.lake.session import Session
from resources.registry.model_registry import ModelRegistry

if TYPE_CHECKING:
    from ml.lapse import LapseClassifier


def train(session: Session, cutoff: date | None, selection: Selection, incumbent: Incumbent | None) -> Candidate:
    """Train on the snapshots that the session reads, test out of time, and gather the evidence.

    Raises what :func:`~cdap_assets.models.registering.train_version` tells of: ``TooLittleHistory``,
    ``PurposeRefused``, ``ModelPolicyError``, or ``ValueError`` for customers that cannot be learned from, such as a
    snapshot in which all or none lapsed.
    """
    terms = read_model_policy(session.tables.settings.home).profit
    selection.require(("frequency", "days_since_last"), NAME)
    frame = lapse_frame(session, cutoff)
    tested = tested_best(frame.rows, frame.test_snapshots, selection.used)
    inputs = selection.used if tested.kind == BLEND else RULES[tested.kind]
    model = fit(frame.rows, inputs)
    found = tested.out_of_time.predictions
    learn_intervals(model, "probability", found["probability"], found)
    comparison = compare_lapse(found, incumbent, list(FEATURES), seed=SEED, resamples=RESAMPLES)
    results = [*gates(tested, comparison), canary(frame.rows, frame.test_snapshots, inputs)]
    return _candidate(frame, cutoff, selection, terms, tested, model, comparison, results)


def _candidate(
    frame: LabelledFrame,
    cutoff: date | None,
    selection: Selection,
    terms: ProfitTerms,
    tested: Judged,
    model: "LapseClassifier",
    comparison: Comparison,
    results: Sequence[GateResult],
) -> Candidate:
    import pandas as pd

    from cdap_assets.models.lapse_model.review import lapse_review
    from ml.evaluation import reliability
    from ml.evaluation.drift import Reference
    from pages.svg import data_uri, reliability_svg

    inputs = [str(name) for name in model.feature_names_in_]
    pooled, last = tested.out_of_time.pooled, tested.out_of_time.snapshots[-1]
    newest = frame.rows[frame.rows["snapshot_date"] == frame.snapshots[-1]]
    scored = as_floats(newest, inputs)
    example = made_up_customer(frame.rows, inputs)
    spread = {**scored, "lapse_probability": model.predict_proba(scored)[:, 1]}
    bins = reliability(tested.out_of_time.predictions["label"], tested.out_of_time.predictions["probability"], 10)
    drawing = reliability_svg([(p, o) for p, o, _n in bins], title="predicted against observed lapse rate")
    return Candidate(
        name=NAME,
        label="lapse",
        description="Lapse risk of regulars; see review.html of the run before approving.",
        code_version=VERSION,
        model=model,
        example=example,
        prediction=pd.DataFrame(model.predict_proba(example), columns=["stays", "lapses"]),
        params={
            "kind": tested.kind,
            "features": ", ".join(inputs),
            "allowed_features": ", ".join(selection.used),
            "as_of": cutoff.isoformat() if cutoff else "",
            "seed": SEED,
            "resamples": RESAMPLES,
            "horizon_days": LAPSE_HORIZON,
            "active_days": ACTIVE_DAYS,
            "training_snapshots": TRAINING_SNAPSHOTS,
            "training_step": TRAINING_STEP,
        },
        metrics={
            **interval_metrics(
                auc=pooled.auc,
                auc_frequency=pooled.baseline_auc,
                auc_lift=pooled.lift,
                auc_recency=tested.recency_auc,
                auc_lift_recency=tested.recency_lift,
                log_loss=pooled.log_loss,
                ece=pooled.ece,
                auc_last=last.auc,
                auc_frequency_last=last.baseline_auc,
                log_loss_last=last.log_loss,
            ),
            "base_rate": pooled.base_rate,
            "test_rows": pooled.n,
            "test_lapses": pooled.positives,
        },
        gates=results,
        tags={
            "kind": tested.kind,
            "tested_from": frame.test_snapshots[0].isoformat(),
            "tested_to": frame.test_snapshots[-1].isoformat(),
            "labels_closed": (frame.snapshots[-1] + timedelta(days=LAPSE_HORIZON)).isoformat(),
        },
        frame=frame,
        selection=selection,
        comparison=comparison,
        reference=Reference.of(spread).to_json(),
        headline=(
            f"AUC **{pooled.auc.value:.3f}** [{pooled.auc.low:.3f}, {pooled.auc.high:.3f}] against "
            f"{pooled.baseline_auc.value:.3f} of frequency alone; log loss {pooled.log_loss.value:.3f}"
        ),
        review=lambda context: lapse_review(
            frame, tested, model, comparison, results, selection, spread, terms, context
        ),
        metadata={
            "kind": tested.kind,
            "calibration": dg.MetadataValue.md(f"![reliability]({data_uri(drawing)})"),
        },
    )


@dg.asset(
    name=NAME,
    group_name="models",
    deps=["customer_features", "lapse_labels"],
    code_version=VERSION,
    check_specs=gate_specs(NAME, GATES),
    retry_policy=dg.RetryPolicy(max_retries=2, delay=10),
    description=(
        f"P(a regular lapses): bought in the last {ACTIVE_DAYS} days and buys nothing in the next {LAPSE_HORIZON}. "
        "Mean of a logistic regression and boosted trees, calibrated by customer; tested on the last six closed "
        "snapshots, each by a model that knew only labels closed before it. Where all features do not beat purchase "
        "frequency and recency alone, it is the better of these two. Registered in MLflow for review."
    ),
)
def lapse_model(
    context: dg.AssetExecutionContext,
    config: TrainingConfig,
    lakehouse: dg.ResourceParam[Lakehouse],
    registry: dg.ResourceParam[ModelRegistry],
    clock: dg.ResourceParam[Clock],
    data_ends: dg.ResourceParam[DataEnds],
) -> dg.MaterializeResult:
    """Train, test out of time, review, register."""
    day, run_id = config.cutoff, context.run.run_id
    return train_version(NAME, FEATURES, train, run_id, day, lakehouse, registry, clock(), data_ends.day)
