"""How a lapse model is fitted, tested out of time, and held against its gates."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from cdap_assets.features.labels import LAPSE_HORIZON
from cdap_assets.models import gates as gate
from cdap_assets.models.candidate import Candidate
from cdap_assets.models.comparison import Comparison
from cdap_assets.models.gates import LEAK_GATES, GateResult
from cdap_assets.models.lapse_model import FREQUENCY_ALONE
from cdap_assets.models.model_policy import ProfitTerms
from cdap_assets.models.training import (
    FEATURES,
    TRAINING_SNAPSHOTS,
    TRAINING_STEP,
    as_floats,
)

if TYPE_CHECKING:
    import pandas as pd

    from ml.evaluation import Interval
    from ml.lapse import LapseClassifier
    from ml.leakage import Suspicion
    from ml.protocol import Figures, OutOfTime
    from ml.segments import SegmentGap

BASELINE = "rarity"
SEED = 0
RESAMPLES = 300
MOST_CALIBRATION_ERROR = 0.05
FEWEST_LAPSES = 100
NO_BETTER_THAN_LOTS = 0.5
SEGMENT_BAR = 0.08
BLEND, RECENCY_ALONE = "all features", "recency alone"
RULES = {FREQUENCY_ALONE: ("frequency",), RECENCY_ALONE: ("days_since_last",)}
# inner borders of the bands that calibration is judged in: weeks, purchase days, days
TENURE_WEEKS, PURCHASE_DAYS, RECENCY_DAYS = (13, 26, 52), (3, 10, 30), (7, 14, 28)
GATES = {
    "beats_frequency": (
        "nothing simpler does as well: the paired AUC lift over purchase frequency alone is above 0 with 95 % "
        "confidence, or the model is the better of the two simple rules itself, and no lottery"
    ),
    "beats_recency": (
        "it ranks better than the days since the last purchase alone: the paired AUC lift is above 0, or the model is "
        "a simple rule itself"
    ),
    "calibrated": f"the expected calibration error is at most {MOST_CALIBRATION_ERROR:.0%}",
    "enough_lapses": f"the test snapshots hold at least {FEWEST_LAPSES} lapses",
    "no_segment_badly_off": (
        f"in no band of tenure, frequency or recency are predicted and observed lapses more than {SEGMENT_BAR:.0%} "
        "of customers apart, beyond noise"
    ),
    "not_worse_than_champion": (
        "on the test customers whose future the champion did not know, neither log loss nor AUC is worse than the "
        "champion's with 95 % confidence"
    ),
    **LEAK_GATES,
}


@dataclass(frozen=True)
class Judged:
    """What the out-of-time test showed: the kind of model chosen, its figures, and what to be wary of."""

    kind: str
    out_of_time: "OutOfTime[Figures]"
    recency_auc: "Interval"
    recency_lift: "Interval"
    segments: "tuple[SegmentGap, ...]"
    leaks: "tuple[Suspicion, ...]"


@dataclass(frozen=True, kw_only=True)
class LapseCandidate(Candidate):
    """A lapse model with its evidence; ``profit_terms`` are what a contact costs and brings, for its review."""

    model: "LapseClassifier"
    tested: Judged
    profit_terms: ProfitTerms


class _Named:
    """A fitted classifier that picks its features out of the training frame."""

    def __init__(self, model: "LapseClassifier") -> None:
        self.model = model

    def predict_proba(self, X: "pd.DataFrame"):  # type: ignore[no-untyped-def]
        return self.model.predict_proba(as_floats(X, [str(name) for name in self.model.feature_names_in_]))


def recent(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The rows that a fit uses: every fourth snapshot of the last eight months, counted back from the newest."""
    chosen = sorted(set(rows["snapshot_date"]), reverse=True)[::TRAINING_STEP][:TRAINING_SNAPSHOTS]
    return rows[rows["snapshot_date"].isin(chosen)]


def fit(rows: "pd.DataFrame", inputs: Sequence[str] = FEATURES) -> "LapseClassifier":
    """A classifier of ``inputs`` from labelled rows."""
    from ml.lapse import LapseClassifier

    used = recent(rows)
    return LapseClassifier(seed=SEED).fit(as_floats(used, inputs), used["label"], used["customer_id"])


