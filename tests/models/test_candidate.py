"""What a candidate shows beside its figures: a customer whom nobody is, and who could be."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from cdap_assets.models.candidate import made_up_customer
from ml.btyd.histories import Histories

PURCHASES = ["frequency", "recency", "T"]


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, float, float]:
    """Repeat purchases, the weeks between the first and the last, and those since the first."""
    frequency = draw(st.integers(0, 30))
    age = draw(st.integers(max(frequency, 1), 400)) / 7
    return frequency, draw(st.floats(1 / 7, age)) if frequency else 0.0, age


@given(st.lists(histories(), min_size=1, max_size=12))
def test_the_made_up_customer_of_any_shop_has_a_history_that_a_customer_can_have(
    customers: list[tuple[int, float, float]],
) -> None:
    example = made_up_customer(pd.DataFrame(customers, columns=PURCHASES), PURCHASES)
    assert Histories.of(example).customers == 1
