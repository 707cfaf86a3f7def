"""Integrals that have no closed form fit for every customer, to about eleven digits."""

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh_tridiagonal

Floats = npt.NDArray[np.float64]

BETA_NODES = 64
# Error per node of the decay rule falls by 4 or more for windows up to e^8 times the decay time.
DECAY_NODES = 20


def beta_rule(a: float, b: float) -> tuple[Floats, Floats]:
    """Nodes in (0, 1) and masses summing to 1 of the Gauss-Jacobi rule for a Beta(a, b) variable.

    Golub & Welsch (1969) on the normalised weight, which stays finite where the plain one underflows.
    """
    n = np.arange(1, BETA_NODES, dtype=float)
    s = 2 * n + a + b - 2
    diagonal = np.empty(BETA_NODES)
    diagonal[0] = (a - b) / (a + b)
    diagonal[1:] = (a - b) * (a + b - 2) / (s * (s + 2))
    # The first off-diagonal term is the one where the general form is 0/0 at a + b = 1.
    square = np.empty(BETA_NODES - 1)
    square[0] = 4 * a * b / ((a + b) ** 2 * (a + b + 1))
    k, s_k = n[1:], s[1:]
    square[1:] = 4 * k * (k + a - 1) * (k + b - 1) * (k + a + b - 2) / (s_k**2 * (s_k + 1) * (s_k - 1))
    nodes, vectors = eigh_tridiagonal(diagonal, np.sqrt(square))
    tiny = np.finfo(float).tiny
    return np.clip((1 + nodes) / 2, tiny, 1.0), vectors[0] ** 2


def decay_rule(rate: Floats, window: Floats, nodes: int = DECAY_NODES) -> tuple[Floats, Floats]:
    """Times in (0, window) and their weights to integrate what falls like (1 + t)^-n or e^(-rate t), (n, nodes).

    Gauss-Legendre in log(1 + rate t): a decay at any power is then smooth over about one unit, with the
    poles of every power law a distance of pi away when `rate` is at least the inverse of its scale.
    """
    at, mass = np.polynomial.legendre.leggauss(nodes)
    half = np.log1p(rate * window)[:, None] / 2
    growth = np.exp(half * (1 + at))
    return (growth - 1) / rate[:, None], growth * half * mass / rate[:, None]
