"""Resampled RDMs without copying one: pairs of the stimuli that were drawn, with their weights.

A draw of stimuli is a vector of counts c.  It repeats the pair (i, j) c_i c_j times; a pair of two copies of one stimulus
has no distance and does not exist.  ``positions`` are the pairs of distinct stimuli drawn, ``weights`` their repetitions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

DIGIT = 2048  # of the radix sort
STEPS = 2.0**36  # that a sum of ranks is rounded to


@njit(cache=True, nogil=True)
def select_pairs(rows, counts, present, positions, weights):  # type: ignore[no-untyped-def]
    """Write the pairs of the distinct stimuli ``rows`` (sorted) and their weights; return how many there are.

    ``counts`` (k,) are the repetitions of all stimuli, ``present`` (n_pairs,) marks the pairs that may be used,
    ``positions`` and ``weights`` hold at least one entry per pair of ``rows``.
    """
    k = counts.size
    n = 0
    for a in range(rows.size):
        i = rows[a]
        start = i * (2 * k - i - 1) // 2 - i - 1
        for b in range(a + 1, rows.size):
            j = rows[b]
            if present[start + j]:
                positions[n] = start + j
                weights[n] = counts[i] * counts[j]
                n += 1
    return n


@njit(cache=True, nogil=True)
def weighted_means(values, positions, weights, means):  # type: ignore[no-untyped-def]
    """Write the weighted means over the pairs drawn of ``values`` (n_pairs, n_rdms) to ``means`` (n_rdms,)."""
    means[:] = 0.0
    total = 0.0
    for p in range(positions.size):
        row, w = values[positions[p]], weights[p]
        total += w
        for r in range(means.size):
            means[r] += w * row[r]
    means /= total


@njit(cache=True, nogil=True)
def fill_weighted(values, positions, roots, means, out):  # type: ignore[no-untyped-def]
    """Write ``(values - means) * roots`` of the pairs drawn to ``out`` (n_drawn, n_rdms)."""
    for p in range(positions.size):
        row, root = values[positions[p]], roots[p]
        for r in range(means.size):
            out[p, r] = (row[r] - means[r]) * root


@njit(cache=True, nogil=True)
def stimulus_sums(values, positions, rows, pulls, means, out):  # type: ignore[no-untyped-def]
    """Write ``sum_j pulls_j (d_ij - mean)`` over the other stimuli drawn to ``out`` (n_distinct, n_rdms).

    ``positions`` are all pairs of ``rows`` in the order of :func:`select_pairs`, ``pulls`` (n_distinct,).
    """
    out[:] = 0.0
    p = 0
    for a in range(rows.size):
        own = out[a]
        for b in range(a + 1, rows.size):
            row, other = values[positions[p]], out[b]
            p += 1
            for r in range(means.size):
                value = row[r] - means[r]
                own[r] += pulls[b] * value
                other[r] += pulls[a] * value


@njit(cache=True, nogil=True)
def resampled_ranks(codes, n_codes, positions, weights, out):  # type: ignore[no-untyped-def]
    """Write twice the centred mid-ranks of the resampled pairs to ``out`` (n_rdms, n_drawn).

    ``codes`` (n_rdms, n_pairs) are the ranks of the distances without gaps, from 0, equal for ties; ``n_codes`` (n_rdms,)
    their number.  A tie group of weight W after cum has ``2 (cum + (W + 1) / 2) - (sum(weights) + 1)``: whole numbers.
    """
    total = weights.sum()
    for r in range(codes.shape[0]):
        code = codes[r]
        group = np.zeros(n_codes[r])
        for p in range(positions.size):
            group[code[positions[p]]] += weights[p]
        _rank_groups(group, total)
        for p in range(positions.size):
            out[r, p] = group[code[positions[p]]]


@njit(cache=True, nogil=True)
def _rank_groups(group, total):  # type: ignore[no-untyped-def]
    """Replace the weights of tie groups, in ascending order, by twice their centred mid-rank."""
    before = 0.0
    for g in range(group.size):
        size = group[g]
        group[g] = 2.0 * before + size - total
        before += size


@njit(cache=True, nogil=True)
def dense_codes(ranks, codes, order):  # type: ignore[no-untyped-def]
    """Write ranks without gaps and a sorting order of whole numbers ``ranks`` (n,); return the number of tie groups.

    A radix sort: no comparisons.
    """
    n = ranks.size
    lowest = ranks.min()
    span = np.int64(ranks.max() - lowest)
    keys = np.empty(n, np.int64)
    for p in range(n):
        keys[p] = np.int64(ranks[p] - lowest)
        order[p] = p
    other = np.empty_like(order)
    start = np.empty(DIGIT, np.int64)
    unit = 1
    while unit <= span:
        start[:] = 0
        for p in range(n):
            start[(keys[p] // unit) % DIGIT] += 1
        before = 0
        for d in range(DIGIT):
            size = start[d]
            start[d] = before
            before += size
        for p in range(n):
            d = (keys[order[p]] // unit) % DIGIT
            other[start[d]] = order[p]
            start[d] += 1
        order[:] = other
        unit *= DIGIT
    return _number(keys, order, codes)


@njit(cache=True, nogil=True)
def sorted_codes(values, codes, order):  # type: ignore[no-untyped-def]
    """Write ranks without gaps and a sorting order of any ``values`` (n,); return the number of tie groups."""
    order[:] = np.argsort(values)
    return _number(values, order, codes)


@njit(cache=True, nogil=True)
def _number(values, order, codes):  # type: ignore[no-untyped-def]
    """Write the number of each value's tie group to ``codes``; return how many groups there are."""
    group = -1
    for k in range(order.size):
        if k == 0 or values[order[k]] != values[order[k - 1]]:
            group += 1
        codes[order[k]] = group
    return group + 1


