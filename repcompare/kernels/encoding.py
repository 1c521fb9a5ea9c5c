"""Sums over rows of many columns in one pass, in float64 whatever the data, and what a training set adds up to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Values = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]


@njit(cache=True, nogil=True)
def column_sums(values: Values, sums: Float64) -> None:
    """Write the sum of each column of ``values`` (n_rows, n_columns) to ``sums`` (n_columns,)."""
    sums[:] = 0.0
    for i in range(values.shape[0]):
        row = values[i]
        for j in range(row.size):
            sums[j] += row[j]


@njit(cache=True, nogil=True)
def column_squares(values: Values, squares: Float64) -> None:
    """Write the sum of squares of each column of ``values`` (n_rows, n_columns) to ``squares`` (n_columns,)."""
    squares[:] = 0.0
    for i in range(values.shape[0]):
        row = values[i]
        for j in range(row.size):
            value = np.float64(row[j])
            squares[j] += value * value


@njit(cache=True, nogil=True)
def fold_sums(below: Values, predicted: Values, error: Float64, total: Float64, first: Float64) -> None:
    """Add up what a test set says about its predictions, column by column.

    Parameters
    ----------
    below, predicted : ndarray, shape (n_rows, n_columns)
        Training mean minus data, and predictions about the training mean.
    error, total, first : ndarray, shape (n_columns,)
        Overwritten: sums of squares of their sum, and of ``below``; sums of ``below``.
    """
    error[:], total[:], first[:] = 0.0, 0.0, 0.0
    for i in range(below.shape[0]):
        one, other = below[i], predicted[i]
        for j in range(one.size):
            value = np.float64(one[j])
            rest = np.float64(one[j] + other[j])
            error[j] += rest * rest
            total[j] += value * value
            first[j] += value


@njit(cache=True, nogil=True)
def union_products(parts: Values, which: npt.NDArray[np.intp], left: Values, right: Values, out: Values) -> None:
    """Add up the products of some pieces, without those of their means.

    Parameters
    ----------
    parts : ndarray, shape (n_pieces, p, n_columns)
        Products of each piece.
    which : ndarray of int, shape (n_some,)
        Pieces, at least one.
    left, right : ndarray, shape (p,), (n_columns,)
        The outer product of both is taken away.
    out : ndarray, shape (p, n_columns)
        Overwritten.
    """
    for i in range(out.shape[0]):
        row, first, scale = out[i], parts[which[0], i], left[i]
        for j in range(row.size):
            row[j] = first[j] - scale * right[j]
        for k in range(1, which.size):
            part = parts[which[k], i]
            for j in range(row.size):
                row[j] += part[j]
