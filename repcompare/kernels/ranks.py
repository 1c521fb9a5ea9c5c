"""Mid-ranks from a sorting order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit


@njit(nogil=True, cache=True)
def fill_midranks(
    values: npt.NDArray[np.float64], order: npt.NDArray[np.integer[Any]], ranks: npt.NDArray[Any]
) -> None:
    """Write the ranks 1 ... n of ``values`` into ``ranks``; equal values share the mean of their ranks.

    Parameters
    ----------
    values : ndarray, shape (n,)
        No NaN.
    order : ndarray of int, shape (n,)
        ``np.argsort(values)``; the order inside ties does not matter.
    ranks : ndarray, shape (n,)
        Overwritten.

    Examples
    --------
    >>> x, ranks = np.array([3.0, 1.0, 3.0]), np.empty(3)
    >>> fill_midranks(x, np.argsort(x), ranks)
    >>> ranks
    array([2.5, 1. , 2.5])
    """
    n = values.size
    first = 0
    while first < n:
        last = first + 1
        while last < n and values[order[last]] == values[order[first]]:
            last += 1
        for k in range(first, last):
            ranks[order[k]] = 0.5 * (first + last + 1)
        first = last
