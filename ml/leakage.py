"""Whether an evaluation is too good to be true: features that know the future, and the canary that proves the watch.

A leak shows in two ways: predictions rank people better than anybody can foretell, or one feature alone tells
the label. Kaufman, Rosset, Perlich & Stitelman (2012), Leakage in data mining. A weak leak shows in neither; the
defence against it is the time split, not this test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import GroupKFold
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from ml import evaluation

# Purchases are never foretold so well: published figures beyond these came from leaks.
AUC_TOO_GOOD = 0.97
AUC_ALONE = 0.95
GINI_TOO_GOOD = 0.97
GINI_ALONE = 0.95
# A feature that leaves all others so far behind is to be looked at, though it may be honest.
LEAD_ALONE = 0.15
LEAD_FROM = 0.85

CANARY = "canary_of_the_future"
CANARY_NOISE, CANARY_WRONG = 0.05, 0.005

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Suspicion:
    """Something too good to be true: a feature by its name, or "all features" of the model together.

    `strength` is an AUC (0.5 to 1) for a yes/no label and a normalised Gini (0 to 1) for a value. An error
    keeps a model from being promoted; a warning asks a person to look.
    """

    name: str
    strength: float
    severity: Severity
    told: str


@dataclass(frozen=True)
class FeatureStrength:
    """How well one feature alone foretells the label, in the same measure as `Suspicion.strength`."""

    name: str
    strength: float


def label_leaks(
    rows: pd.DataFrame,
    features: Sequence[str],
    label: npt.ArrayLike,
    customers: npt.ArrayLike,
    probability: npt.ArrayLike | None = None,
) -> tuple[Suspicion, ...]:
    """What is too good to be true about a yes/no label, worst first.

    `rows` hold the features (n, features), `label` 0 and 1 (n,), `customers` the customer of each row (n,);
    `probability` are out-of-time predictions of the same rows, where there are any. Raises ValueError naming a
    missing column, and SingleClassError (a ValueError) for a label of one class.
    """
    strengths = feature_strengths(rows, features, label, customers, yes_no=True)
    found = _alone(strengths, AUC_ALONE, "AUC", "lapses")
    if probability is not None:
        auc = evaluation.auc(label, probability)
        if auc > AUC_TOO_GOOD:
            found.append(_too_good(auc, AUC_TOO_GOOD, "AUC"))
    return _worst_first(found)


def value_leaks(
    rows: pd.DataFrame,
    features: Sequence[str],
    spend: npt.ArrayLike,
    customers: npt.ArrayLike,
    predicted: npt.ArrayLike | None = None,
) -> tuple[Suspicion, ...]:
    """The same for a value label such as spend, judged by how well its order is foretold (normalised Gini).

    Raises ValueError naming a missing column, or when the values are all equal or their total is not positive.
    """
    strengths = feature_strengths(rows, features, spend, customers, yes_no=False)
    found = _alone(strengths, GINI_ALONE, "Gini", "spend")
    if predicted is not None:
        gini = evaluation.gini(spend, predicted)
        if gini > GINI_TOO_GOOD:
            found.append(_too_good(gini, GINI_TOO_GOOD, "Gini"))
    return _worst_first(found)


def feature_strengths(
    rows: pd.DataFrame, features: Sequence[str], label: npt.ArrayLike, customers: npt.ArrayLike, *, yes_no: bool
) -> tuple[FeatureStrength, ...]:
    """How well each feature alone foretells the label, strongest first.

    The better of its own order (either direction, unknown values last) and of a small tree fitted on one half
    of the customers and read on the other, which also finds a leak that is no matter of more or less.
    """
    missing = [name for name in features if name not in rows.columns]
    if missing:
        raise ValueError(f"missing feature column(s): {', '.join(missing)}")
    truth, groups = np.asarray(label, dtype=float), np.asarray(customers)
    measure = evaluation.auc if yes_no else evaluation.gini
    found = []
    for name in features:
        values = rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
        order = np.where(np.isnan(values), np.nanmin(values, initial=0.0) - 1.0, values)
        orders = (order, -order, _by_tree(values, truth, groups, yes_no))
        found.append(FeatureStrength(name, max(measure(truth, score) for score in orders)))
    return tuple(sorted(found, key=lambda entry: (-entry.strength, entry.name)))


def with_canary(rows: pd.DataFrame, label: npt.ArrayLike, *, seed: int) -> pd.DataFrame:
    """A copy of `rows` with the column CANARY: the label itself under a little noise, as a leak would bring it.

    The noise is 5 % of the label's standard deviation, and one row in two hundred shows another row's label.
    """
    rng = np.random.default_rng(seed)
    known = np.asarray(label, dtype=float).copy()
    wrong = rng.random(len(known)) < CANARY_WRONG
    known[wrong] = rng.permutation(known)[wrong]
    noise = rng.normal(0, CANARY_NOISE * (np.std(known) or 1.0), len(known))
    return rows.assign(**{CANARY: known + noise})


def _by_tree(
    values: npt.NDArray[np.float64], truth: npt.NDArray[np.float64], groups: npt.NDArray[np.generic], yes_no: bool
) -> npt.NDArray[np.float64]:
    numbers, names = pd.factorize(pd.Series(groups))
    told = np.full(len(truth), float(truth.mean()))
    if len(names) < 2:
        return told
    X = values[:, None]
    for train, test in GroupKFold(2).split(X, truth, numbers):
        if yes_no and truth[train].min() == truth[train].max():
            continue
        kind = DecisionTreeClassifier if yes_no else DecisionTreeRegressor
        tree = kind(max_leaf_nodes=12, min_samples_leaf=min(20, len(train)), random_state=0).fit(X[train], truth[train])
        told[test] = tree.predict_proba(X[test])[:, 1] if yes_no else tree.predict(X[test])
    return told


def _alone(strengths: Sequence[FeatureStrength], most: float, measure: str, what: str) -> list[Suspicion]:
    found = [
        Suspicion(
            entry.name,
            entry.strength,
            "error",
            f"{entry.name} alone foretells {what} with {measure} {entry.strength:.3f} (above {most}): does it know "
            "what happened after the snapshot?",
        )
        for entry in strengths
        if entry.strength > most
    ]
    if not found and len(strengths) > 1:
        first, second = strengths[:2]
        if first.strength > LEAD_FROM and first.strength - second.strength > LEAD_ALONE:
            found.append(
                Suspicion(
                    first.name,
                    first.strength,
                    "warning",
                    f"{first.name} alone foretells {what} with {measure} {first.strength:.3f}, {second.name}, the next "
                    f"best, with {second.strength:.3f}: look where it comes from",
                )
            )
    return found


def _too_good(found: float, most: float, measure: str) -> Suspicion:
    return Suspicion(
        "all features",
        found,
        "error",
        f"{measure} {found:.3f} out of time is too good to be true (above {most}): look for a feature or a label "
        "that knows the future",
    )


def _worst_first(found: list[Suspicion]) -> tuple[Suspicion, ...]:
    return tuple(sorted(found, key=lambda entry: (entry.severity == "warning", -entry.strength, entry.name)))
