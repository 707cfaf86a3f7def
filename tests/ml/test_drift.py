import numpy as np
import pandas as pd
import pytest

from ml.evaluation.drift import Reference, population_stability_index


def normal(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, n)


def test_the_index_is_the_sum_of_the_formula_on_quantile_bins():
    expected = np.arange(1.0, 1001)
    actual = np.concatenate([np.full(300, 50.0), np.arange(1.0, 701)])
    found = population_stability_index(expected, actual, bins=4)
    p = np.array([250.5] * 4 + [0.5]) / 1002.5
    q = np.array([550.5, 250.5, 200.5, 0.5, 0.5]) / 1002.5
    assert found == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=1e-12)


def test_a_shift_of_one_standard_deviation_is_far_and_another_sample_is_not():
    # between normals one apart the symmetrised divergence is 1; ten bins keep most of it
    assert 0.8 < population_stability_index(normal(100_000, 1), normal(100_000, 2, shift=1)) < 1
    assert population_stability_index(normal(100_000, 1), normal(100_000, 2)) < 0.001


def test_small_samples_of_one_population_hardly_ever_pass_for_shifted():
    # the index of 80 customers is above .1 in most draws without any drift
    drifts = [Reference.of({"x": normal(300, seed)}).drift({"x": normal(80, seed + 1000)})[0] for seed in range(400)]
    assert np.mean([one.psi > 0.1 for one in drifts]) > 0.5
    assert np.mean([one.shifted for one in drifts]) < 0.01
    moved = Reference.of({"x": normal(300, 1)}).drift({"x": normal(80, 2, shift=1)})[0]
    assert moved.shifted
    assert moved.far


def test_missing_values_have_a_bin_of_their_own():
    half = np.where(np.arange(1000) % 2, np.nan, normal(1000, 3))
    assert population_stability_index(normal(1000, 4), half) > 1
    assert population_stability_index(half, half) == pytest.approx(0)
    assert population_stability_index(np.full(500, np.nan), normal(500, 5)) > 1


@pytest.mark.parametrize("after", [0.0, 9.0])
def test_a_constant_that_changed_to_either_side_is_seen(after):
    assert population_stability_index(np.full(500, 5.0), np.full(500, 5.0)) == pytest.approx(0)
    assert population_stability_index(np.full(500, 5.0), np.full(500, after)) > 1


def test_rare_values_at_either_end_are_kept_apart():
    mostly_high, mostly_low = np.repeat([0.0, 1.0], [20, 980]), np.repeat([0.0, 1.0], [980, 20])
    even = np.repeat([0.0, 1.0], [500, 500])
    assert population_stability_index(mostly_high, even) > 1
    assert population_stability_index(mostly_low, even) > 1


def test_the_record_alone_tells_the_drift_and_holds_no_customer():
    rows = pd.DataFrame({"recency": normal(800, 6), "net": np.random.default_rng(7).lognormal(0, 1, 800)})
    reference = Reference.of(rows)
    text = reference.to_json()
    assert len(text) < 2000
    newer = {"net": rows["net"].to_numpy() * 3, "recency": normal(800, 8)}
    drifts = Reference.from_json(text).drift(newer)
    assert drifts == reference.drift(newer)
    assert [one.column for one in drifts] == ["net", "recency"]
    assert drifts[0].far
    assert not drifts[1].shifted
    assert reference.columns == ("recency", "net")


def test_a_table_read_in_parts_drifts_as_it_does_as_a_whole():
    reference = Reference.of({"x": normal(800, 9)})
    whole, parts = normal(900, 10, shift=0.5), np.array_split(normal(900, 10, shift=0.5), 7)
    counted = sum(reference.counted({"x": part})["x"] for part in parts)
    assert reference.drift_of({"x": counted}) == reference.drift({"x": whole})


def test_what_cannot_be_compared_is_refused_by_name():
    reference = Reference.of({"recency": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match="no column colour, only recency"):
        reference.drift({"colour": [1.0]})
    with pytest.raises(ValueError, match="'recency' must be finite or NaN"):
        reference.drift({"recency": [np.inf]})
    with pytest.raises(ValueError, match="'empty' must be one-dimensional and not empty"):
        Reference.of({"empty": []})
    with pytest.raises(ValueError, match="at least 2"):
        Reference.of({"recency": [1.0]}, bins=1)
    with pytest.raises(ValueError, match="no reference of columns"):
        Reference.from_json('{"recency": [1, 2]}')
    with pytest.raises(ValueError, match=r"do not fit its edges in column\(s\) recency"):
        Reference.from_json('{"recency": {"edges": [1.0], "counts": [3, 4]}}')
