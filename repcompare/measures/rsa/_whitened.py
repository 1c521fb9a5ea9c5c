"""The inner product ``a' V^-1 b`` of condensed RDMs, without ever forming V (n_pairs, n_pairs).

``V = (C S C') o (C S C')`` is the covariance, up to a factor, of squared distances that are estimated from
patterns with stimulus covariance S; C holds one row per pair, +1 at i and -1 at j (Diedrichsen, Berlot, Mur,
Schuett, Shahbazi & Kriegeskorte 2021, arXiv:2007.02789).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, eigh
from scipy.sparse.linalg import LinearOperator, cg

from repcompare.errors import MeasureError
from repcompare.measures.rsa._condensed import Rows, Vector, condense, expand, upper

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

    @property
    def matrix(self) -> Matrix:
        """The covariance (K, K) itself."""
        return np.diag(self.variances) if self.factor is None else self.factor @ self.factor.T

    @cached_property
    def whitener(self) -> Matrix:
        """``S^-1/2 (I - 1 w')`` (K, K), with the symmetric root, so that a permutation of the stimuli permutes it."""
        if self.factor is None:
            root = np.diag(1 / np.sqrt(self.variances))
        else:
            values, vectors = eigh(self.matrix)
            root = (vectors / np.sqrt(values)) @ vectors.T
        whitener: Matrix = root - np.outer(root.sum(axis=1), self.weights)
        return whitener

    def take(self, rows: Rows) -> StimulusNoise:
        """Return the noise of a selection of the stimuli; one drawn twice leaves the variances alone."""
        if self.factor is None or np.unique(rows).size < rows.size:
            return stimulus_noise(self.variances[rows], rows.size)
        return stimulus_noise(self.matrix[np.ix_(rows, rows)], rows.size)


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


def coordinates(rdms: Matrix, noise: StimulusNoise) -> Matrix:
    """Return complete RDMs in coordinates whose dot products are ``a' V^-1 b``.

    They are the K (K + 1) / 2 distinct entries of ``E = R (-D/2) R'``, ``R = S^-1/2 (I - 1 w')``,
    ``w = S^-1 1 / (1' S^-1 1)``, off-diagonal ones times sqrt(2).

    Parameters
    ----------
    rdms : ndarray, shape (n_rdms, K (K - 1) / 2)
    noise : StimulusNoise

    Returns
    -------
    ndarray, shape (n_rdms, K (K + 1) / 2)
    """
    k = noise.variances.size
    out = np.empty((len(rdms), k * (k + 1) // 2))
    pairs = upper(k)
    for row, vector in zip(out, rdms, strict=True):
        square = _whiten(expand(vector), noise)
        row[:k] = np.diagonal(square)
        np.multiply(square.ravel()[pairs], np.sqrt(2), out=row[k:])
    return out


def _whiten(square: Matrix, noise: StimulusNoise) -> Matrix:
    """Return ``E`` (K, K) of a square RDM, overwriting it."""
    if noise.factor is not None:
        whitened: Matrix = -0.5 * (noise.whitener @ square @ noise.whitener.T)
        return whitened
    means = square @ noise.weights
    square -= means
    square -= means[:, None]
    square += noise.weights @ means
    square *= -0.5
    scale = np.sqrt(noise.variances)
    square /= scale
    square /= scale[:, None]
    return square


def products_present(vectors: Matrix, present: Present, noise: StimulusNoise) -> Matrix:
    """Return ``a' V^-1 b`` of every two vectors over the pairs that are present, V on these.

    Parameters
    ----------
    vectors : ndarray, shape (n_vectors, n_pairs)
        0 where not present.
    present : ndarray of bool, shape (n_pairs,)
    noise : StimulusNoise

    Returns
    -------
    ndarray, shape (n_vectors, n_vectors)

    Raises
    ------
    MeasureError
        When the conjugate gradients for a full covariance do not converge.
    """
    solve = _solve_diagonal if noise.factor is None else _solve_full
    solved = np.stack(solve(tuple(vectors), present, noise))
    products: Matrix = vectors @ solved.T
    return 0.5 * (products + products.T)


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
