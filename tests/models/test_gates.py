"""What keeps a version from being approved, gate by gate, and how it is told."""

from __future__ import annotations

from datetime import date
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from cdap_assets.models.comparison import Comparison, Incumbent, compare_lapse, compare_value, incomparable
from cdap_assets.models.gates import canary, gate_checks, gates_tag, no_leak
from cdap_assets.models.lapse_model import FREQUENCY_ALONE
from cdap_assets.models.lapse_model import judging as lapse_judging
from cdap_assets.models.lapse_model.judging import BLEND, Judged
from cdap_assets.models.lifetime_value_model import judging as value_judging
from cdap_assets.models.training import FEATURES
from ml.evaluation import Interval
from ml.leakage import Suspicion
from ml.protocol import Figures, OutOfTime, ValueFigures
from ml.segments import SegmentGap
from resources.registry.model_version import ModelVersion

NO_CHAMPION = incomparable(None, "There is no champion to compare with.")
LEAK = Suspicion("status", 0.99, "error", "status alone foretells lapses")
WORSE = Comparison(1, (date(2024, 1, 7),), "log loss", Interval(0.02, 0.01, 0.03), "AUC", Interval(0, -1, 1), "worse")
NOISE = Comparison(1, (date(2024, 1, 7),), "log loss", Interval(0.02, -0.01, 0.05), "AUC", Interval(0, -1, 1), "noise")


def interval(value: float, low: float | None = None, high: float | None = None) -> Interval:
    return Interval(value, value if low is None else low, value if high is None else high)


def segment(gap: float, noise: float) -> SegmentGap:
    return SegmentGap("recency", "28 days and more", 500, 200, 0.5 + gap, 0.5, gap - noise, gap + noise)


def judged(
    lift_low: float = 0.1,
    recency: float = 0.05,
    ece: float = 0.02,
    positives: int = 500,
    segments: tuple[SegmentGap, ...] = (),
    leaks: tuple[Suspicion, ...] = (),
    kind: str = BLEND,
) -> Judged:
    lift = interval(0.12, lift_low, 0.2)
    figures = Figures(None, 2000, positives, 0.2, interval(0.8), interval(0.4), interval(ece), interval(0.7), lift)
    found = OutOfTime((figures,), figures, pd.DataFrame())
    return Judged(kind, found, interval(0.75), interval(recency, recency - 0.1, recency + 0.1), segments, leaks)


@pytest.mark.parametrize(
    ("told", "figures"),
    [
        ("passed", {}),
        ("failed: beats_frequency", {"lift_low": 0.0}),
        ("failed: beats_recency", {"recency": -0.01}),
        ("passed", {"lift_low": -0.1, "recency": -0.1, "kind": FREQUENCY_ALONE}),
        ("failed: calibrated", {"ece": 0.051}),
        ("failed: enough_lapses", {"positives": 99}),
        ("failed: no_segment_badly_off", {"segments": (segment(-0.09, 0.05),)}),
        ("passed", {"segments": (segment(0.09, 0.1), segment(0.07, 0.01))}),
        ("failed: no_leak", {"leaks": (LEAK,)}),
        ("failed: beats_frequency, calibrated, enough_lapses", {"lift_low": -0.1, "ece": 0.3, "positives": 3}),
    ],
)
def test_a_lapse_model_that_is_not_good_enough_is_told_by_gate(told: str, figures: dict[str, Any]) -> None:
    assert gates_tag(lapse_judging.gates(judged(**figures), NO_CHAMPION)) == told


@pytest.mark.parametrize(
    ("told", "comparison"), [("passed", NO_CHAMPION), ("passed", NOISE), ("failed: not_worse_than_champion", WORSE)]
)
def test_a_challenger_is_blocked_only_when_it_is_worse_beyond_noise(told: str, comparison: Comparison) -> None:
    assert gates_tag(lapse_judging.gates(judged(), comparison)) == told


