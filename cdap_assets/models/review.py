"""What a person reads before approving a version: the models' figures arranged for the review page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cdap_assets.features.labels import ACTIVE_DAYS, LAPSE_HORIZON, VALUE_HORIZON
from cdap_assets.models.gates import GateResult
from cdap_assets.models.training import LabelledFrame, as_floats
from ml.evaluation import Interval, reliability
from ml.protocol import OutOfTime, training_snapshots
from pages.formats import Better, Figure
from pages.review import (
    Gate,
    Importance,
    LabelCount,
    ModelReview,
    ReliabilityBin,
    SnapshotFigure,
    Source,
    Split,
    review_page,
)
from resources.model_registry import ModelVersion

if TYPE_CHECKING:
    from ml.lapse import LapseClassifier
    from ml.lifetime import LifetimeValue, ValueEvaluation


@dataclass(frozen=True)
class Context:
    """What the page says of the version beside its figures."""

    version: int
    champion: ModelVersion | None
    trained_at: datetime
    code_version: str
    data_ends: date | None
    currency: str


def lapse_review(
    frame: LabelledFrame,
    tested: OutOfTime,
    model: LapseClassifier,
    recent: Mapping[date, Sequence[date]],
    gates: Sequence[GateResult],
    context: Context,
) -> str:
    """The lapse model's page; ``recent`` are the training snapshots of each test snapshot."""
    pooled = tested.pooled
    figures = (
        _figure("AUC", pooled.auc, pooled.baseline_auc.value, "", "higher", "how well customers are ranked by risk"),
        _figure("AUC lift", pooled.lift, 0.0, "", "higher", "the model's AUC less that of purchase frequency alone"),
        _figure("log loss", pooled.log_loss, None, "", "lower", "how far the probabilities are from what happened"),
        _figure("calibration error", pooled.ece, None, "share", "lower", "mean gap of predicted and observed lapses"),
    )
    bins = reliability(tested.predictions["label"], tested.predictions["probability"], 10)
    effect = model.contributions(as_floats(frame.rows)).abs().mean()
    return review_page(
        ModelReview(
            name="lapse_model",
            predicts="the probability that a customer who has bought lately buys nothing in the four weeks to come",
            label=f"bought in the last {ACTIVE_DAYS} days, and nothing in the {LAPSE_HORIZON} from the snapshot on",
            unit="share",
            base_name="base rate",
            baseline="purchase frequency alone: the fewer purchase days, the higher the risk",
            label_card=_card(frame),
            splits=tuple(
                Split(test, tuple(days), _rows(frame, days), days[-1] + timedelta(days=LAPSE_HORIZON))
                for test, days in sorted(recent.items())
            ),
            figures=figures,
            measure="AUC",
            snapshots=tuple(
                SnapshotFigure(f.snapshot_date, f.auc.value, f.auc.low, f.auc.high, f.baseline_auc.value)
                for f in tested.snapshots
                if f.snapshot_date is not None
            ),
            reliability=tuple(ReliabilityBin(p, o, n) for p, o, n in bins if n),
            importance_measure="mean shift of the log-odds in the logistic part",
            importances=tuple(Importance(str(name), float(value)) for name, value in effect.items()),
            gates=_gates(gates),
            lineage=_sources(frame),
            caveats=(
                "A pause is not a goodbye: most customers who lapse for four weeks come back by themselves.",
                "The figures are of this customer base and season; they say nothing about the effect of a contact.",
            ),
            **_shared(context, gates),
        )
    )