def tested_best(rows: "pd.DataFrame", test_snapshots: Sequence[date], inputs: Sequence[str]) -> Judged:
    """The kind of model to register, with its out-of-time figures.

    All ``inputs`` where they beat purchase frequency alone beyond noise, and rank no worse than recency alone;
    otherwise the better of these two, calibrated: a shop whose customers cannot be told apart better is served by
    the simple rule, and told so.
    """
    from ml.leakage import label_leaks
    from ml.protocol import out_of_time

    rows = rows.assign(**{BASELINE: -rows["frequency"].astype(float)})

    def test(chosen: Sequence[str]) -> "OutOfTime[Figures]":
        return out_of_time(
            rows,
            test_snapshots=test_snapshots,
            horizon_days=LAPSE_HORIZON,
            fit=lambda train: _Named(fit(train, chosen)),
            baseline=BASELINE,
            keep=FEATURES,
            seed=SEED,
            resamples=RESAMPLES,
        )

    kind, tested = BLEND, test(inputs)
    auc, lift = _beside_recency(tested)
    found = tested.predictions
    leaks = label_leaks(found, inputs, found["label"], found["customer_id"], found["probability"])
    if tested.pooled.lift.low <= 0 or lift.value <= 0:
        kind = FREQUENCY_ALONE if tested.pooled.baseline_auc.value >= auc.value else RECENCY_ALONE
        tested = test(RULES[kind])
        auc, lift = _beside_recency(tested)
    return Judged(kind, tested, auc, lift, segments_of(tested), leaks)


def _beside_recency(tested: "OutOfTime[Figures]") -> "tuple[Interval, Interval]":
    """The AUC of the days since the last purchase, and the model's lift over it."""
    from ml import evaluation

    rows = tested.predictions
    truth, rule, who = rows["label"], rows["days_since_last"].astype(float), rows["customer_id"]
    return (
        evaluation.auc_interval(truth, rule, who, seed=SEED, resamples=RESAMPLES),
        evaluation.paired_auc_lift(truth, rows["probability"], rule, who, seed=SEED, resamples=RESAMPLES),
    )


def segments_of(tested: "OutOfTime[Figures]") -> "tuple[SegmentGap, ...]":
    """Predicted and observed lapse rate by band of tenure, frequency and recency."""
    from ml.segments import bands, segment_gaps

    rows = tested.predictions
    kinds = {
        "tenure": bands(rows["T"], TENURE_WEEKS, "weeks"),
        "frequency": bands(rows["frequency"] + 1, PURCHASE_DAYS, "purchase days"),
        "recency": bands(rows["days_since_last"], RECENCY_DAYS, "days"),
    }
    return segment_gaps(rows["label"], rows["probability"], rows["customer_id"], kinds)


def segment_bar(_gap: "SegmentGap") -> float:
    """The largest gap of a segment that passes: the same for all, as a share of customers."""
    return SEGMENT_BAR


def gates(tested: Judged, comparison: Comparison) -> list[GateResult]:
    """The lapse model's gates on its out-of-time figures; the canary's is apart."""
    pooled = tested.out_of_time.pooled
    return [
        _beats("beats_frequency", pooled.lift, pooled.lift.low, tested.kind, pooled.auc, "counting purchases"),
        _beats(
            "beats_recency",
            tested.recency_lift,
            tested.recency_lift.value,
            tested.kind,
            pooled.auc,
            "the last purchase alone",
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
        gate.no_segment_badly_off(
            tested.segments, segment_bar, f"at most {100 * SEGMENT_BAR:.0f} points, or within noise", "share"
        ),
        gate.not_worse(comparison),
        gate.no_leak(tested.leaks),
    ]


def _beats(name: str, lift: "Interval", judged: float, kind: str, auc: "Interval", rule: str) -> GateResult:
    if kind != BLEND:
        return GateResult(
            name,
            auc.low > NO_BETTER_THAN_LOTS,
            auc.low,
            f"is {kind}: more features did not beat it; AUC {auc.value:.4f} [{auc.low:.4f}, {auc.high:.4f}]",
            "a simple rule itself, whose AUC is above 0.5 beyond noise",
            "not even the simple rule tells who lapses: any order of these customers is drawn by lot",
        )
    return GateResult(
        name,
        judged > 0,
        judged,
        f"{lift.value:+.4f} [{lift.low:+.4f}, {lift.high:+.4f}]",
        f"{'lower bound' if judged == lift.low else 'lift'} above 0",
        f"{rule} ranks customers as well; the model adds cost and no knowledge",
    )


def canary(rows: "pd.DataFrame", test_snapshots: Sequence[date], inputs: Sequence[str]) -> GateResult:
    """Plant a feature that knows the future into a copy of the frame: the test on it must be refused, by its name."""
    from ml.leakage import CANARY, label_leaks, with_canary
    from ml.protocol import training_snapshots

    planted = with_canary(rows, rows["label"], seed=SEED)
    last = max(test_snapshots)
    known = planted["snapshot_date"].isin(training_snapshots(planted["snapshot_date"], last, LAPSE_HORIZON))
    model = _Named(fit(planted[known], [*inputs, CANARY]))
    test = planted[planted["snapshot_date"] == last]
    probability = model.predict_proba(test)[:, 1]
    found = label_leaks(test, [*inputs, CANARY], test["label"], test["customer_id"], probability)
    refused = any(entry.name == "all features" and entry.severity == "error" for entry in found)
    return gate.canary(found, CANARY, refused)
