"""The asset ``lapse_model``: trained on closed snapshots, and registered with its evidence for review."""

from datetime import date, timedelta

import dagster as dg

from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.features.labels import ACTIVE_DAYS, LAPSE_HORIZON, LAPSE_LABELS
from cdap_assets.models.candidate import (
    ModelRecipe,
    ReviewContext,
    interval_metrics,
    learn_intervals,
    made_up_customer,
)
from cdap_assets.models.comparison import Incumbent, compare_lapse
from cdap_assets.models.lapse_model import NAME, VERSION
from cdap_assets.models.lapse_model.judging import (
    BLEND,
    GATES,
    RESAMPLES,
    RULES,
    SEED,
    Judged,
    LapseCandidate,
    canary,
    fit,
    gates,
    tested_best,
)
from cdap_assets.models.model_asset import model_asset
from cdap_assets.models.model_policy import read_model_policy
from cdap_assets.models.purpose import Selection
from cdap_assets.models.training import FEATURES, TRAINING_SNAPSHOTS, TRAINING_STEP, as_floats, lapse_frame
from resources.lake.session import Session


def train(session: Session, as_of: date | None, selection: Selection, incumbent: Incumbent | None) -> LapseCandidate:
    """Train on the snapshots that the session reads, test out of time, and gather the evidence.

    Raises ``TooLittleHistory``, ``PurposeRefused``, ``ModelPolicyError``, or ``ValueError`` for customers that cannot
    be learned from, such as a snapshot in which all or none lapsed.
    """
    import pandas as pd

    terms = read_model_policy(session.tables.settings.home).profit
    selection.require(("frequency", "days_since_last"), NAME)
    frame = lapse_frame(session, as_of)
    tested = tested_best(frame.rows, frame.test_snapshots, selection.used)
    inputs = selection.used if tested.kind == BLEND else RULES[tested.kind]
    model = fit(frame.rows, inputs)
    found = tested.out_of_time.predictions
    learn_intervals(model, "probability", found["probability"], found)
    comparison = compare_lapse(found, incumbent, list(FEATURES), seed=SEED, resamples=RESAMPLES)
    newest, example = as_floats(frame.newest, inputs), made_up_customer(frame.rows, inputs)
    return LapseCandidate(
        model=model,
        inputs=inputs,
        frame=frame,
        as_of=as_of,
        selection=selection,
        tested=tested,
        comparison=comparison,
        gates=[*gates(tested, comparison), canary(frame.rows, frame.test_snapshots, inputs)],
        profit_terms=terms,
        example=example,
        prediction=pd.DataFrame(model.predict_proba(example), columns=["stays", "lapses"]),
        spread={**newest, "lapse_probability": model.predict_proba(newest)[:, 1]},
        params={
            "kind": tested.kind,
            "seed": SEED,
            "resamples": RESAMPLES,
            "horizon_days": LAPSE_HORIZON,
            "active_days": ACTIVE_DAYS,
            "training_snapshots": TRAINING_SNAPSHOTS,
            "training_step": TRAINING_STEP,
        },
        metrics=_metrics(tested),
        tags={
            "kind": tested.kind,
            "labels_closed": (frame.snapshots[-1] + timedelta(days=LAPSE_HORIZON)).isoformat(),
        },
        headline=_headline(tested),
        metadata={"kind": tested.kind, "calibration": _calibration(tested)},
    )


def _metrics(tested: Judged) -> dict[str, float]:
    pooled, last = tested.out_of_time.pooled, tested.out_of_time.snapshots[-1]
    return {
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
    }


def _headline(tested: Judged) -> str:
    pooled = tested.out_of_time.pooled
    return (
        f"AUC **{pooled.auc.value:.3f}** [{pooled.auc.low:.3f}, {pooled.auc.high:.3f}] against "
        f"{pooled.baseline_auc.value:.3f} of frequency alone; log loss {pooled.log_loss.value:.3f}"
    )


def _calibration(tested: Judged) -> dg.MarkdownMetadataValue:
    from ml.evaluation import reliability
    from pages.svg import data_uri, reliability_svg

    found = tested.out_of_time.predictions
    bins = reliability(found["label"], found["probability"], 10)
    drawing = reliability_svg([(p, o) for p, o, _n in bins], title="predicted against observed lapse rate")
    return dg.MetadataValue.md(f"![reliability]({data_uri(drawing)})")


def _review(candidate: LapseCandidate, context: ReviewContext) -> str:
    # draws: loaded where a page is made
    from cdap_assets.models.lapse_model.review import lapse_review

    return lapse_review(candidate, context)


RECIPE = ModelRecipe(
    name=NAME,
    code_version=VERSION,
    description=(
        f"P(a regular lapses): bought in the last {ACTIVE_DAYS} days and buys nothing in the next {LAPSE_HORIZON}. "
        "Mean of a logistic regression and boosted trees, calibrated by customer; tested on the last six closed "
        "snapshots, each by a model that knew only labels closed before it. Where all features do not beat purchase "
        "frequency and recency alone, it is the better of these two. Registered in MLflow for review."
    ),
    version_description="Lapse risk of regulars; see review.html of the run before approving.",
    learns_from=(CUSTOMER_FEATURES.name, LAPSE_LABELS.name),
    features=FEATURES,
    label="lapse",
    gates=GATES,
    train=train,
    review=_review,
)
lapse_model = model_asset(RECIPE)