def value_review(
    frame: LabelledFrame,
    tested: Mapping[date, ValueEvaluation],
    model: LifetimeValue,
    gates: Sequence[GateResult],
    context: Context,
) -> str:
    """The lifetime value model's page, judged on the newest test snapshot."""
    newest = tested[max(tested)]
    unit = context.currency
    model_, naive = newest.model, newest.naive
    figures = (
        _figure("MAE", model_.mae, naive.mae.value, unit, "lower", "mean error of a customer's spend"),
        _figure("RMSE", model_.rmse, naive.rmse.value, unit, "lower", "root mean squared error of it"),
        _figure(
            "bias", model_.bias_percent, naive.bias_percent.value, "%", "zero", "predicted less actual spend of all"
        ),
        _figure("Gini", model_.gini, naive.gini.value, "", "higher", "how well customers are ranked by spend"),
    )
    learned = _learned(model)
    return review_page(
        ModelReview(
            name="lifetime_value_model",
            predicts=f"what a customer will spend in the {VALUE_HORIZON} days from the snapshot on, undiscounted",
            label=f"net spend in the {VALUE_HORIZON} days from the snapshot on, of everyone who had bought before",
            unit=unit,
            base_name="mean spend",
            baseline="everyone goes on spending as before: own weekly spend times the weeks of the horizon",
            label_card=_card(frame),
            splits=tuple(Split(day, (day,), _rows(frame, (day,)), day) for day in sorted(tested)),
            figures=figures,
            measure=f"MAE, {unit}",
            snapshots=tuple(
                SnapshotFigure(day, e.model.mae.value, e.model.mae.low, e.model.mae.high, e.naive.mae.value)
                for day, e in sorted(tested.items())
            ),
            reliability=(),
            importance_measure="",
            importances=(),
            gates=_gates(gates),
            lineage=_sources(frame),
            caveats=(
                "It looks at four things of a customer: frequency, recency, T and mean spend of a purchase day. "
                f"What it learned of all of them together: {learned}.",
                "BG/NBD learns from purchases before each snapshot alone, so no label can leak into it.",
                "The level of the future cannot be known from the past: read the bias before the error.",
            ),
            **_shared(context, gates),
        )
    )


def _learned(model: LifetimeValue) -> str:
    purchases, value = model.purchases_, model.value_
    bg = ", ".join(f"{name} {getattr(purchases, f'{name}_'):.3g}" for name in ("r", "alpha", "a", "b"))
    gg = ", ".join(f"{name} {getattr(value, f'{name}_'):.3g}" for name in ("p", "q", "v"))
    return f"BG/NBD {bg}; Gamma-Gamma {gg}"


def trained_on(frame: LabelledFrame, horizon: int, step: int, most: int) -> dict[date, list[date]]:
    """The training snapshots that each test snapshot's model used."""
    used = {}
    for test in frame.test_snapshots:
        closed = training_snapshots(frame.snapshots, test, horizon)
        used[test] = sorted(sorted(closed, reverse=True)[::step][:most])
    return used


def _figure(name: str, found: Interval, baseline: float | None, unit: str, better: Better, meaning: str) -> Figure:
    return Figure(name, found.value, found.low, found.high, baseline, unit, better, meaning)


def _card(frame: LabelledFrame) -> tuple[LabelCount, ...]:
    return tuple(LabelCount(day, eligible, excluded, base) for day, eligible, excluded, base in frame.card)


def _rows(frame: LabelledFrame, days: Sequence[date]) -> int:
    return sum(eligible for day, eligible, *_ in frame.card if day in days)


def _gates(gates: Sequence[GateResult]) -> tuple[Gate, ...]:
    return tuple(Gate(g.name.replace("_", " "), bool(g.passed), g.shown, g.bar, g.failure_means) for g in gates)


def _sources(frame: LabelledFrame) -> tuple[Source, ...]:
    return tuple(Source(table, int(snapshot)) for table, snapshot in frame.sources.items())


def _shared(context: Context, gates: Sequence[GateResult]) -> dict[str, Any]:
    first = context.champion is None and all(gate.passed for gate in gates)
    return {
        "version": str(context.version),
        "stage": "unreviewed champion" if first else "challenger",
        "replaces": str(context.champion.version) if context.champion else None,
        "trained_at": context.trained_at,
        "code_version": context.code_version,
        "data_ends": context.data_ends,
    }
