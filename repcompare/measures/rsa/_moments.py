"""Second moments of stimuli from squared distances, and two ways to compare them.

References
----------
Harvey, Lipshutz & Williams 2024, arXiv:2405.01012 (Bures); Shahbazi, Shirali, Aghajan & Nili 2021, NeuroImage
239:118271 (Riemannian).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import helmert, solve_triangular
from scipy.optimize import minimize_scalar

from repcompare.errors import MeasureError
from repcompare.measures._nuclear import overlap_norm
from repcompare.measures.rsa._condensed import Vector, count_stimuli, expand
from repcompare.measures.rsa._whitened import Matrix, StimulusNoise

RIDGES = (-14.0, 7.0, 12)  # natural logarithms of ridge over model, and steps of the first look
SETTLED = 1e-7  # of the logarithm of the ridge: the distance is then exact to about its square

UNDEFINED = 1e100  # in place of the distance where the first side is not positive definite


@dataclass(frozen=True)
class Moment:
    """A centred second moment of the stimuli, ``K = -H D H / 2``.

    Attributes
    ----------
    factor : ndarray, shape (K, rank)
        F with F F' = K / tr K, negative eigenvalues set to 0.
    trace : float
        Sum of the positive eigenvalues.
    negative : float
        Share of the negative eigenvalues in the sum of absolute ones.
    """

    factor: Matrix
    trace: float
    negative: float


def moment(rdm: Vector, name: str) -> Moment:
    """Return the second moment of a complete RDM of squared distances.

    Raises
    ------
    MeasureError
        When no eigenvalue is positive.
    """
    square = expand(rdm)
    peak = float(np.abs(rdm).max())
    square = centred(square / peak if peak > 0 else square)
    values, vectors = np.linalg.eigh(square)
    rounding = len(values) * np.finfo(np.float64).eps * float(np.abs(values).max())
    positive = values > rounding
    if not positive.any():
        raise MeasureError(
            f"{name}: its second moment has no positive eigenvalue (largest {values[-1] * peak:g}): "
            "the distances hold no signal; method='bures' is not defined"
        )
    total = float(values[positive].sum())
    below = float(-values[values < -rounding].sum())
    factor = vectors[:, positive] * np.sqrt(values[positive] / total)
    return Moment(factor, total * peak, below / (below + total))


def centred(square: Matrix) -> Matrix:
    """Return ``-H D H / 2`` of square distances (K, K)."""
    means = square.mean(axis=0)
    found: Matrix = -0.5 * (square - means - means[:, None] + means.mean())
    return found


def bures(a: Moment, b: Moment) -> float:
    """Return ``|K_a^(1/2) K_b^(1/2)|_* / sqrt(tr K_a tr K_b)``, in [0, 1]."""
    return min(1.0, overlap_norm(np.ascontiguousarray(a.factor.T @ b.factor)))


@dataclass(frozen=True)
class Tensor:
    """A second moment on the contrasts of the stimuli, ``G = -Q D Q' / 2``, Q (K - 1, K) orthonormal, rows sum to 0.

    Attributes
    ----------
    moment, noise : ndarray, shape (K - 1, K - 1)
        G, and the covariance of the stimuli on the same contrasts.
    root : ndarray, shape (K - 1, K - 1), optional
        Lower Cholesky factor of G; None where it is not positive definite.
    whitened_noise : ndarray, shape (K - 1, K - 1), optional
        ``root^-1 noise root^-T``.
    lowest : float
        Smallest eigenvalue of G.
    """

    moment: Matrix
    noise: Matrix
    root: Matrix | None
    whitened_noise: Matrix | None
    lowest: float


def tensor(rdm: Vector, noise: StimulusNoise) -> Tensor:
    """Return the second moment of a complete RDM of squared distances on contrasts."""
    basis = helmert(count_stimuli(rdm.size))
    found = -0.5 * (basis @ expand(rdm) @ basis.T)
    found = 0.5 * (found + found.T)
    covariance = basis @ noise.matrix @ basis.T
    values = np.linalg.eigvalsh(found)
    lowest = float(values[0])
    if lowest <= len(values) * np.finfo(np.float64).eps * float(np.abs(values).max()):
        return Tensor(found, covariance, None, None, lowest)
    root = np.linalg.cholesky(found)
    return Tensor(found, covariance, root, _between(root, covariance), lowest)


def _between(root: Matrix, matrix: Matrix) -> Matrix:
    half = solve_triangular(root, matrix, lower=True)
    found: Matrix = solve_triangular(root, half.T, lower=True)
    return 0.5 * (found + found.T)


def riemannian(a: Tensor, b: Tensor, ridge: bool) -> tuple[float, float]:
    """Return minus the affine-invariant distance of two second moments up to scale, and the ridge that was added to a.

    ``l`` are the logarithms of the eigenvalues of ``(G_a + r S, G_b)``; the distance is ``|l - mean(l)|``, at the best
    r >= 0 where ``ridge`` is true (infinite where the noise alone is nearest), at r = 0 otherwise.

    Raises
    ------
    MeasureError
        Where b (without a ridge a, too) is not positive definite.
    """
    if b.root is None or b.whitened_noise is None:
        raise indefinite("the second RDM", b.lowest)
    if not ridge and a.root is None:
        raise indefinite("the first RDM", a.lowest)
    model, noise = _between(b.root, a.moment), b.whitened_noise

    def distance(r: float) -> float:
        values = np.linalg.eigvalsh(noise if np.isinf(r) else model + r * noise)
        if not values[0] > 0:
            return UNDEFINED
        logs = np.log(values)
        return float(np.linalg.norm(logs - logs.mean()))

    at_zero = distance(0.0) if a.root is not None else UNDEFINED
    if not ridge:
        return -at_zero, 0.0
    return _best_ridge(distance, at_zero, float(np.abs(np.diagonal(a.moment)).sum() / np.trace(a.noise)), a)


def _best_ridge(distance: Callable[[float], float], at_zero: float, unit: float, a: Tensor) -> tuple[float, float]:
    """Look at a few ridges, then search around the best of them."""
    start = 0.0
    if a.lowest < 0:  # from where the model becomes positive definite
        start = -a.lowest / float(np.linalg.eigvalsh(a.noise)[0])

    def of_log(u: float) -> float:
        return distance(start + unit * float(np.exp(u)))

    grid = np.linspace(*RIDGES)
    seen = [of_log(u) for u in grid]
    best = int(np.argmin(seen))
    around = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = minimize_scalar(of_log, bounds=around, method="bounded", options={"xatol": SETTLED})
    inside = float(found.fun), start + unit * float(np.exp(found.x))
    value, ridge = min(inside, (at_zero, 0.0), (distance(np.inf), np.inf))
    if value >= UNDEFINED:
        raise MeasureError("method='riemannian': no ridge makes the first RDM positive definite; check the distances")
    return -value, ridge


def indefinite(name: str, lowest: float) -> MeasureError:
    return MeasureError(
        f"method='riemannian': {name} has a second moment that is not positive definite (smallest eigenvalue "
        f"{lowest:g}); expected squared distances from more units than stimuli; take 'bures', or fewer stimuli"
    )
