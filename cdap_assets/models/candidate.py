"""What every model hands over before anybody has judged it: how it is made, and what a training of it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from cdap_assets.models.comparison import Comparison, Incumbent
from cdap_assets.models.gates import GateResult
from cdap_assets.models.purpose import Selection
from cdap_assets.models.training import LabelledFrame
from resources.lake.session import Session
from resources.registry.model_version import ModelVersion

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from ml.evaluation import Interval


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A trained and tested model with its evidence.

    ``inputs`` are the columns it reads; ``example`` and ``prediction`` one made-up customer and what it says of it;
    ``spread`` the newest customers' inputs and scores by column. ``params`` are those of its own kind beside the
    shared ones. ``headline`` tells the test in a line of Markdown, ``metadata`` is shown in Dagster beside it.
    """

    model: Any
    inputs: Sequence[str]
    frame: LabelledFrame
    as_of: date | None
    selection: Selection
    comparison: Comparison
    gates: Sequence[GateResult]
    example: pd.DataFrame
    prediction: pd.DataFrame
    spread: Mapping[str, npt.ArrayLike]
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    headline: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def all_params(self) -> dict[str, Any]:
        """What a run records of how it was trained, so that it can be trained again."""
        return {
            "features": ", ".join(self.inputs),
            "allowed_features": ", ".join(self.selection.used),
            "as_of": self.as_of.isoformat() if self.as_of else "",
            **self.params,
        }


@dataclass(frozen=True)
class ReviewContext:
    """What a review says of the version beside the candidate's own figures."""

    version: int
    champion: ModelVersion | None
    champion_reference: str | None
    trained_at: datetime
    code_version: str
    data_ends: date | None


Own = TypeVar("Own", bound=Candidate)  # the candidate of one kind of model


@dataclass(frozen=True)
class ModelRecipe(Generic[Own]):
    """How a model of the lineage is made.

    ``learns_from`` are the tables it reads, ``features`` the columns it may ask for, ``label`` what it predicts, in
    a word; ``gates`` are names with what they ask. ``train`` gets a session, the last snapshot whose labels it may
    know (``None``: all), the features that contracts allow, and the champion. ``review`` makes the page that a
    person decides by. ``code_version`` changes when the meaning of the code does.
    """

    name: str
    code_version: str
    description: str
    version_description: str
    learns_from: Sequence[str]
    features: Sequence[str]
    label: str
    gates: Mapping[str, str]
    train: Callable[[Session, date | None, Selection, Incumbent | None], Own]
    review: Callable[[Own, ReviewContext], str]


def learn_intervals(
    model: Any, kind: Literal["probability", "spend"], predicted: pd.Series[float], tested: pd.DataFrame
) -> None:
    """Have a model learn 80 % intervals of its scores from out-of-time predictions; too few leave it without.

    ``tested`` has the columns label and customer_id.
    """
    from ml.intervals import OutOfTimeIntervals, TooFewOutcomes

    try:
        learned = OutOfTimeIntervals(kind=kind, level=0.8)
        model.intervals_ = learned.fit(predicted, tested["label"], tested["customer_id"])
    except TooFewOutcomes:
        return  # scores then go without an interval


def interval_metrics(**figures: Interval) -> dict[str, float]:
    """Each figure as three metrics: ``auc``, ``auc_low`` and ``auc_high``."""
    found: dict[str, float] = {}
    for name, figure in figures.items():
        found |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    return found


def made_up_customer(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """One row of the columns' medians over all training rows: nobody's, and typical.

    Each is a value that some row has: halfway between two counts of purchases lies no count.
    """
    return rows[list(columns)].astype("float64").quantile(0.5, interpolation="lower").to_frame().T
