"""The lapse model: trained on closed snapshots, tested out of time, registered as a challenger for review."""

from collections.abc import Sequence
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from cdap_assets.clock import Clock
from cdap_assets.features.labels import ACTIVE_DAYS, LAPSE_HORIZON
from cdap_assets.models.gates import GateResult, gate_checks, gate_specs, gates_tag
from cdap_assets.models.training import (
    FEATURES,
    TRAINING_SNAPSHOTS,
    TRAINING_STEP,
    DataEnds,
    LabelledFrame,
    TooLittleHistory,
    as_floats,
    lapse_frame,
)
from resources.lakehouse import Lakehouse
from resources.model_registry import ModelRegistry, ModelVersion
from resources.object_store import open_store

if TYPE_CHECKING:
    import pandas as pd

    from ml.lapse import LapseClassifier
    from ml.protocol import OutOfTime

NAME = "lapse_model"
VERSION = "1"
BASELINE = "rarity"
SEED = 0
RESAMPLES = 300
MOST_CALIBRATION_ERROR = 0.05
FEWEST_LAPSES = 100
BLEND, FREQUENCY_ALONE = "all features", "frequency alone"
INPUTS = {BLEND: FEATURES, FREQUENCY_ALONE: ("frequency",)}
GATES = {
    "beats_frequency": (
        "nothing simpler does as well: the paired AUC lift over purchase frequency alone is above 0 with 95 % "
        "confidence, or the model is frequency alone"
    ),
    "calibrated": f"the expected calibration error is at most {MOST_CALIBRATION_ERROR:.0%}",
    "enough_lapses": f"the test snapshots hold at least {FEWEST_LAPSES} lapses",
}


class TrainingConfig(dg.Config):
    """What a training run may be told."""

    as_of: str | None = None
    """ISO date: use only labels that had closed by this snapshot date. Empty: all that have closed."""

    @property
    def cutoff(self) -> date | None:
        """``as_of`` as a date."""
        return date.fromisoformat(self.as_of) if self.as_of else None


class _Named:
    """A fitted classifier that picks its features out of the training frame."""

    def __init__(self, model: "LapseClassifier") -> None:
        self.model = model

    def predict_proba(self, X: "pd.DataFrame"):  # type: ignore[no-untyped-def]
        return self.model.predict_proba(as_floats(X))


