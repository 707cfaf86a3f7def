"""How a delivered file is written, and that one cannot be read so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FileFormat:
    """How a delivered file is written. ``columns`` names those of a CSV file without a header."""

    type: str = "csv"
    delimiter: str = ","
    header: bool = True
    encoding: str = "utf-8"
    columns: tuple[str, ...] = ()
    null_values: tuple[str, ...] = ("",)


class UnreadableFile(ValueError):
    """A delivered file that is not of its declared format at all."""
