"""Leave-one-out in closed form: one decomposition of all rows serves every fold and every penalty.

With M = I - H the residual maker of ridge with its intercept, the held-out residual of row i is
``e_i = (M y)_i / M_ii`` (PRESS, Allen 1974), and of row j when i and j are both left out
``(M_ii (My)_j - M_ij (My)_i) / (M_ii M_jj - M_ij^2)``: the nested choice of a penalty needs no refit either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding._factor import CUT, FLOOR, Double, Gram
from repcompare.measures.encoding._select import TIE, FoldScores, Indices

WIDE = 1e-8  # spectra below this are decomposed by the SVD: a Gram matrix leaves no orthonormal columns there


@dataclass(frozen=True)
class Hat:
    """Residual maker of all rows: ``outside + q diag(g) q'`` with ``g = alpha / (lam + alpha)``.

    Attributes
    ----------
    q : ndarray of shape (n, rank)
        Orthonormal left singular vectors of the centred source.
    lam : ndarray of shape (rank,)
        Squared singular values.
    """

    q: Array
    lam: Double

    @property
    def full(self) -> bool:
        """Whether only the constant lies outside of ``q``."""
        return self.lam.size >= len(self.q) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return int(self.q.nbytes + self.lam.nbytes)

    def shrink(self, alphas: Double) -> Double:
        """Return g, shape (rank, n_alphas)."""
        return alphas / (self.lam[:, None] + alphas)

    def diagonal(self, alphas: Double) -> Double:
        """Return the diagonal of the residual maker, shape (n_alphas, n)."""
        squares = self.q * self.q
        outside = np.zeros(len(squares))
        if not self.full:
            outside = np.maximum(1 - 1 / len(squares) - squares.sum(axis=1), 0.0)
        return np.asarray(outside + (squares @ self.shrink(alphas)).T)

    def maker(self, alpha: float) -> Double:
        """Return the residual maker, shape (n, n)."""
        g, n = self.shrink(np.array([alpha]))[:, 0], len(self.q)
        if self.full:
            return np.asarray((self.q * g) @ self.q.T)
        return np.asarray(np.eye(n) - 1 / n - (self.q * (1 - g)) @ self.q.T)


def make_hat(gram: Gram, rows: Index | None = None) -> Hat:
    """Decompose a source, or some rows of it."""
    if gram.features is None:
        assert gram.kernel is not None
        kernel = gram.kernel if rows is None else gram.kernel[rows[:, None], rows]
        mean = kernel.mean(axis=0)
        lam, q = np.linalg.eigh(kernel - mean - mean[:, None] + mean.mean())
        kept = int(np.searchsorted(lam, max(CUT * lam[-1], FLOOR), side="right"))
        return Hat(q[:, kept:], lam[kept:])
    x = (gram.features if rows is None else gram.features[rows]).astype(np.float64)
    x -= x.mean(axis=0)
    lam, vectors = np.linalg.eigh(x.T @ x)
    if lam[0] > WIDE * lam[-1]:
        return Hat((x @ vectors) / np.sqrt(lam), lam)
    q, s, _ = np.linalg.svd(x, full_matrices=False)
    kept = int((s**2 > max(CUT * s[0] ** 2, FLOOR)).sum())
    return Hat(q[:, :kept], s[:kept] ** 2)


@dataclass(frozen=True)
class Residuals:
    """A target seen by a hat.

    Attributes
    ----------
    hat : Hat
        Residual maker.
    z : ndarray of shape (rank, n_units)
        ``q' y``.
    centred : ndarray of shape (n, n_units)
        The target about its means.
    rest : ndarray of shape (n_units,)
        Sum of squares outside of q.
    """

    hat: Hat
    z: Array
    centred: Array
    rest: Double

    @classmethod
    def of(cls, hat: Hat, y: Array) -> Residuals:
        """Project a target of shape (n, n_units)."""
        centred = y - y.mean(axis=0, dtype=np.float64)
        z = hat.q.T @ centred
        if hat.full:
            return cls(hat, z, centred, np.zeros(z.shape[1]))
        rest = np.einsum("ij,ij->j", centred, centred) - np.einsum("ij,ij->j", z, z)
        return cls(hat, z, centred, np.maximum(rest, 0.0))

    def at(self, g: Array, units: Index | slice = slice(None)) -> Array:
        """Return the residuals (n, n_units) for one column of ``Hat.shrink``, or for one column per unit."""
        each = g[:, None] if g.ndim == 1 else g
        if self.hat.full:
            return np.asarray(self.hat.q @ (each * self.z[:, units]))
        found = self.hat.q @ ((each - each.dtype.type(1)) * self.z[:, units])
        found += self.centred[:, units]
        return np.asarray(found)

    def in_sample(self, g: Double) -> Double:
        """Return in-sample squared errors (n_alphas, n_units) for ``g`` (rank, n_alphas)."""
        return np.asarray((g * g).T @ (self.z * self.z) + self.rest)


def all_errors(seen: Residuals, alphas: Double) -> Double:
    """Return the summed leave-one-out squared errors of every penalty, shape (n_alphas, n_units)."""
    g, weights = seen.hat.shrink(alphas), seen.hat.diagonal(alphas) ** -2
    return np.array([weighted(seen.at(g[:, i]), weights[i]) for i in range(alphas.size)])


def weighted(residuals: Array, weights: Array) -> Double:
    """Return the sums of squares per column, rows weighted; the residuals are overwritten."""
    np.square(residuals, out=residuals)
    return np.asarray(weights @ residuals, dtype=np.float64)


def inner_errors(seen: Residuals, alphas: Double) -> Iterator[Double]:
    """Yield, penalty by penalty, the summed squared errors (n, n_units) of leaving out a second row as well."""
    g = seen.hat.shrink(alphas)
    for i, alpha in enumerate(alphas):
        e, maker = seen.at(g[:, i]), seen.hat.maker(float(alpha))
        diagonal = maker.diagonal().copy()
        determinant = np.outer(diagonal, diagonal) - maker**2
        np.fill_diagonal(determinant, np.inf)
        own, other = diagonal[:, None] / determinant, maker / determinant
        squares = e * e
        found = (own**2) @ squares
        found -= 2 * e * ((own * other) @ e)
        found += squares * (other**2).sum(axis=1)[:, None]
        yield found


def choose_inside(seen: Residuals, alphas: Double) -> Indices:
    """Return the index of the penalty that each row's own leave-one-out over the others chooses, (n, n_units)."""
    best, chosen = np.array(np.inf), np.array(0)
    for i, errors in enumerate(inner_errors(seen, alphas)):
        chosen = np.where(errors <= best * (1 + TIE), i, chosen)
        best = np.fmin(best, errors)
    return np.asarray(chosen, dtype=np.intp)


