"""Small least-squares problems from their normal equations, whatever the scale of the columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.kernels.nnls import nnls_normal

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]


def solve_normal(
    gram: Matrix, rhs: Vector, *, ridge: float = 0.0, nonnegative: bool = False, start: Vector | None = None
) -> Vector:
    """Return the weights of columns from their inner products.

    Minimises ``x' (G + ridge diag(G)) x - 2 x' r``, free or over ``x >= 0``.  The ridge is a share of each column's
    own square, so that the unit of a column changes nothing but the unit of its weight.

    Parameters
    ----------
    gram : ndarray, shape (m, m)
        Inner products of the columns.  Columns with a zero diagonal get the weight 0; among dependent columns the
        free form takes the solution of least norm (of columns scaled to unit length).
    rhs : ndarray, shape (m,) or, in the free form, (m, n_targets)
        Their inner products with the target.
    ridge : float
        At least 0.
    nonnegative : bool
        Keep every weight at 0 or above.
    start : ndarray, shape (m,), optional
        Weights of a similar problem, from which the non-negative search starts.

    Returns
    -------
    ndarray, of the shape of ``rhs``

    Raises
    ------
    MeasureError
        When the non-negative search does not converge, on nearly dependent columns.

    Examples
    --------
    >>> solve_normal(np.array([[4.0, 0.0], [0.0, 1.0]]), np.array([4.0, -1.0]), nonnegative=True)
    array([1., 0.])
    """
    if not nonnegative:
        return _solve_free(gram, rhs, ridge)
    x = np.zeros(len(rhs)) if start is None else start.copy()
    if not nnls_normal(np.ascontiguousarray(gram), np.ascontiguousarray(rhs), ridge, x):
        raise MeasureError(
            f"non-negative weights of {len(rhs)} components did not converge: the components are nearly dependent;"
            " take a ridge > 0, or fewer components"
        )
    return x


def _solve_free(gram: Matrix, rhs: Vector, ridge: float) -> Vector:
    scale = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    unit = gram * inverse * inverse[:, None]
    unit[np.diag_indices_from(unit)] = (1.0 + ridge) * (scale > 0)
    rcond = 10 * np.finfo(np.float64).eps * len(unit)
    found = np.linalg.lstsq(unit, (rhs.T * inverse).T, rcond=rcond)[0]
    return np.asarray((found.T * inverse).T, dtype=np.float64)