@njit(cache=True, nogil=True)
def pooled_scores(ranks, weights, shares, whole, dots, norms):  # type: ignore[no-untyped-def]
    """Rank the pool of all RDMs, and of all but each one, and write what their scores are made of.

    Parameters
    ----------
    ranks : ndarray, shape (n_rdms, n)
        Twice the centred mid-ranks, as :func:`resampled_ranks` gives them.
    weights : ndarray, shape (n,)
        Repetitions.
    shares : ndarray, shape (n_rdms,)
        Weight of each RDM in the pool; 0 leaves it out.
    whole : bool
        The shares are whole numbers.
    dots, norms : ndarray, shape (2, n_rdms)
        Written: weighted products of each RDM with the ranked pool of the others (row 0) and of all (row 1), and the
        squared norm of that ranked pool.  Both ranks are twice the centred ones.
    """
    n_rdms, n = ranks.shape
    pool = np.zeros(n)
    for r in range(n_rdms):
        if shares[r] != 0:
            pool += shares[r] * ranks[r]
    for r in range(-1, n_rdms):
        if r >= 0 and shares[r] == 0:
            continue
        ranked = _ranked(pool if r < 0 else pool - shares[r] * ranks[r], weights, whole)
        norm = 0.0
        for p in range(n):
            norm += weights[p] * ranked[p] * ranked[p]
            ranked[p] *= weights[p]
        if r >= 0:
            dots[0, r], norms[0, r] = np.sum(ranked * ranks[r]), norm
            continue
        norms[1, :] = norm
        for q in range(n_rdms):
            dots[1, q] = np.sum(ranked * ranks[q])


@njit(cache=True, nogil=True)
def _ranked(values, weights, whole):  # type: ignore[no-untyped-def]
    """Return twice the centred weighted mid-ranks of ``values`` (n,)."""
    codes, order = np.empty(values.size, np.int32), np.empty(values.size, np.int64)
    if not whole:  # sums that differ by rounding only are ties
        largest = np.abs(values).max()
        values = np.rint(values * (STEPS / largest)) if largest > 0 else values
    n_codes = dense_codes(values, codes, order)
    group = np.zeros(n_codes)
    for p in range(values.size):
        group[codes[p]] += weights[p]
    _rank_groups(group, weights.sum())
    ranked = np.empty(values.size)
    for p in range(values.size):
        ranked[p] = group[codes[p]]
    return ranked


@njit(cache=True, nogil=True)
def agreement(codes_a, n_a, codes_b, n_b, order_b, weights):  # type: ignore[no-untyped-def]
    """Return the weight of discordant pairs of pairs, and of those tied in both (Knight 1966, with weights).

    Parameters
    ----------
    codes_a, codes_b : ndarray of int, shape (n,)
        Ranks without gaps, from 0.
    n_a, n_b : int
        Number of tie groups.
    order_b : ndarray of int, shape (n,)
        Sorting order of ``codes_b``.
    weights : ndarray, shape (n,)
        Repetitions; copies of one pair are tied in both.

    Returns
    -------
    discordant, tied : float
        Sums of ``w_p w_q`` over p < q; ``tied`` includes copies of one pair, w (w - 1) / 2.
    """
    n = codes_a.size
    slot = np.zeros(n_a + 1, np.int64)
    for p in range(n):
        slot[codes_a[p] + 1] += 1
    for g in range(n_a):
        slot[g + 1] += slot[g]
    sequence = np.empty(n, np.int64)
    for k in range(n):  # sorted by a, and by b within ties
        p = order_b[k]
        sequence[slot[codes_a[p]]] = p
        slot[codes_a[p]] += 1
    tree = np.zeros(n_b + 1)  # Fenwick tree of the weights already passed, by b
    passed = discordant = tied = together = 0.0
    for k in range(n):
        p = sequence[k]
        w = weights[p]
        below = 0.0
        node = codes_b[p] + 1
        while node > 0:
            below += tree[node]
            node &= node - 1
        discordant += w * (passed - below)
        node = codes_b[p] + 1
        while node <= n_b:
            tree[node] += w
            node += node & -node
        passed += w
        same = k > 0 and codes_b[sequence[k - 1]] == codes_b[p] and codes_a[sequence[k - 1]] == codes_a[p]
        together = together + w if same else w
        tied += w * (together - w) + 0.5 * w * (w - 1)
    return discordant, tied
