"""A move in a process that kills itself before or after the nth thing that the move does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resources.lake.lakehouse import Lakehouse
from resources.settings import Settings
from resources.tiers import committing, moving
from resources.tiers.journal import Journal, Move
from resources.tiers.manifest import ArchiveManifest

STEPS: tuple[tuple[Any, str], ...] = (
    (Journal, "begin"),
    (Journal, "finish"),
    (ArchiveManifest, "write"),
    (moving, "copy"),
    (moving, "write_keys"),
    (moving, "rewritten"),
    (moving, "set_class"),
    (committing, "overwritten"),
)


def opened(home: Path) -> Lakehouse:
    """The lake of a home, as each process opens it anew."""
    return Lakehouse(Settings(home=home, threads=1, memory_limit="500MB"))


def move_and_die(home: Path, move: Move | None, step: int) -> None:
    """Carry ``move`` out, or finish what is pending without one, and die at a step; done before means exit code 0."""
    done = 0

    def reached() -> None:
        nonlocal done
        done += 1
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def dying(work: Callable[..., Any]) -> Callable[..., Any]:
        def worked(*args: Any, **how: Any) -> Any:
            reached()
            result = work(*args, **how)
            reached()
            return result

        return worked

    for place, name in STEPS:
        setattr(place, name, dying(getattr(place, name)))
    if move is None:
        list(moving.finish_pending(opened(home)))
    else:
        moving.carry_out(opened(home), move)
