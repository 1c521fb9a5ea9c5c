"""What surrounds the matrix product of an RDM: checks, patterns as they enter it, distances as they leave it, ties."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def largest_word(words, mask):  # type: ignore[no-untyped-def]
    """Return the largest of ``words & mask``, both unsigned.

    Floating-point numbers without their sign bit are ordered as integers are: finite, infinite, NaN.
    """
    largest = mask & ~mask
    for word in words:
        largest = max(largest, word & mask)
    return largest


@njit(cache=True, nogil=True)
def upper_if_symmetric(matrix, tolerance, out):  # type: ignore[no-untyped-def]
    """Write the upper triangle of ``matrix`` (n, n) to ``out``; return False at entries further apart, or NaN.

    Read in tiles: a column by itself would fetch a cache line for every value.
    """
    n = len(matrix)
    step = 16
    for top in range(0, n, step):
        for left in range(top, n, step):
            close = True
            for i in range(top, min(top + step, n)):
                for j in range(max(left, i), min(left + step, n)):
                    value = matrix[i, j]
                    close &= abs(value - matrix[j, i]) <= tolerance
                    out[i, j] = value
            if not close:
                return False
    return True


@njit(cache=True, nogil=True)
def pattern_block(values, start, stop, shift, scale, out):  # type: ignore[no-untyped-def]
    """Write ``(values[i, start:stop] - shift[i]) * scale[i]``, minus the column means, to ``out`` (n, stop - start).

    ``values`` is (n, p); ``shift`` and ``scale`` are (n,).  The arithmetic is float64 whatever the values are.
    """
    n, width = out.shape
    mean = np.zeros(width)
    for i in range(n):
        row = values[i, start:stop]
        for j in range(width):
            mean[j] += (row[j] - shift[i]) * scale[i]
    mean /= n
    for i in range(n):
        row = values[i, start:stop]
        target = out[i]
        for j in range(width):
            target[j] = (row[j] - shift[i]) * scale[i] - mean[j]


@njit(cache=True, nogil=True)
def gram_distances(gram, factor, near, out):  # type: ignore[no-untyped-def]
    """Write ``factor * (g_ii + g_jj - 2 g_ij)`` of each pair to ``out`` (n_pairs,), never below 0; return how many are near.

    ``gram`` (k, k) is read in its upper triangle.  A difference below ``near`` times its two diagonal terms has lost digits
    to the subtraction: it is written as NaN, for the caller to compute again.
    """
    k = gram.shape[0]
    place = 0
    count = 0
    for i in range(k - 1):
        own = gram[i, i]
        for j in range(i + 1, k):
            sums = own + gram[j, j]
            distance = max(sums - 2 * gram[i, j], 0.0)
            if distance < near * sums:
                count += 1
                distance = np.nan
            out[place] = factor * distance
            place += 1
    return count


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def row_moments(values, centred, mean, square):  # type: ignore[no-untyped-def]
    """Write each row's mean (0 unless ``centred``) and its sum of squares around it to ``mean`` and ``square`` (n,).

    ``values`` (n, p) has no NaN.  Differences from the first value are averaged, so that a constant row has no variance.
    """
    n, p = values.shape
    for i in range(n):
        row = values[i]
        first = np.float64(row[0])
        total = 0.0
        if centred:
            for j in range(p):
                total += row[j] - first
            mean[i] = first + total / p
        squares = 0.0
        for j in range(p):
            difference = row[j] - mean[i]
            squares += difference * difference
        square[i] = squares


@njit(cache=True, nogil=True)
def close_runs(ordered, absolute, relative, low, high):  # type: ignore[no-untyped-def]
    """Write the ends of runs of neighbours that differ by no more than rounding; return how many runs there are.

    Neighbours of ``ordered`` (n,) belong together when they are no more than ``absolute``, and ``relative`` times the
    larger, apart; runs of equal values need no ends.  ``low`` and ``high`` are filled as far as they reach.
    """
    count = 0
    start = 0
    n = ordered.size
    for i in range(1, n + 1):
        together = False
        if i < n:
            gap = ordered[i] - ordered[i - 1]
            together = gap <= absolute and gap <= relative * ordered[i]
        if not together:
            if ordered[i - 1] > ordered[start]:
                if count < low.size:
                    low[count] = ordered[start]
                    high[count] = ordered[i - 1]
                count += 1
            start = i
    return count


@njit(cache=True, nogil=True)
def join_runs(distance, low, high, out):  # type: ignore[no-untyped-def]
    """Write ``distance`` (n,) to ``out``, values inside a run replaced by its lower end; NaN stays."""
    runs = low.size
    for i in range(distance.size):
        value = distance[i]
        below, above = 0, runs  # the first run whose higher end is not below the value
        while below < above:
            middle = (below + above) // 2
            if high[middle] < value:
                below = middle + 1
            else:
                above = middle
        out[i] = low[below] if below < runs and low[below] <= value else value
