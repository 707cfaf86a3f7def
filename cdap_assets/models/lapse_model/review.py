"""The review of the lapse model: its figures arranged for the page that a person decides by."""

from __future__ import annotations

from datetime import timedelta

from cdap_assets.features.labels import ACTIVE_DAYS, LAPSE_HORIZON
from cdap_assets.models.candidate import ReviewContext
from cdap_assets.models.lapse_model.judging import BLEND, SEGMENT_BAR, Judged, LapseCandidate, segment_bar
from cdap_assets.models.model_policy import ProfitTerms
from cdap_assets.models.review_parts import figure, rows_of, segments, shared_fields, trained_on, weak_segments
from cdap_assets.models.training import FEATURES, TRAINING_SNAPSHOTS, TRAINING_STEP, as_floats
from ml.evaluation import deciles, reliability
from ml.evaluation.profit import profit_curve
from ml.explain import feature_directions
from pages.formats import percent
from pages.review import Importance, ModelReview, Profit, ReliabilityBin, SnapshotFigure, Split, review_page

EXPLAINED_ROWS = 2_000
_DIRECTIONS = {"raises": "more raises risk", "lowers": "more lowers risk", "either way": "either way"}


def lapse_review(candidate: LapseCandidate, context: ReviewContext) -> str:
    """The lapse model's page, judged on all test snapshots together."""
    tested, frame = candidate.tested, candidate.frame
    pooled, found = tested.out_of_time.pooled, tested.out_of_time.predictions
    figures = (
        figure("AUC", pooled.auc, pooled.baseline_auc.value, "", "higher", "how well customers are ranked by risk"),
        figure("AUC lift", pooled.lift, 0.0, "", "higher", "the model's AUC less that of purchase frequency alone"),
        figure(
            "AUC lift over recency", tested.recency_lift, 0.0, "", "higher", "less that of days since the last purchase"
        ),
        figure("log loss", pooled.log_loss, None, "", "lower", "how far the probabilities are from what happened"),
        figure("calibration error", pooled.ece, None, "share", "lower", "mean gap of predicted and observed"),
    )
    sample = frame.newest.sample(min(len(frame.newest), EXPLAINED_ROWS), random_state=0)
    directions = feature_directions(candidate.model, as_floats(sample, candidate.inputs))
    used = trained_on(frame, LAPSE_HORIZON, TRAINING_STEP, TRAINING_SNAPSHOTS)
    return review_page(
        ModelReview(
            name="lapse_model",
            predicts="the probability that a customer who has bought lately buys nothing in the four weeks to come",
            label=f"bought in the last {ACTIVE_DAYS} days, and nothing in the {LAPSE_HORIZON} from the snapshot on",
            unit="share",
            base_name="base rate",
            baseline="purchase frequency alone: the fewer purchase days, the higher the risk",
            splits=tuple(
                Split(test, tuple(days), rows_of(frame, days), days[-1] + timedelta(days=LAPSE_HORIZON))
                for test, days in sorted(used.items())
            ),
            figures=figures,
            measure="AUC",
            snapshots=tuple(
                SnapshotFigure(f.snapshot_date, f.auc.value, f.auc.low, f.auc.high, f.baseline_auc.value)
                for f in tested.out_of_time.snapshots
                if f.snapshot_date is not None
            ),
            reliability=tuple(
                ReliabilityBin(p, o, n) for p, o, n in reliability(found["label"], found["probability"], 10) if n
            ),
            importance_measure=(
                "mean shift of the log-odds by the boosted trees (SHAP) over customers of the newest snapshot, "
                "with what a higher value does"
            ),
            importances=tuple(
                Importance(entry.feature, entry.strength, _DIRECTIONS[entry.effect]) for entry in directions
            ),
            caveats=(
                "A pause is not a goodbye: most customers who lapse for four weeks come back by themselves.",
                "The figures are of this customer base and season; they say nothing about the effect of a contact.",
            ),
            segments=segments(tested.segments, segment_bar),
            segment_bar=f"{100 * SEGMENT_BAR:.0f} percentage points",
            found_of="lapses",
            deciles=tuple(deciles(found["label"], found["probability"])),
            profit=_profit(tested, candidate.profit_terms),
            weak=_weak(tested),
            **shared_fields(candidate, context),
        )
    )


def _profit(tested: Judged, terms: ProfitTerms) -> Profit:
    rows = tested.out_of_time.predictions
    curve = profit_curve(rows["label"], rows["probability"], cost=terms.cost, value=terms.value, success=terms.effect)
    per_thousand = 1_000 / len(rows)
    pays = f"above a probability of {percent(curve.break_even)}" if curve.break_even < 1 else "for nobody"
    return Profit(
        points=tuple(
            (float(share), float(money * per_thousand)) for share, money in zip(curve.share, curve.profit, strict=True)
        ),
        best=curve.best_share,
        rule=curve.rule_share,
        unit="per 1,000 regulars",
        terms=(
            f"a contact costs {terms.cost:,.2f}, keeps {percent(terms.effect)} of those who would lapse, and each of "
            f"them is worth {terms.value:,.2f}: it pays {pays}"
        ),
    )


def _weak(tested: Judged) -> tuple[str, ...]:
    told = weak_segments(tested.segments, percent)
    worst = min(tested.out_of_time.snapshots, key=lambda figures: figures.auc.value)
    told.append(
        f"of the test snapshots it ranked worst on {worst.snapshot_date}, with AUC {worst.auc.value:.3f} "
        f"[{worst.auc.low:.3f}, {worst.auc.high:.3f}]"
    )
    if tested.kind != BLEND:
        told.append(f"all {len(FEATURES)} features together did not beat a simple rule, so it is {tested.kind}")
    return (*told, *(entry.told for entry in tested.leaks))
