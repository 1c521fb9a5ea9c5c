"""Partial least squares on all rows, as weights of the features."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from repcompare.measures._measure import Index
from repcompare.measures.encoding._held_out import Double
from repcompare.measures.encoding._pls_fit import Direction, Narrow, PlsFit, fit_narrow


def fit_rows(x: Double, y: Double, n_components: int, how: Direction) -> PlsFit:
    """Return the components of all rows; ``scores[:, :m] @ loadings[:m]`` are the weights (p, t) of m components.

    Parameters
    ----------
    x, y : ndarray of shape (n, p), (n, t)
        Both sides.
    n_components : int
        Lowered to min(p, n - 1).
    how : Direction
        Solver.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [4.0, 1.0]])
    >>> fit = fit_rows(x, x @ np.array([[1.0], [-2.0]]), 2, Direction("exact", 1e-6, 500))
    >>> (fit.scores @ fit.loadings).round(10).ravel()
    array([ 1., -2.])
    """
    limit = min(n_components, x.shape[1], len(x) - 1)
    rows, target, back = x - x.mean(axis=0), y - y.mean(axis=0), None
    if rows.shape[1] > len(rows):  # PLS does not change under rotations: keep what the rows span
        back, r = scipy.linalg.qr(rows.T, mode="economic", check_finite=False)
        rows = r.T
    fit = fit_narrow(Narrow(rows.T @ rows, rows.T @ target, np.eye(rows.shape[1]), limit), limit, how)
    return fit if back is None else PlsFit(back @ fit.scores, fit.loadings, fit.n_iter)


def weights_of(fit: PlsFit, components: Index | int) -> Double:
    """Return weights (p, t) with the first components, as many for all units or per unit."""
    used = np.arange(len(fit.loadings))[:, None] < components
    return np.asarray(fit.scores @ (fit.loadings * used))
