"""Pairs of a selection of stimuli among the pairs of all, and shuffles that split stimuli."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]


def pairs_within(rows: Rows, k: int) -> Rows:
    """Return where the pairs of distinct stimuli stand in a condensed RDM of ``k`` stimuli.

    Examples
    --------
    >>> pairs_within(np.array([3, 0, 1]), 4).tolist()
    [2, 4, 0]
    """
    a, b = np.triu_indices(len(rows), 1)
    low, high = np.minimum(rows[a], rows[b]), np.maximum(rows[a], rows[b])
    return np.asarray(low * (2 * k - low - 1) // 2 + high - low - 1, dtype=np.intp)


def parts(n: int, folds: int, seed: Sequence[int]) -> Iterator[tuple[Rows, Rows]]:
    """Yield (train, test) of ``folds`` disjoint test sets, sorted, from one shuffle."""
    order = np.random.default_rng(list(seed)).permutation(n)
    for test in np.array_split(order, folds):
        yield np.setdiff1d(order, test), np.sort(test)


def shuffle_splits(n: int, folds: int, seed: Sequence[int]) -> Iterator[tuple[Rows, Rows]]:
    """Yield (train, test) of ``folds`` test sets of equal size ceil(n / folds) from one shuffle, evenly spaced on it.

    The sets overlap where ``folds`` does not divide ``n``; every row is tested once or twice.

    Examples
    --------
    >>> [len(test) for _, test in shuffle_splits(14, 5, [0])]
    [3, 3, 3, 3, 3]
    """
    order = np.random.default_rng(list(seed)).permutation(n)
    size = -(-n // folds)
    for fold in range(folds):
        test = order[(fold * n // folds + np.arange(size)) % n]
        yield np.setdiff1d(order, test), np.sort(test)
