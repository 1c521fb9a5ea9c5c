"""Linear discriminant analysis with the covariance that scikit-learn's ``shrinkage="auto"`` means.

Per class, the features are scaled to unit variance, their covariance is shrunk after Ledoit & Wolf (2004) and scaled back;
classes are weighted by their proportions.  The sum is diag(d) + R'R with as many rows in R as there are training rows, so
wide data are solved by the Woodbury identity.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from repcompare.errors import MeasureError
from repcompare.kernels.decoding import standardise_class
from repcompare.measures.decoding._linear import Fit
from repcompare.measures.decoding.models import Codes, Float64

FLAT = 10 * float(np.finfo(np.float64).eps) ** 2  # scikit-learn scales constant features by 1
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
    weights = np.empty((len(codes), n_classes, x.shape[1]))
    offset = np.empty((len(codes), n_classes))
    for b, labels in enumerate(codes):
        weights[b], offset[b] = _fit_one(centred, labels, n_classes)
    return Fit(mean, None, weights, offset, "log", n_classes)


def _fit_one(x: Float64, labels: Codes, n_classes: int) -> tuple[Float64, Float64]:
    n, p = x.shape
    means, diagonal, variance = np.zeros((n_classes, p)), np.zeros(p), np.zeros(p)
    moments, scale, standard, rows = np.empty(p), np.empty(p), np.empty((n, p)), np.empty((n, p))
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(n_classes + 1))
    shares = np.diff(ends) / n
    for k in np.flatnonzero(shares):
        inside = slice(ends[k], ends[k + 1])
        standardise_class(x, order[inside], (means[k], moments, scale, rows[inside], standard[inside]), FLAT)
        share, mu = _ledoit_wolf(standard[inside])
        variance += shares[k] * moments
        diagonal += shares[k] * share * mu * scale
        rows[inside] *= np.sqrt((1 - share) / n)
    between = means - shares @ means
    live = (variance > 0) | (np.abs(between).max(axis=0) > 0)  # units that never vary tell nothing
    if live.all():
        solved = _solve(rows, diagonal, variance, means)
    else:
        solved = np.zeros_like(means)
        solved[:, live] = _solve(rows[:, live], diagonal[live], variance[live], means[:, live])
    with np.errstate(divide="ignore"):
        return solved, np.log(shares) - 0.5 * (solved * means).sum(axis=1)


def _ledoit_wolf(standard: Float64) -> tuple[float, float]:
    """Shrinkage of the scaled rows (n, p) of one class, and their mean variance."""
    n, p = standard.shape
    lengths = np.einsum("ij,ij->i", standard, standard)
    mu = float(lengths.sum()) / n / p
    products = standard @ standard.T if n <= p else standard.T @ standard
    size = float(np.vdot(products, products)) / n**2
    spread = (float(lengths @ lengths) / n - size) / (p * n)
    apart_from_mu = (size - p * mu**2) / p
    if min(spread, apart_from_mu) <= 0:
        return 0.0, mu
    return min(spread, apart_from_mu) / apart_from_mu, mu


def _solve(rows: Float64, diagonal: Float64, variance: Float64, means: Float64) -> Float64:
    """Solve (diag(d) + R'R) w = m for every class; R is (n, p)."""
    n, p = rows.shape
    if p <= n:
        covariance = rows.T @ rows
        covariance.flat[:: p + 1] += diagonal
        try:
            factor = scipy.linalg.cho_factor(covariance, lower=True, check_finite=False)
        except scipy.linalg.LinAlgError as error:
            raise MeasureError(_SINGULAR) from error
        found: Float64 = scipy.linalg.cho_solve(factor, means.T, check_finite=False).T
        return found
    if not (diagonal > FLOOR * variance).all():
        raise MeasureError(_SINGULAR)
    root = np.sqrt(diagonal)
    scaled, target = rows / root, means / root
    core = scaled @ scaled.T
    core.flat[:: n + 1] += 1.0
    factor = scipy.linalg.cho_factor(core, lower=True, check_finite=False, overwrite_a=True)
    inside = scipy.linalg.cho_solve(factor, scaled @ target.T, check_finite=False)
    result: Float64 = (target - inside.T @ scaled) / root
    return result


_SINGULAR = (
    "lda: shrinkage='auto' finds nothing to shrink (two rows per class determine no shrinkage), and the covariance is "
    "singular; expected three training rows or more in some class; use alpha=0.1 or a fixed shrinkage"
)
