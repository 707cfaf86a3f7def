"""A measurement in a process of its own: what it returns, or why it did not, and the most memory that it held."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Measured(Generic[T]):
    """A result and the peak resident memory of its process in MB, imports included."""

    result: T
    peak_mb: int


@dataclass(frozen=True)
class Failed:
    """A way that did not finish: what it raised, and its peak memory in MB unless its process was killed."""

    error: BaseException
    peak_mb: int | None


class Killed(Exception):
    """The process of a measurement ended without an answer."""


def attempt(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Measured[T] | Failed:
    """Call a function of a module in a fresh process, which imports that module only, and raise nothing of its."""
    # a spawned process starts with the peak of this one; one that is forked from an empty server does not
    context = get_context("forkserver")
    context.set_forkserver_preload([])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        work = pool.submit(function, *args, **kwargs)
        error = work.exception()
        if isinstance(error, BrokenProcessPool):
            return Failed(Killed("its process was killed, perhaps for want of memory"), None)
        peak = pool.submit(_peak_mb).result()
    return Measured(work.result(), peak) if error is None else Failed(error, peak)


def in_own_process(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Measured[T]:
    """What :func:`attempt` gives, of work without which nothing can go on. Raises what it raises, or Killed."""
    found = attempt(function, *args, **kwargs)
    if isinstance(found, Failed):
        raise found.error
    return found


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@dataclass(frozen=True)
class Cost:
    """Seconds that passed, and seconds of processor time on all cores, which a busy machine changes less."""

    wall: float
    processor: float


def timed(function: Callable[..., None], runs: int, folder: Path, **kwargs: object) -> Cost:
    """The median costs of ``runs`` calls, imports excluded; each is given a folder below ``folder``."""
    walls, processors = [], []
    for number in range(runs):
        wall, processor = time.perf_counter(), time.process_time()
        function(folder=folder / str(number), **kwargs)
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return Cost(statistics.median(walls), statistics.median(processors))
