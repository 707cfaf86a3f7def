"""The out-of-time protocol: a model is judged on a snapshot whose future it could not have known."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml import evaluation
from ml.evaluation import Interval


class ProbabilityModel(Protocol):
    """A fitted model that picks its own features from the frame by name."""

    def predict_proba(self, X: pd.DataFrame) -> npt.NDArray[np.float64]:
        """P(0), P(1) per row, shape (n, 2)."""
        ...


@dataclass(frozen=True)
class Figures:
    """How a model did on one test snapshot, or on all of them pooled (snapshot_date None).

    Intervals are 95 % by customer. `lift` is the model's AUC minus the baseline's on the same customers.
    """

    snapshot_date: date | None
    n: int
    positives: int
    base_rate: float
    auc: Interval
    log_loss: Interval
    ece: Interval
    baseline_auc: Interval
    lift: Interval


@dataclass(frozen=True)
class ValueFigures:
    """How well spend was predicted on one test snapshot, or on all of them pooled (snapshot_date None).

    Errors are money per customer, bias is in percent of the total, Gini 0 to 1; intervals are 95 % by customer.
    `naive_` figures are of the naive rule on the same customers; `mae_gain` is its error less the model's.
    """

    snapshot_date: date | None
    n: int
    mean: float
    mae: Interval
    rmse: Interval
    bias_percent: Interval
    gini: Interval
    naive_mae: Interval
    naive_rmse: Interval
    naive_bias_percent: Interval
    naive_gini: Interval
    mae_gain: Interval


Measured = TypeVar("Measured", Figures, ValueFigures)


@dataclass(frozen=True)
class OutOfTime(Generic[Measured]):
    """Figures per test snapshot in order and pooled, and the predictions behind them.

    `predictions` has columns snapshot_date, customer_id, label and those asked to be kept; then probability and
    baseline, or predicted and naive of spend.
    """

    snapshots: tuple[Measured, ...]
    pooled: Measured
    predictions: pd.DataFrame


def training_snapshots(all_snapshots: Iterable[date], test_snapshot: date, horizon_days: int) -> list[date]:
    """The distinct snapshots S, in order, whose label window [S, S + horizon) closed by `test_snapshot`.

    Raises ValueError for a horizon below one day.
    """
    if horizon_days < 1:
        raise ValueError(f"horizon_days must be at least 1, found {horizon_days}")
    return [s for s in sorted(set(all_snapshots)) if s + timedelta(days=horizon_days) <= test_snapshot]


def out_of_time(
    frame: pd.DataFrame,
    *,
    test_snapshots: Sequence[date],
    horizon_days: int,
    fit: Callable[[pd.DataFrame], ProbabilityModel],
    baseline: str,
    keep: Sequence[str] = (),
    seed: int = 0,
    resamples: int = 500,
) -> OutOfTime[Figures]:
    """Train anew for each test snapshot on what was known by then, and judge all predictions.

    `frame` has one row per snapshot_date (datetime.date) and customer_id, a label of 0 and 1, and the
    features; `baseline` names a column that is higher for a higher risk, the rule to beat. `fit` gets
    the training rows; columns in `keep` stay beside the predictions. Raises ValueError when a column is
    missing, a row is there twice, a label or baseline value is missing, or a test snapshot has no rows, no
    closed snapshot before it or a single class.
    """
    _check(frame, baseline)

    def predicted(rows: pd.DataFrame, test: date) -> dict[str, npt.ArrayLike]:
        closed = training_snapshots(frame["snapshot_date"], test, horizon_days)
        if not closed:
            raise ValueError(
                f"no snapshot has its {horizon_days}-day label closed by the test snapshot {test}; "
                "test a later one or build earlier snapshots"
            )
        model = fit(frame[frame["snapshot_date"].isin(closed)])
        return {"probability": model.predict_proba(rows)[:, 1], "baseline": rows[baseline].astype(float)}

    return _tested(frame, test_snapshots, keep, predicted, partial(_figures, seed=seed, resamples=resamples))


def value_out_of_time(
    frame: pd.DataFrame,
    *,
    test_snapshots: Sequence[date],
    predict: Callable[[pd.DataFrame], npt.ArrayLike],
    naive: Callable[[pd.DataFrame], npt.ArrayLike],
    keep: Sequence[str] = (),
    seed: int = 0,
    resamples: int = 500,
) -> OutOfTime[ValueFigures]:
    """Judge a model of purchase histories on what its customers then spent, snapshot by snapshot.

    `frame` has one row per snapshot_date and customer_id and the label, the spend of the window after it.
    `predict` gets a snapshot's rows without the label, fits on their histories before the cut-off, and gives the
    spend to expect (n,): it learns from no label, so no label can leak. Raises ValueError when a column is
    missing, a row is there twice, a label is missing, or a test snapshot has no rows.
    """
    _check(frame, "label")

    def predicted(rows: pd.DataFrame, _test: date) -> dict[str, npt.ArrayLike]:
        known = rows.drop(columns="label")
        return {"predicted": np.asarray(predict(known)), "naive": np.asarray(naive(known))}

    return _tested(frame, test_snapshots, keep, predicted, partial(_value_figures, seed=seed, resamples=resamples))


def _tested(
    frame: pd.DataFrame,
    test_snapshots: Sequence[date],
    keep: Sequence[str],
    predicted: Callable[[pd.DataFrame, date], dict[str, npt.ArrayLike]],
    figures: Callable[[pd.DataFrame, date | None], Measured],
) -> OutOfTime[Measured]:
    """Each test snapshot's rows with what is `predicted` of them, and the figures of each and of all."""
    if not test_snapshots:
        raise ValueError("at least one test snapshot is needed")
    parts = {}
    for test in sorted(set(test_snapshots)):
        rows = frame[frame["snapshot_date"] == test]
        if rows.empty:
            raise ValueError(f"the frame has no rows for the test snapshot {test}")
        parts[test] = rows[["snapshot_date", "customer_id", "label", *keep]].assign(**predicted(rows, test))
    predictions = pd.concat(parts.values(), ignore_index=True)
    return OutOfTime(
        tuple(figures(part, test) for test, part in parts.items()), figures(predictions, None), predictions
    )