def left_out(seen: Residuals, alphas: Double) -> Double:
    """Return the residual of every left-out row with its own penalties ``alphas`` (n, n_units)."""
    found = np.empty(alphas.shape)
    for alpha in np.unique(alphas):
        chosen = alphas == alpha
        units, one = np.flatnonzero(chosen.any(axis=0)), np.array([alpha])
        e = seen.at(seen.hat.shrink(one)[:, 0], units)
        e /= seen.hat.diagonal(one)[0][:, None]
        found[:, units] = np.where(chosen[:, units], e, found[:, units])
    return found


def score_rows(seen: Residuals, alphas: Double) -> FoldScores:
    """Score every left-out row with its own penalties ``alphas`` (n, n_units): folds are the rows, r is undefined."""
    error = left_out(seen, alphas)
    return _row_scores(seen, np.square(error, out=error))


def score_units(seen: Residuals, residuals: Array, weights: Double, chosen: Indices) -> FoldScores:
    """Score every left-out row with one penalty per unit.

    Parameters
    ----------
    seen : Residuals
        Target.
    residuals : ndarray of shape (n, n_units)
        Of the penalties chosen; overwritten.
    weights : ndarray of shape (n_alphas, n)
        ``1 / M_ii^2``.
    chosen : ndarray of shape (n_units,)
        Which penalty.
    """
    np.square(residuals, out=residuals)
    residuals *= np.take(np.ascontiguousarray(weights.T), chosen, axis=1)
    return _row_scores(seen, residuals)


def _row_scores(seen: Residuals, error: Array) -> FoldScores:
    n = len(error)
    values = np.square(seen.centred)
    values *= (n / (n - 1)) ** 2
    nothing = np.broadcast_to(np.nan, error.shape)
    return FoldScores(nothing, np.asarray(error, dtype=np.float64), values, nothing)
