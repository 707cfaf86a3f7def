"""The lakehouse: the tables of one installation, and sessions that read and publish them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.clock import Clock, utc_now
from resources.connections import Connections
from resources.iceberg.tables import PLAIN, Tables
from resources.lake.session import InProcess, Session

if TYPE_CHECKING:
    from resources.settings import Settings


class Lakehouse(Tables):
    """The tables of one installation, with sessions on them. ``clock`` says when something is read."""

    def __init__(self, settings: Settings, clock: Clock = utc_now, connections: Connections = PLAIN) -> None:
        super().__init__(settings, connections)
        self.clock = clock

    def session(self, run_id: str | None = None) -> Session:
        """Reading and publishing for one run, computed by the engine of the settings.

        Every read of the run sees the same state. For tables made of tables.
        """
        return Session(self, run_id, self.clock)

    def in_process(self, run_id: str | None = None) -> InProcess:
        """The same, computed in this process over the tables' files, whatever the engine.

        For what ends in Python or begins there: deliveries, training sets, scores, plans, the ledger. Nothing
        is billed, values keep their types, and large results come as batches.
        """
        return InProcess(self, run_id, self.clock)

    def looking(self) -> InProcess:
        """A session of this process that looks at the lake itself: what it reads is not noted as use."""
        return InProcess(self, None, self.clock, noted=False)
