"""`python -m benchmarks.btyd [--quick]`: BTYD models beside lifetimes, each in a process of its own."""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import numpy as np
import pandas as pd

from benchmarks.process import Failed, attempt
from benchmarks.results import Results, one_line, table
from ml import btyd

CUSTOMERS, LARGE = 1_000_000, 10_000_000
RUNS = 3
R, ALPHA_WEEKS, A, B = 0.25, 4.8, 0.8, 2.4
HORIZON_WEEKS = 39
THEIRS = "lifetimes 0.11.3"
MODELS = {"BetaGeometric": "BetaGeoFitter", "ModifiedBetaGeometric": "ModifiedBetaGeoFitter", "ParetoNBD": None}
NOTE = (
    f"Seconds to fit: beside {THEIRS} the median of {RUNS} runs of ours, else one run; ratios to {THEIRS}. Peak memory "
    f"of each process, imports and data included; expectation: {HORIZON_WEEKS} weeks for all customers."
)


def main() -> None:
    """Fit both on simulated customers, keep each row in benchmarks/results, and print markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.btyd", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the customers")
    share = 100 if parser.parse_args().quick else 1
    results = Results("btyd")
    beside_lifetimes(results, CUSTOMERS // share)
    alone(results, LARGE // share)
    print(f"## BTYD models on simulated customers on a day grid\n\n{table(results.rows)}\n\n{NOTE}\n")
    print(f"Kept in {results.path.name}.")


def beside_lifetimes(results: Results, customers: int) -> None:
    """A row for each model of theirs and of ours on the same customers, with what both found."""
    size = f"{customers:,} customers"
    for model, name in MODELS.items():
        theirs = None
        if name:
            found = attempt(fit_theirs, name, customers)
            if isinstance(found, Failed):
                results.add(f"{model}, {THEIRS}", size, error=one_line(found.error), peak_mb=found.peak_mb)
            else:
                theirs, likelihood = found.result
                figures = {"log likelihood": likelihood}
                results.add(f"{model}, {THEIRS}", size, seconds=theirs, peak_mb=found.peak_mb, figures=figures)
        _add_ours(results, model, customers, seed=0, runs=RUNS, theirs=theirs)


def alone(results: Results, customers: int) -> None:
    """A row for each model of ours on many customers."""
    for model in MODELS:
        _add_ours(results, model, customers, seed=1, runs=1, theirs=None)


def _add_ours(results: Results, model: str, customers: int, *, seed: int, runs: int, theirs: float | None) -> None:
    size = f"{customers:,} customers"
    found = attempt(fit_ours, model, customers, seed, runs)
    if isinstance(found, Failed):
        results.add(f"{model}, ours", size, error=one_line(found.error), peak_mb=found.peak_mb)
        return
    seconds, likelihood, expecting = found.result
    results.add(
        f"{model}, ours",
        size,
        seconds=seconds,
        peak_mb=found.peak_mb,
        **({"ratio": seconds / theirs, "against": THEIRS} if theirs else {}),
        figures={"log likelihood": likelihood, "expectation s": expecting},
    )


def fit_ours(model: str, customers: int, seed: int, runs: int) -> tuple[float, float, float]:
    """Seconds to fit (the median), the log likelihood found, and seconds to expect purchases of all customers."""
    X = simulated(customers, seed)
    fits = []
    for _ in range(runs):
        start = time.perf_counter()
        fitted = getattr(btyd, model)().fit(X)
        fits.append(time.perf_counter() - start)
    start = time.perf_counter()
    fitted.expected_purchases(X, HORIZON_WEEKS)
    return statistics.median(fits), float(fitted.log_likelihood_), time.perf_counter() - start


def fit_theirs(name: str, customers: int) -> tuple[float, float]:
    """Seconds that lifetimes takes to fit the same customers, and the log likelihood that it found."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lifetimes

        X = simulated(customers, seed=0)
        start = time.perf_counter()
        fitted = getattr(lifetimes, name)().fit(X["frequency"], X["recency"], X["T"])
        seconds = time.perf_counter() - start
    # lifetimes fits in its own unit of time: one factor for each purchase
    return seconds, float(-fitted._negative_log_likelihood_ * len(X) + X["frequency"].sum() * np.log(fitted._scale))


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


if __name__ == "__main__":
    main()
