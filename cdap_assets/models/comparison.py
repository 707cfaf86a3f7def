"""The challenger beside the champion: both on the same customers, and only where neither knew the future."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from resources.registry.model_version import ModelVersion

if TYPE_CHECKING:
    import pandas as pd

    from ml.evaluation import Interval, Metric


@dataclass(frozen=True)
class Incumbent:
    """The version that serves, with its estimator."""

    version: ModelVersion
    model: Any

    @property
    def labels_closed(self) -> date:
        """The last day that it learned from."""
        return date.fromisoformat(self.version.tags["labels_closed"])


@dataclass(frozen=True)
class Comparison:
    """Challenger less champion on the same customers, with paired intervals; ``None`` where there is nothing to say.

    ``difference`` is of the measure that decides, lower being better; ``second`` is of the other, higher being
    better. ``told`` is the finding in one sentence.
    """

    champion: int | None
    snapshots: tuple[date, ...]
    measure: str
    difference: Interval | None
    second_measure: str
    second: Interval | None
    told: str

    @property
    def worse(self) -> bool:
        """Whether the challenger is worse beyond noise, in either measure."""
        return (self.difference is not None and self.difference.low > 0) or (
            self.second is not None and self.second.high < 0
        )

    @property
    def shown(self) -> str:
        """The figures in a few words."""
        if self.difference is None or self.second is None:
            return "no comparison" if self.champion else "no champion yet"
        return f"{self.measure} {_interval(self.difference)}, {self.second_measure} {_interval(self.second)}"


def incomparable(champion: int | None, why: str) -> Comparison:
    """A comparison that says nothing, with the reason."""
    return Comparison(champion, (), "", None, "", None, why)


def compare_lapse(
    tested: pd.DataFrame, incumbent: Incumbent | None, columns: list[str], *, seed: int, resamples: int
) -> Comparison:
    """Log loss and AUC of out-of-time predictions (columns snapshot_date, customer_id, label, probability, and the
    features ``columns``) less those of the champion, on test snapshots that the champion's labels do not reach."""
    from ml.evaluation import auc, log_loss

    def champion(rows: pd.DataFrame) -> Any:
        assert incumbent is not None
        return incumbent.model.predict_proba(rows[columns].astype("float64"))[:, 1]

    return _compare(
        tested, incumbent, champion, "probability", ("log loss", log_loss), ("AUC", auc), seed=seed, resamples=resamples
    )


def compare_value(
    tested: pd.DataFrame, incumbent: Incumbent | None, columns: list[str], horizon: int, *, seed: int, resamples: int
) -> Comparison:
    """The same of spend: mean absolute error and Gini; ``tested`` has the column predicted."""
    from ml.evaluation import gini, mean_absolute_error

    def champion(rows: pd.DataFrame) -> Any:
        assert incumbent is not None
        return incumbent.model.predict(rows[columns].astype("float64"), horizon)["expected_spend"].to_numpy()

    measures = (("MAE", mean_absolute_error), ("Gini", gini))
    return _compare(tested, incumbent, champion, "predicted", *measures, seed=seed, resamples=resamples)


def _compare(
    tested: pd.DataFrame,
    incumbent: Incumbent | None,
    champion: Any,
    predicted: str,
    lower: tuple[str, Metric],
    higher: tuple[str, Metric],
    *,
    seed: int,
    resamples: int,
) -> Comparison:
    from ml.evaluation import paired_difference

    if incumbent is None:
        return incomparable(None, "There is no champion to compare with.")
    number, closed = incumbent.version.version, incumbent.labels_closed
    fair = tested[tested["snapshot_date"] >= closed]
    if fair.empty:
        return incomparable(
            number,
            f"Version {number}, the champion, learned from days up to {closed}, and the last test snapshot is "
            f"{max(tested['snapshot_date'])}: it knew the answers, so both cannot be compared fairly yet.",
        )
    try:
        theirs = champion(fair)
        found = [
            paired_difference(
                metric, fair["label"], fair[predicted], theirs, fair["customer_id"], seed=seed, resamples=resamples
            )
            for _name, metric in (lower, higher)
        ]
    except ValueError as error:
        # features that the champion asks for and the frame lacks, or a single outcome on these snapshots
        return incomparable(number, f"Version {number}, the champion, cannot be compared: {error}")
    days = tuple(sorted(set(fair["snapshot_date"])))
    told = (
        f"Against version {number}, the champion, on {len(fair):,} customer-snapshots of {len(days)} test "
        f"snapshot{'s' * (len(days) > 1)} from {days[0]} on: {lower[0]} {_interval(found[0])}, "
        f"{higher[0]} {_interval(found[1])}."
    )
    return Comparison(number, days, lower[0], found[0], higher[0], found[1], told)


def _interval(found: Interval) -> str:
    return f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
