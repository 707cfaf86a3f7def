"""The page on which a person decides whether a model version may become champion."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from markupsafe import Markup

from pages import charts
from pages.formats import Figure, check_finite, check_interval
from pages.page import render

MOST_FEATURES_SHOWN = 15


@dataclass(frozen=True)
class LabelCount:
    """The label card of one snapshot: customers with a label, those left out, and the label's mean.

    `base` is the base rate of a yes/no label (0 to 1), or the mean of a value label in the review's unit;
    None when nobody was eligible.
    """

    snapshot: date
    eligible: int
    excluded: int
    base: float | None

    def __post_init__(self) -> None:
        check_finite(f"label card of {self.snapshot}", self.base)


@dataclass(frozen=True)
class Split:
    """One out-of-time test: the snapshot tested and the snapshots trained on, whose last label closed when."""

    test: date
    training: tuple[date, ...]
    training_rows: int
    last_label_closed: date

    @property
    def closed_before_test(self) -> bool:
        """Whether every training label was known at the cut-off of the test snapshot (00:00 of that day)."""
        return self.last_label_closed <= self.test


@dataclass(frozen=True)
class SnapshotFigure:
    """The review's measure on one test snapshot: the model, its 95 % interval, and the naive baseline."""

    snapshot: date
    model: float
    low: float | None
    high: float | None
    baseline: float | None

    def __post_init__(self) -> None:
        owner = f"test snapshot {self.snapshot}"
        check_finite(owner, self.model, self.low, self.high, self.baseline)
        check_interval(owner, self.low, self.high)


@dataclass(frozen=True)
class ReliabilityBin:
    """Customers of like prediction: their mean prediction and what was observed of them."""

    predicted: float
    observed: float
    customers: int

    def __post_init__(self) -> None:
        check_finite("reliability bin", self.predicted, self.observed)


@dataclass(frozen=True)
class Importance:
    """How much one feature matters to the model, in the review's `importance_measure`; may be negative."""

    feature: str
    value: float

    def __post_init__(self) -> None:
        check_finite(f"importance of {self.feature!r}", self.value)


@dataclass(frozen=True)
class Gate:
    """One condition on a champion: the `figure` found, the `bar` it had to meet, what a failure means."""

    name: str
    passed: bool
    figure: str
    bar: str
    failure_means: str


@dataclass(frozen=True)
class Source:
    """A table the model was trained from, at one Iceberg snapshot."""

    table: str
    snapshot_id: int


@dataclass(frozen=True)
class ModelReview:
    """All that the review page says, for a lapse model and a value model alike.

    `predicts` is one sentence; `label` defines the label in words. `unit` is that of predictions: "share"
    for a probability, otherwise a word such as a currency code. `base_name` heads the label card's mean
    ("base rate", "mean spend"). `baseline` names the naive rule in words. `measure` is what `snapshots`
    holds ("AUC", "MAE, USD"). `importance_measure` says what `importances` are. `replaces` is the version
    now serving, None when there is none. `data_ends` is the last day of a closed data set. `trained_at` is
    an instant with its zone.
    """

    name: str
    version: str
    stage: Literal["challenger", "unreviewed champion", "champion"]
    replaces: str | None
    trained_at: datetime
    code_version: str
    data_ends: date | None
    predicts: str
    label: str
    unit: str
    base_name: str
    baseline: str
    label_card: tuple[LabelCount, ...]
    splits: tuple[Split, ...]
    figures: tuple[Figure, ...]
    measure: str
    snapshots: tuple[SnapshotFigure, ...]
    reliability: tuple[ReliabilityBin, ...]
    importance_measure: str
    importances: tuple[Importance, ...]
    gates: tuple[Gate, ...]
    lineage: tuple[Source, ...]
    caveats: tuple[str, ...]

    @property
    def failed_gates(self) -> tuple[Gate, ...]:
        """The gates that keep this version from becoming champion."""
        return tuple(gate for gate in self.gates if not gate.passed)


def review_page(review: ModelReview) -> str:
    """The review as one HTML file, without scripts or outside addresses.

    Raises ValueError when `trained_at` has no time zone.
    """
    importances = sorted(review.importances, key=lambda entry: (-abs(entry.value), entry.feature))
    return render(
        "review.html",
        review=review,
        importances=importances,
        features_shown=MOST_FEATURES_SHOWN,
        snapshots_chart=_snapshots_chart(review),
        reliability_chart=_reliability_chart(review),
        importances_chart=_importances_chart(importances[:MOST_FEATURES_SHOWN]),
    )


def _snapshots_chart(review: ModelReview) -> Markup | None:
    if not review.snapshots:
        return None
    ordered = sorted(review.snapshots, key=lambda entry: entry.snapshot)
    return charts.by_snapshot(
        [(entry.snapshot, entry.model, entry.low, entry.high, entry.baseline) for entry in ordered],
        measure=review.measure,
    )


def _reliability_chart(review: ModelReview) -> Markup | None:
    if not review.reliability:
        return None
    return charts.reliability(
        [(entry.predicted, entry.observed, entry.customers) for entry in review.reliability],
        unit=review.unit,
    )


def _importances_chart(importances: Sequence[Importance]) -> Markup | None:
    if not importances:
        return None
    return charts.bars(
        [(entry.feature, entry.value) for entry in importances],
        axis_title="importance",
        label_format=".3~g",
    )
