"""Linear discriminant analysis with the covariance that scikit-learn's ``shrinkage="auto"`` means.

Per class, the features are scaled to unit variance, their covariance is shrunk after Ledoit & Wolf (2004) and scaled back;
classes are weighted by their proportions.  The sum is diag(d) + R'R with as many rows in R as there are training rows, so
wide data are solved by the Woodbury identity.
"""

from __future__ import annotations

import numpy as np

from repcompare.errors import MeasureError
from repcompare.kernels.decoding import shrunk_moments
from repcompare.measures._blas import add_gram, solve_positive
from repcompare.measures.decoding._linear import Fit, one_hot_counts
from repcompare.measures.decoding.models import Codes, Float64

FLOOR = 1e-8  # smallest share of its variance that a unit's diagonal may be


def fit_shrunk(x: Float64, codes: Codes, n_classes: int) -> Fit:
    """Fit every set of labels by itself.

    Parameters
    ----------
    x : ndarray, shape (n_rows, n_units)
        Training rows.
    codes : ndarray of int, shape (n_sets, n_rows)
        Classes.
    n_classes : int
        Number of classes.

    Raises
    ------
    MeasureError
        When no class has rows enough to tell how much to shrink.
    """
    mean = x.mean(axis=0)
    centred = np.ascontiguousarray(x - mean)
    counts = one_hot_counts(codes, n_classes)
    starts = np.concatenate([np.zeros((len(codes), 1), dtype=np.intp), counts.cumsum(axis=1).astype(np.intp)], axis=1)
    orders = np.argsort(codes, axis=1, kind="stable")
    means, weights = np.empty((2, len(codes), n_classes, x.shape[1]))
    rows = np.empty(x.shape)
    for b, lists in enumerate(zip(starts, orders, strict=True)):
        weights[b] = _fit_one(centred, mean, lists, (means[b], rows))
    with np.errstate(divide="ignore"):
        offset = np.log(counts / len(x)) - 0.5 * np.einsum("bkj,bkj->bk", weights, means)
    return Fit(mean, None, weights, offset, "log", n_classes)


def _fit_one(x: Float64, mean: Float64, lists: tuple[Codes, Codes], out: tuple[Float64, Float64]) -> Float64:
    """Weights (n_classes, n_units); writes the class means, and uses room for rows."""
    means, rows = out
    n, p = x.shape
    diagonal, variance = np.empty((2, p))
    shrunk_moments(x, lists, mean, (means, diagonal, variance, rows))
    live = variance > 0
    if not live.all():  # units that never vary tell nothing
        live |= np.abs(means).max(axis=0) > 0
    if live.all():
        return _solve(rows, (diagonal, variance), means, p > n)
    solved = np.zeros_like(means)
    left = np.ascontiguousarray(rows[:, live])
    solved[:, live] = _solve(left, (diagonal[live], variance[live]), means[:, live], p > n)
    return solved


def _solve(rows: Float64, units: tuple[Float64, Float64], means: Float64, wide: bool) -> Float64:
    """Solve (diag(d) + R'R) w = m for every class; R (n, p) comes divided by the roots of d if p > n."""
    n, p = rows.shape
    diagonal, variance = units
    if not wide:
        covariance = rows.T @ rows
        covariance.flat[:: p + 1] += diagonal
        solved = means.copy()
        if not solve_positive(covariance, solved):
            raise MeasureError(_SINGULAR)
        return solved
    if not (diagonal > FLOOR * variance).all():
        raise MeasureError(_SINGULAR)
    root = 1 / np.sqrt(diagonal)
    target = means * root
    core = np.eye(n)
    add_gram(rows, core)
    inside = target @ rows.T
    if not solve_positive(core, inside):
        raise MeasureError(_SINGULAR)
    target -= inside @ rows
    target *= root
    return target


_SINGULAR = (
    "lda: shrinkage='auto' finds nothing to shrink (two rows per class determine no shrinkage), and the covariance is "
    "singular; expected three training rows or more in some class; use alpha=0.1 or a fixed shrinkage"
)
