"""Kendall's tau: pairs of values that two vectors put in opposite order, counted from sorting orders.

Vectors are described by what one sort of each gives (:func:`mark_ties`), so that many vectors are sorted once and then
compared in all combinations.  Short vectors are counted with a set of bits and a running total per word, long ones by
merging (Knight 1966, Journal of the American Statistical Association 61:436).
"""

from __future__ import annotations

import numpy as np
from numba import njit

WORD = 64
LANES = 32  # words of a set of bits are a multiple of this, so that the running totals fill whole registers
LONGEST_BITS = 1 << 15  # above it merging wins, and the running totals would leave 16 bits
INSERTION = 8  # runs that merging starts from


@njit(cache=True, nogil=True)
def mark_ties(values, order, place, stop):  # type: ignore[no-untyped-def]
    """Write each item's position in the order to ``place`` and the end of its tie group to ``stop``; return tied pairs.

    ``values`` (n,) without NaN, ``order`` (n,) sorts them; ``place`` and ``stop`` (n,) are int32.
    """
    n = values.size
    first = 0
    tied = 0
    while first < n:
        last = first + 1
        while last < n and values[order[last]] == values[order[first]]:
            last += 1
        for k in range(first, last):
            place[order[k]] = k
            stop[order[k]] = last
        tied += (last - first) * (last - first - 1) // 2
        first = last
    return tied


@njit(cache=True, nogil=True)
def filter_order(order, index, out):  # type: ignore[no-untyped-def]
    """Write ``index[order]`` to ``out`` without its negative entries: the order of the items that are kept."""
    kept = 0
    for k in range(order.size):
        item = index[order[k]]
        if item >= 0:
            out[kept] = item
            kept += 1


@njit(cache=True, nogil=True)
def tied_in_both(order, stop_a, stop_b, counts):  # type: ignore[no-untyped-def]
    """Return how many pairs of items are tied in both vectors.

    ``order`` (n,) sorts the first; ``stop_a`` and ``stop_b`` (n,) are ends of tie groups; ``counts`` (n + 1,) is zero
    before and after.
    """
    n = order.size
    both = 0
    first = 0
    while first < n:
        last = stop_a[order[first]]
        for k in range(first, last):
            group = stop_b[order[k]]
            both += counts[group]
            counts[group] += 1
        for k in range(first, last):
            counts[stop_b[order[k]]] = 0
        first = last
    return both


@njit(cache=True, nogil=True)
def discordant_bits(order, stop_a, place_b, stop_b):  # type: ignore[no-untyped-def]
    """Return the pairs of items in opposite strict order in a and b, for at most 2^15 items.

    Items enter by ascending a; a set of bits over positions in b and the number of items below each word tell how many
    that are smaller in a are larger in b.

    ``order`` (n,) sorts a, ``stop_a``, ``stop_b`` (n,) end the tie groups, ``place_b`` (n,) are positions in b.
    """
    n = order.size
    words = (n // WORD + LANES) // LANES * LANES
    bits = np.zeros(words, dtype=np.uint64)
    below = np.zeros(words, dtype=np.uint16)
    found = np.int64(0)
    first = 0
    while first < n:
        last = stop_a[order[first]]
        for k in range(first, last):
            end = stop_b[order[k]]
            word = end >> 6
            x = bits[word] & ((np.uint64(1) << np.uint64(end & 63)) - np.uint64(1))
            x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
            x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
            x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
            inside = (x * np.uint64(0x0101010101010101)) >> np.uint64(56)  # ones of a word
            found += first - np.int64(below[word]) - np.int64(inside)
        for k in range(first, last):
            position = place_b[order[k]]
            word = position >> 6
            bits[word] |= np.uint64(1) << np.uint64(position & 63)
            for v in range(words):
                below[v] += np.uint16(v > word)
        first = last
    return found


@njit(cache=True, nogil=True)
def _ends_in_order(stop_a, place_b, stop_b, x):  # type: ignore[no-untyped-def]
    """Write the ends of the tie groups in b by ascending a to ``x``; items tied in a ascend in b: no inversions."""
    n = x.size
    by_b = np.empty(n, dtype=np.int64)
    filled = np.zeros(n + 1, dtype=np.int64)  # items of each group in a, then where its next one goes
    for k in range(n):
        by_b[place_b[k]] = k
        filled[stop_a[k]] += 1
    for end in range(1, n + 1):
        if filled[end] > 0:
            filled[end] = end - filled[end]
    for k in range(n):
        item = by_b[k]
        x[filled[stop_a[item]]] = stop_b[item]
        filled[stop_a[item]] += 1


@njit(cache=True, nogil=True)
def discordant_merge(order, stop_a, place_b, stop_b):  # type: ignore[no-untyped-def]
    """Return the same as :func:`discordant_bits` for any number of items, by merging."""
    n = order.size
    x = np.empty(n, dtype=np.int64)
    _ends_in_order(stop_a, place_b, stop_b, x)
    found = 0
    for start in range(0, n, INSERTION):
        for i in range(start + 1, min(start + INSERTION, n)):
            value = x[i]
            j = i - 1
            while j >= start and x[j] > value:
                x[j + 1] = x[j]
                j -= 1
            found += i - 1 - j
            x[j + 1] = value
    y = np.empty(n, dtype=np.int64)
    width = INSERTION
    while width < n:
        for start in range(0, n, 2 * width):
            middle, end = min(start + width, n), min(start + 2 * width, n)
            i, j = start, middle
            for k in range(start, end):
                if j >= end or (i < middle and x[i] <= x[j]):
                    y[k] = x[i]
                    i += 1
                else:
                    y[k] = x[j]
                    j += 1
                    found += middle - i
        x, y = y, x
        width *= 2
    return found


@njit(cache=True, nogil=True)
def sum_absolute_signs(rdms, weights):  # type: ignore[no-untyped-def]
    """Return ``sum over k < l of abs(sum_s w_s sign(d_sk - d_sl))`` of vectors (n_rdms, n), in n_rdms n^2 / 2 steps.

    With weights that sum to 1 this bounds, times 2 / (n (n - 1)), the mean tau_a that one vector can reach with all.
    """
    s, n = rdms.shape
    row = np.empty(n)
    total = 0.0
    for k in range(n - 1):
        row[k + 1 :] = 0.0
        for m in range(s):
            value, weight, other = rdms[m, k], weights[m], rdms[m]
            for j in range(k + 1, n):
                row[j] += weight * (np.float64(value > other[j]) - np.float64(value < other[j]))
        for j in range(k + 1, n):
            total += abs(row[j])
    return total
