"""Locks of a home: one process at a time, and whoever waits in vain is told for whom."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resources.settings import Settings
from resources.stores.busy import Busy
from resources.stores.lock import confirm, exclusive


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def test_who_holds_a_lock_is_told_and_the_next_one_follows(settings: Settings) -> None:
    with exclusive(settings, "run", timeout=0):
        confirm()
        with exclusive(settings, "other", timeout=0), pytest.raises(Busy, match="Nothing was done") as told:
            exclusive(settings, "run", timeout=0.1).__enter__()
        assert (told.value.name, told.value.holder) == ("run", f"process {os.getpid()}")
    with exclusive(settings, "run", timeout=0):
        confirm()


def test_a_lock_is_let_go_of_when_the_work_fails_and_the_error_is_its_own(settings: Settings) -> None:
    with pytest.raises(TimeoutError, match="mine"), exclusive(settings, "run", timeout=0):
        raise TimeoutError("mine")
    with exclusive(settings, "run", timeout=0):
        confirm()
