"""Frames as matrices: numbers as they are, categories as codes, each column checked by name."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.preprocessing import OrdinalEncoder

Floats = npt.NDArray[np.float64]

# A level of fewer rows teaches noise; the trees bin at most 255 levels.
FEWEST_ROWS_OF_A_LEVEL = 10
MOST_LEVELS = 50


class TableReader:
    """Reads frames of the columns it was made with: numeric and boolean ones as floats, text as codes.

    Codes run from 0; levels of under ten rows, or beyond the fifty most frequent, share one code. NaN
    stands for a missing value and for a level that was not there when the reader was made.

    Attributes: `names`, `categorical` (shape (columns,)), and `levels` per categorical column.
    Raises TypeError when X is no DataFrame; ValueError for no or doubled columns, or one that is neither
    numeric, boolean, text nor categorical (a date, say).
    """

    def __init__(self, X: pd.DataFrame) -> None:
        self.names = column_names(X)
        kind = [_kind(X[name]) for name in self.names]
        other = [f"{name} ({X[name].dtype})" for name, k in zip(self.names, kind, strict=True) if k == "other"]
        if other:
            raise ValueError(
                f"columns must be numeric, boolean or text, found {', '.join(other)}; turn a date into days "
                "before the prediction is made"
            )
        self.categorical = np.array([k == "text" for k in kind])
        self._text = [name for name, is_text in zip(self.names, self.categorical, strict=True) if is_text]
        self._encoder = OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=np.nan,
            encoded_missing_value=np.nan,
            min_frequency=FEWEST_ROWS_OF_A_LEVEL,
            max_categories=MOST_LEVELS,
        )
        if self._text:
            self._encoder.fit(_texts(X, self._text))

    def values(self, X: pd.DataFrame) -> Floats:
        """X as a matrix of shape (n, columns). Further columns and their order do not matter.

        Raises ValueError naming a column that is missing, infinite, or of another kind than in training.
        """
        numeric = [name for name, is_text in zip(self.names, self.categorical, strict=True) if not is_text]
        check_present(X, self.names)
        values = np.empty((len(X), len(self.names)))
        values[:, ~self.categorical] = numbers(X, numeric)
        if self._text:
            changed = [name for name in self._text if _kind(X[name]) != "text" and X[name].notna().any()]
            if changed:
                found = ", ".join(f"{name} ({X[name].dtype})" for name in changed)
                raise ValueError(f"columns that were text in training must be text, found {found}")
            values[:, self.categorical] = self._encoder.transform(_texts(X, self._text))
        return values


def column_names(X: pd.DataFrame) -> list[str]:
    """The columns of X. Raises TypeError when X is no DataFrame; ValueError for none, or doubled or unnamed ones."""
    if not isinstance(X, pd.DataFrame):
        raise TypeError(f"X must be a pandas DataFrame with named columns, found {type(X).__name__}")
    if X.shape[1] == 0:
        raise ValueError("X has no columns: at least one feature is needed")
    twice = X.columns[X.columns.duplicated()]
    if len(twice):
        raise ValueError(f"column {twice[0]!r} is there twice; name each feature once")
    unnamed = [name for name in X.columns if not isinstance(name, str)]
    if unnamed:
        raise ValueError(f"columns must be named by text, found {unnamed[0]!r}")
    return list(X.columns)


def check_present(X: pd.DataFrame, names: list[str]) -> None:
    """Raises ValueError naming the columns that X lacks."""
    missing = [name for name in names if name not in X.columns]
    if missing:
        raise ValueError(f"missing feature column(s): {', '.join(missing)}")


def numbers(X: pd.DataFrame, names: list[str]) -> Floats:
    """The named columns as floats, shape (n, names), NaN where unknown.

    Raises ValueError naming a missing, non-numeric or infinite column.
    """
    check_present(X, names)
    other = [n for n in names if _kind(X[n]) != "number"]
    if other:
        found = ", ".join(f"{name} ({X[name].dtype})" for name in other)
        raise ValueError(f"feature columns must be numeric, found {found}")
    values = X[names].to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.isinf(values).any(axis=0)
    if infinite.any():
        found = ", ".join(np.array(names)[infinite])
        raise ValueError(f"feature columns must be finite or NaN, found infinity in {found}")
    return values


def outcomes(
    y: npt.ArrayLike, groups: npt.ArrayLike | None, rows: int, one: str
) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.intp]]:
    """y as 0 and 1 (rows,), and the customer of each row as a number; without `groups` each row is a customer.

    `one` says what 1 means. Raises ValueError for another length, or a y that is not both 0 and 1.
    """
    truth, customer = np.asarray(y), np.arange(rows) if groups is None else np.asarray(groups)
    for name, found in (("y", truth), ("groups", customer)):
        if found.shape != (rows,):
            raise ValueError(f"X has {rows} rows; {name} must have shape ({rows},), found {found.shape}")
    classes = sorted(pd.unique(pd.Series(truth)).tolist(), key=str)
    if classes != [0, 1]:
        raise ValueError(f"y must hold both 0 (stays) and 1 ({one}) and nothing else, found {classes[:5]}")
    # numbers instead of ids: grouping by text costs more than a fit
    return truth.astype(int), pd.factorize(pd.Series(customer))[0]


def _kind(column: pd.Series) -> str:
    # booleans count as numeric in pandas
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column):
        return "number"
    # an object may be anything, exact money for one
    inferred = pd.api.types.infer_dtype(column, skipna=True)
    return "text" if inferred in ("string", "boolean", "categorical", "empty") else "other"


def _texts(X: pd.DataFrame, names: list[str]) -> npt.NDArray[np.object_]:
    # one type per column: levels of mixed types have no order
    as_text = [X[name].astype(object).map(str, na_action="ignore").to_numpy(dtype=object) for name in names]
    stacked = np.column_stack(as_text)
    stacked[pd.isna(stacked)] = np.nan
    return stacked