def recent(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The rows that a fit uses: every fourth snapshot of the last eight months, counted back from the newest."""
    chosen = sorted(set(rows["snapshot_date"]), reverse=True)[::TRAINING_STEP][:TRAINING_SNAPSHOTS]
    return rows[rows["snapshot_date"].isin(chosen)]


def fit(rows: "pd.DataFrame", inputs: Sequence[str] = FEATURES) -> "LapseClassifier":
    """A classifier of ``inputs`` from labelled rows."""
    from ml.lapse import LapseClassifier

    used = recent(rows)
    return LapseClassifier(seed=SEED).fit(as_floats(used, inputs), used["label"], used["customer_id"])


def tested_best(rows: "pd.DataFrame", test_snapshots: Sequence[date]) -> "tuple[str, OutOfTime]":
    """The kind of model to register, with its out-of-time figures.

    All features where they beat purchase frequency alone; otherwise frequency alone, calibrated: a shop whose
    customers cannot be told apart better is served by the simple rule, and told so.
    """
    from ml.protocol import out_of_time

    rows = rows.assign(**{BASELINE: -rows["frequency"].astype(float)})

    def test(kind: str) -> "OutOfTime":
        return out_of_time(
            rows,
            test_snapshots=test_snapshots,
            horizon_days=LAPSE_HORIZON,
            fit=lambda train: _Named(fit(train, INPUTS[kind])),
            baseline=BASELINE,
            seed=SEED,
            resamples=RESAMPLES,
        )

    tested = test(BLEND)
    return (BLEND, tested) if tested.pooled.lift.low > 0 else (FREQUENCY_ALONE, test(FREQUENCY_ALONE))


def gates(tested: "OutOfTime", kind: str = BLEND) -> list[GateResult]:
    """The lapse model's gates on its out-of-time figures."""
    pooled = tested.pooled
    return [
        GateResult(
            "beats_frequency",
            pooled.lift.low > 0 or kind == FREQUENCY_ALONE,
            pooled.lift.low,
            f"{pooled.lift.value:+.4f} [{pooled.lift.low:+.4f}, {pooled.lift.high:+.4f}]"
            if kind == BLEND
            else "is frequency alone: more features did not beat it",
            "lower bound above 0, or frequency alone",
            "counting purchases ranks customers as well; the model adds cost and no knowledge",
        ),
        GateResult(
            "calibrated",
            pooled.ece.value <= MOST_CALIBRATION_ERROR,
            pooled.ece.value,
            f"{pooled.ece.value:.3f}",
            f"at most {MOST_CALIBRATION_ERROR}",
            "the probabilities are off, and value at stake with them",
        ),
        GateResult(
            "enough_lapses",
            pooled.positives >= FEWEST_LAPSES,
            pooled.positives,
            f"{pooled.positives:,}",
            f"at least {FEWEST_LAPSES}",
            "too few lapses to judge by",
        ),
    ]


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
        "frequency alone, it is frequency alone. Registered in MLflow for review."
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
    with lakehouse.in_process(context.run.run_id) as session:
        try:
            frame = lapse_frame(session, config.cutoff)
        except TooLittleHistory as error:
            raise dg.Failure(str(error), allow_retries=False) from error
    try:
        kind, tested = tested_best(frame.rows, frame.test_snapshots)
        model = fit(frame.rows, INPUTS[kind])
    except ValueError as error:
        # too few customers, or a snapshot in which all or none lapsed: trying again changes nothing
        raise dg.Failure(
            f"the lapse model cannot be trained on these customers: {error}", allow_retries=False
        ) from error
    return _register(lakehouse, registry, clock, frame, kind, tested, model, data_ends.day)


def _register(
    lakehouse: Lakehouse,
    registry: ModelRegistry,
    clock: Clock,
    frame: LabelledFrame,
    kind: str,
    tested: "OutOfTime",
    model: "LapseClassifier",
    data_ends: date | None,
) -> dg.MaterializeResult:
    import pandas as pd

    from cdap_assets.models.review import Context, lapse_review, trained_on
    from ml.evaluation import reliability
    from pages.svg import data_uri, reliability_svg

    results = gates(tested, kind)
    pooled, last = tested.pooled, tested.snapshots[-1]
    used = trained_on(frame, LAPSE_HORIZON, TRAINING_STEP, TRAINING_SNAPSHOTS)
    trained_at = clock().replace(tzinfo=UTC)

    def review(number: int, champion: ModelVersion | None) -> str:
        about = Context(number, champion, trained_at, VERSION, data_ends, "")
        return lapse_review(frame, tested, model, used, results, about)

    sample = as_floats(frame.rows.head(50), INPUTS[kind])
    metrics = {
        "auc": pooled.auc.value,
        "auc_low": pooled.auc.low,
        "auc_high": pooled.auc.high,
        "auc_frequency": pooled.baseline_auc.value,
        "auc_lift": pooled.lift.value,
        "auc_lift_low": pooled.lift.low,
        "auc_lift_high": pooled.lift.high,
        "log_loss": pooled.log_loss.value,
        "ece": pooled.ece.value,
        "ece_low": pooled.ece.low,
        "ece_high": pooled.ece.high,
        "auc_last": last.auc.value,
        "log_loss_last": last.log_loss.value,
        "auc_frequency_last": last.baseline_auc.value,
        "base_rate": pooled.base_rate,
    }
    version = registry.register(
        NAME,
        model,
        example=sample,
        prediction=pd.DataFrame(model.predict_proba(sample), columns=["stays", "lapses"]),
        params={"kind": kind, "features": ", ".join(INPUTS[kind]), "seed": SEED, "horizon_days": LAPSE_HORIZON},
        metrics=metrics,
        tags={
            "gates": gates_tag(results),
            "kind": kind,
            "code_version": VERSION,
            "tested_from": frame.test_snapshots[0].isoformat(),
            "tested_to": frame.test_snapshots[-1].isoformat(),
            "labels_closed": (frame.snapshots[-1] + timedelta(days=LAPSE_HORIZON)).isoformat(),
        },
        datasets=frame.sources,
        description="Lapse risk of regulars; see review.html of the run before approving.",
        review=review,
        card={"label": "lapse", "snapshots": [[str(day), *counts] for day, *counts in frame.card]},
    )
    if version.passed_gates:
        registry.serve_first(NAME, version.version)
    name = f"{NAME}-v{version.version}.html"
    pages = open_store(lakehouse.settings.root("pages"), lakehouse.settings)
    pages.write(name, registry.review_page(version).encode())
    bins = reliability(tested.predictions["label"], tested.predictions["probability"], 10)
    drawing = reliability_svg([(p, o) for p, o, _n in bins], title="predicted against observed lapse rate")
    return dg.MaterializeResult(
        metadata={
            "version": version.version,
            "kind": kind,
            "gates": version.tags["gates"],
            "review": dg.MetadataValue.url(lakehouse.settings.page_url(name)),
            "out of time": dg.MetadataValue.md(
                f"AUC **{pooled.auc.value:.3f}** [{pooled.auc.low:.3f}, {pooled.auc.high:.3f}] against "
                f"{pooled.baseline_auc.value:.3f} of frequency alone; log loss {pooled.log_loss.value:.3f}"
            ),
            "calibration": dg.MetadataValue.md(f"![reliability]({data_uri(drawing)})"),
            **{key: float(value) for key, value in metrics.items()},
        },
        check_results=gate_checks(NAME, results),
    )
