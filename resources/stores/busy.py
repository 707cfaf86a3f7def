"""What a lock tells whoever does not get it, or has lost it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. ``mark`` changes with each renewal of a lease; empty for a lock that needs none."""

    name: str
    mark: str = ""


class Busy(RuntimeError):
    """Another process holds a lock and did not let go in time; nothing was done."""

    def __init__(self, name: str, holder: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.holder = holder

    @classmethod
    def after(cls, name: str, holder: str, timeout: float) -> Busy:
        """Who was waited for in vain, and for how many seconds."""
        return cls(
            name,
            holder,
            f"{name} is being worked on by {holder} since more than {timeout:,.0f} s; "
            "wait for it or end it, then run again. Nothing was done.",
        )


class LockLost(Busy):
    """Another process has taken a lock over, for its holder was out of reach for longer than a lease."""
