"""How a lifetime value model, BG/NBD with Gamma-Gamma, is fitted, tested out of time, and held against its gates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdap_assets.features.labels import VALUE_HORIZON
from cdap_assets.models import gates as gate
from cdap_assets.models.candidate import Candidate
from cdap_assets.models.comparison import Comparison
from cdap_assets.models.gates import LEAK_GATES, GateResult
from cdap_assets.models.training import LabelledFrame

if TYPE_CHECKING:
    import pandas as pd

    from ml.lifetime import LifetimeValue
    from ml.protocol import OutOfTime, ValueFigures
    from ml.segments import SegmentGap

SEED = 0
RESAMPLES = 300
MOST_BIAS = 25.0
SEGMENT_BAR = 0.5  # of the mean spend of the segment, or of all customers where that is more
COLUMNS = ["frequency", "recency", "T", "spend_per_day_all"]
# inner borders of the bands that the level is judged in: weeks, purchase days, days
TENURE_WEEKS, PURCHASE_DAYS, RECENCY_DAYS = (13, 26, 52), (2, 5, 15), (28, 56, 91)
GATES = {
    "beats_past_spend": "its mean error is below that of assuming that everyone spends on as before",
    "unbiased": f"predicted and actual spend of all customers differ by at most {MOST_BIAS:.0f} %",
    "no_segment_badly_off": (
        "in no band of tenure, frequency or recency are predicted and actual mean spend further apart than "
        f"{SEGMENT_BAR:.0%} of its mean spend, or of that of all where it is more, beyond noise"
    ),
    "not_worse_than_champion": (
        "on the test customers whose future the champion did not know, neither mean error nor Gini is worse than the "
        "champion's with 95 % confidence"
    ),
    **LEAK_GATES,
}


@dataclass(frozen=True, kw_only=True)
class ValueCandidate(Candidate):
    """A lifetime value model with its evidence; money is in ``currency``."""

    model: "LifetimeValue"
    tested: "OutOfTime[ValueFigures]"
    segments: "Sequence[SegmentGap]"
    currency: str


def fit(rows: "pd.DataFrame") -> "LifetimeValue":
    """The model of one snapshot's customers; it learns from their purchases before the snapshot."""
    from ml.lifetime import LifetimeValue

    return LifetimeValue().fit(rows[COLUMNS].astype(float))


def out_of_time(frame: LabelledFrame) -> "OutOfTime[ValueFigures]":
    """Each test snapshot's model against what its customers then spent."""
    from ml.lifetime import past_weekly_spend
    from ml.protocol import value_out_of_time

    def predict(rows: "pd.DataFrame") -> "pd.Series[float]":
        spend: pd.Series[float] = fit(rows).predict(rows[COLUMNS].astype(float), VALUE_HORIZON)["expected_spend"]
        return spend

    return value_out_of_time(
        frame.rows,
        test_snapshots=frame.test_snapshots,
        predict=predict,
        naive=lambda rows: past_weekly_spend(rows[COLUMNS].astype(float), VALUE_HORIZON),
        keep=COLUMNS,
        seed=SEED,
        resamples=RESAMPLES,
    )


def segments_of(tested: "OutOfTime[ValueFigures]") -> "tuple[SegmentGap, ...]":
    """Predicted and actual mean spend by band of tenure, frequency and recency."""
    from ml.segments import bands, segment_gaps

    rows = tested.predictions
    kinds = {
        "tenure": bands(rows["T"], TENURE_WEEKS, "weeks"),
        "frequency": bands(rows["frequency"] + 1, PURCHASE_DAYS, "purchase days"),
        "recency": bands(7 * (rows["T"] - rows["recency"]), RECENCY_DAYS, "days"),
    }
    return segment_gaps(rows["label"], rows["predicted"], rows["customer_id"], kinds)


def segment_bar(mean: float) -> "Callable[[SegmentGap], float]":
    """The largest gap of a segment that passes, where ``mean`` is the mean spend of all."""
    return lambda gap: SEGMENT_BAR * max(abs(gap.observed), abs(mean))


def gates(
    tested: "OutOfTime[ValueFigures]", segments: "Sequence[SegmentGap]", comparison: Comparison, currency: str
) -> list[GateResult]:
    """The gates on all test snapshots together; those of leaks are apart."""
    pooled = tested.pooled
    gain, bias = pooled.mae_gain, pooled.bias_percent.value
    return [
        GateResult(
            "beats_past_spend",
            gain.value > 0,
            gain.value,
            f"{pooled.mae.value:.2f} against {pooled.naive_mae.value:.2f}, better by {gain.value:.2f} "
            f"[{gain.low:.2f}, {gain.high:.2f}]",
            "better by more than 0",
            "past spend alone predicts a customer as well",
        ),
        GateResult(
            "unbiased",
            abs(bias) <= MOST_BIAS,
            bias,
            f"{bias:+.1f} %",
            f"within {MOST_BIAS:.0f} %",
            "the total is off, and every value at stake with it",
        ),
        gate.no_segment_badly_off(
            segments,
            segment_bar(pooled.mean),
            f"at most {SEGMENT_BAR:.0%} of its mean spend or of that of all, or within noise",
            currency,
        ),
        gate.not_worse(comparison),
    ]


def leak_gates(tested: "OutOfTime[ValueFigures]") -> list[GateResult]:
    """Whether a column the model reads knows the future, and whether the watch would see one that does."""
    from ml.leakage import CANARY, value_leaks, with_canary

    rows = tested.predictions
    real = value_leaks(rows, COLUMNS, rows["label"], rows["customer_id"], rows["predicted"])
    planted = with_canary(rows, rows["label"], seed=SEED)
    # BG/NBD and Gamma-Gamma learn from no label: there is no training that the planted column could enter
    found = value_leaks(planted, [*COLUMNS, CANARY], planted["label"], planted["customer_id"])
    return [gate.no_leak(real), gate.canary(found, CANARY, None)]