@pytest.mark.parametrize(
    ("told", "changes"),
    [
        ("passed", {}),
        ("failed: beats_past_spend", {"mae_gain": interval(0.0, -1.0, 1.0)}),
        ("failed: unbiased", {"bias_percent": interval(-25.1)}),
        ("failed: unbiased", {"bias_percent": interval(26.0)}),
        ("passed", {"bias_percent": interval(-25.0)}),
    ],
)
def test_a_value_model_is_judged_by_its_error_and_its_bias_in_both_directions(
    told: str, changes: dict[str, Interval]
) -> None:
    names = [name for name in ValueFigures.__annotations__ if name not in ("snapshot_date", "n", "mean")]
    figures = ValueFigures(None, 100, 40.0, **{**dict.fromkeys(names, interval(1.0)), **changes})
    found = OutOfTime((figures,), figures, pd.DataFrame())
    assert gates_tag(value_judging.gates(found, (), NO_CHAMPION, "EUR")) == told
    off = SegmentGap("tenure", "below 13 weeks", 500, 200, 70.0, 40.0, 20.0, 40.0)
    failed = gates_tag(value_judging.gates(found, (off,), NO_CHAMPION, "EUR"))
    assert failed.endswith("no_segment_badly_off")


def test_a_suspicion_is_told_by_name_and_a_warning_blocks_nothing() -> None:
    warning = Suspicion("overdue", 0.9, "warning", "overdue alone foretells lapses; look where it comes from")
    assert no_leak([warning]).passed
    (seen,) = gate_checks("lapse_model", [no_leak([warning])])
    assert seen.passed
    assert "overdue" in (seen.description or "")
    (refused,) = gate_checks("lapse_model", [no_leak([LEAK, warning])])
    assert not refused.passed
    assert refused.severity == dg.AssetCheckSeverity.ERROR
    assert "status alone foretells lapses" in (refused.description or "")


def test_the_canary_fails_when_the_watch_does_not_name_it_or_the_test_does_not_refuse_it() -> None:
    bird = Suspicion("bird", 0.99, "error", "")
    assert canary([bird], "bird", evaluation_refused=True).passed
    assert not canary([bird], "bird", evaluation_refused=False).passed
    assert not canary([LEAK], "bird", evaluation_refused=True).passed
    assert not canary([Suspicion("bird", 0.9, "warning", "")], "bird", evaluation_refused=True).passed
    assert canary([bird], "bird", evaluation_refused=None).passed
    assert not canary([LEAK], "bird", evaluation_refused=None).passed


def test_the_canary_of_the_lapse_model_sings_on_a_frame_of_honest_features() -> None:
    rng = np.random.default_rng(0)
    days = [date(2024, 1, 7), date(2024, 2, 4), date(2024, 3, 3), date(2024, 3, 31)]
    rows = pd.concat(
        [pd.DataFrame({"snapshot_date": day, "customer_id": range(400), "a": rng.normal(size=400)}) for day in days],
        ignore_index=True,
    )
    rows["label"] = (rows["a"] + rng.normal(size=len(rows)) > 1).astype(int)
    assert lapse_judging.canary(rows, days[-1:], ["a"]).passed


