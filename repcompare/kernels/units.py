"""Units as columns: their largest values and their lengths, one pass each and no copies."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def largest_sizes(values, out):  # type: ignore[no-untyped-def]
    """Write the largest absolute value of each column of ``values`` (n, p) to ``out`` (p,) of float64."""
    out[:] = 0.0
    for i in range(values.shape[0]):
        row = values[i]
        for j in range(row.size):
            size = np.float64(abs(row[j]))
            out[j] = size if size > out[j] else out[j]


@njit(cache=True, nogil=True)
def to_unit_length(columns, floor, alive):  # type: ignore[no-untyped-def]
    """Divide each column of ``columns`` (n, p) by its length, in place; write to ``alive`` (p,) if that is above ``floor``.

    Columns that are not become 0.
    """
    n, p = columns.shape
    factor = np.zeros(p)
    for i in range(n):
        row = columns[i]
        for j in range(p):
            factor[j] += row[j] * row[j]
    for j in range(p):
        length = np.sqrt(factor[j])
        alive[j] = length > floor[j]
        factor[j] = 1.0 / length if alive[j] else 0.0
    for i in range(n):
        row = columns[i]
        for j in range(p):
            row[j] *= factor[j]
