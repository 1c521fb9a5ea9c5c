"""What single pairs cost once their products are known: optimal assignments, and nuclear norms by every route."""

from __future__ import annotations

from types import SimpleNamespace as Data

import numpy as np
import numpy.typing as npt
import scipy.optimize

from cases._case import Case, Target, relative
from repcompare.measures._nuclear import overlap_norm
from repcompare.measures._transport import assign

Matrix = npt.NDArray[np.float64]


def _weights(p: int, q: int, n: int, small: tuple[int, int]):
    """Correlations (p, q) of independent units over n stimuli."""

    def make(rng: np.random.Generator, quick: bool) -> Data:
        rows, columns = small if quick else (p, q)
        x, y = rng.normal(size=(n, rows)), rng.normal(size=(n, columns))
        weights = (x / np.linalg.norm(x, axis=0)).T @ (y / np.linalg.norm(y, axis=0))
        return Data(size=f"p={rows} q={columns}, over n={n}", weights=weights)

    return make


def _scipy_assignment(data: Data) -> float:
    chosen = scipy.optimize.linear_sum_assignment(data.weights, maximize=True)
    return float(data.weights[chosen].sum())


def _overlap(p: int, n: int, small: int):
    """Overlap (p, p) of two sources with 10 strong shared dimensions: condition number about 1e5."""

    def make(rng: np.random.Generator, quick: bool) -> Data:
        width, rows = (small, 3 * small) if quick else (p, n)
        latent = rng.normal(size=(rows, 10))
        x, y = (latent @ rng.normal(size=(10, width)) + rng.normal(size=(rows, width)) for _ in range(2))
        matrix = x.T @ y
        s = np.linalg.svd(matrix, compute_uv=False)
        return Data(size=f"p={width}", matrix=matrix / s[0], lowest=float(s[-1] / s[0]))

    return make


def newton_schulz(a: Matrix) -> float:
    """Nuclear norm from the polar factor by Newton-Schulz iterations, for a matrix of spectral norm 1."""
    x, before = a, 0.0
    for _ in range(100):
        x = 1.5 * x - 0.5 * x @ (x.T @ x)
        total = float(np.vdot(x, a))
        if abs(total - before) <= 1e-13 * total:
            break
        before = total
    return total


def qdwh(a: Matrix, low: float) -> float:
    """Nuclear norm from the polar factor by QR-based dynamically weighted Halley iterations (Nakatsukasa et al. 2010).

    For a matrix of spectral norm 1 whose lowest singular value is ``low``.
    """
    p, x = a.shape[1], a
    while abs(1 - low) > 1e-15:
        d = (4 * (1 - low**2) / low**4) ** (1 / 3)
        weight = np.sqrt(1 + d) + np.sqrt(8 - 4 * d + 8 * (2 - low**2) / (low**2 * np.sqrt(1 + d))) / 2
        b = (weight - 1) ** 2 / 4
        c = weight + b - 1
        q = np.linalg.qr(np.vstack([np.sqrt(c) * x, np.eye(p)]))[0]
        x = b / c * x + (weight - b / c) / np.sqrt(c) * q[:p] @ q[p:].T
        low = min(1.0, low * (weight + b * low**2) / (1 + c * low**2))
    return float(np.vdot(x, a))


CASES = (
    Case(
        name="assignment_scipy_square",
        peer_name="scipy linear_sum_assignment",
        library="scipy",
        make=_weights(500, 500, 100, (12, 12)),
        ours=lambda data: assign(data.weights).total(data.weights),
        peer=_scipy_assignment,
        agree=relative,
        tolerance=1e-12,
        target=Target("faster", 2),
        note="best pairing of given correlations; ours bids first, then both take shortest augmenting paths",
    ),
    Case(
        name="assignment_scipy_wide",
        peer_name="scipy linear_sum_assignment",
        library="scipy",
        make=_weights(300, 500, 100, (8, 12)),
        ours=lambda data: assign(data.weights).total(data.weights),
        peer=_scipy_assignment,
        agree=relative,
        tolerance=1e-12,
        target=Target("faster", 2),
        note="best pairing of given correlations, units left over on one side",
    ),
    Case(
        name="nuclear_norm_svd",
        peer_name="numpy SVD, values only",
        library="numpy",
        make=_overlap(300, 1000, 30),
        ours=lambda data: overlap_norm(data.matrix),
        peer=lambda data: float(np.linalg.svd(data.matrix, compute_uv=False).sum()),
        agree=relative,
        tolerance=1e-10,
        target=Target("faster", 1.5),
        note="ours takes eigenvalues of the Gram matrix and bounds what that costs in digits",
    ),
    Case(
        name="nuclear_norm_newton_schulz",
        peer_name="textbook numpy, Newton-Schulz polar factor",
        library="numpy",
        make=_overlap(300, 1000, 30),
        ours=lambda data: overlap_norm(data.matrix),
        peer=lambda data: newton_schulz(data.matrix),
        agree=relative,
        tolerance=1e-10,
        note="products only, but some 40 iterations at this condition number; it is given the spectral norm",
    ),
    Case(
        name="nuclear_norm_qdwh",
        peer_name="textbook numpy, QDWH polar factor",
        library="numpy",
        make=_overlap(300, 1000, 30),
        ours=lambda data: overlap_norm(data.matrix),
        peer=lambda data: qdwh(data.matrix, data.lowest),
        agree=relative,
        tolerance=1e-10,
        note="six iterations, a QR factor of (2p, p) each; it is given the spectral norm and the condition number",
    ),
)
