"""How customers came to be treated. Without it a difference between them is no effect, and is refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from ml.linear import SplineLogistic
from ml.table import TableReader, numbers

Floats = npt.NDArray[np.float64]
Treatment = npt.NDArray[np.int_]

# Each of three tests calls a fair lot unfair once in a thousand fits.
SIGNIFICANCE = 0.001
# Fewer expected draws make the normal approximation of a balance test too bold.
FEWEST_DRAWS = 20.0
OVERLAP = (0.02, 0.98)
# A few fitted chances outside are noise of the fit; they are moved to the border.
MOST_OUTSIDE = 0.01
FOLDS = 5


class AssignmentError(ValueError):
    """The assignment of the treatment does not allow to speak of an effect.

    AssignmentError
    +-- AssignmentUnknown: nobody said how customers came to be treated
    +-- AssignmentContradicted: it was said to be random, and the rows say otherwise
    +-- NoOverlap: some customers were all treated or all not, so there is no one to compare them with
    """


class AssignmentUnknown(AssignmentError):
    """Nobody said how customers came to be treated."""


class AssignmentContradicted(AssignmentError):
    """The treatment was said to be random, and the rows say otherwise."""


class NoOverlap(AssignmentError):
    """Some customers were practically all treated or all not treated."""


class Assignment(Protocol):
    """How customers came to be treated: `Randomised` or `AssumedByFeatures`."""

    def features(self, X: pd.DataFrame) -> pd.DataFrame:
        """X without columns that tell the assignment only."""
        ...

    def chances(self, X: pd.DataFrame, treatment: Treatment) -> Floats:
        """The chance of each row to be treated, shape (n,). Raises AssignmentError."""
        ...


@dataclass(frozen=True)
class Randomised:
    """Each customer treated by a lot of their own, as in an experiment with a held-out control.

    `share` is the chance to be treated: one number for all, or the name of a column of X that holds each
    customer's chance; that column is no feature. Raises ValueError for a share outside 0..1.
    """

    share: float | str

    def __post_init__(self) -> None:
        if not isinstance(self.share, str) and not 0 < self.share < 1:
            raise ValueError(
                f"share must lie between 0 and 1, both excluded, or name a column of X; found {self.share}"
            )

    def features(self, X: pd.DataFrame) -> pd.DataFrame:
        """X without the column of chances, if there is one."""
        return X.drop(columns=self.share, errors="ignore") if isinstance(self.share, str) else X

    def chances(self, X: pd.DataFrame, treatment: Treatment) -> Floats:
        """The stated chance of each row, shape (n,).

        Raises AssignmentContradicted, naming the column most off, when the treated share differs from the
        stated one, or a feature or all together tell who was treated (each at .1 %); ValueError when a
        chance is missing or not between 0 and 1.
        """
        chance = self._stated(X)
        self._check_share(treatment, chance)
        _check_balance(self.features(X), treatment, chance)
        return chance

    def _stated(self, X: pd.DataFrame) -> Floats:
        if not isinstance(self.share, str):
            return np.full(len(X), float(self.share))
        chance = numbers(X, [self.share])[:, 0]
        unusable = ~((chance > 0) & (chance < 1))
        if unusable.any():
            row = int(np.flatnonzero(unusable)[0])
            raise ValueError(
                f"column {self.share!r} holds the chance to be treated and must lie between 0 and 1, both "
                f"excluded; found {chance[row]:g} in row {row} ({int(unusable.sum())} such rows)"
            )
        return chance

    def _check_share(self, treatment: Treatment, chance: Floats) -> None:
        off = abs(float((treatment - chance).sum())) / float(np.sqrt((chance * (1 - chance)).sum()))
        if 2 * norm.sf(off) < SIGNIFICANCE:
            raise AssignmentContradicted(
                f"{treatment.mean():.1%} of {len(treatment)} rows are treated and {chance.mean():.1%} were to "
                f"be ({off:.0f} standard errors off): state the share of the lot that was drawn, and look for "
                "rows lost after it"
            )


@dataclass(frozen=True)
class AssumedByFeatures:
    """An assumption, not a fact: X holds all that decided both who was treated and how they fare.

    The chance to be treated is estimated from X. No data can show that the assumption holds; say so
    wherever a result of it is shown.
    """

    def features(self, X: pd.DataFrame) -> pd.DataFrame:
        """All of X."""
        return X

    def chances(self, X: pd.DataFrame, treatment: Treatment) -> Floats:
        """The chance of each row, fitted on other rows; shape (n,).

        Raises NoOverlap, naming the column that tells most, when more than 1 % of the rows have a chance
        outside .02-.98 (Crump, Hotz, Imbens & Mitnik 2009).
        """
        chance = np.empty(len(X))
        for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(X, treatment):
            fitted = SplineLogistic().fit(X.iloc[train], treatment[train])
            chance[test] = fitted.predict_proba(X.iloc[test])[:, 1]
        outside = (chance < OVERLAP[0]) | (chance > OVERLAP[1])
        if outside.mean() > MOST_OUTSIDE:
            column, _ = _most_off(X, treatment, np.full(len(X), treatment.mean()))
            raise NoOverlap(
                f"{outside.mean():.1%} of the rows have a chance to be treated outside {OVERLAP[0]}-{OVERLAP[1]}, "
                f"most told by column {column!r}: keep only customers who could have been in either arm, or "
                "drop the column if it was only known after the treatment"
            )
        return np.clip(chance, *OVERLAP)


def _check_balance(X: pd.DataFrame, treatment: Treatment, chance: Floats) -> None:
    column, p_value = _most_off(X, treatment, chance)
    if p_value < SIGNIFICANCE:
        raise AssignmentContradicted(
            f"the treatment was said to be random, but column {column!r} tells who was treated (p {p_value:.0e}): "
            "drop it if it was only known after the treatment; if the treatment was not drawn by lot, say "
            "AssumedByFeatures() where that can be defended"
        )
    together = _Trees(X, treatment)
    p_value = float(norm.sf(_z(together.told(), treatment, chance)))
    if p_value < SIGNIFICANCE:
        least = [_z(together.told(shuffled=name), treatment, chance) for name in together.names]
        raise AssignmentContradicted(
            "the treatment was said to be random, but the columns together tell who was treated, "
            f"{together.names[int(np.argmin(least))]!r} most (p {p_value:.0e}): drop what was only known after the "
            "treatment; if it was not drawn by lot, say AssumedByFeatures() where that can be defended"
        )


def _most_off(X: pd.DataFrame, treatment: Treatment, chance: Floats) -> tuple[str, float]:
    """The column whose values differ most between the arms, and the p-value corrected for all that were tried."""
    found = [(abs(_z(direction, treatment, chance)), name) for name, direction in _directions(X)]
    largest, column = max(found)
    return column, min(1.0, 2 * float(norm.sf(largest)) * len(found))


def _directions(X: pd.DataFrame) -> Iterator[tuple[str, Floats]]:
    reader = TableReader(X)
    values = reader.values(X)
    for place, name in enumerate(reader.names):
        column = values[:, place]
        unknown = np.isnan(column)
        yield name, unknown.astype(float)
        if reader.categorical[place]:
            for level in np.unique(column[~unknown]):
                yield name, (column == level).astype(float)
        elif not unknown.all():
            # the unknown stand in the middle: their own direction is above
            yield name, rankdata(np.where(unknown, np.median(column[~unknown]), column))


def _z(direction: Floats, treatment: Treatment, chance: Floats) -> float:
    """How many standard errors the treated differ along a direction, were each drawn with its chance."""
    variance = chance * (1 - chance)
    centred = direction - np.average(direction, weights=variance)
    spread = float(variance @ centred**2)
    if spread < 1e-12 or spread / float(np.abs(centred).max()) ** 2 < FEWEST_DRAWS * 0.25:
        return 0.0
    return float((treatment - chance) @ centred) / float(np.sqrt(spread))


class _Trees:
    """Boosted trees that guess who was treated, each half by trees of the other."""

    @threadpool_limits.wrap(limits=1)
    def __init__(self, X: pd.DataFrame, treatment: Treatment) -> None:
        reader = TableReader(X)
        self.names = reader.names
        self._values = reader.values(X)
        self._known = ~np.isnan(self._values).all(axis=0)
        self._fitted = []
        for train, test in StratifiedKFold(2, shuffle=True, random_state=0).split(self._values, treatment):
            trees = HistGradientBoostingClassifier(
                max_iter=30,
                early_stopping=False,
                categorical_features=reader.categorical[self._known],
                random_state=0,
            ).fit(self._values[np.ix_(train, self._known)], treatment[train])
            self._fitted.append((test, trees))

    @threadpool_limits.wrap(limits=1)
    def told(self, shuffled: str | None = None) -> Floats:
        """The guessed chance of each row, shape (n,), optionally without what a column tells."""
        guess = np.empty(len(self._values))
        for test, trees in self._fitted:
            rows = self._values[test]
            if shuffled is not None:
                place = self.names.index(shuffled)
                rows[:, place] = np.random.default_rng(0).permutation(rows[:, place])
            guess[test] = trees.predict_proba(rows[:, self._known])[:, 1]
        return guess
