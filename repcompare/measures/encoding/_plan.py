"""Which rows are fitted and which are predicted: the training sets of outer and inner cross-validation.

The inner loop of outer fold f trains on all rows but folds f and g and validates on g.  The training set of
(f, g) and (g, f) is the same, so k (k - 1) / 2 factorisations serve every inner loop; beyond six folds the
others are merged to five.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Folds, Index

MOST_PAIRED = 6
MERGED = 5
FEWEST_TRAIN = 3
FEWEST_FOLDS = 3  # with fewer, inner folds are drawn from the training rows: groups, blocks of a recording, or rows

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Task:
    """One training set, and what is predicted from it.

    Attributes
    ----------
    train : ndarray of shape (n_train,)
        Sorted rows.
    tests : tuple of (fold, rows)
        The outer fold that learns from these errors (or is scored), and the sorted rows to predict.
    """

    train: Index
    tests: tuple[tuple[int, Index], ...]


@dataclass(frozen=True)
class Plan:
    """All tasks of one nested cross-validation; ``inner`` is empty when nothing is chosen inside."""

    outer: tuple[Task, ...]
    inner: tuple[Task, ...]
    n_folds: int


def make_plan(folds: Folds, *, nested: bool, seen: Mask | None = None) -> Plan:
    """Return the tasks of (nested) cross-validation, restricted to the rows in ``seen``.

    Tasks with fewer than three training rows or without test rows are left out.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.arange(12)
    >>> folds = Folds(tuple((rows[rows % 4 != f], rows[rows % 4 == f]) for f in range(4)), 12)
    >>> plan = make_plan(folds, nested=True)
    >>> len(plan.outer), len(plan.inner), [fold for fold, _ in plan.inner[0].tests]
    (4, 6, [0, 1])
    """
    train = np.zeros((len(folds), folds.n), dtype=bool)
    test = np.zeros_like(train)
    for f, (train_rows, test_rows) in enumerate(folds.splits):
        train[f, train_rows] = True
        test[f, test_rows] = True
    if seen is not None:
        train &= seen
        test &= seen
    outer = [_task(train[f], [(f, test[f])]) for f in range(len(folds))]
    inner: Iterator[Task | None] = iter(())
    if nested and len(folds) < FEWEST_FOLDS:
        inner = _grouped(train, _held_together(folds), folds.gap)
    elif nested:
        inner = (_paired if len(folds) <= MOST_PAIRED else _merged)(train, test)
    return Plan(tuple(t for t in outer if t), tuple(t for t in inner if t), len(folds))


def _task(train: Mask, tests: list[tuple[int, Mask]]) -> Task | None:
    kept = tuple((fold, np.flatnonzero(mask)) for fold, mask in tests if mask.any())
    if not kept or train.sum() < FEWEST_TRAIN:
        return None
    return Task(np.flatnonzero(train), kept)


def _paired(train: Mask, test: Mask) -> Iterator[Task | None]:
    for f in range(len(train)):
        for g in range(f + 1, len(train)):
            yield _task(train[f] & train[g], [(f, test[g] & train[f]), (g, test[f] & train[g])])


def _merged(train: Mask, test: Mask) -> Iterator[Task | None]:
    """Merge the other folds into five: neighbours where test sets are blocks, else every fifth."""
    blocks = all(t.sum() > 1 and np.ptp(np.flatnonzero(t)) == t.sum() - 1 for t in test if t.any())
    for f in range(len(train)):
        others = np.delete(np.arange(len(train)), f)
        parts = np.array_split(others, MERGED) if blocks else [others[i::MERGED] for i in range(MERGED)]
        for part in parts:
            yield _task(train[f] & train[part].all(axis=0), [(f, test[part].any(axis=0) & train[f])])


def _held_together(folds: Folds) -> Index:
    """Return groups of the rows: those given, a single one for the blocks of a recording, or each row in random order."""
    if folds.groups is not None:
        return folds.groups
    if folds.in_time:
        return np.zeros(folds.n, dtype=np.intp)
    return np.random.default_rng(0).permutation(folds.n)


def _grouped(train: Mask, groups: Index, gap: int) -> Iterator[Task | None]:
    """Hold out whole groups of each fold's training rows, or blocks of its only one, in up to five parts with the gap."""
    rows = np.arange(groups.size)
    for f, own in enumerate(train):
        names = np.unique(groups[own])
        parts = [np.isin(groups, names[i :: min(MERGED, names.size)]) & own for i in range(min(MERGED, names.size))]
        if names.size == 1:
            parts = [np.isin(rows, part) for part in np.array_split(np.flatnonzero(own), MERGED) if part.size]
        for inside in parts:
            distance = np.abs(rows[:, None] - np.flatnonzero(inside)).min(axis=1) if gap else np.where(inside, 0, 1)
            yield _task(own & (distance > gap), [(f, inside)])
