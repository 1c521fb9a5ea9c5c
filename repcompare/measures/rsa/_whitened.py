"""The inner product ``a' V^-1 b`` of condensed RDMs, without ever forming V (n_pairs, n_pairs).

``V = (C S C') o (C S C')`` is the covariance, up to a factor, of squared distances that are estimated from
patterns with stimulus covariance S; C holds one row per pair, +1 at i and -1 at j (Diedrichsen, Berlot, Mur,
Schuett, Shahbazi & Kriegeskorte 2021, arXiv:2007.02789).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, solve_triangular
from scipy.sparse.linalg import LinearOperator, cg

from repcompare.errors import MeasureError
from repcompare.measures.rsa._condensed import Vector, condense, expand

Matrix = npt.NDArray[np.float64]
Present = npt.NDArray[np.bool_]

TOLERANCE = 1e-12  # of the conjugate gradients, relative to the right-hand side


@dataclass(frozen=True)
class StimulusNoise:
    """Covariance of the noise between K stimuli.

    Attributes
    ----------
    variances : ndarray, shape (K,)
        Its diagonal.
    factor : ndarray, shape (K, K), optional
        Lower Cholesky factor; None where the covariance is diagonal.
    weights : ndarray, shape (K,)
        ``S^-1 1 / (1' S^-1 1)``: the weights of the mean pattern that is removed.
    """

    variances: Vector
    factor: Matrix | None
    weights: Vector


def stimulus_noise(covariance: npt.ArrayLike | None, k: int) -> StimulusNoise:
    """Return the noise of ``k`` stimuli from None (identity), variances (K,) or a covariance (K, K).

    Raises
    ------
    MeasureError
        On another shape, NaN, variances that are not positive, or a matrix that is not symmetric positive
        definite.
    """
    given: Matrix = np.ones(k) if covariance is None else np.asarray(covariance, dtype=np.float64)
    if given.shape not in ((k,), (k, k)):
        raise MeasureError(
            f"stimulus_covariance has shape {given.shape}; expected ({k},) variances or a ({k}, {k}) matrix"
        )
    if not np.isfinite(given).all():
        raise MeasureError("stimulus_covariance has NaN or infinite values; expected finite numbers")
    if given.ndim == 1:
        if given.min() <= 0:
            raise MeasureError(f"stimulus_covariance has the variance {given.min():g}; expected positive variances")
        return StimulusNoise(given, None, (1 / given) / (1 / given).sum())
    if not np.allclose(given, given.T, rtol=1e-10, atol=1e-12 * np.abs(given).max()):
        raise MeasureError("stimulus_covariance is not symmetric; expected a covariance matrix")
    try:
        factor: Matrix = np.asarray(np.linalg.cholesky(given), dtype=np.float64)
    except np.linalg.LinAlgError:
        lowest = float(np.linalg.eigvalsh(given)[0])
        raise MeasureError(
            f"stimulus_covariance is not positive definite (smallest eigenvalue {lowest:g});"
            " shrink it, or give variances"
        ) from None
    solved = cho_solve((factor, True), np.ones(k))
    return StimulusNoise(np.diagonal(given).copy(), factor, solved / solved.sum())


def coordinates(vector: Vector, noise: StimulusNoise) -> Vector:
    """Return a complete RDM in coordinates whose dot products are ``a' V^-1 b``.

    They are the K (K + 1) / 2 distinct entries of ``E = L^-1 W (-D/2) W' L^-T``, ``S = L L'``,
    ``W = I - 1 1' S^-1 / (1' S^-1 1)``, off-diagonal ones times sqrt(2).

    Parameters
    ----------
    vector : ndarray, shape (K (K - 1) / 2,)
    noise : StimulusNoise

    Returns
    -------
    ndarray, shape (K (K + 1) / 2,)
    """
    square = expand(vector)
    means = square @ noise.weights
    square -= means
    square -= means[:, None]
    square += noise.weights @ means
    square *= -0.5
    if noise.factor is None:
        scale = np.sqrt(noise.variances)
        square /= scale
        square /= scale[:, None]
    else:
        half = solve_triangular(noise.factor, square, lower=True)
        square = solve_triangular(noise.factor, half.T, lower=True)
    return np.concatenate([np.diagonal(square), np.sqrt(2) * condense(square)])


def cosine_present(a: Vector, b: Vector, present: Present, noise: StimulusNoise) -> float:
    """Return ``a' V^-1 b / sqrt(a' V^-1 a  b' V^-1 b)`` over the pairs that are present, V on these.

    Parameters
    ----------
    a, b : ndarray, shape (n_pairs,)
        0 where not present.
    present : ndarray of bool, shape (n_pairs,)
    noise : StimulusNoise

    Returns
    -------
    float
        In [-1, 1].

    Raises
    ------
    MeasureError
        When the conjugate gradients for a full covariance do not converge.
    """
    solve = _solve_diagonal if noise.factor is None else _solve_full
    xa, xb = solve((a, b), present, noise)
    return float(a @ xb / np.sqrt((a @ xa) * (b @ xb)))


def _solve_diagonal(vectors: tuple[Vector, ...], present: Present, noise: StimulusNoise) -> list[Vector]:
    """Return ``V^-1 v`` over the present pairs, 0 elsewhere: one K x K system for the row sums of all."""
    s = noise.variances
    mask, squares = expand(present.astype(np.float64)), [expand(vector) for vector in vectors]
    system = mask * s + np.diag(2 * s + s**2 * (mask @ (1 / s)))
    degrees = np.linalg.solve(system, np.stack([d @ (1 / s) for d in squares], axis=1))
    pulls = (s[:, None] ** 2 * degrees).T
    scale = mask / (2 * np.outer(s, s))
    return [condense((d - pull[:, None] - pull) * scale) for d, pull in zip(squares, pulls, strict=True)]


def _solve_full(vectors: tuple[Vector, ...], present: Present, noise: StimulusNoise) -> list[Vector]:
    """Return ``V^-1 v`` over the present pairs, 0 elsewhere, by conjugate gradients, O(K^3) a step.

    The preconditioner is the inverse for complete RDMs, ``V^-1 x = (M X M)_ij / 2``, ``M = W' S^-1 W``.
    """
    assert noise.factor is not None
    n, covariance = present.size, noise.factor @ noise.factor.T
    inverse = cho_solve((noise.factor, True), np.eye(len(covariance)))
    whitener = inverse - np.outer(noise.weights, noise.weights) * inverse.sum()

    def product(x: Vector) -> Vector:
        square = expand(np.where(present, x, 0.0))
        q = covariance @ (np.diag(square.sum(axis=0)) - square) @ covariance
        size = np.diagonal(q)
        return np.where(present, condense(size[:, None] + size - 2 * q), x)

    def precondition(x: Vector) -> Vector:
        square = whitener @ expand(np.where(present, x, 0.0)) @ whitener
        return np.where(present, 0.5 * condense(square), x)

    operator = LinearOperator((n, n), matvec=product, dtype=np.float64)
    close = LinearOperator((n, n), matvec=precondition, dtype=np.float64)
    found = []
    for vector in vectors:
        x, failed = cg(operator, vector, rtol=TOLERANCE, atol=0.0, maxiter=20 * len(covariance), M=close)
        if failed:
            raise MeasureError(
                "whitening with missing pairs did not converge: stimulus_covariance is nearly singular;"
                " shrink it, or give variances"
            )
        found.append(np.asarray(x, dtype=np.float64))
    return found
