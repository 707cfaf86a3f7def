"""Segments are judged by their gap and its noise, with a customer's snapshots taken together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml.segments import bands, segment_gaps


def series(*values: str) -> pd.Series:
    return pd.Series(list(values))


def test_bands_are_in_order_and_a_border_belongs_to_the_band_above() -> None:
    found = bands([1, 7, 6.9, 14, 100, np.nan], (7, 14), "days")
    assert list(found) == [
        "below 7 days",
        "7 to 14 days",
        "below 7 days",
        "14 days and more",
        "14 days and more",
        "unknown",
    ]
    assert list(found.cat.categories) == ["below 7 days", "7 to 14 days", "14 days and more", "unknown"]
    with pytest.raises(ValueError, match="edges must rise"):
        bands([1.0], (14, 7), "days")


def test_a_gap_is_predicted_less_observed_and_small_segments_are_left_out() -> None:
    customers = np.arange(80)
    kind = pd.Series(["many"] * 60 + ["few"] * 20)
    (gap,) = segment_gaps(np.r_[np.ones(30), np.zeros(50)], np.full(80, 0.7), customers, {"size": kind})
    assert (gap.kind, gap.segment, gap.rows, gap.customers) == ("size", "many", 60, 60)
    assert (gap.predicted, gap.observed) == pytest.approx((0.7, 0.5))
    assert gap.gap == pytest.approx(0.2)
    assert gap.low < gap.gap < gap.high


def test_a_segment_is_badly_off_only_beyond_the_bar_and_beyond_noise() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(4000) < 0.2).astype(float)
    where = pd.Series(np.repeat(["right", "off", "small but noisy"], [1900, 2000, 100]))
    predicted = np.where(where == "off", 0.3, 0.2)
    predicted[-100:] = truth[-100:].mean() + 0.09
    gaps = {gap.segment: gap for gap in segment_gaps(truth, predicted, np.arange(4000), {"kind": where})}
    assert gaps["off"].badly_off(0.08)
    assert not gaps["off"].badly_off(0.12)
    assert not gaps["right"].badly_off(0.001)
    assert gaps["small but noisy"].gap > 0.08
    assert not gaps["small but noisy"].badly_off(0.08)


def test_snapshots_of_one_customer_are_no_independent_proof() -> None:
    rng = np.random.default_rng(1)
    truth = (rng.random(100) < 0.5).astype(float)
    once = segment_gaps(truth, np.full(100, 0.5), np.arange(100), {"all": pd.Series(["a"] * 100)})[0]
    nine = segment_gaps(
        np.repeat(truth, 9), np.full(900, 0.5), np.repeat(np.arange(100), 9), {"all": pd.Series(["a"] * 900)}
    )[0]
    assert (nine.low, nine.high) == pytest.approx((once.low, once.high))


def test_the_interval_holds_for_all_segments_at_once() -> None:
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(200):
        truth = (rng.random(2000) < 0.3).astype(float)
        kind = pd.Series(rng.integers(0, 20, 2000))
        gaps = segment_gaps(truth, np.full(2000, 0.3), np.arange(2000), {"kind": kind})
        missed += any(gap.beyond_noise for gap in gaps)
    assert missed / 200 < 0.12  # 20 intervals each of its own would miss in two of three


def test_a_segment_of_another_length_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="segment 'kind' has 3 rows, expected 2"):
        segment_gaps([0, 1], [0.5, 0.5], [1, 2], {"kind": series("a", "b", "c")})
