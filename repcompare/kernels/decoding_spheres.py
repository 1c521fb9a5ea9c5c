"""Decoding in many small groups of units: one hat matrix per group, every set of labels as a column.

``rest`` = I - H (n, n), H the ridge hat matrix of all rows.  With A = rest Y for indicators Y, the rows R that a fold
removes are predicted by ``Y_R + E_R``, ``E_R = -rest_RR^(-1) A_R``, and the fit of the other rows leaves ``Y'A + A_R'E_R``:
nothing else is needed of a fold.  Arrays over sets of labels have the sets last, so that every inner loop runs along them.

Tuples: ``lists`` is (starts, members): group c is ``members[starts[c]:starts[c + 1]]``.  ``folds`` is (starts, removed,
tested): rows ``removed[starts[f]:starts[f + 1]]`` are not fitted by fold f, those with ``tested`` are decoded.  ``labels``
is (codes (n_rows, n_sets), base (n_folds, n_classes, n_sets), train (n_folds,)): classes, what :func:`line_votes` and
:func:`centroid_votes` add, training rows.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from repcompare.kernels.searchlight import AGAIN, DONE, FLAT

RIDGE, LDA, CENTROID = 0, 1, 2
FEW, SAFE = 2, 1e-4  # rows per unit from which the units are the smaller problem; penalty below which that loses digits


@njit(cache=True, nogil=True)
def gather_units(columns, group, patterns):  # type: ignore[no-untyped-def]
    """Copy the columns (n_units, n) of a group to ``patterns`` (p, n); return the sum of squares."""
    total = 0.0
    for q in range(group.size):
        source, target = columns[group[q]], patterns[q]
        for i in range(source.size):
            target[i] = source[i]
            total += source[i] * source[i]
    return total


@njit(cache=True, nogil=True)
def residual_maker(products, damp, out):  # type: ignore[no-untyped-def]
    """Write ``damp (K + damp)^(-1) - 1/n`` (n, n), which is I - H without cancellation; ``products`` is overwritten."""
    n = products.shape[0]
    for i in range(n):
        products[i, i] += damp
    solved = np.linalg.inv(products)
    for i in range(n):
        for j in range(n):
            out[i, j] = 0.5 * damp * (solved[i, j] + solved[j, i]) - 1.0 / n


@njit(cache=True, nogil=True)
def unit_residual_maker(inside, damp, out):  # type: ignore[no-untyped-def]
    """Write I - H (n, n) by a problem of the size of the units, where these are few; ``inside`` (p, n) has mean 0."""
    p, n = inside.shape
    scatter = np.dot(inside, inside.T)
    for q in range(p):
        scatter[q, q] += damp
    np.dot(inside.T, np.dot(np.linalg.inv(scatter), inside), out)
    for i in range(n):
        for j in range(i + 1):
            out[i, j] = (i == j) - 1.0 / n - 0.5 * (out[i, j] + out[j, i])
            out[j, i] = out[i, j]


@njit(cache=True, nogil=True)
def inverse_blocks(rest, folds, limit, blocks):  # type: ignore[no-untyped-def]
    """Write minus the inverse of each fold's block of removed rows, one after the other; return whether all are safe.

    A block is not safe if its inverse is so large that an eigenvalue below ``limit`` is possible.
    """
    starts, removed, _ = folds
    place = 0
    for f in range(starts.size - 1):
        rows = removed[starts[f] : starts[f + 1]]
        size = rows.size
        block = np.empty((size, size))
        for a in range(size):
            for b in range(size):
                block[a, b] = rest[rows[a], rows[b]]
        square = 0.0
        solved = block
        try:
            solved = np.linalg.inv(block)
        except Exception:
            return False
        for a in range(size):
            for b in range(size):
                blocks[place] = -0.5 * (solved[a, b] + solved[b, a])
                square += blocks[place] * blocks[place]
                place += 1
        if not square * limit * limit < 1.0:
            return False
    return True


@njit(cache=True, nogil=True)
def indicators(codes, n_columns, out):  # type: ignore[no-untyped-def]
    """Write the indicators of the first classes, ``out`` (n, n_columns * t), of codes (n, t)."""
    n, t = codes.shape
    for i in range(n):
        for k in range(n_columns):
            row = out[i, k * t : (k + 1) * t]
            for b in range(t):
                row[b] = codes[i, b] == k


@njit(cache=True, nogil=True)
def multiply_classes(left, right, rows, out):  # type: ignore[no-untyped-def]
    """Add ``sum_i left[rows[i], k] right[i, j]`` to ``out`` (m, m, t), for each set of labels; symmetric in k and j."""
    m, t = out.shape[0], out.shape[2]
    for i in range(rows.size):
        for k in range(m):
            first = left[rows[i], k * t : (k + 1) * t]
            for j in range(k + 1):
                second, target = right[i, j * t : (j + 1) * t], out[k, j]
                for b in range(t):
                    target[b] += first[b] * second[b]
    for k in range(m):
        for j in range(k):
            out[j, k] = out[k, j]


@njit(cache=True, nogil=True)
def eliminate(target, share, source):  # type: ignore[no-untyped-def]
    """Subtract ``share * source`` from ``target``, all (t,)."""
    for b in range(share.size):
        target[b] -= share[b] * source[b]


@njit(cache=True, nogil=True)
def invert_all(w, pivot):  # type: ignore[no-untyped-def]
    """Invert t symmetric positive definite matrices ``w`` (m, m, t) in place; ``pivot`` (2, t) is overwritten."""
    m = w.shape[0]
    inverse, share = pivot[0], pivot[1]
    for q in range(m):
        inverse[:] = 1.0 / w[q, q]
        for i in range(m):
            if i == q:
                continue
            share[:] = w[i, q] * inverse
            for j in range(m):
                if j != q:
                    eliminate(w[i, j], share, w[q, j])
            w[i, q] = -share
        for j in range(m):
            w[q, j] = inverse if j == q else w[q, j] * inverse


@njit(cache=True, nogil=True)
def keep_best(value, k, best, chosen):  # type: ignore[no-untyped-def]
    """Where ``value`` (t,) exceeds ``best``, put it there and ``k`` to ``chosen``."""
    for b in range(value.size):
        if value[b] > best[b]:
            best[b] = value[b]
            chosen[b] = k


@njit(cache=True, nogil=True)
def line_votes(predicted, weights, base, count, vote):  # type: ignore[no-untyped-def]
    """Choose the class of a row from the predictions (m, t) of all classes but the last.

    ``count`` is 0 for ridge regression: the largest prediction, the last being 1 minus the others.  Else discriminant
    analysis fitted to ``count`` rows, whose decision values are, up to a term of the row,
    ``count (weights @ predicted - diag(weights) / 2) + base`` with ``base = count / (2 n_k) + log n_k``, and ``base`` for
    the last class.  ``vote`` is (value, best, chosen), each (t,).
    """
    value, best, chosen = vote
    m, t = predicted.shape
    best[:] = -np.inf
    chosen[:] = 0
    for k in range(m):
        if count == 0:
            keep_best(predicted[k], k, best, chosen)
            continue
        for b in range(t):
            value[b] = -0.5 * weights[k, k, b]
        for j in range(m):
            weight, source = weights[k, j], predicted[j]
            for b in range(t):
                value[b] += weight[b] * source[b]
        for b in range(t):
            value[b] = count * value[b] + base[k, b]
        keep_best(value, k, best, chosen)
    if count > 0:
        keep_best(base[m], m, best, chosen)
        return
    value[:] = 1.0
    for k in range(m):
        for b in range(t):
            value[b] -= predicted[k, b]
    keep_best(value, m, best, chosen)


@njit(cache=True, nogil=True)
def centroid_votes(sums, squares, base, vote):  # type: ignore[no-untyped-def]
    """Choose the class of a row by its products with the class sums (c, t): ``sums / n_k - squares / (2 n_k^2)``.

    ``base`` (c, t) is ``1 / n_k``; ``squares`` (c, c, t) are products of the class sums.
    """
    value, best, chosen = vote
    best[:] = -np.inf
    chosen[:] = 0
    for k in range(sums.shape[0]):
        for b in range(sums.shape[1]):
            value[b] = base[k, b] * (sums[k, b] - 0.5 * base[k, b] * squares[k, k, b])
        keep_best(value, k, best, chosen)


@njit(cache=True, nogil=True)
def count_hits(codes, chosen, hits):  # type: ignore[no-untyped-def]
    """Add to ``hits`` (c, t) where the true class of a row, ``codes`` (t,), was chosen."""
    for b in range(codes.size):
        if chosen[b] == codes[b]:
            hits[codes[b], b] += 1


@njit(cache=True, nogil=True)
def fold_hits(kind, state, fold, labels, scratch, hits):  # type: ignore[no-untyped-def]
    """Decode the removed rows of a fold, for all sets of labels of a tile.

    ``state`` is (across (n, m t), square (m, m, t)): rest times indicators (or row products times indicators), and
    indicators times these.  ``fold`` is (rows, tested, block (r, r), base (c, t), count).  ``labels`` is (codes (n, t),
    columns (n, m t)).
    """
    across, square = state
    rows, tested, block, base, count = fold
    codes, columns = labels
    part, change, w, pivot, vote = scratch
    m, t = w.shape[0], w.shape[2]
    size = rows.size
    here, moved = part[:size], change[:size]
    for a in range(size):
        here[a] = columns[rows[a]] if kind == CENTROID else across[rows[a]]
    np.dot(block, here, moved)
    if kind == LDA:
        w[:] = square
        multiply_classes(across, moved, rows, w)
        invert_all(w, pivot)
    elif kind == CENTROID:  # of training rows: (Y - Y_R)' K (Y - Y_R), where moved is -K_RR Y_R
        w[:] = 0.0
        for a in range(size):
            here[a] = -moved[a] - 2 * across[rows[a]]
        multiply_classes(columns, here, rows, w)
        for k in range(m):
            w[k, k] += square[k, k]
    for a in range(size):
        if not tested[a]:
            continue
        row = rows[a]
        start = across[row] if kind == CENTROID else columns[row]
        for j in range(m * t):
            moved[a, j] += start[j]
        predicted = moved[a].reshape((m, t))
        if kind == CENTROID:
            centroid_votes(predicted, w, base, vote)
        else:
            line_votes(predicted, w, base, count if kind == LDA else 0, vote)
        count_hits(codes[row], vote[2], hits)


@njit(cache=True, nogil=True)
def tile_hits(kind, matrices, folds, labels, hits):  # type: ignore[no-untyped-def]
    """Count right rows per class, ``hits`` (c, t), of one group and one tile of sets; ``matrices`` is (rest, blocks).

    ``labels`` is (codes (n, t), base (n_folds, c, t), train).
    """
    rest, blocks = matrices
    starts, removed, tested = folds
    codes, base, train = labels
    n, t = codes.shape
    n_classes = base.shape[1]
    m = n_classes if kind == CENTROID else n_classes - 1
    columns, across = np.empty((n, m * t)), np.empty((n, m * t))
    indicators(codes, m, columns)
    np.dot(rest, columns, across)
    square, w = np.zeros((m, m, t)), np.empty((m, m, t))
    if kind != RIDGE:
        multiply_classes(columns, across, np.arange(n), square)
    largest = np.diff(starts).max()
    vote = np.empty(t), np.empty(t), np.empty(t, dtype=np.int64)
    scratch = np.empty((largest, m * t)), np.empty((largest, m * t)), w, np.empty((2, t)), vote
    hits[:] = 0
    place = 0
    for f in range(train.size):
        first, last = starts[f], starts[f + 1]
        size = last - first
        block = blocks[place : place + size * size].reshape((size, size))
        place += size * size
        fold = removed[first:last], tested[first:last], block, base[f], train[f]
        fold_hits(kind, (across, square), fold, (codes, columns), scratch, hits)


@njit(cache=True, nogil=True)
def group_hits(columns, lists, what, labels, hits, status):  # type: ignore[no-untyped-def]
    """Count the right rows of each class in each group, for every set of labels.

    Parameters
    ----------
    columns : ndarray, shape (n_units, n_rows)
        Mean 0 over rows.
    lists, labels : tuple
        See the head of this module; codes, base come in tiles: (n_tiles, n_rows, t), (n_tiles, n_folds, n_classes, t).
    what : tuple of (kind, folds, (alpha, limit))
        RIDGE, LDA or CENTROID; folds; penalty in units of the mean eigenvalue, and the eigenvalue of a block below which a
        group is left to the caller (AGAIN).
    hits : ndarray of int, shape (n_groups, n_tiles, n_classes, t)
        Overwritten.
    status : ndarray of int, shape (n_groups,)
        DONE, FLAT (nothing varies) or AGAIN.
    """
    starts, members = lists
    codes, base, train = labels
    kind, folds, (alpha, limit) = what
    n = columns.shape[1]
    sizes = np.diff(folds[0])
    blocks = np.empty((sizes * sizes).sum())
    patterns = np.empty((np.diff(starts).max(), n))
    products, rest = np.empty((n, n)), np.empty((n, n))
    for c in range(status.size):
        group = members[starts[c] : starts[c + 1]]
        inside = patterns[: group.size]
        trace = gather_units(columns, group, inside)
        status[c] = DONE if trace > 0 else FLAT
        if status[c] == FLAT:
            continue
        damp = alpha * trace / group.size
        few = kind != CENTROID and FEW * group.size <= n and alpha >= SAFE
        if few:
            unit_residual_maker(inside, damp, rest)
        else:
            np.dot(inside.T, inside, products)
        if kind == CENTROID:
            rest[:] = products
            negative_blocks(rest, folds, blocks)
        else:
            if not few:
                residual_maker(products, damp, rest)
            if not inverse_blocks(rest, folds, limit, blocks):
                status[c] = AGAIN
                continue
        for tile in range(codes.shape[0]):
            tile_hits(kind, (rest, blocks), folds, (codes[tile], base[tile], train), hits[c, tile])


@njit(cache=True, nogil=True)
def negative_blocks(products, folds, blocks):  # type: ignore[no-untyped-def]
    """Write minus the products among the removed rows of each fold, one block after the other."""
    starts, removed, _ = folds
    place = 0
    for f in range(starts.size - 1):
        rows = removed[starts[f] : starts[f + 1]]
        for a in rows:
            for b in rows:
                blocks[place] = -products[a, b]
                place += 1
