"""What every way to the features is given: the same files, cut-offs and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

Files = Mapping[str, Sequence[str]]
WINDOWS = (28, 56, 91, 182)  # days, as in customer_features


@dataclass(frozen=True)
class Task:
    """``files`` are the Parquet files of each table, ``cutoffs`` the UTC instant of each snapshot date."""

    home: Path
    files: Files
    cutoffs: Mapping[date, datetime]
    threads: int
    memory_limit: str
