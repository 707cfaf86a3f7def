"""The figures of the storage page: from the rows of a look, the snapshots of moves and the journal."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from cdap_assets.tiering.look import Look
from cdap_assets.tiering.storage_page import storage_figures
from cdap_assets.tiering.storage_policy import StoragePolicy, Terms, prices_of
from pages.storage import StorageFigures
from resources.iceberg.placement import placed_now
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from resources.tiers.journal import Journal
from resources.tiers.moving import begun, carry_out
from tests.resources.visits import FIRST, SECOND, put
from tests.tiering.decided import AT, decided


@pytest.fixture
def seen(home: Settings) -> Look:
    """A look that found no partition: its rows are the test's."""
    policy = StoragePolicy()
    return Look(AT, Terms(policy, prices_of(home, policy), {}), ())


def figures(lake: Lakehouse, seen: Look, *rows: Any) -> StorageFigures:
    return storage_figures(lake, seen, rows)


def test_what_stays_is_counted_by_kind_and_a_row_without_one_has_other_reasons(lake: Lakehouse, seen: Look) -> None:
    rows = [
        decided(1, "stay", kind="written recently", reason="written 3 days ago, stays for 90"),
        decided(2, "stay", kind="written recently", reason="written 9 days ago, stays for 90"),
        # the words of a reason decide nothing
        decided(3, "stay", kind=None, reason="written 3 days ago, stays for 90"),
        decided(4, "stay", kind="deleted", tier="expired"),
        decided(5),
    ]
    found = figures(lake, seen, *rows)
    assert [(stay.reason, stay.partitions, stay.bytes) for stay in found.stays] == [
        ("written too recently", 2, 200),
        ("other reasons", 1, 100),
    ]
    assert found.stays[0].example == "written 3 days ago, stays for 90"
    assert [one.partition for one in found.proposals] == ["month=2010-06-01"]


def test_a_restore_that_waits_is_told_with_its_size_and_past_moves_with_their_kind(lake: Lakehouse, seen: Look) -> None:
    put(lake, [(1, FIRST), (2, SECOND)])
    carry_out(lake, begun("archive", "visits", [(FIRST,)], AT, reason="a test"))
    Journal(lake.stores.archive).begin(begun("restore", "visits", [(FIRST,)], AT, speed="Bulk", due=date(2024, 6, 8)))
    table = lake.load("visits")
    assert table is not None
    found = figures(lake, seen)
    [waiting], [move] = found.restores, found.moves
    assert (waiting.partition, waiting.speed) == (f"day={FIRST}", "Bulk")
    assert waiting.bytes == placed_now(table)[FIRST,].bytes > 0
    assert (move.kind, move.partition, move.reason) == ("archive", f"day={FIRST}", "a test")
