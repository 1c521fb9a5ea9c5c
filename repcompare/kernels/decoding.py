"""Sums over the rows of each class for many sets of labels, confusions, and areas under ROC curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Float64 = npt.NDArray[np.float64]
Codes = npt.NDArray[np.integer[Any]]


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
    x: Float64, rows: Codes, out: tuple[Float64, Float64, Float64, Float64, Float64], flat: float
) -> None:
    """Centre and scale the rows of one class.

    Parameters
    ----------
    x : ndarray, shape (n_rows, n_units)
        All rows.
    rows : ndarray of int, shape (m,)
        Those of the class.
    out : tuple of ndarray
        Overwritten: mean (n_units,), variance (n_units,) with denominator m, squared scale (n_units,) (the variance, or 1
        where it is at most ``flat``), centred rows (m, n_units), scaled rows (m, n_units).
    flat : float
        Variances up to here are none.
    """
    mean, variance, scale, apart, standard = out
    m, p = rows.size, x.shape[1]
    mean[:] = 0.0
    for i in range(m):
        for j in range(p):
            mean[j] += x[rows[i], j]
    variance[:] = 0.0
    for j in range(p):
        mean[j] /= m
    for i in range(m):
        for j in range(p):
            apart[i, j] = x[rows[i], j] - mean[j]
            variance[j] += apart[i, j] * apart[i, j]
    for j in range(p):
        variance[j] /= m
        scale[j] = variance[j] if variance[j] > flat else 1.0
    root = np.sqrt(scale)
    for i in range(m):
        for j in range(p):
            standard[i, j] = apart[i, j] / root[j]


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
