"""Lists of nearest neighbours: choosing them with a rule for ties, and what two sets of lists share."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def select_nearest(near, threshold, slack, lists, values, ties):  # type: ignore[no-untyped-def]
    """Write the k largest entries of each row of ``near`` (b, n) to ``values`` (b, k) and their columns to ``lists`` (b, k).

    ``threshold`` (b,) is the k-th largest entry of each row.  Columns that exceed it by more than ``slack`` (b,) are in;
    those within the slack fill the places that are left, lower index first.  Where they are more than the places, ``ties``
    (b,) gets their number.  Columns ascend.
    """
    rows, n = near.shape
    k = lists.shape[1]
    for i in range(rows):
        high, low = threshold[i] + slack[i], threshold[i] - slack[i]
        free, tied = k, 0
        for j in range(n):
            free -= near[i, j] > high
            tied += low <= near[i, j] <= high
        if tied > free:
            ties[i] = tied
        place = 0
        for j in range(n):
            equal = low <= near[i, j] <= high and free > 0
            free -= equal
            if equal or near[i, j] > high:
                lists[i, place] = j
                values[i, place] = near[i, j]
                place += 1


@njit(cache=True, nogil=True)
def count_shared(a, b, out):  # type: ignore[no-untyped-def]
    """Write how many entries each row of ``a`` (n, k) shares with that of ``b`` (n, k) to ``out`` (n,); rows ascend."""
    n, k = a.shape
    for i in range(n):
        u = v = shared = 0
        while u < k and v < k:
            if a[i, u] == b[i, v]:
                shared += 1
                u += 1
                v += 1
            elif a[i, u] < b[i, v]:
                u += 1
            else:
                v += 1
        out[i] = shared


@njit(cache=True, nogil=True)
def merge_lists(a, b, rows, columns):  # type: ignore[no-untyped-def]
    """Write the union of each pair of rows of ``a`` and ``b`` (n, k), ascending, as (row, column) pairs; return how many.

    ``rows`` and ``columns`` (2 n k,) are overwritten up to there.
    """
    n, k = a.shape
    place = 0
    for i in range(n):
        u = v = 0
        while u < k or v < k:
            left = a[i, u] if u < k else n
            right = b[i, v] if v < k else n
            rows[place] = i
            columns[place] = min(left, right)
            place += 1
            u += left <= right
            v += right <= left
    return place


@njit(cache=True, nogil=True)
def intersect_lists(a, x, b, y, out):  # type: ignore[no-untyped-def]
    """Keep what rows of ``a`` and ``b`` (n, k) share; return starts (n + 1,), and columns, and fill values.

    ``x`` and ``y`` (n, k) are the values of the entries of ``a`` and ``b``; those of shared entries go to ``out``
    (2, n k).  Columns of row i are ``columns[starts[i] : starts[i + 1]]``, ascending.
    """
    n, k = a.shape
    starts = np.zeros(n + 1, np.int64)
    columns = np.empty(n * k, a.dtype)
    place = 0
    for i in range(n):
        u = v = 0
        while u < k and v < k:
            if a[i, u] == b[i, v]:
                columns[place] = a[i, u]
                out[0, place] = x[i, u]
                out[1, place] = y[i, v]
                place += 1
                u += 1
                v += 1
            elif a[i, u] < b[i, v]:
                u += 1
            else:
                v += 1
        starts[i + 1] = place
    return starts, columns[:place]


@njit(cache=True, nogil=True)
def directed_hsic(starts, columns, x, y):  # type: ignore[no-untyped-def]
    """Symmetrised unbiased HSIC of two sparse matrices A, B (n, n) that share rows ``starts`` and ``columns``, no diagonal.

    sum A_ij B_ji + sum A sum B / ((n - 1)(n - 2)) - (cs(A) rs(B) + cs(B) rs(A)) / (n - 2), cs and rs column and row sums;
    ``x`` and ``y`` are the entries of A and B.
    """
    n = len(starts) - 1
    sums = np.zeros((4, n))
    trace = 0.0
    for i in range(n):
        for e in range(starts[i], starts[i + 1]):
            j = columns[e]
            sums[0, i] += x[e]
            sums[1, j] += x[e]
            sums[2, i] += y[e]
            sums[3, j] += y[e]
            back = starts[j] + np.searchsorted(columns[starts[j] : starts[j + 1]], i)
            if back < starts[j + 1] and columns[back] == i:
                trace += x[e] * y[back]
    total = sums[0].sum() * sums[2].sum() / ((n - 1) * (n - 2))
    crossed = (sums[1] * sums[2]).sum() + (sums[3] * sums[0]).sum()
    return trace + total - crossed / (n - 2)
