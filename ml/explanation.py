"""Why a customer's lapse risk is high, in sentences of the customer's own values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ml.lapse import LapseClassifier


@dataclass(frozen=True)
class Theme:
    """Features that say the same thing, and the sentence for them.

    `sentence` gets all columns of the customer (NaN where unknown) and returns plain text, for
    instance "No purchase for 23 days; usually buys every 8".
    """

    name: str
    features: tuple[str, ...]
    sentence: Callable[[Mapping[str, float]], str]


class Reason(NamedTuple):
    """One reason: the theme it belongs to, and the sentence about this customer."""

    theme: str
    sentence: str


def reasons(model: LapseClassifier, X: pd.DataFrame, catalogue: Sequence[Theme], k: int = 3) -> list[list[Reason]]:
    """Per row of X, the reasons of the up to `k` themes that raise the lapse risk most, strongest first.

    A theme weighs the sum of its features' log-odds in the logistic part relative to the training median
    customer; correlated features share their effect and often cancel, so only their sum has a
    meaning. Themes that lower the risk are never given, so a list may be short or empty. It describes
    the model, not a cause. Raises ValueError for an unknown feature or one in two themes.
    """
    _check(catalogue, [str(name) for name in model.feature_names_in_])
    added = model.contributions(X)
    weight = np.column_stack([added[list(theme.features)].sum(axis=1) for theme in catalogue])
    strongest = np.argsort(-weight, axis=1, kind="stable")[:, :k]
    customers = X.astype(float).to_dict("records")
    return [
        [
            Reason(
                catalogue[place].name,
                catalogue[place].sentence({str(name): value for name, value in customer.items()}),
            )
            for place in places
            if row[place] > 0
        ]
        for customer, places, row in zip(customers, strongest, weight, strict=True)
    ]


def _check(catalogue: Sequence[Theme], known: Sequence[str]) -> None:
    if not catalogue:
        raise ValueError("the catalogue of themes is empty: no reason could ever be given")
    owner: dict[str, str] = {}
    for theme in catalogue:
        for feature in theme.features:
            if feature not in known:
                raise ValueError(f"theme {theme.name!r} names feature {feature!r}, which the model does not use")
            if feature in owner:
                raise ValueError(f"feature {feature!r} is in two themes, {owner[feature]!r} and {theme.name!r}")
            owner[feature] = theme.name
