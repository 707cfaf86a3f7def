"""The name of a plan: the snapshot date that it is for, and which draft of it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

FORM = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})-([1-9][0-9]*)")


class PlanRefused(ValueError):
    """What was asked of a plan cannot be done; the message says why and what can."""


@dataclass(frozen=True, order=True)
class PlanId:
    """A plan's id. Ids are ordered by snapshot date, then by number: draft 10 comes after draft 9.

    Tables, file names and commands have it as text, such as ``2024-03-03-1``. ``number`` counts from 1; one below
    raises ``ValueError``.
    """

    snapshot: date
    number: int

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"drafts are numbered from 1, found {self.number}")

    def __str__(self) -> str:
        return f"{self.snapshot}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> PlanId:
        """The id that ``text`` names. Raises :class:`PlanRefused` for any other text."""
        found = FORM.fullmatch(text)
        with suppress(ValueError):  # a day that the calendar does not have
            if found:
                return cls(date.fromisoformat(found[1]), int(found[2]))
        raise PlanRefused(
            f"{text!r} is not the id of a plan: one looks like 2024-03-03-1, the snapshot date and the number of the "
            "draft; see `cdap plan list`"
        )

    @property
    def next(self) -> PlanId:
        """The id of the draft after this one, of the same snapshot date."""
        return PlanId(self.snapshot, self.number + 1)
