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
def tally_shared(a, b, worth, same, out):  # type: ignore[no-untyped-def]
    """Add up over stimuli what ``worth`` (k + 1,) says of the number of shared neighbours.

    For all pairs of lists ``a`` (l, n, k) and ``b`` (m, n, k); sums go to ``out`` (l, m), where ``same`` only above its
    diagonal and on it.  The list of each stimulus is marked once for all of ``b``: no branches that depend on the data.
    """
    n, k = a.shape[1], a.shape[2]
    marked = np.full(n, -1, np.int64)
    for i in range(n):
        for s in range(a.shape[0]):
            mark = i * a.shape[0] + s
            for u in range(k):
                marked[a[s, i, u]] = mark
            for t in range(s if same else 0, b.shape[0]):
                shared = 0
                for v in range(k):
                    shared += marked[b[t, i, v]] == mark
                out[s, t] += worth[shared]


@njit(cache=True, nogil=True)
def tally_cosines(a, x, b, y, same, out):  # type: ignore[no-untyped-def]
    """Add the cosines of ``x`` (l, w, n) and ``y`` (m, w, n) over the unions of ``a`` (l, w, k) and ``b`` (m, w, k).

    Sums over the w stimuli go to ``out`` (l, m), where ``same`` to its upper triangle only.  Returns the smallest squared
    length of either vector over a union.
    """
    n, k = x.shape[2], a.shape[2]
    marked = np.full(n, -1, np.int64)
    least = np.inf
    for i in range(a.shape[1]):
        for s in range(a.shape[0]):
            mark = i * a.shape[0] + s
            for u in range(k):
                marked[a[s, i, u]] = mark
            for t in range(s if same else 0, b.shape[0]):
                dot = own = other = 0.0
                for e in range(2 * k):
                    j = a[s, i, e] if e < k else b[t, i, e - k]
                    if e < k or marked[j] != mark:
                        p, q = x[s, i, j], y[t, i, j]
                        dot += p * q
                        own += p * p
                        other += q * q
                least = min(least, own, other)
                if own > 0 and other > 0:
                    out[s, t] += min(1.0, max(-1.0, dot / np.sqrt(own * other)))
    return least


@njit(cache=True, nogil=True)
def find_back(lists, back):  # type: ignore[no-untyped-def]
    """Write to ``back`` (n, k) where i stands in the list of its neighbour ``lists[i, u]``, -1 where it does not."""
    n, k = lists.shape
    for i in range(n):
        for u in range(k):
            row = lists[lists[i, u]]
            place = np.searchsorted(row, i)
            back[i, u] = place if place < k and row[place] == i else -1


@njit(cache=True, nogil=True)
def shared_hsic(a, x, back, b, y, back_b):  # type: ignore[no-untyped-def]
    """Symmetrised unbiased HSIC of the matrices A, B (n, n) with the values ``x``, ``y`` (n, k) where lists share an entry.

    sum A_ij B_ji + sum A sum B / ((n - 1)(n - 2)) - (cs(A) rs(B) + cs(B) rs(A)) / (n - 2), cs and rs column and row sums;
    ``a`` and ``b`` (n, k) are the lists, ascending; with ``back`` and ``back_b`` (n, k) of :func:`find_back` the entry that
    mirrors another is found without a search.
    """
    n, k = a.shape
    sums = np.zeros((4, n))
    trace = 0.0
    for i in range(n):
        u = v = 0
        while u < k and v < k:
            j = a[i, u]
            if j == b[i, v]:
                sums[0, i] += x[i, u]
                sums[1, j] += x[i, u]
                sums[2, i] += y[i, v]
                sums[3, j] += y[i, v]
                if back[i, u] >= 0 and back_b[i, v] >= 0:
                    trace += x[i, u] * y[j, back_b[i, v]]
            u, v = u + (j <= b[i, v]), v + (b[i, v] <= j)
    total = sums[0].sum() * sums[2].sum() / ((n - 1) * (n - 2))
    crossed = (sums[1] * sums[2]).sum() + (sums[3] * sums[0]).sum()
    return trace + total - crossed / (n - 2)
