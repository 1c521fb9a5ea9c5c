"""How far a covariance is pulled towards a simple one, and residuals around stimulus and partition means.

Both intensities need ``Z Z'`` (or ``Z' Z``, whichever is smaller) only: no loop over trials, no array of units by units
where units outnumber trials.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.linalg

from repcompare.errors import MeasureError
from repcompare.measures._blas import add_gram
from repcompare.measures.rsa._condensed import Vector
from repcompare.measures.rsa._trials import Codes

Matrix = npt.NDArray[np.float64]


def scatter_norm(z: Matrix, scatter: Matrix | None = None) -> float:
    """Return the squared Frobenius norm of ``Z' Z``, which is that of ``Z Z'``.

    Parameters
    ----------
    z : ndarray, shape (N, P)
    scatter : ndarray, shape (P, P), optional
        ``Z' Z``, where it is there anyway.
    """
    if scatter is None:
        lower = np.zeros((len(z), len(z)))
        add_gram(np.ascontiguousarray(z), lower)
        diagonal = np.diagonal(lower)
        return float(2 * np.vdot(lower, lower) - diagonal @ diagonal)
    return float(np.vdot(scatter, scatter))


def ledoit_wolf(z: Matrix, scatter: Matrix | None = None) -> tuple[float, float]:
    """Return lambda and the mean variance mu of the shrinkage towards ``mu I`` (Ledoit & Wolf 2004).

    Parameters
    ----------
    z : ndarray, shape (N, P)
        Residuals.
    scatter : ndarray, shape (P, P), optional
        ``Z' Z``, where it is there anyway.
    """
    n, p = z.shape
    squares = np.einsum("ij,ij->i", z, z)
    norm = scatter_norm(z, scatter)
    mu = float(squares.sum() / n / p)
    delta = norm / n**2 - p * mu**2
    beta = (float(squares @ squares) - norm / n) / n**2
    beta = max(0.0, min(beta, delta))
    return (0.0 if beta <= 0 else beta / delta), mu


def schaefer_strimmer(z: Matrix, variance: Vector, scatter: Matrix | None = None) -> float:
    """Return lambda of the shrinkage of correlations towards 0 (Schaefer & Strimmer 2005).

    ``sum_{i != j} Var(r_ij) / sum_{i != j} r_ij^2`` with the variance of a mean of N products, ``N / (N - 1)^3``.

    Parameters
    ----------
    z : ndarray, shape (N, P)
        Residuals.
    variance : ndarray, shape (P,)
        Mean square of each unit (divided by N).
    scatter : ndarray, shape (P, P), optional
        ``Z' Z``, where it is there anyway.
    """
    n, p = z.shape
    inverse = 1 / variance
    norm = scatter_norm(z * np.sqrt(inverse)) if scatter is None else float(inverse @ np.square(scatter) @ inverse)
    squares = np.square(z)
    sums = squares @ inverse
    squares *= inverse
    a = float(sums @ sums - np.vdot(squares, squares))
    q = norm / n**2 - p
    if q <= 0:
        return 1.0
    return float(np.clip(n / (n - 1) ** 3 * (a - n * q) / ((n / (n - 1)) ** 2 * q), 0.0, 1.0))


def residuals(values: Matrix, stimulus: Codes, partition: Codes | None) -> tuple[Matrix, int]:
    """Return trials minus stimulus means (and additive partition means), and the rank of what was removed.

    Parameters
    ----------
    values : ndarray, shape (n_trials, n_units)
    stimulus, partition : ndarray of int, shape (n_trials,)

    Returns
    -------
    residuals : ndarray, shape (n_trials, n_units)
    rank : int
        K, or K + M - 1 where the partitions are connected by shared stimuli.
    """
    rank = int(stimulus.max()) + 1
    z = _demeaned(values, stimulus)
    if partition is None:
        return z, rank
    dummies = _demeaned((partition[:, None] == np.arange(partition.max() + 1)).astype(np.float64), stimulus)
    basis = _column_basis(dummies)
    z -= basis @ (basis.T @ z)
    return z, rank + basis.shape[1]


def project_out(values: Matrix, design: Matrix) -> tuple[Matrix, int]:
    """Return values minus their projection on the columns of a design (N, q), and its rank."""
    if design.ndim != 2 or len(design) != len(values):
        raise MeasureError(f"design has shape {design.shape}; expected ({len(values)}, n_regressors), a row per sample")
    if not np.isfinite(design).all():
        raise MeasureError("design has NaN or infinite values; expected finite numbers")
    basis = _column_basis(design)
    return values - basis @ (basis.T @ values), basis.shape[1]


def _demeaned(values: Matrix, group: Codes) -> Matrix:
    """Return rows minus the mean row of their group."""
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    count = np.bincount(group)
    first = values - values[order[starts]][group]  # around the group's first row: offsets cost no digits
    mean = np.add.reduceat(first[order], starts, axis=0) / count[:, None]
    demeaned: Matrix = first - mean[group]
    return demeaned


def _column_basis(design: Matrix) -> Matrix:
    """Return an orthonormal basis (N, rank) of the columns."""
    q, r, _ = scipy.linalg.qr(design, mode="economic", pivoting=True, check_finite=False)
    size = np.abs(np.diagonal(r))
    rank = int((size > max(design.shape) * np.finfo(np.float64).eps * size.max(initial=0.0)).sum()) if size.any() else 0
    basis: Matrix = q[:, :rank]
    return basis
