"""Condensed RDMs: the pairs (i < j) of K stimuli, row by row, as one vector of length K (K - 1) / 2."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import squareform

from repcompare.errors import MeasureError

Vector = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


def count_stimuli(n_pairs: int) -> int:
    """Return the K with K (K - 1) / 2 = ``n_pairs``.

    Raises
    ------
    MeasureError
        When there is none, or K < 2.

    Examples
    --------
    >>> count_stimuli(6)
    4
    """
    k = (1 + isqrt(1 + 8 * n_pairs)) // 2
    if k < 2 or k * (k - 1) // 2 != n_pairs:
        raise MeasureError(
            f"{n_pairs} values are not the pairs of any number of stimuli; expected K(K-1)/2 of them"
            " (1, 3, 6, 10 ...), the upper triangle in row order: d[np.triu_indices(K, 1)]"
        )
    return k


@lru_cache(maxsize=8)
def upper(k: int) -> Rows:
    """Return the flat positions (n_pairs,) of the upper triangle of a (k, k) array, row by row."""
    i, j = np.triu_indices(k, 1)
    positions: Rows = i * k + j
    positions.setflags(write=False)
    return positions


def condense(square: npt.NDArray[Any]) -> Vector:
    """Return the upper triangle of a (K, K) array in row order, without looking at the rest."""
    return np.asarray(squareform(square, checks=False), dtype=np.float64)


def expand(condensed: Vector, diagonal: float = 0.0) -> npt.NDArray[np.float64]:
    """Return the symmetric (K, K) array of a condensed vector.

    Examples
    --------
    >>> expand(np.array([1.0, 4.0, 1.0]))
    array([[0., 1., 4.],
           [1., 0., 1.],
           [4., 1., 0.]])
    """
    square = np.asarray(squareform(condensed, checks=False), dtype=np.float64)
    if diagonal:
        np.fill_diagonal(square, diagonal)
    return square


def pair_rows(positions: Rows, k: int) -> tuple[Rows, Rows]:
    """Return the stimuli (i, j) at positions of a condensed vector of ``k`` stimuli.

    Examples
    --------
    >>> [p.tolist() for p in pair_rows(np.array([0, 3, 5]), 4)]
    [[0, 1, 2], [1, 2, 3]]
    """
    starts = np.concatenate([[0], np.cumsum(np.arange(k - 1, 0, -1))])
    i = np.searchsorted(starts, positions, side="right") - 1
    return i.astype(np.intp), (positions - starts[i] + i + 1).astype(np.intp)


def take(condensed: Vector, rows: Rows) -> Vector:
    """Return the condensed RDM of a selection of its stimuli.

    Parameters
    ----------
    condensed : ndarray, shape (n_pairs,)
        RDM.
    rows : ndarray of int, shape (n_kept,)
        Stimuli in their new order.  Pairs of a stimulus with itself (drawn twice) are missing: NaN.

    Returns
    -------
    ndarray, shape (n_kept (n_kept - 1) / 2,)

    Examples
    --------
    >>> take(np.array([1.0, 4.0, 2.0]), np.array([2, 0]))
    array([4.])
    """
    square = expand(condensed, diagonal=np.nan)
    return condense(square.take(rows, axis=0).take(rows, axis=1))
