"""RDMs of many small groups of units, and their ranks: one pass per group, nothing allocated.

Columns are unit-major: row u holds the responses of unit u to the k stimuli, so that gathering a group is copying rows.
``lists`` is (starts, members): group c is ``members[starts[c]:starts[c + 1]]``.  ``status`` (n_groups,) becomes FLAT or
AGAIN where a group needs another treatment.
"""

from __future__ import annotations

import numpy as np
from numba import njit

DONE, FLAT, AGAIN = 0, 1, 2
EPS = float(np.finfo(np.float64).eps)


SUMS = {"reassoc", "nsz"}  # sums in any order: a vector at a time


@njit(cache=True, nogil=True)
def pair_distances(gram, form, sizes, out):  # type: ignore[no-untyped-def]
    """Write ``factor * (g_ii + g_jj - 2 g_ij)``, not below 0, of each pair to ``out``; return how many are near.

    ``gram`` (k, k) is read in its upper triangle; ``form`` is (factor, near): a pair below ``near`` of its two diagonal
    terms has lost digits.  ``sizes`` (k,) is overwritten.
    """
    factor, near = form
    k = gram.shape[0]
    for i in range(k):
        sizes[i] = gram[i, i]
    count = 0
    place = 0
    for i in range(k - 1):
        n = k - 1 - i
        row, others, target = gram[i, i + 1 :], sizes[i + 1 :], out[place : place + n]
        for j in range(n):
            sums = sizes[i] + others[j]
            distance = sums - 2 * row[j]
            target[j] = factor * max(distance, 0.0)
            count += distance < near * sums
        place += n
    return count


@njit(cache=True, nogil=True)
def gather(columns, group, patterns, sums):  # type: ignore[no-untyped-def]
    """Copy the rows of a group to ``patterns`` (n_members, k), and add them to ``sums`` (k,)."""
    for q in range(group.size):
        source, target = columns[group[q]], patterns[q]
        for i in range(sums.size):
            target[i] = source[i]
            sums[i] += target[i]


@njit(cache=True, nogil=True, fastmath=SUMS)
def unit_patterns(columns, group, centred, patterns, stats):  # type: ignore[no-untyped-def]
    """Write the patterns of a group (n_members, k) at norm 1, minus their mean over stimuli; return whether one is flat.

    ``centred`` subtracts each pattern's own mean first; ``stats`` (2, k) is overwritten.
    """
    p, k = group.size, columns.shape[1]
    mean, scale = stats[0], stats[1]
    stats[:] = 0.0
    gather(columns, group, patterns, mean)
    mean *= centred / p
    for q in range(p):
        target = patterns[q]
        for i in range(k):
            target[i] -= mean[i]
            scale[i] += target[i] * target[i]
    for i in range(k):
        if scale[i] <= p * (16 * EPS * mean[i]) ** 2:
            return True
        scale[i] = 1 / np.sqrt(scale[i])
    for q in range(p):
        target = patterns[q]
        total = 0.0
        for i in range(k):
            target[i] *= scale[i]
            total += target[i]
        total /= k
        for i in range(k):
            target[i] -= total
    return False


@njit(cache=True, nogil=True)
def angle_rdms(columns, lists, form, scratch, out, status):  # type: ignore[no-untyped-def]
    """Write one minus the correlation (``form[0]``) or cosine of all pairs of stimuli in each group to ``out``.

    ``form`` is (centred, near): a pair below ``near`` of its products is left to the caller (AGAIN).  ``scratch`` is
    (patterns (largest, k), gram (k, k), stats (2, k)).
    """
    starts, members = lists
    centred, near = form
    patterns, gram, stats = scratch
    for c in range(status.size):
        group = members[starts[c] : starts[c + 1]]
        if unit_patterns(columns, group, centred, patterns, stats):
            status[c] = FLAT
            continue
        inside = patterns[: group.size]
        np.dot(inside.T, inside, gram)
        if pair_distances(gram, (0.5, near), stats[0], out[c]) > 0:
            status[c] = AGAIN


@njit(cache=True, nogil=True)
def square_rdms(columns, lists, near, scratch, out, status):  # type: ignore[no-untyped-def]
    """Write the mean squared differences of all pairs of stimuli in each group; columns have mean 0 over stimuli."""
    starts, members = lists
    patterns, gram, stats = scratch
    for c in range(status.size):
        group = members[starts[c] : starts[c + 1]]
        for q in range(group.size):
            patterns[q] = columns[group[q]]
        inside = patterns[: group.size]
        np.dot(inside.T, inside, gram)
        if pair_distances(gram, (1.0 / group.size, near), stats[0], out[c]) > 0:
            status[c] = AGAIN


