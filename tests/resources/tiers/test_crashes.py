"""A move that is killed at any of its steps: no read returns fewer rows in silence, and the next run finishes it."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import pytest

from resources.iceberg.errors import PartitionsArchived
from resources.iceberg.placement import placed_now
from resources.lake.lakehouse import Lakehouse
from resources.tiers.journal import Journal, Kind, Move
from resources.tiers.moving import begun, carry_out, finish_pending
from tests.processes import fresh
from tests.resources.tiers.crashing import move_and_die, opened
from tests.resources.visits import FIRST, SECOND, VISITS, put

AT = datetime(2024, 6, 1, 5)
ROWS = {FIRST: [1, 11], SECOND: [2, 12]}
BEFORE: dict[Kind, tuple[Kind, ...]] = {"restore": ("archive",), "return": ("archive", "restore"), "warm": ("cool",)}
MOST_STEPS = 40
TWICE = 4  # every so many steps the run that finishes a move dies as well, one step later each time


def first(kind: Kind) -> Move:
    return begun(kind, "visits", [(FIRST,)], AT, sought_by="visit" if kind == "archive" else "")


def prepared(home: Path, kind: Kind) -> None:
    lake = opened(home)
    for number in (0, 10):
        put(lake, [(number + 1, FIRST), (number + 2, SECOND)], append=True)
    for earlier in BEFORE.get(kind, ()):
        carry_out(lake, first(earlier))


def died(home: Path, move: Move | None, step: int) -> bool:
    """Whether the move was killed before its end; it runs in a process that nothing was computed in before."""
    process = fresh().Process(target=move_and_die, args=(home, move, step))
    process.start()
    process.join()
    assert process.exitcode in (0, -9), process.exitcode
    return process.exitcode == -9


def refused_or_whole(lake: Lakehouse) -> bool:
    """Whether the moved partition is refused; all that can be read is all there is."""
    with lake.session() as session:
        try:
            expression, refused = session.read(VISITS), False
        except PartitionsArchived:
            expression, refused = session.read(VISITS, {"day": [SECOND]}), True
        found = sorted(expression.visit.to_pyarrow().to_pylist())
    assert found == sorted([*ROWS[SECOND], *([] if refused else ROWS[FIRST])])
    return refused


@pytest.mark.parametrize("kind", ["archive", "restore", "return", "cool", "warm", "compact"])
def test_a_move_that_is_killed_at_any_step_is_finished_by_the_next_run(kind: Kind, tmp_path: Path) -> None:
    home, template = tmp_path / "home", tmp_path / "template"
    prepared(home, kind)
    shutil.copytree(home, template)
    for step in range(1, MOST_STEPS):
        shutil.rmtree(home)
        shutil.copytree(template, home)
        if not died(home, first(kind), step):
            break
        refused_or_whole(opened(home))
        if step % TWICE == 2 and died(home, None, 1 + step // TWICE):
            refused_or_whole(opened(home))
        lake = opened(home)
        list(finish_pending(lake))
        assert list(Journal(lake.stores.archive).pending()) == []
        # only a move that was killed before it was written down did not happen
        refused = refused_or_whole(lake)
        assert refused == (kind in ("archive", "return") if step > 1 else kind == "restore")
        if refused:
            carry_out(lake, first("restore"))
            assert not refused_or_whole(lake)
    else:
        pytest.fail(f"a {kind} has more than {MOST_STEPS} steps")
    assert step > 5


def test_an_expiry_that_is_killed_at_any_step_is_whole_or_decided_anew(tmp_path: Path) -> None:
    home, template = tmp_path / "home", tmp_path / "template"
    prepared(home, "restore")  # archived
    shutil.copytree(home, template)
    ends = []
    for step in range(2, MOST_STEPS):
        shutil.rmtree(home)
        shutil.copytree(template, home)
        if not died(home, first("expire"), step):
            break
        lake = opened(home)
        list(finish_pending(lake))
        table = lake.load("visits")
        assert table is not None
        assert list(Journal(lake.stores.archive).pending()) == []
        ends.append(placed_now(table)[(FIRST,)].tier)
    else:
        pytest.fail(f"an expiry has more than {MOST_STEPS} steps")
    assert ends == sorted(ends), "deleted once it was committed, archived as it was before"
    assert set(ends) == {"archived", "expired"}
