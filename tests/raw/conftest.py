"""A shop whose files land in a home of its own, and a desk that takes them at given times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resources.engines.engine import Engine
from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from tests.raw.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "home")


@pytest.fixture
def open_shop(tmp_path: Path) -> Callable[[str], Shop]:
    return lambda name: Shop(tmp_path / name)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), threads=1, memory_limit="500MB")
    engine = Lakehouse(settings).in_process().engine
    yield engine
    engine.close()