@njit(cache=True, nogil=True)
def crossed_rdms(columns, lists, scratch, out):  # type: ignore[no-untyped-def]
    """Write the crossnobis distances of each group.

    ``columns`` is (n_units, m + 1, k): the m partitions, then their sum, each with mean 0 over stimuli.  ``scratch`` is
    (patterns (m largest, k), totals (largest, k), within (k, k), gram (k, k)).
    """
    starts, members = lists
    patterns, totals, within, gram = scratch
    m, k = columns.shape[1] - 1, columns.shape[2]
    for c in range(out.shape[0]):
        group = members[starts[c] : starts[c + 1]]
        p = group.size
        for q in range(p):
            source = columns[group[q]]
            patterns[q * m : (q + 1) * m] = source[:m]
            totals[q] = source[m]
        parts, sums = patterns[: p * m], totals[:p]
        np.dot(parts.T, parts, within)
        np.dot(sums.T, sums, gram)
        place = 0
        for i in range(k - 1):
            for j in range(i + 1, k):
                across = gram[i, i] + gram[j, j] - 2 * gram[i, j]
                inside = within[i, i] + within[j, j] - 2 * within[i, j]
                out[c, place] = (across - inside) / (m * (m - 1) * p)
                place += 1


@njit(cache=True, nogil=True)
def walk_ranks(values, order, closeness, ranks):  # type: ignore[no-untyped-def]
    """Write the mid-ranks of ``values`` (n,) minus their mean; return DONE, FLAT or AGAIN.

    AGAIN: ``order`` does not sort the values, or two that follow one another differ by rounding only.
    """
    n = order.size
    absolute, relative = closeness
    limit = absolute * values[order[n - 1]]
    middle = 0.5 * (n + 1)
    first = 0
    low = values[order[0]]
    for i in range(1, n + 1):
        high = values[order[i]] if i < n else np.inf
        if high == low:
            continue
        gap = high - low
        if gap < 0 or (gap <= limit and gap <= relative * high):
            return AGAIN
        rank = 0.5 * (first + i + 1) - middle
        for t in range(first, i):
            ranks[order[t]] = rank
        first = i
        low = high
    return FLAT if values[order[0]] == values[order[n - 1]] else DONE


@njit(cache=True, nogil=True)
def centred_ranks(values, orders, closeness, rows, status):  # type: ignore[no-untyped-def]
    """Write the mid-ranks of each row of ``values`` (n_rows, n), minus their mean, to ``rows``.

    ``orders`` sort the rows; ``closeness`` is (absolute, relative), as shares of the largest value and of the larger of
    two, (0, 0) for none: see :func:`walk_ranks`.  Rows with another status than DONE are left out.
    """
    for r in range(status.size):
        if status[r] == DONE:
            status[r] = walk_ranks(values[r], orders[r], closeness, rows[r])


@njit(cache=True, nogil=True)
def centred_sizes(pairs, k, sums, out):  # type: ignore[no-untyped-def]
    """Write ``|H D H / 2|`` (Frobenius) of each condensed RDM (n_rdms, n_pairs) to ``out``; ``sums`` (k,) is overwritten."""
    for r in range(out.size):
        sums[:] = 0.0
        square = 0.0
        place = 0
        for i in range(k - 1):
            for j in range(i + 1, k):
                d = pairs[r, place]
                sums[i] += d
                sums[j] += d
                square += d * d
                place += 1
        total = 0.0
        rows = 0.0
        for i in range(k):
            total += sums[i]
            rows += sums[i] * sums[i]
        out[r] = 0.5 * np.sqrt(max(2 * square - 2 * rows / k + (total / k) ** 2, 0.0))


@njit(cache=True, nogil=True)
def dot_rows(weights, rows, sizes, status, scores):  # type: ignore[no-untyped-def]
    """Write the product of each row (n,) with each of ``weights`` (n_models, n), over the row's size, within [-1, 1]."""
    for r in range(status.size):
        if status[r] == DONE:
            np.dot(weights, rows[r], scores[r])
            for m in range(weights.shape[0]):
                scores[r, m] = min(1.0, max(-1.0, scores[r, m] / sizes[r]))
