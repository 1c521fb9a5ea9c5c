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
from repcompare.measures.encoding._plan import Mask
from repcompare.measures.encoding._select import TIE, FoldScores, Indices, choose_alpha

WIDE = 1e-8  # spectra below this are decomposed by the SVD: a Gram matrix leaves no orthonormal columns there
SLACK = 1e-9  # bounds that exclude a penalty must do so by more than rounding
SINGLE = 1e-5  # residuals in float32 are right to this share of the size of the target


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
    """A target seen by a hat: ``z = q' y`` (rank, n_units), and what lies ``outside`` (n, n_units) or None."""

    hat: Hat
    z: Array
    outside: Array | None

    def narrowed(self) -> Residuals:
        """Return the same in float32."""
        outside = None if self.outside is None else self.outside.astype(np.float32)
        hat = Hat(self.hat.q.astype(np.float32), self.hat.lam)
        return Residuals(hat, self.z.astype(np.float32), outside)

    @classmethod
    def of(cls, hat: Hat, y: Array) -> Residuals:
        """Project a target of shape (n, n_units)."""
        values = y.astype(np.float64)
        values -= values.mean(axis=0)
        z = hat.q.T @ values
        if hat.full:
            return cls(hat, z, None)
        values -= hat.q @ z
        return cls(hat, z, values)

    def at(self, g: Array, units: Index | slice = slice(None)) -> Array:
        """Return the residuals (n, n_units) for one column of ``Hat.shrink``, or for one column per unit."""
        found = self.hat.q @ ((g[:, None] if g.ndim == 1 else g) * self.z[:, units])
        if self.outside is not None:
            found += self.outside[:, units]
        return np.asarray(found)

    def in_sample(self, g: Double) -> Double:
        """Return in-sample squared errors (n_alphas, n_units) for ``g`` (rank, n_alphas)."""
        found = (g * g).T @ (self.z * self.z)
        if self.outside is not None:
            found += np.einsum("ij,ij->j", self.outside, self.outside)
        return np.asarray(found)


def all_errors(seen: Residuals, alphas: Double) -> Double:
    """Return the summed leave-one-out squared errors of every penalty, shape (n_alphas, n_units)."""
    g, weights = seen.hat.shrink(alphas), seen.hat.diagonal(alphas) ** -2
    return np.array([_weighted(seen, g[:, i], weights[i]) for i in range(alphas.size)])


def _weighted(seen: Residuals, g: Array, weights: Array, units: Index | slice = slice(None)) -> Double:
    e = seen.at(g, units)
    np.square(e, out=e)
    return np.asarray(weights @ e, dtype=np.float64)


def choose_all(seen: Residuals, alphas: Double) -> Indices:
    """Return the index of the best penalty of each unit, shape (n_units,).

    Two bounds leave few penalties to evaluate in float64: the leave-one-out error lies between the in-sample error
    times the smallest and the largest weight 1 / M_ii^2, and near the one computed in float32.
    """
    g, weights = seen.hat.shrink(alphas), seen.hat.diagonal(alphas) ** -2
    inside = seen.in_sample(g)
    low = inside * weights.min(axis=1)[:, None]
    narrow, near = seen.narrowed(), np.full(inside.shape, np.inf)
    single = g.astype(np.float32), weights.astype(np.float32)
    guess = (inside * weights.mean(axis=1)[:, None]).argmin(axis=0)
    e = narrow.at(single[0][:, guess])
    np.square(e, out=e)
    near[guess, np.arange(guess.size)] = np.einsum("ij,ij->j", e, single[1].T[:, guess])
    size = SINGLE * np.sqrt(seen.in_sample(np.ones_like(g[:, :1])) * weights.max())
    first = near.min(axis=0)
    _evaluate(near, narrow, *single, (low <= first + _slack(first, size)) & ~np.isfinite(near))
    best, errors = near.min(axis=0), np.full(inside.shape, np.inf)
    known = np.where(np.isfinite(near), near, 0.0)
    _evaluate(errors, seen, g, weights, near - _slack(known, size) <= best + _slack(best, size))
    return choose_alpha(errors)


def _slack(errors: Double, size: Double) -> Double:
    """Return how far squared errors in float32 may be off; ``size`` is the rounding error of the residuals."""
    return np.asarray(size * (2 * np.sqrt(errors) + size) + SLACK * errors)


def _evaluate(errors: Double, seen: Residuals, g: Array, weights: Array, wanted: Mask) -> None:
    """Write the leave-one-out errors of the wanted penalties and units in place."""
    for i in np.flatnonzero(wanted.any(axis=1)):
        units = np.flatnonzero(wanted[i])
        whole = 2 * units.size > wanted.shape[1]  # copying the columns would cost more than computing all
        found = _weighted(seen, g[:, i], weights[i], slice(None) if whole else units)
        errors[i, units] = found[units] if whole else found


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


def score_rows(seen: Residuals, y: Array, alphas: Double) -> FoldScores:
    """Score every left-out row with its own penalties ``alphas`` (n, n_units): folds are the rows, r is undefined."""
    n, hat = len(y), seen.hat
    nothing = np.broadcast_to(np.nan, y.shape)
    values = y.astype(np.float64)
    values -= values.mean(axis=0)
    values *= n / (n - 1)
    np.square(values, out=values)
    if alphas.strides[0] == 0:  # one penalty per unit
        grid, at = np.unique(alphas[0], return_inverse=True)
        error = seen.at(hat.shrink(grid)[:, at]).astype(np.float64, copy=False)
        error /= hat.diagonal(grid).T[:, at]
        np.square(error, out=error)
        return FoldScores(nothing, error, values, nothing)
    error = np.empty(y.shape)
    for alpha in np.unique(alphas):
        chosen = alphas == alpha
        units, one = np.flatnonzero(chosen.any(axis=0)), np.array([alpha])
        e = seen.at(hat.shrink(one)[:, 0], units)
        e /= hat.diagonal(one)[0][:, None]
        np.square(e, out=e)
        error[:, units] = np.where(chosen[:, units], e, error[:, units])
    return FoldScores(nothing, error, values, nothing)
