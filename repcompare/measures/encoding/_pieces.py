"""Pieces of the rows of which every training set is a union, and sums over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding._plan import Plan

PIECE_BYTES = 1 << 30  # scatters of pieces beyond this are not kept: each training set is then multiplied by itself

Double = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """Scatter (p, p) and sum (p,) of some rows of the features, about the overall mean."""

    n: int
    square: Double
    first: Double


def pieces(plan: Plan, n: int) -> tuple[tuple[Index, ...], tuple[Index, ...]] | None:
    """Cut the rows into pieces of which every training set is a union.

    Returns
    -------
    (rows of each piece, pieces of each task), or None
        Tasks in the order outer, inner; None where there are so many pieces that sums per training set are
        cheaper.
    """
    tasks = (*plan.outer, *plan.inner)
    member = np.zeros((n, len(tasks)), dtype=bool)
    for j, task in enumerate(tasks):
        member[task.train, j] = True
    kinds, code = np.unique(np.packbits(member, axis=1), axis=0, return_inverse=True)
    if len(kinds) > 2 * len(tasks) or not tasks:
        return None
    rows = tuple(np.flatnonzero(code.ravel() == c) for c in range(len(kinds)))
    used = tuple(np.flatnonzero([member[r[0], j] for r in rows]) for j in range(len(tasks)))
    return rows, used


def run(rows: Index) -> Index | slice:
    """Return sorted rows as a slice where they follow one another: no copy is made of what it takes.

    Examples
    --------
    >>> run(np.array([2, 3, 4])), run(np.array([2, 4]))
    (slice(2, 5, None), array([2, 4]))
    """
    if rows.size and rows[-1] - rows[0] + 1 == rows.size:
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def total(parts: Sequence[Any], which: Index) -> Any:
    """Add up some of the pieces' statistics."""
    result = parts[which[0]].copy()
    for i in which[1:]:
        result += parts[i]
    return result


def piece_sums(features: Array | None, plan: Plan) -> Callable[[int], Sums] | None:
    """Return what gives the sums of each task's training rows; the rows are multiplied once for all tasks.

    None where there is one task only, or the sums are too large to keep.
    """
    if features is None or len(plan.outer) + len(plan.inner) < 2:
        return None
    cut = pieces(plan, len(features))
    if cut is None or len(cut[0]) * features.shape[1] ** 2 * 8 > PIECE_BYTES:
        return None
    parts = []
    for rows in cut[0]:
        x = features[rows].astype(np.float64, copy=False)
        parts.append(Sums(rows.size, x.T @ x, x.sum(axis=0)))

    def of(task: int) -> Sums:
        chosen = [parts[i] for i in cut[1][task]]
        square = chosen[0].square.copy()
        for part in chosen[1:]:
            square += part.square
        return Sums(sum(c.n for c in chosen), square, np.sum([c.first for c in chosen], axis=0))

    return of
