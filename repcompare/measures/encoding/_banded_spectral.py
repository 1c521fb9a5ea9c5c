"""One factorised training set with weighted bands: held-out squared errors of every penalty, from small matrices.

The training scatter (or kernel) is ``U diag(lam) U'``; predictions of a test set are ``A diag(1 / (lam + alpha)) Z``.
Where :mod:`._select` starts from rows, here everything comes from ``G = A' A`` and ``W = A' Y``, which are made from the
statistics of the folds, so that a new weighting of the bands never touches the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Double = npt.NDArray[np.float64]

CUT = 1e-12  # eigenvalues below this share of the largest carry no signal
FLOOR = 1e-14  # and so do those below this share of what the rows had before their mean was taken out
TAU = float((2 * np.finfo(np.float64).eps) ** (1 / 3))
PERFECT = 1e-6  # below this share of the squares the divided form has too few digits left


@dataclass(frozen=True)
class Factor:
    """A factorised training set.

    Attributes
    ----------
    lam : ndarray of shape (rank,)
        Eigenvalues, ascending.
    basis : ndarray of shape (q, rank)
        ``basis' @ cross`` of a training set is Z.
    grams : tuple of ndarray of shape (rank, rank)
        ``A' A`` per test set.
    projections : tuple of ndarray of shape (q_test, rank)
        ``projection' @ cross`` of a test set is W.
    """

    lam: Double
    basis: Double
    grams: tuple[Double, ...]
    projections: tuple[Double, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return int(self.basis.nbytes + sum(a.nbytes for a in (*self.grams, *self.projections)))


@dataclass(frozen=True)
class Divided:
    """Divided differences of ``G``: antisymmetric ``far``; ``near`` symmetric, or its diagonal."""

    far: Double
    near: Double


def eigen(matrix: Double, total: float) -> tuple[Double, Double]:
    """Return eigenvalues, ascending, and vectors of a scatter, without null ones; ``total``: its trace before centring.

    Examples
    --------
    >>> eigen(np.diag([0.0, 2.0]), 2.0)[0]
    array([2.])
    """
    lam, vectors = np.linalg.eigh(matrix)
    kept = int(np.searchsorted(lam, max(CUT * lam[-1], FLOOR * total), side="right")) if lam.size else 0
    return lam[kept:], vectors[:, kept:]


def divide(gram: Double, lam: Double, smallest: float) -> Divided:
    """Return divided differences: d_i d_j = (d_i - d_j) / (lam_j - lam_i), or (d_i^2 + d_j^2) / 2 for near pairs."""
    gap = lam - lam[:, None]
    near = np.abs(gap) <= TAU * (np.minimum(lam, lam[:, None]) + smallest)
    alone = np.count_nonzero(near) == lam.size
    kept = gram.diagonal().copy() if alone else np.where(near, gram, 0.0)
    gap[near] = np.inf
    return Divided(gram / gap, kept)


def squared_errors(factor: Factor, which: int, products: tuple[Double, Double, Double], alphas: Double) -> Double:
    """Return held-out squared errors (n_alphas, t) of one test set.

    Parameters
    ----------
    factor : Factor
        The training set.
    which : int
        Test set.
    products : (ndarray of shape (rank, t), ndarray of shape (rank, t), ndarray of shape (t,))
        Z, W and the sums of squares around the training mean.
    alphas : ndarray of shape (n_alphas,)
        Penalties, ascending.
    """
    z, w, squares = products
    lam, gram = factor.lam, factor.grams[which]
    if (alphas.size - 1) * z.shape[1] < 6:  # fewer operations than the divided differences take by themselves
        return direct_errors(gram, lam, products, alphas)
    parts = divide(gram, lam, float(alphas[0]))
    d = 1 / (alphas[:, None] + lam)
    linear = parts.far @ z
    linear -= w
    linear *= z
    square = parts.near[:, None] * z if parts.near.ndim == 1 else parts.near @ z
    square *= z
    found = squares + 2 * (d @ linear) + (d * d) @ square
    close = found.min(axis=0) < PERFECT * squares
    if close.any():
        again = z[:, close], w[:, close], squares[close]
        found[:, close] = direct_errors(gram, lam, again, alphas)
    return np.asarray(np.maximum(found, 0.0))


def direct_errors(gram: Double, lam: Double, products: tuple[Double, Double, Double], alphas: Double) -> Double:
    """Return squared errors (n_alphas, t), penalty by penalty."""
    z, w, squares = products
    found = np.empty((alphas.size, z.shape[1]))
    for i, alpha in enumerate(alphas):
        b = z / (lam[:, None] + alpha)
        found[i] = squares + np.einsum("ij,ij->j", b, gram @ b - 2 * w)
    return np.maximum(found, 0.0)
