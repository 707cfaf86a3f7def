from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.evaluation import auc
from ml.protocol import out_of_time, training_snapshots, value_out_of_time

HORIZON = 28
SNAPSHOTS = [date(2017, 6, 4) + timedelta(weeks=k) for k in range(10)]


class Recency:
    """A model that remembers which snapshots it was trained on."""

    def __init__(self, train: pd.DataFrame) -> None:
        self.seen = set(train["snapshot_date"])

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        p = X["recency"].to_numpy() / 100
        return np.column_stack([1 - p, p])


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    rows = pd.MultiIndex.from_product([SNAPSHOTS, range(200)], names=["snapshot_date", "customer_id"])
    X = pd.DataFrame(index=rows).reset_index()
    X["recency"] = rng.integers(1, 56, len(X)).astype(float)
    X["label"] = (rng.random(len(X)) < X["recency"] / 100).astype(int)
    X["coin"] = rng.random(len(X))
    return X


@given(st.sets(st.dates(date(2016, 1, 1), date(2018, 1, 1))), st.dates(), st.integers(1, 400))
def test_no_training_label_reaches_past_the_test_snapshot(snapshots, test, horizon):
    chosen = training_snapshots(snapshots, test, horizon)
    assert chosen == sorted(s for s in snapshots if (test - s).days >= horizon)


def test_a_label_that_closes_on_the_very_cut_off_is_known():
    test = date(2017, 12, 3)
    assert training_snapshots([date(2017, 11, 5), date(2017, 11, 6)], test, 28) == [date(2017, 11, 5)]


def test_every_model_is_trained_only_on_closed_snapshots(frame):
    trained = []

    def fit(train: pd.DataFrame) -> Recency:
        trained.append(Recency(train))
        return trained[-1]

    tests = [SNAPSHOTS[-1], SNAPSHOTS[-3]]
    out_of_time(frame, test_snapshots=tests, horizon_days=HORIZON, fit=fit, baseline="coin", resamples=20)
    assert [model.seen for model in trained] == [set(SNAPSHOTS[:4]), set(SNAPSHOTS[:6])]


def test_the_figures_are_those_of_the_predictions(frame):
    tests = SNAPSHOTS[-2:]
    found = out_of_time(frame, test_snapshots=tests, horizon_days=HORIZON, fit=Recency, baseline="coin", resamples=200)
    rows = frame[frame["snapshot_date"].isin(tests)]
    assert [f.snapshot_date for f in found.snapshots] == tests
    assert (found.pooled.n, found.pooled.positives) == (400, rows["label"].sum())
    assert found.pooled.auc.value == pytest.approx(auc(rows["label"], rows["recency"]))
    assert found.pooled.baseline_auc.value == pytest.approx(auc(rows["label"], rows["coin"]))
    assert found.pooled.lift.value == pytest.approx(found.pooled.auc.value - found.pooled.baseline_auc.value)
    assert found.pooled.lift.low > 0
    assert sum(f.positives for f in found.snapshots) == found.pooled.positives
    assert len(found.predictions) == 400


def test_what_cannot_be_judged_is_named(frame):
    def run(rows: pd.DataFrame, test: date = SNAPSHOTS[-1], baseline: str = "coin") -> None:
        out_of_time(rows, test_snapshots=[test], horizon_days=HORIZON, fit=Recency, baseline=baseline)

    with pytest.raises(ValueError, match="closed by the test snapshot 2017-06-11"):
        run(frame, SNAPSHOTS[1])
    with pytest.raises(ValueError, match="no rows for the test snapshot 2018-01-01"):
        run(frame, date(2018, 1, 1))
    with pytest.raises(ValueError, match=r"lacks column.* tenure"):
        run(frame, baseline="tenure")
    with pytest.raises(ValueError, match="'label' is missing in 1 rows"):
        run(frame.assign(label=frame["label"].astype(float).where(frame.index != 7)))
    with pytest.raises(ValueError, match="customer 0 is there twice on snapshot 2017-06-04"):
        run(pd.concat([frame, frame.iloc[[0]]]))
    with pytest.raises(ValueError, match="single class"):
        run(frame.assign(label=0))


def test_columns_asked_for_stay_beside_the_predictions(frame):
    found = out_of_time(
        frame, test_snapshots=SNAPSHOTS[-2:], horizon_days=HORIZON, fit=Recency, baseline="recency", keep=["coin"]
    )
    rows = frame[frame["snapshot_date"].isin(SNAPSHOTS[-2:])]
    assert found.predictions["coin"].tolist() == rows["coin"].tolist()


@pytest.fixture
def spenders() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    rows = pd.MultiIndex.from_product([SNAPSHOTS[:3], range(300)], names=["snapshot_date", "customer_id"])
    X = pd.DataFrame(index=rows).reset_index()
    X["rate"] = rng.gamma(2, 10, len(X))
    X["label"] = X["rate"] * rng.gamma(4, 0.25, len(X))
    return X


def test_a_value_model_is_judged_beside_the_naive_rule_per_snapshot_and_pooled(spenders):
    found = value_out_of_time(
        spenders,
        test_snapshots=SNAPSHOTS[1:3],
        predict=lambda rows: rows["rate"],
        naive=lambda rows: 2 * rows["rate"],
        keep=["rate"],
        resamples=50,
    )
    assert [figures.snapshot_date for figures in found.snapshots] == SNAPSHOTS[1:3]
    assert found.pooled.n == 600
    assert found.pooled.mae_gain.low > 0
    assert found.pooled.mae_gain.value == pytest.approx(found.pooled.naive_mae.value - found.pooled.mae.value)
    assert found.pooled.naive_bias_percent.value == pytest.approx(100 + 2 * found.pooled.bias_percent.value, abs=1e-6)
    assert found.pooled.gini.value == pytest.approx(found.pooled.naive_gini.value)
    assert set(found.predictions) == {"snapshot_date", "customer_id", "label", "rate", "predicted", "naive"}


def test_a_value_model_never_sees_what_came(spenders):
    def predict(rows: pd.DataFrame) -> pd.Series:
        assert "label" not in rows
        return rows["rate"]

    value_out_of_time(spenders, test_snapshots=SNAPSHOTS[:1], predict=predict, naive=predict, resamples=5)


def test_a_value_test_without_rows_or_labels_is_refused_by_name(spenders):
    def judge(rows: pd.DataFrame, days: list[date]) -> None:
        value_out_of_time(rows, test_snapshots=days, predict=lambda r: r["rate"], naive=lambda r: r["rate"])

    with pytest.raises(ValueError, match=f"no rows for the test snapshot {SNAPSHOTS[9]}"):
        judge(spenders, [SNAPSHOTS[9]])
    with pytest.raises(ValueError, match="at least one test snapshot"):
        judge(spenders, [])
    with pytest.raises(ValueError, match=r"lacks column\(s\) label"):
        judge(spenders.drop(columns="label"), SNAPSHOTS[:1])