def _value_figures(rows: pd.DataFrame, snapshot: date | None, *, seed: int, resamples: int) -> ValueFigures:
    actual = rows["label"].to_numpy(dtype=float)
    both = rows[["predicted", "naive"]].to_numpy(dtype=float)
    customers = rows["customer_id"].to_numpy()

    def interval(metric: evaluation.Metric, column: int) -> Interval:
        return evaluation.bootstrap(metric, actual, both[:, column], customers, seed=seed, resamples=resamples)

    measures = {
        "mae": evaluation.mean_absolute_error,
        "rmse": evaluation.root_mean_squared_error,
        "bias_percent": evaluation.bias_percent,
        "gini": evaluation.gini,
    }
    return ValueFigures(
        snapshot_date=snapshot,
        n=len(actual),
        mean=float(actual.mean()),
        **{name: interval(metric, 0) for name, metric in measures.items()},
        **{f"naive_{name}": interval(metric, 1) for name, metric in measures.items()},
        mae_gain=evaluation.paired_difference(
            evaluation.mean_absolute_error, actual, both[:, 1], both[:, 0], customers, seed=seed, resamples=resamples
        ),
    )


def _figures(rows: pd.DataFrame, snapshot: date | None, *, seed: int, resamples: int) -> Figures:
    y = rows["label"].to_numpy(dtype=float)
    p, rule = rows["probability"].to_numpy(), rows["baseline"].to_numpy()
    customers = rows["customer_id"].to_numpy()
    if y.min() == y.max():
        raise evaluation.SingleClassError(
            f"test snapshot {snapshot or 'pool'} holds a single class ({y[0]:g} in all {len(y)} rows)"
        )

    def interval(metric: evaluation.Metric) -> Interval:
        return evaluation.bootstrap(metric, y, p, customers, seed=seed, resamples=resamples)

    return Figures(
        snapshot_date=snapshot,
        n=len(y),
        positives=int(y.sum()),
        base_rate=float(y.mean()),
        auc=evaluation.auc_interval(y, p, customers, seed=seed, resamples=resamples),
        log_loss=interval(evaluation.log_loss),
        ece=interval(evaluation.expected_calibration_error),
        baseline_auc=evaluation.auc_interval(y, rule, customers, seed=seed, resamples=resamples),
        lift=evaluation.paired_auc_lift(y, p, rule, customers, seed=seed, resamples=resamples),
    )


def _check(frame: pd.DataFrame, baseline: str) -> None:
    missing = [c for c in dict.fromkeys(("snapshot_date", "customer_id", "label", baseline)) if c not in frame.columns]
    if missing:
        raise ValueError(f"the frame lacks column(s) {', '.join(missing)}")
    for column in dict.fromkeys(("label", baseline)):
        unknown = int(frame[column].isna().sum())
        if unknown:
            raise ValueError(f"column {column!r} is missing in {unknown} rows; give closed snapshots only")
    twice = frame.duplicated(["snapshot_date", "customer_id"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise ValueError(f"customer {row['customer_id']} is there twice on snapshot {row['snapshot_date']}")
