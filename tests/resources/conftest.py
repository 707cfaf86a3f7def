"""A lake in a folder of its own, and a small table to publish."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings


@pytest.fixture
def open_lake(tmp_path: Path) -> Callable[..., Lakehouse]:
    """Opens the lake of a home below the test's folder, a new object each time as another process would."""

    def make(home: str = "home") -> Lakehouse:
        return Lakehouse(Settings(home=tmp_path / home, threads=1, memory_limit="1GB"))

    return make


@pytest.fixture
def lake(open_lake: Callable[..., Lakehouse]) -> Lakehouse:
    return open_lake()
