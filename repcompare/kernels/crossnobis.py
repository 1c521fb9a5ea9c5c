"""Cross-validated distances where cells or values are missing, and the means of cells: one pass each."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def mean_cells(values, cell, start, stop, out):  # type: ignore[no-untyped-def]
    """Write the mean of the rows of each cell, over units ``start:stop``, to ``out`` (n_cells, stop - start).

    ``values`` is (n_trials, p), ``cell`` (n_trials,) the cell of each trial.  A cell without trials is 0.
    """
    n_cells, width = out.shape
    count = np.zeros(n_cells, np.int64)
    for t in range(cell.size):
        row = values[t, start:stop]
        target = out[cell[t]]
        if count[cell[t]] == 0:
            for j in range(width):
                target[j] = row[j]
        else:
            for j in range(width):
                target[j] += row[j]
        count[cell[t]] += 1
    for c in range(n_cells):
        if count[c] == 0:
            out[c] = 0
        elif count[c] > 1:
            out[c] /= count[c]


@njit(cache=True, nogil=True)
def cell_contrasts(values, row, start, stop, sums, contrasts):  # type: ignore[no-untyped-def]
    """Write an orthonormal mixture of the partitions, each centred over stimuli, to ``sums`` and ``contrasts``.

    ``values`` is (n_rows, p), ``row`` (k, m) the row of each cell.  ``sums`` (k, stop - start) are the sums over partitions
    over ``sqrt(m)``; ``contrasts`` (k, m - 1, stop - start) compare each partition from the second on with those before it.
    The arithmetic is float64 whatever the arrays are.
    """
    k, m = row.shape
    width = stop - start
    mean, total = np.zeros((m, width)), np.empty(width)
    for r in range(m):
        centre = mean[r]
        for i in range(k):
            cell = values[row[i, r], start:stop]
            for j in range(width):
                centre[j] += cell[j]
    mean /= k
    for i in range(k):
        total[:] = values[row[i, 0], start:stop] - mean[0]
        for r in range(1, m):
            own, before = np.sqrt(r / (r + 1)), 1 / np.sqrt(r * (r + 1))
            cell, centre, target = values[row[i, r], start:stop], mean[r], contrasts[i, r - 1]
            for j in range(width):
                value = cell[j] - centre[j]
                target[j] = own * value - before * total[j]
                total[j] += value
        target = sums[i]
        for j in range(width):
            target[j] = total[j] / np.sqrt(m)


@njit(cache=True, nogil=True)
def mean_cells_present(values, cell, out):  # type: ignore[no-untyped-def]
    """Write the mean over the finite values of each cell and unit to ``out`` (n_cells, p); NaN where there are none.

    ``values`` is (n_trials, p), ``cell`` (n_trials,) the cell of each trial.
    """
    n_cells, p = out.shape
    count = np.zeros((n_cells, p), np.int64)
    out[:] = 0
    for t in range(cell.size):
        c = cell[t]
        for j in range(p):
            if not np.isnan(values[t, j]):
                out[c, j] += values[t, j]
                count[c, j] += 1
    for c in range(n_cells):
        for j in range(p):
            out[c, j] = out[c, j] / count[c, j] if count[c, j] > 0 else np.nan


@njit(cache=True, nogil=True)
def centre_partitions(cells, present):  # type: ignore[no-untyped-def]
    """Subtract from each partition its mean over stimuli, in place; differences within partitions do not change.

    ``cells`` is (k, m, p), ``present`` (k, m): cells that are not are left out and stay as they are.
    """
    k, m, p = cells.shape
    mean = np.zeros((m, p))
    count = np.zeros(m)
    for i in range(k):
        for r in range(m):
            if present[i, r]:
                count[r] += 1
                for j in range(p):
                    mean[r, j] += cells[i, r, j]
    for r in range(m):
        mean[r] /= max(count[r], 1)
    for i in range(k):
        for r in range(m):
            if present[i, r]:
                for j in range(p):
                    cells[i, r, j] -= mean[r, j]


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def masked_crossnobis(filled, mask, out, units):  # type: ignore[no-untyped-def]
    """Write the mean over units of the crossnobis distance of each unit, and the number of units, per pair of stimuli.

    ``filled`` and ``mask`` are (k, m, p): partition means with 0 where missing, and 1 where there is a value; m is even (add
    an empty partition).  A unit counts where both stimuli have a value in 2 partitions or more; ``out`` and ``units`` are
    (n_pairs,), ``out`` NaN without units.
    """
    k, m, p = filled.shape
    n, total, square = np.empty(p), np.empty(p), np.empty(p)
    place = 0
    for a in range(k - 1):
        for b in range(a + 1, k):
            n[:] = 0
            total[:] = 0
            square[:] = 0
            for r in range(0, m, 2):
                x, y, u, v = filled[a, r], filled[b, r], mask[a, r], mask[b, r]
                s, t, w, z = filled[a, r + 1], filled[b, r + 1], mask[a, r + 1], mask[b, r + 1]
                for j in range(p):
                    both, other = u[j] * v[j], w[j] * z[j]
                    first, second = (x[j] - y[j]) * both, (s[j] - t[j]) * other
                    n[j] += both + other
                    total[j] += first + second
                    square[j] += first * first + second * second
            value = 0.0
            count = 0.0
            for j in range(p):
                counts = 1.0 if n[j] > 1.5 else 0.0
                value += counts * (total[j] * total[j] - square[j]) / max(n[j] * (n[j] - 1), 1.0)
                count += counts
            out[place] = value / count if count > 0 else np.nan
            units[place] = count
            place += 1


@njit(cache=True, nogil=True)
def partition_sums(gram, own, present, first, out):  # type: ignore[no-untyped-def]
    """Fill rows ``first: first + b`` of ``out`` (k, k), j > i, with the crossnobis sum over common partitions.

    ``gram`` is (b, m, k, m): products of the cells of b stimuli with all cells; ``own`` (k, m, m) those of each stimulus
    with itself; ``present`` (k, m).  NaN where fewer than 2 partitions hold both stimuli.
    """
    b, m, k, _ = gram.shape
    common = np.empty(m, np.int64)
    for s in range(b):
        i = first + s
        for j in range(i + 1, k):
            n = 0
            for r in range(m):
                if present[i, r] and present[j, r]:
                    common[n] = r
                    n += 1
            total = 0.0
            for e in range(n):
                r = common[e]
                for f in range(n):
                    q = common[f]
                    if e != f:
                        total += own[i, r, q] + own[j, r, q] - gram[s, r, j, q] - gram[s, q, j, r]
            out[i, j] = total / (n * (n - 1)) if n > 1 else np.nan
