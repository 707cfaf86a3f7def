"""The page on which a person decides whether a model version may become champion."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from markupsafe import Markup

from ml.evaluation import Decile
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
    """How much one feature matters to the model, in the review's `importance_measure`; may be negative.

    `direction` says in a few words what a higher value does, such as "raises the risk"; empty if not known.
    """

    feature: str
    value: float
    direction: str = ""

    def __post_init__(self) -> None:
        check_finite(f"importance of {self.feature!r}", self.value)


@dataclass(frozen=True)
class Gate:
    """One condition on a champion: the `figure` found, the `bar` it had to meet, what a failure means.

    `note` tells more of what was found, passed or not.
    """

    name: str
    passed: bool
    figure: str
    bar: str
    failure_means: str
    note: str = ""


@dataclass(frozen=True)
class Source:
    """A table the model was trained from, at one Iceberg snapshot, and the rows of that snapshot."""

    table: str
    snapshot_id: int
    rows: int | None = None


@dataclass(frozen=True)
class Segment:
    """Customers of one kind: what was predicted of them and what came, with an interval of the difference."""

    kind: str
    name: str
    rows: int
    predicted: float
    observed: float
    gap_low: float
    gap_high: float
    badly_off: bool

    def __post_init__(self) -> None:
        check_finite(f"segment {self.kind} {self.name}", self.predicted, self.observed, self.gap_low, self.gap_high)


@dataclass(frozen=True)
class Profit:
    """What contacting the customers of highest prediction would earn, by the share contacted, at stated terms.

    `points` are (share of customers, money); `best` is the share that earns most on this data, `rule` the share
    above the break-even prediction. `terms` says cost and effect in words. An assumed effect is no measured one.
    """

    points: tuple[tuple[float, float], ...]
    best: float
    rule: float
    unit: str
    terms: str


@dataclass(frozen=True)
class Shift:
    """How far an input or the score has moved since the last champion learned (PSI), and that in a word."""

    column: str
    psi: float
    word: str


@dataclass(frozen=True)
class Change:
    """What differs from the champion: a parameter, the features, a figure."""

    what: str
    before: str
    now: str


@dataclass(frozen=True)
class Columns:
    """What the model reads, and what it may not: (name, why) of everything held back."""

    used: tuple[str, ...]
    held_back: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ModelReview:
    """All that the review page says, for a lapse model and a value model alike.

    `predicts` is one sentence; `label` defines the label in words. `unit` is that of predictions: "share"
    for a probability, otherwise a word such as a currency code. `base_name` heads the label card's mean
    ("base rate", "mean spend"). `baseline` names the naive rule in words. `measure` is what `snapshots`
    holds ("AUC", "MAE, USD"). `importance_measure` says what `importances` are. `replaces` is the version
    now serving, None when there is none. `data_ends` is the last day of a closed data set. `trained_at` is
    an instant with its zone. `segment_bar` is the largest gap that passes, in words; `found_of` names what the
    deciles find ("lapses", "spend"). `against_champion` is the finding beside the champion in one sentence, and
    `drift_since` what `drift` is measured against. `weak` are sentences on where the model is weak.
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
    segments: tuple[Segment, ...] = ()
    segment_bar: str = ""
    found_of: str = ""
    deciles: tuple[Decile, ...] = ()
    profit: Profit | None = None
    against_champion: str = ""
    changes: tuple[Change, ...] = ()
    drift_since: str = ""
    drift: tuple[Shift, ...] = ()
    columns: Columns | None = None
    weak: tuple[str, ...] = ()

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
        gains_chart=charts.gains(review.deciles, found_of=review.found_of) if review.deciles else None,
        profit_chart=_profit_chart(review.profit),
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
        [
            (f"{entry.feature}, {entry.direction}" if entry.direction else entry.feature, entry.value)
            for entry in importances
        ],
        axis_title="importance",
        label_format=".3~g",
    )


def _profit_chart(profit: Profit | None) -> Markup | None:
    if profit is None:
        return None
    return charts.profit(profit.points, best=profit.best, rule=profit.rule, unit=profit.unit)
