"""An order log in a CSV or Parquet file: one row per order or order line, refused by row and column."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from ml.orders import OrderLog

ISO_DAY = r"^\d{4}-?\d{2}-?\d{2}(?!\d)"
DELIMITERS = ",;\t|"
PARQUET = (".parquet", ".pq")
DEFAULT_AMOUNT = "amount"


class OrderFileError(ValueError):
    """The file cannot be read as an order log; the message names the row, the column and what to do."""


@dataclass(frozen=True)
class OrderFile:
    """The log of a file and what was left out of it: days on which a customer only gave things back."""

    log: OrderLog
    rows: int
    returns: int


def read_orders(
    path: Path, *, customer: str, date: str, amount: str | None, date_format: str | None = None
) -> OrderFile:
    """Read the named columns. ``amount`` ``None``: the column amount if there is one, else purchases only.

    Days are those written in the file: the time of day and an offset from UTC are not looked at. A day on
    which a customer has only negative amounts is no purchase day and left out; other negative amounts lower
    the day's spend. Raises :class:`OrderFileError`.
    """
    from ml.orders import OrderLog

    if not path.is_file():
        raise OrderFileError(f"{path} is no file; give a CSV or Parquet file with one row per order or order line")
    found = _column_names(path)
    if amount is None and DEFAULT_AMOUNT in found and DEFAULT_AMOUNT not in (customer, date):
        amount = DEFAULT_AMOUNT
    names = [name for name in (customer, date, amount) if name is not None]
    _refuse_missing(path, names, found)
    if len(set(names)) < len(names):
        raise OrderFileError(f"--customer, --date and --amount must be different columns, found {', '.join(names)}")
    rows = _parquet(path, names) if path.suffix.lower() in PARQUET else _csv(path, names)
    if rows.empty:
        raise OrderFileError(f"{path} holds no row below its header")
    ids = _ids(path, rows[customer])
    days = _days(path, rows[date], date_format)
    if amount is None:
        return OrderFile(OrderLog.of(ids, days), len(rows), 0)
    money = _amounts(path, rows[amount])
    bought = (money >= 0).groupby([ids, days]).transform("any")
    if not bought.any():
        raise OrderFileError(f"{path}, column {amount}: every amount is negative; orders have amounts of 0 and more")
    log = OrderLog.of(ids[bought], days[bought], money[bought])
    return OrderFile(log, len(rows), int((~bought).sum()))


def _column_names(path: Path) -> list[str]:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() in PARQUET:
            return list(pq.read_schema(path).names)
        return [str(name) for name in pd.read_csv(path, sep=_delimiter(path), nrows=0, encoding="utf-8-sig").columns]
    except pa.ArrowInvalid as error:
        raise OrderFileError(f"{path} is no Parquet file: {error}") from error
    except pd.errors.EmptyDataError as error:
        raise OrderFileError(f"{path} is empty; expected a header line and one row per order") from error
    except UnicodeDecodeError as error:
        raise OrderFileError(f"{path} is not UTF-8 text at byte {error.start}; save it as CSV UTF-8") from error


def _delimiter(path: Path) -> str:
    with path.open(encoding="utf-8-sig") as file:
        return max(DELIMITERS, key=file.readline().count)


def _csv(path: Path, names: list[str]) -> pd.DataFrame:
    import pandas as pd

    try:
        rows = pd.read_csv(
            path,
            sep=_delimiter(path),
            usecols=names,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skip_blank_lines=False,  # so that a row's place is its line
        ).fillna("")
        return rows[(rows != "").any(axis=1)]
    except UnicodeDecodeError as error:
        raise OrderFileError(f"{path} is not UTF-8 text at byte {error.start}; save it as CSV UTF-8") from error
    except pd.errors.ParserError as error:
        raise OrderFileError(f"{path} is no CSV of one shape: {error}. Quote fields that hold the delimiter") from error


def _parquet(path: Path, names: list[str]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    # As text, as in a CSV: one set of rules for both, and the wall time of a zoned timestamp is kept.
    table, columns = pq.read_table(path, columns=names), {}
    for name in names:
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            column = pc.strftime(pc.local_timestamp(column) if column.type.tz else column, "%Y-%m-%d")
        try:
            columns[name] = column.cast(pa.string()).fill_null("").to_pandas().astype("str")
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise OrderFileError(f"{path}, column {name}: {column.type} values cannot be read as text") from error
    return pd.DataFrame(columns)


def _refuse_missing(path: Path, names: list[str], found: list[str]) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise OrderFileError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(map(str, found[:30]))}. "
            "Name yours with --customer, --date and --amount"
        )


def _ids(path: Path, column: pd.Series) -> pd.Series:
    ids = column.str.strip()
    _refuse(path, column, ids == "", "a customer id", "remove rows without a customer, such as guest orders")
    return ids


def _days(path: Path, column: pd.Series, date_format: str | None) -> pd.Series:
    import pandas as pd

    text = column.str.strip()
    distinct = pd.Series(text.unique())
    if date_format is not None:
        try:
            parsed = pd.to_datetime(distinct, format=date_format, errors="coerce")
            parsed = parsed.dt.tz_localize(None)  # the day as written
        except (ValueError, AttributeError) as error:
            raise OrderFileError(
                f"{path}, column {column.name}: --date-format {date_format} cannot be used; write it with the "
                "directives of strptime, and dates without an offset from UTC or all with the same"
            ) from error
        advice, expected = f"check --date-format {date_format}", f"a date as {date_format}"
    else:
        valid = pd.to_datetime(distinct, format="ISO8601", errors="coerce", utc=True).notna()
        # The day as written: an offset would move it, and a week of the shop begins at its own midnight.
        written = distinct.str.extract(f"({ISO_DAY})", expand=False).str.replace("-", "")
        parsed = pd.to_datetime(written.where(valid), format="%Y%m%d", errors="coerce")
        advice = "write dates as YYYY-MM-DD or say how they are written, for instance --date-format %d/%m/%Y"
        expected = "a date as YYYY-MM-DD"
    days = text.map(pd.Series(parsed.to_numpy(), index=distinct.to_numpy()))
    _refuse(path, column, days.isna(), expected, advice)
    return days.dt.normalize()


def _amounts(path: Path, column: pd.Series) -> pd.Series:
    import numpy as np
    import pandas as pd

    money = pd.to_numeric(column.str.strip(), errors="coerce")
    _refuse(
        path,
        column,
        ~np.isfinite(money.astype("float64")),
        "an amount such as 12.34",
        "write numbers with a decimal point and without thousands separators or currency signs",
    )
    return money.astype("float64")


def _refuse(path: Path, column: pd.Series, wrong: pd.Series, expected: str, advice: str) -> None:
    if wrong.any():
        place = int(wrong.to_numpy().argmax())
        value = column.iloc[place]
        found = repr(value[:40]) if value else "nothing"
        others = int(wrong.sum()) - 1
        more = f" ({others:,} more such rows)" if others else ""
        row = int(column.index[place]) + (1 if path.suffix.lower() in PARQUET else 2)
        raise OrderFileError(
            f"{path}, row {row}, column {column.name}: expected {expected}, found {found}{more}; {advice}"
        )
