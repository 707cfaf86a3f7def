"""The review of the lifetime value model: its figures arranged for the page that a person decides by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cdap_assets.features.labels import VALUE_HORIZON
from cdap_assets.models.candidate import ReviewContext
from cdap_assets.models.lifetime_value_model.judging import SEGMENT_BAR, ValueCandidate, segment_bar
from cdap_assets.models.review_parts import figure, segments, shared_fields, weak_segments
from ml.evaluation import deciles
from ml.protocol import OutOfTime, ValueFigures
from ml.segments import SegmentGap
from pages.review import ModelReview, ReliabilityBin, SnapshotFigure, Split, review_page

if TYPE_CHECKING:
    from ml.lifetime import LifetimeValue


def value_review(candidate: ValueCandidate, context: ReviewContext) -> str:
    """The lifetime value model's page, judged on all test snapshots together."""
    tested, gaps, currency = candidate.tested, candidate.segments, candidate.currency
    pooled = tested.pooled
    figures = (
        figure("MAE", pooled.mae, pooled.naive_mae.value, currency, "lower", "mean error of a customer's spend"),
        figure("RMSE", pooled.rmse, pooled.naive_rmse.value, currency, "lower", "root mean squared error of it"),
        figure(
            "bias",
            pooled.bias_percent,
            pooled.naive_bias_percent.value,
            "%",
            "zero",
            "predicted less actual spend of all",
        ),
        figure("Gini", pooled.gini, pooled.naive_gini.value, "", "higher", "how well customers are ranked by spend"),
    )
    tenths = tuple(deciles(tested.predictions["label"], tested.predictions["predicted"]))
    return review_page(
        ModelReview(
            name="lifetime_value_model",
            predicts=f"what a customer will spend in the {VALUE_HORIZON} days from the snapshot on, undiscounted",
            label=f"net spend in the {VALUE_HORIZON} days from the snapshot on, of everyone who had bought before",
            unit=currency,
            base_name="mean spend",
            baseline="everyone goes on spending as before: own weekly spend times the weeks of the horizon",
            splits=tuple(
                Split(figures.snapshot_date, (figures.snapshot_date,), figures.n, figures.snapshot_date)
                for figures in tested.snapshots
                if figures.snapshot_date is not None
            ),
            figures=figures,
            measure=f"MAE, {currency}",
            snapshots=tuple(
                SnapshotFigure(f.snapshot_date, f.mae.value, f.mae.low, f.mae.high, f.naive_mae.value)
                for f in tested.snapshots
                if f.snapshot_date is not None
            ),
            reliability=tuple(ReliabilityBin(entry.predicted, entry.actual, entry.n) for entry in tenths),
            importance_measure="",
            importances=(),
            caveats=(
                "It looks at four things of a customer: frequency, recency, T and mean spend of a purchase day. "
                f"What it learned of all of them together: {_learned(candidate.model)}.",
                "BG/NBD learns from purchases before each snapshot alone, so no label can leak into it.",
                "The level of the future cannot be known from the past: read the bias before the error.",
            ),
            segments=segments(gaps, segment_bar(pooled.mean)),
            segment_bar=f"{SEGMENT_BAR:.0%} of its mean spend, or of that of all where it is more,",
            found_of="spend",
            deciles=tenths,
            weak=_weak(tested, gaps, currency),
            **shared_fields(candidate, context),
        )
    )


def _learned(model: LifetimeValue) -> str:
    purchases, value = model.purchases_, model.value_
    bg, gg = (
        ", ".join(f"{name} {found:.3g}" for name, found in part.parameters_.items()) for part in (purchases, value)
    )
    return f"BG/NBD {bg}; Gamma-Gamma {gg}"


def _weak(tested: OutOfTime[ValueFigures], gaps: Sequence[SegmentGap], currency: str) -> tuple[str, ...]:
    told = weak_segments(gaps, lambda spend: f"{spend:,.2f} {currency}")
    furthest = max(tested.snapshots, key=lambda figures: abs(figures.bias_percent.value))
    told.append(
        f"the level varies: of the test snapshots, {furthest.snapshot_date} was furthest off, by "
        f"{furthest.bias_percent.value:+.1f} % of the total"
    )
    if tested.pooled.mae_gain.low <= 0:
        told.append("that its error is below that of past spend is within noise")
    if tested.pooled.gini.low <= tested.pooled.naive_gini.value:
        told.append("it ranks customers no better than their past spend does; what it adds is the level")
    return tuple(told)
