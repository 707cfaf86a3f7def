"""The maximum of a likelihood under a weak prior, and how sharply it is known."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numpy.linalg import LinAlgError
from scipy.optimize import minimize

Floats = npt.NDArray[np.float64]
Likelihood = Callable[[Floats], tuple[float, Floats]]

# No data set moves a scaled parameter this far; it keeps a line search from overflowing.
LOG_BOUND = 12.0
STEP = 1e-4


def maximise(likelihood: Likelihood, start: Floats, prior_sd: float, curvature: Floats | None = None) -> Floats:
    """Log-parameters at the maximum of likelihood times prior, from `start`, shape (parameters,).

    `likelihood` gives its logarithm and exact gradient. The prior is normal around 0 on each log-parameter.
    `curvature`, when a smaller sample has told it, makes the way there a few steps. Raises RuntimeError when
    no maximum is found.
    """
    whiten = np.eye(len(start)) if curvature is None else _inverse_root(curvature)
    precision = prior_sd**-2
    # A loss of order one per step in any direction: else the line search tries points far outside.
    size = 1.0 if curvature is not None else max(1.0, abs(likelihood(start)[0]))

    def loss(z: Floats) -> tuple[float, Floats]:
        theta = np.clip(start + whiten @ z, -LOG_BOUND, LOG_BOUND)
        value, gradient = likelihood(theta)
        value, gradient = -value + precision * float(theta @ theta) / 2, -gradient + precision * theta
        return value / size, whiten.T @ gradient / size

    found = minimize(
        loss,
        np.zeros(len(start)),
        jac=True,
        method="L-BFGS-B",
        bounds=None if curvature is not None else [(-LOG_BOUND, LOG_BOUND) - at for at in start],
        options={"maxiter": 2000, "maxfun": 5000, "ftol": 1e-15, "gtol": 1e-9 if curvature is None else 1e-3},
    )
    # Status 2 is a line search at the limit of floating point: the point is as good as it gets.
    if found.status == 1 or not np.isfinite(found.fun):
        raise RuntimeError(f"no maximum of the likelihood found: {found.message}")
    return np.clip(start + whiten @ found.x, -LOG_BOUND, LOG_BOUND)


def information(likelihood: Likelihood, theta: Floats, prior_sd: float) -> tuple[float, Floats]:
    """The log likelihood at `theta`, and minus the second derivatives of it plus log prior.

    By forward differences of the exact gradient: standard errors need four digits, not eight.
    """
    value, gradient = likelihood(theta)
    rows = [(gradient - likelihood(theta + step)[1]) / STEP for step in STEP * np.eye(len(theta))]
    matrix = np.array(rows)
    return value, (matrix + matrix.T) / 2 + np.eye(len(theta)) * prior_sd**-2


def standard_errors(curvature: Floats) -> Floats:
    """Standard errors of the log-parameters, shape (parameters,); NaN where the maximum is not a proper one."""
    try:
        inverse = np.linalg.inv(curvature)
    except LinAlgError:
        return np.full(len(curvature), np.nan)
    variance = np.diag(inverse)
    return np.sqrt(np.where(variance > 0, variance, np.nan))


def _inverse_root(curvature: Floats) -> Floats:
    values, vectors = np.linalg.eigh(curvature)
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1e-3)))
