"""How many examples Hypothesis draws: few and always the same in `make test`, ten times as many in `make test-long`."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

USUAL = 100  # Hypothesis's own number, which profiles multiply
settings.register_profile("ci", max_examples=USUAL, derandomize=True, deadline=None)
settings.register_profile("long", max_examples=10 * USUAL, deadline=None)


def examples(few: int, **more: Any) -> settings:
    """Settings of a test for which ``few`` examples are enough in ``make test``; a longer profile multiplies them."""
    return settings(max_examples=few * settings.default.max_examples // USUAL, deadline=None, **more)
