"""One installation: its settings, contracts, lake and model registry, made once where a process starts.

No logic goes here. Rooms below this one (models, retention, raw and the like) do not know it: they are given the
lakehouse, the registry or the clock that they need.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdap_assets.lineage import Lineage, read_lineage
from resources.clock import Clock, utc_now
from resources.lake.lakehouse import Lakehouse
from resources.registry.model_registry import ModelRegistry
from resources.settings import Settings


@dataclass(frozen=True)
class Installation:
    """What the commands and the definitions of one home work on. Making one opens no database and no network.

    ``clock`` says what now is, to all of them.
    """

    settings: Settings
    lineage: Lineage
    lakehouse: Lakehouse
    registry: ModelRegistry
    clock: Clock

    @classmethod
    def of(cls, settings: Settings, clock: Clock = utc_now) -> Installation:
        """The installation that ``settings`` describe, with its contracts as they are now."""
        return cls(settings, read_lineage(settings), Lakehouse(settings, clock), ModelRegistry(settings), clock)
