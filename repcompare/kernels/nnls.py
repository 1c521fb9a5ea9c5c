"""Non-negative least squares from normal equations: Lawson and Hanson's active set with a growing Cholesky factor.

References
----------
Lawson & Hanson 1974, Solving Least Squares Problems, chapter 23; Bro & De Jong 1997, Journal of Chemometrics 11:393.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Double = npt.NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)
DEPENDENT = 1e-13  # a column whose part outside the passive ones is below this share of it adds nothing


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def dot(a: Double, b: Double) -> float:
    """Return the dot product of two contiguous vectors, summed in whatever order is fastest."""
    value = 0.0
    for i in range(a.size):
        value += a[i] * b[i]
    return value


@njit(nogil=True, cache=True)
def append_row(gram: Double, order: npt.NDArray[Any], p: int, j: int, factor: Double) -> bool:
    """Extend the Cholesky factor of ``p`` passive columns by column ``j``; False where ``j`` depends on them."""
    left = gram[j, j]
    for a in range(p):
        value = (gram[j, order[a]] - dot(factor[p, :a], factor[a, :a])) / factor[a, a]
        factor[p, a] = value
        left -= value * value
    if left <= DEPENDENT * gram[j, j]:
        return False
    factor[p, p] = np.sqrt(left)
    order[p] = j
    return True


@njit(nogil=True, cache=True)
def solve_passive(factor: Double, order: npt.NDArray[Any], p: int, rhs: Double, z: Double) -> None:
    """Write the unconstrained solution of the ``p`` passive columns into ``z[:p]``."""
    for a in range(p):
        z[a] = (rhs[order[a]] - dot(factor[a, :a], z[:a])) / factor[a, a]
    for a in range(p - 1, -1, -1):
        z[a] /= factor[a, a]
        for b in range(a):
            z[b] -= factor[a, b] * z[a]


@njit(nogil=True, cache=True)
def retreat(  # noqa: PLR0913  (work arrays of one algorithm)
    gram: Double, rhs: Double, x: Double, order: npt.NDArray[Any], p: int, factor: Double, z: Double
) -> int:
    """Move ``x`` to the best point of the passive set, dropping columns that would turn negative; return their number."""
    while p > 0:
        solve_passive(factor, order, p, rhs, z)
        step, worst = 1.0, -1
        for a in range(p):
            if z[a] <= 0.0:
                share = x[order[a]] / (x[order[a]] - z[a]) if x[order[a]] > 0.0 else 0.0
                if worst < 0 or share < step:
                    step, worst = share, a
        for a in range(p):
            x[order[a]] += step * (z[a] - x[order[a]])
        if worst < 0:
            break
        x[order[worst]] = 0.0
        kept, last = worst, p
        for a in range(worst, last):
            j = order[a]
            if x[j] > 0.0 and append_row(gram, order, kept, j, factor):
                kept += 1
            else:
                x[j] = 0.0
        p = kept
    return p


@njit(nogil=True, cache=True)
def steepest(gram: Double, rhs: Double, x: Double, shut: npt.NDArray[np.bool_], floor: float) -> int:
    """Return the column outside the passive set and not shut whose slope is largest and above ``floor``, or -1."""
    best, found = floor, -1
    for j in range(rhs.size):
        if x[j] > 0.0 or shut[j] or gram[j, j] <= 0.0:
            continue
        slope = rhs[j] - dot(gram[j], x)
        if slope > best:
            best, found = slope, j
    return found


@njit(nogil=True, cache=True)
def solve_nnls(gram: Double, rhs: Double, x: Double) -> bool:
    """Minimise ``x' G x / 2 - x' r`` over ``x >= 0`` in place.

    Parameters
    ----------
    gram : ndarray, shape (m, m)
        Symmetric, positive semidefinite, with ones on the diagonal (zeros for columns that stay out).
    rhs : ndarray, shape (m,)
    x : ndarray, shape (m,)
        Start, non-negative (zeros, or the solution of a similar problem); overwritten by the solution.

    Returns
    -------
    bool
        False when it was still moving after 10 m + 10 steps.

    Examples
    --------
    >>> x = np.zeros(2)
    >>> solve_nnls(np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([1.0, 0.1]), x), x
    (True, array([1., 0.]))
    """
    m = rhs.size
    order, z, factor = np.empty(m, np.int64), np.empty(m), np.empty((m, m))
    shut, p = np.zeros(m, np.bool_), 0
    for j in range(m):
        if x[j] > 0.0 and append_row(gram, order, p, j, factor):
            p += 1
        else:
            x[j] = 0.0
    p = retreat(gram, rhs, x, order, p, factor, z)
    largest = np.abs(rhs).max() if m else 0.0
    for _ in range(10 * m + 10):
        found = steepest(gram, rhs, x, shut, 4 * EPS * m * (largest + x.sum()))
        if found < 0:
            return True
        shut[found] = True
        if not append_row(gram, order, p, found, factor):
            continue
        solve_passive(factor, order, p + 1, rhs, z)
        if z[p] > 0.0:  # otherwise rounding alone made it look useful
            p = retreat(gram, rhs, x, order, p + 1, factor, z)
            shut[:] = False
    return False


@njit(nogil=True, cache=True)
def nnls_normal(gram: Double, rhs: Double, ridge: float, x: Double) -> bool:
    """Minimise ``x' (G + ridge diag(G)) x / 2 - x' r`` over ``x >= 0`` in place, whatever the scale of the columns.

    Parameters
    ----------
    gram : ndarray, shape (m, m)
        Symmetric, positive semidefinite; columns with a zero diagonal stay at 0.
    rhs : ndarray, shape (m,)
    ridge : float
        At least 0.
    x : ndarray, shape (m,)
        Start, non-negative; overwritten by the solution.

    Returns
    -------
    bool
        False when it did not converge.

    Examples
    --------
    >>> x = np.zeros(2)
    >>> nnls_normal(np.array([[4.0, 0.0], [0.0, 1.0]]), np.array([8.0, -1.0]), 1.0, x), x
    (True, array([1., 0.]))
    """
    m = rhs.size
    scale, unit, target = np.zeros(m), np.zeros((m, m)), np.zeros(m)
    for i in range(m):
        if gram[i, i] > 0.0:
            scale[i] = 1.0 / np.sqrt((1.0 + ridge) * gram[i, i])
        target[i] = rhs[i] * scale[i]
        for j in range(i):
            unit[i, j] = unit[j, i] = gram[i, j] * scale[i] * scale[j]
        unit[i, i] = 1.0 if scale[i] > 0.0 else 0.0
    size = np.abs(target).max() if m else 0.0
    if size == 0.0:
        x[:] = 0.0
        return True
    for i in range(m):
        x[i] = x[i] / (scale[i] * size) if scale[i] > 0.0 else 0.0
        target[i] /= size
    done = solve_nnls(unit, target, x)
    for i in range(m):
        x[i] *= scale[i] * size
    return done
