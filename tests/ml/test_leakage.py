"""A feature that knows the future is found by its name; honest ones, however good, are left in peace."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml.evaluation import SingleClassError
from ml.leakage import CANARY, label_leaks, value_leaks, with_canary

CUSTOMERS = np.repeat(np.arange(500), 4)


def honest(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """2,000 rows of 500 customers whose recency tells the label about as well as it does in a shop."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=2000)
    lapsed = (risk + rng.normal(size=2000) > 1.2).astype(int)
    noise = rng.normal(size=2000)
    recency = np.where(rng.random(2000) < 0.1, np.nan, risk + 0.5 * noise)
    return pd.DataFrame({"recency": recency, "frequency": -risk + noise, "noise": noise}), lapsed


def test_honest_features_raise_no_suspicion() -> None:
    rows, lapsed = honest()
    probability = 1 / (1 + np.exp(-rows["recency"].fillna(0).to_numpy()))
    assert label_leaks(rows, list(rows), lapsed, CUSTOMERS, probability) == ()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [0.02, 0.2, 0.6])
def test_the_canary_is_found_by_name_at_any_base_rate(rate: float, seed: int) -> None:
    lapsed = (np.random.default_rng(100 + seed).random(2000) < rate).astype(int)
    rows = with_canary(honest(seed)[0], lapsed, seed=seed)
    found = label_leaks(rows, list(rows), lapsed, CUSTOMERS)
    assert [(entry.name, entry.severity) for entry in found] == [(CANARY, "error")]
    assert f"{CANARY} alone foretells lapses" in found[0].told


@pytest.mark.parametrize("seed", range(5))
def test_the_canary_of_a_value_is_found_and_what_learned_it_is_too_good_to_be_true(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    spend = np.where(rng.random(2000) < 0.4, 0, rng.lognormal(3, 1.2, 2000))
    rows = with_canary(pd.DataFrame({"past": spend * rng.lognormal(0, 1, 2000) + 5}), spend, seed=seed)
    found = value_leaks(rows, list(rows), spend, CUSTOMERS, rows[CANARY])
    assert {entry.name for entry in found if entry.severity == "error"} == {CANARY, "all features"}
    assert CANARY not in {entry.name for entry in value_leaks(rows, ["past"], spend, CUSTOMERS, rows["past"])}


@pytest.mark.parametrize("shape", ["backwards", "in the middle", "unknown"])
def test_a_leak_that_is_no_matter_of_more_or_less_is_found_as_well(shape: str) -> None:
    rows, lapsed = honest()
    rng = np.random.default_rng(1)
    leaks = {
        "backwards": -lapsed + 0.01 * rng.normal(size=2000),
        # a code that means "closed account" between others
        "in the middle": np.where(lapsed == 1, 5.0, rng.choice([1.0, 9.0], 2000)),
        "unknown": np.where(lapsed == 1, np.nan, rng.normal(size=2000)),
    }
    rows["status"] = leaks[shape]
    (found,) = label_leaks(rows, list(rows), lapsed, CUSTOMERS)
    assert (found.name, found.severity) == ("status", "error")


def test_predictions_too_good_to_be_true_are_told_without_a_name_to_blame() -> None:
    rows, lapsed = honest()
    probability = np.clip(0.05 + 0.9 * lapsed + np.random.default_rng(2).normal(0, 0.02, 2000), 0, 1)
    (found,) = label_leaks(rows, list(rows), lapsed, CUSTOMERS, probability)
    assert found.name == "all features"
    assert "too good to be true" in found.told


def test_a_feature_far_ahead_of_all_others_is_pointed_out_but_blocks_nothing() -> None:
    rows, lapsed = honest()
    rows = rows[["noise"]].assign(strong=lapsed + np.random.default_rng(3).normal(0, 0.55, 2000))
    (found,) = label_leaks(rows, list(rows), lapsed, CUSTOMERS)
    assert (found.name, found.severity) == ("strong", "warning")
    assert "noise, the next best" in found.told


def test_what_cannot_be_judged_is_refused_by_name() -> None:
    rows, lapsed = honest()
    with pytest.raises(ValueError, match=r"missing feature column\(s\): gap"):
        label_leaks(rows, ["recency", "gap"], lapsed, CUSTOMERS)
    with pytest.raises(SingleClassError):
        label_leaks(rows, ["recency"], np.zeros(2000), CUSTOMERS)


def test_planting_the_canary_leaves_the_frame_as_it_was() -> None:
    rows, lapsed = honest()
    before = rows.copy()
    assert CANARY in with_canary(rows, lapsed, seed=0)
    pd.testing.assert_frame_equal(rows, before)
