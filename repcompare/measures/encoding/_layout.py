"""How the training and test sets of a cross-validation are made of pieces of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from repcompare.measures._measure import Index
from repcompare.measures.encoding._plan import Mask, Plan


@dataclass(frozen=True)
class Layout:
    """How sets of rows are made of pieces.

    Attributes
    ----------
    member : ndarray of bool, shape (n, n_pieces)
        Rows of each piece; pieces may overlap.
    plus, minus : tuple of ndarray
        Pieces of each set, and pieces taken away from those.
    """

    member: Mask
    plus: tuple[Index, ...]
    minus: tuple[Index, ...]


def layout(sets: Sequence[Index], n: int) -> Layout:
    """Cut n rows into as few pieces as serve all sets: disjoint ones, or each set (or its complement) and everything.

    Examples
    --------
    >>> found = layout([np.array([0, 1, 2]), np.array([2, 3])], 5)
    >>> found.member.astype(int).T.tolist(), [p.tolist() for p in found.plus]
    ([[0, 0, 0, 1, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0]], [[1, 2], [0, 2]])
    """
    belongs = np.zeros((n, len(sets)), dtype=bool)
    for j, rows in enumerate(sets):
        belongs[rows, j] = True
    none: Index = np.zeros(0, dtype=np.intp)
    packed, code = np.unique(np.packbits(belongs, axis=1), axis=0, return_inverse=True)
    kinds = np.unpackbits(packed, axis=1, count=len(sets)).astype(bool)
    kept = np.flatnonzero(kinds.any(axis=1))
    if kept.size <= 2 * len(sets):
        member = code.reshape(n)[:, None] == kept
        return Layout(member, tuple(np.flatnonzero(kinds[kept, j]) for j in range(len(sets))), (none,) * len(sets))
    large = 2 * belongs.sum(axis=0) > n
    smaller, which = np.unique(np.where(large, ~belongs, belongs), axis=1, return_inverse=True)
    own = [np.array([j + 1], dtype=np.intp) for j in which.ravel()]
    everything: Index = np.zeros(1, dtype=np.intp)
    member = np.hstack([np.ones((n, 1), dtype=bool), smaller])
    plus = tuple(everything if big else one for big, one in zip(large, own, strict=True))
    return Layout(member, plus, tuple(one if big else none for big, one in zip(large, own, strict=True)))


def plan_layout(plan: Plan, n: int) -> Layout:
    """Return the pieces that serve every training and test set of a plan."""
    tasks = (*plan.outer, *plan.inner)
    return layout([rows for task in tasks for rows in (task.train, *(r for _, r in task.tests))], n)
