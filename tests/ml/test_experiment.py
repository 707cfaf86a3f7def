import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, ttest_ind

from ml import experiment
from ml.experiment import Effect, NotEnoughData


@given(st.text())
def test_a_hash_lies_in_the_unit_interval(text):
    assert 0 <= experiment.uniform_hash(text) < 1


def test_hashes_are_uniform_and_the_same_in_another_process():
    ids = [f"customer-{k}" for k in range(5000)]
    assert kstest([experiment.uniform_hash(i) for i in ids], "uniform").pvalue > 0.01
    code = "from ml.experiment import uniform_hash; print(repr(uniform_hash('customer-1')))"
    root = Path(__file__).parents[2]
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert float(other.stdout) == experiment.uniform_hash("customer-1")


def test_arms_do_not_depend_on_company_and_grow_with_the_share():
    ids = [str(k) for k in range(4000)]
    tenth, fifth = experiment.assign(ids, "plan-1", 0.1), experiment.assign(ids, "plan-1", 0.2)
    assert tenth.mean() == pytest.approx(0.1, abs=0.02)
    assert fifth[tenth].all()
    np.testing.assert_array_equal(experiment.assign(ids[::-1], "plan-1", 0.1), tenth[::-1])
    other = experiment.assign(ids, "plan-2", 0.1)
    assert (tenth & other).mean() == pytest.approx(0.01, abs=0.006)
    assert not experiment.assign(ids, "s", 0).any()
    assert experiment.assign(ids, "s", 1).all()


def test_break_even_is_cost_over_margin():
    assert experiment.break_even_effect(Decimal("1.50"), Decimal(12)) == Decimal("0.125")
    with pytest.raises(ValueError, match="margin_per_order > 0"):
        experiment.break_even_effect(Decimal(1), Decimal(0))


def test_the_detectable_effect_is_found_with_the_promised_power():
    rng = np.random.default_rng(2)
    n_treated, n_control, sd = 900, 300, 20.0
    effect = experiment.detectable_effect_mean(sd, n_treated, n_control)
    found = 0
    for _ in range(400):
        seen = experiment.difference_in_means(rng.normal(effect, sd, n_treated), rng.normal(0, sd, n_control))
        assert isinstance(seen, Effect)
        found += seen.low > 0
    assert found / 400 == pytest.approx(0.8, abs=0.06)


def test_the_detectable_rate_matches_a_worked_example():
    # z sum 2.8016, sd .3, two arms of 1,000: 2.8016 x .3 x sqrt(.002)
    assert experiment.detectable_effect_proportion(0.1, 1000, 1000) == pytest.approx(0.037587, abs=1e-5)
    with pytest.raises(ValueError, match="base_rate"):
        experiment.detectable_effect_proportion(0, 10, 10)
    with pytest.raises(ValueError, match="both arms filled"):
        experiment.detectable_effect_proportion(0.5, 0, 10)


def test_without_an_effect_the_interval_holds_zero_nineteen_times_in_twenty():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        # Skewed spend with many zeros, arms of unlike size.
        arms = [rng.gamma(0.7, 30, n) * (rng.random(n) < 0.6) for n in (800, 120)]
        seen = experiment.difference_in_means(*arms)
        assert isinstance(seen, Effect)
        held += seen.low <= 0 <= seen.high
    assert held / 400 == pytest.approx(0.95, abs=0.035)


@given(st.integers(50, 400), st.integers(50, 400), st.floats(0.01, 1e4), st.floats(0.01, 1e4), st.integers(0, 2**32))
def test_an_effect_is_the_one_that_scipy_finds(n_treated, n_control, treated_sd, control_sd, seed):
    rng = np.random.default_rng(seed)
    arms = rng.normal(3, treated_sd, n_treated), rng.normal(2, control_sd, n_control)
    seen, known = experiment.difference_in_means(*arms), ttest_ind(*arms, equal_var=False)
    interval = known.confidence_interval(0.95)
    assert isinstance(seen, Effect)
    assert (seen.low, seen.high) == pytest.approx((interval.low, interval.high), rel=1e-9, abs=1e-12)
    assert seen.p_value == pytest.approx(known.pvalue, rel=1e-7, abs=1e-300)


def test_arms_that_cannot_be_read_say_why():
    many, few = np.arange(100.0), np.arange(49.0)
    small = experiment.difference_in_means(many, few)
    assert small == NotEnoughData("the control arm has 49 people; at least 50 are needed")
    flat = experiment.difference_in_means(np.ones(100), np.zeros(100))
    assert isinstance(flat, NotEnoughData)
    assert "the same" in flat.reason
    with pytest.raises(ValueError, match="treated: 1 outcomes are missing"):
        experiment.difference_in_means(np.append(many, np.nan), many)
