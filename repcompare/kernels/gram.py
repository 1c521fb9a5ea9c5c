"""Column centring and the bookkeeping of symmetric kernels: what BLAS does not do, one pass each."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def centre_columns(values, start, stop, out):  # type: ignore[no-untyped-def]
    """Write columns ``start:stop`` of ``values`` (n, p), minus their float64 means, to ``out`` (n, stop - start).

    Differences from the first row are averaged, so a constant column becomes exactly zero whatever its offset.
    """
    n = values.shape[0]
    width = stop - start
    mean = np.zeros(width)
    first = values[0, start:stop].astype(np.float64)
    for i in range(1, n):
        row = values[i, start:stop]
        for j in range(width):
            mean[j] += row[j] - first[j]
    mean /= n
    for i in range(n):
        row = values[i, start:stop]
        target = out[i]
        for j in range(width):
            target[j] = (row[j] - first[j]) - mean[j]


@njit(cache=True, nogil=True)
def offdiagonal_sums(lower):  # type: ignore[no-untyped-def]
    """Row sums (n,) of a symmetric matrix without its diagonal, from its lower triangle (n, n), in float64."""
    n = lower.shape[0]
    sums = np.zeros(n)
    for i in range(1, n):
        total = 0.0
        for j in range(i):
            value = np.float64(lower[i, j])
            total += value
            sums[j] += value
        sums[i] += total
    return sums


@njit(cache=True, nogil=True)
def pack_pairs(lower, shift, constant, out):  # type: ignore[no-untyped-def]
    """Write ``lower[i, j] - shift[i] - shift[j] + constant`` for j < i, row by row, to ``out``; return its sum of squares.

    ``lower`` is the lower triangle (n, n) of a symmetric matrix, ``shift`` (n,), ``out`` (n (n - 1) / 2,).
    """
    n = lower.shape[0]
    k = 0
    squares = 0.0
    for i in range(1, n):
        base = constant - shift[i]
        for j in range(i):
            value = np.float64(lower[i, j]) - shift[j] + base
            out[k + j] = value
            squares += value * value
        k += i
    return squares


@njit(cache=True, nogil=True)
def pack_rows(block, first, shift, constant, out):  # type: ignore[no-untyped-def]
    """Write pairs j < i of rows ``first`` .. of a kernel, given by those rows (rows, n), as :func:`pack_pairs` orders them.

    ``out`` (pairs,) receives ``block[i - first, j] - shift[i] - shift[j] + constant`` row by row.
    """
    k = 0
    for r in range(block.shape[0]):
        i = first + r
        base = constant - shift[i]
        for j in range(i):
            out[k + j] = np.float64(block[r, j]) - shift[j] + base
        k += i


@njit(cache=True, nogil=True)
def unpack_pairs(pairs, out):  # type: ignore[no-untyped-def]
    """Write packed pairs (j < i, row by row) into both triangles of ``out`` (n, n); the diagonal is left as it is."""
    n = out.shape[0]
    k = 0
    for i in range(1, n):
        for j in range(i):
            out[i, j] = pairs[k + j]
            out[j, i] = pairs[k + j]
        k += i