def predictions(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    risk = rng.uniform(0.05, 0.6, 3000)
    days = [date(2024, 1, 7), date(2024, 1, 14), date(2024, 1, 21)]
    return pd.DataFrame(
        {
            "snapshot_date": np.repeat(days, 1000),
            "customer_id": np.tile(np.arange(1000), 3),
            "label": (rng.random(3000) < risk).astype(int),
            "probability": risk,
            "risk": risk,
        }
    )


class Champion:
    """Predicts from the column `risk`, off by a factor."""

    def __init__(self, factor: float, column: str = "risk") -> None:
        self.factor, self.column = factor, column

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        if self.column not in X:
            raise ValueError(f"missing feature column(s): {self.column}")
        lapse = self.factor * X[self.column].to_numpy()
        return np.column_stack([1 - lapse, lapse])

    def predict(self, X: pd.DataFrame, horizon_days: int) -> pd.DataFrame:
        return pd.DataFrame({"expected_spend": self.factor * X["risk"] * horizon_days})


def incumbent(closed: date, model: Champion) -> Incumbent:
    tags = {"labels_closed": closed.isoformat()}
    return Incumbent(ModelVersion("lapse_model", 7, ("champion",), "run", {}, tags), model)


def beside(found: pd.DataFrame, champion: Incumbent | None) -> Comparison:
    return compare_lapse(found, champion, ["risk"], seed=0, resamples=100)


def test_both_are_compared_only_on_snapshots_whose_answers_the_champion_did_not_know() -> None:
    found = predictions()
    partly = beside(found, incumbent(date(2024, 1, 14), Champion(0.5)))
    assert partly.snapshots == (date(2024, 1, 14), date(2024, 1, 21))
    assert partly.difference is not None
    assert partly.difference.high < 0  # the challenger is the better one
    assert not partly.worse
    assert "Against version 7, the champion, on 2,000 customer-snapshots of 2 test snapshots" in partly.told
    never = beside(found, incumbent(date(2024, 2, 4), Champion(0.5)))
    assert never.difference is None
    assert not never.worse
    assert "it knew the answers, so both cannot be compared fairly yet" in never.told
    assert beside(found, None).shown == "no champion yet"


def test_a_challenger_that_is_worse_on_the_same_customers_is_worse() -> None:
    found = predictions().assign(probability=lambda rows: 0.4 * rows["risk"])
    worse = beside(found, incumbent(date(2024, 1, 7), Champion(1.0)))
    assert worse.worse
    assert worse.shown.startswith("log loss +0.")


def test_a_champion_that_asks_for_other_features_cannot_be_compared_and_says_which() -> None:
    other = beside(predictions(), incumbent(date(2024, 1, 7), Champion(1.0, "income")))
    assert other.difference is None
    assert "cannot be compared: missing feature column(s): income" in other.told


def test_value_models_are_compared_by_error_and_ranking() -> None:
    found = predictions()
    spend = found.assign(label=91 * found["risk"], predicted=91 * found["risk"])
    better = compare_value(spend, incumbent(date(2024, 1, 7), Champion(2.0)), ["risk"], 91, seed=0, resamples=50)
    assert better.difference is not None
    assert better.difference.high < 0
    assert better.measure == "MAE"
    assert not better.worse


def test_a_real_feature_that_knows_the_future_is_named_and_keeps_the_version_from_approval() -> None:
    rng = np.random.default_rng(0)
    days = [date(2024, 1, 7), date(2024, 2, 4), date(2024, 3, 3)]
    rows = pd.concat(
        [pd.DataFrame({"snapshot_date": day, "customer_id": range(500)}) for day in days], ignore_index=True
    )
    for name in FEATURES:
        rows[name] = rng.gamma(2, 5, len(rows))
    rows["label"] = (rng.random(len(rows)) < 0.3).astype(int)
    # a status that is written when a customer leaves
    rows["responses"] = rows["label"] * 3 + rng.normal(0, 0.1, len(rows))
    found = lapse_judging.tested_best(rows, days[-1:], FEATURES)
    assert {leak.name for leak in found.leaks} == {"responses", "all features"}
    told = gates_tag(lapse_judging.gates(found, NO_CHAMPION))
    assert told == "failed: no_leak"


def test_a_simple_rule_that_is_no_better_than_lots_does_not_pass() -> None:
    lift = Interval(0.0, 0.0, 0.0)
    for low, passed in ((0.45, False), (0.62, True)):
        result = lapse_judging._beats(
            "beats_frequency", lift, 0.0, "frequency alone", Interval(0.6, low, 0.7), "a rule"
        )
        assert result.passed is passed
