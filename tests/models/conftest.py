"""The shop that ran once, for every test of the room."""

from tests.shop import ran_shop

__all__ = ["ran_shop"]
