"""Sums over the rows of each class for many sets of labels, confusions, and areas under ROC curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Float64 = npt.NDArray[np.float64]
Codes = npt.NDArray[np.integer[Any]]
EPS = float(np.finfo(np.float64).eps)
FLAT = 10 * EPS**2  # variances up to here are none, as in scikit-learn


@njit(cache=True, nogil=True)
def class_sums(rows: Float64, codes: Codes, sums: Float64) -> None:
    """Add up the rows of each class, for every set of labels.

    Parameters
    ----------
    rows : ndarray, shape (n_rows, n_columns)
        C-ordered.
    codes : ndarray of int, shape (n_sets, n_rows)
        Class of each row.
    sums : ndarray, shape (n_sets, n_classes, n_columns)
        Overwritten.
    """
    n, width = rows.shape
    for b in range(codes.shape[0]):
        sums[b] = 0.0
        for i in range(n):
            target, source = sums[b, codes[b, i]], rows[i]
            for j in range(width):
                target[j] += source[j]


@njit(cache=True, nogil=True)
def class_pair_sums(values: Float64, codes: Codes, sums: Float64) -> None:
    """Add up the columns of each class of (n_sets, n_classes, n_rows) arrays into (n_sets, n_classes, n_classes)."""
    for b in range(values.shape[0]):
        sums[b] = 0.0
        for k in range(values.shape[1]):
            for i in range(values.shape[2]):
                sums[b, k, codes[b, i]] += values[b, k, i]


@njit(cache=True, nogil=True)
def standardise_class(
    x: Float64, rows: Codes, offset: Float64, out: tuple[Float64, Float64, Float64, Float64, Float64]
) -> None:
    """Centre and scale the rows of one class.

    Parameters
    ----------
    x : ndarray, shape (n_rows, n_units)
        All rows, C-ordered.
    rows : ndarray of int, shape (m,)
        Those of the class.
    offset : ndarray, shape (n_units,)
        What was subtracted from ``x``: variances that rounding of the original values explains are none.
    out : tuple of ndarray
        Overwritten: mean (n_units,), variance (n_units,) with denominator m, squared scale (n_units,) (the variance, or 1
        where there is none), centred rows (m, n_units), scaled rows (m, n_units).
    """
    mean, variance, scale, apart, standard = out
    m, p = rows.size, x.shape[1]
    mean[:] = 0.0
    variance[:] = 0.0
    for i in range(m):
        source = x[rows[i]]
        for j in range(p):
            mean[j] += source[j]
    for j in range(p):
        mean[j] /= m
    for i in range(m):
        source, target = x[rows[i]], apart[i]
        for j in range(p):
            target[j] = source[j] - mean[j]
            variance[j] += target[j] * target[j]
    for j in range(p):
        variance[j] /= m
        rounding = m * EPS * (mean[j] + offset[j])
        scale[j] = variance[j] if variance[j] > FLAT + m * EPS * variance[j] + rounding * rounding else 1.0
    root = 1.0 / np.sqrt(scale)
    for i in range(m):
        source, target = apart[i], standard[i]
        for j in range(p):
            target[j] = source[j] * root[j]


@njit(cache=True, nogil=True)
def ledoit_wolf(standard: Float64) -> tuple[float, float]:
    """Return how much to shrink the covariance of scaled rows (m, n_units) of mean 0, and their mean variance.

    Ledoit & Wolf 2004; norms of the covariance come from the smaller Gram matrix.
    """
    m, p = standard.shape
    lengths = np.zeros(m)
    if m <= p:
        products = np.dot(standard, standard.T)
        for i in range(m):
            lengths[i] = products[i, i]
    else:
        products = np.dot(standard.T, standard)
        for i in range(m):
            row = standard[i]
            for j in range(p):
                lengths[i] += row[j] * row[j]
    mu = lengths.sum() / m / p
    size = np.square(products).sum() / m**2
    spread = (np.square(lengths).sum() / m - size) / (p * m)
    apart_from_mu = (size - p * mu**2) / p
    least = min(spread, apart_from_mu)
    return (least / apart_from_mu if least > 0 else 0.0), mu


@njit(cache=True, nogil=True)
def shrunk_moments(
    x: Float64, lists: tuple[Codes, Codes], offset: Float64, out: tuple[Float64, Float64, Float64, Float64]
) -> None:
    """Means, and covariance diag(d) + R'R, of classes whose covariances are scaled, shrunk and scaled back.

    Of wide data R is returned divided by the roots of d, which is what the Woodbury identity needs.

    Parameters
    ----------
    x : ndarray, shape (n_rows, n_units)
        Rows less ``offset``, C-ordered.
    lists : tuple of ndarray
        (starts (n_classes + 1,), rows (n_rows,)): the rows of class k are ``rows[starts[k]:starts[k + 1]]``.
    offset : ndarray, shape (n_units,)
        As for :func:`standardise_class`.
    out : tuple of ndarray
        Overwritten: means (n_classes, n_units), 0 for a class without rows; d (n_units,); mean variance within classes
        (n_units,); R (n_rows, n_units), in the order of the classes, divided by the roots of d if there are more units than
        rows.
    """
    starts, rows = lists
    means, diagonal, variance, weighted = out
    n, p = x.shape
    moments, scale, standard = np.empty(p), np.empty(p), np.empty((np.diff(starts).max(), p))
    factor = np.empty(n)
    means[:], diagonal[:], variance[:] = 0.0, 0.0, 0.0
    for k in range(starts.size - 1):
        m = starts[k + 1] - starts[k]
        if m == 0:
            continue
        apart, scaled = weighted[starts[k] : starts[k + 1]], standard[:m]
        standardise_class(x, rows[starts[k] : starts[k + 1]], offset, (means[k], moments, scale, apart, scaled))
        share, mu = ledoit_wolf(scaled)
        factor[starts[k] : starts[k + 1]] = np.sqrt((1 - share) / n)
        for j in range(p):
            variance[j] += m / n * moments[j]
            diagonal[j] += m / n * share * mu * scale[j]
    root = np.where(diagonal > 0, 1 / np.sqrt(diagonal), 0.0) if p > n else np.ones(p)
    for i in range(n):
        row = weighted[i]
        for j in range(p):
            row[j] *= factor[i] * root[j]


@njit(cache=True, nogil=True)
def tally(values: Float64, truth: Codes, counts: npt.NDArray[np.int64]) -> None:
    """Count which class has the largest value for the rows of each class; the first of equal ones.

    Parameters
    ----------
    values : ndarray, shape (n_sets, n_classes, n_rows)
        Decision values.
    truth : ndarray of int, shape (n_sets, n_rows)
        True classes.
    counts : ndarray of int64, shape (n_sets, n_classes, n_classes)
        Overwritten; rows are the truth.
    """
    for b in range(values.shape[0]):
        counts[b] = 0
        for i in range(values.shape[2]):
            best = 0
            for k in range(1, values.shape[1]):
                if values[b, k, i] > values[b, best, i]:
                    best = k
            counts[b, truth[b, i], best] += 1


@njit(cache=True, nogil=True)
def area_under_curve(values: Float64, positive: npt.NDArray[np.bool_]) -> float:
    """Share of (positive, negative) pairs that are in order, ties count half; NaN where one kind is missing.

    Examples
    --------
    >>> area_under_curve(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True]))
    0.875
    """
    n = values.size
    order = np.argsort(values)
    pairs, below, n_positive, first = 0.0, 0, 0, 0
    while first < n:
        last, hits = first, 0
        while last < n and values[order[last]] == values[order[first]]:
            hits += positive[order[last]]
            last += 1
        misses = last - first - hits
        pairs += hits * (below + 0.5 * misses)
        below += misses
        n_positive += hits
        first = last
    if n_positive == 0 or below == 0:
        return np.nan
    return pairs / (n_positive * below)


@njit(cache=True, nogil=True)
def mean_areas(values: Float64, truth: Codes, areas: Float64) -> None:
    """Mean over classes of the area of one class against the rest; NaN where a class has no row.

    Parameters
    ----------
    values : ndarray, shape (n_sets, n_classes, n_rows)
        Comparable between rows.
    truth : ndarray of int, shape (n_sets, n_rows)
        True classes.
    areas : ndarray, shape (n_sets,)
        Overwritten.
    """
    n_classes = values.shape[1]
    for b in range(values.shape[0]):
        total = 0.0
        for k in range(n_classes):
            total += area_under_curve(values[b, k], truth[b] == k)
        areas[b] = total / n_classes
