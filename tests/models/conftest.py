"""The shop that ran once, and its registry, for every test of the room."""

import pytest

from resources.registry.model_registry import ModelRegistry
from resources.settings import Settings
from tests.shop import ran_shop

__all__ = ["ran_shop"]


@pytest.fixture
def registry(ran_shop: Settings) -> ModelRegistry:
    return ModelRegistry(ran_shop)
