"""Sets of labels that are as good as the true one if labels and responses are unrelated, and control tasks.

Labels are exchanged inside blocks that keep the folds' numbers of each class: runs that hold all classes, or the test folds
of a stratified split.  Free exchange would unbalance the folds; the null scores then lie below chance, and a test of a
stratified score against them finds too much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from math import factorial, prod

import numpy as np
import numpy.typing as npt

from repcompare.errors import OptionError
from repcompare.measures._measure import Folds, Index
from repcompare.statistics.label_folds import joint_classes, one_class_each
from repcompare.statistics.resampling import stream

TOLERANCE = 1e-12  # scores of equal confusions are equal


@dataclass(frozen=True)
class LabelSets:
    """Sets of labels ``codes (n_sets, n_rows)``, what was exchanged, and whether these are all there are."""

    codes: Index
    exchange: str
    exhaustive: bool = False


def permuted_labels(
    codes: Index, count: int, folds: Folds, *, groups: Index | None = None, whole: bool = False, seed: int = 0
) -> LabelSets:
    """Exchange labels between rows that are exchangeable under the null.

    Parameters
    ----------
    codes : ndarray of int, shape (n_rows,)
        True classes.
    count : int
        How many sets; all there are, less the true one, where these are fewer.
    folds : Folds
        Train and test rows.  ``folds.groups`` that are of one class each (stimuli) are exchanged as wholes.
    groups : ndarray of int, shape (n_rows,), optional
        Runs or other groups.  If each holds all classes, labels are exchanged inside them; if each is of one class, the
        groups exchange their labels; else groups of one length exchange their whole sequences.
    whole : bool
        Exchange whole sequences in any case: rows of a time series.
    seed : int
        Of the permutations.

    Returns
    -------
    LabelSets

    Raises
    ------
    OptionError
        When whole sequences are needed and no two groups have one length, or there is nothing to exchange.

    Examples
    --------
    >>> folds = Folds(((np.array([2, 3]), np.array([0, 1])), (np.array([0, 1]), np.array([2, 3]))), 4)
    >>> permuted_labels(np.array([0, 1, 0, 1]), 100, folds).codes.tolist()
    [[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0]]
    """
    return _drawn(codes[None], (codes, count, seed), folds, groups, whole)


def label_orders(
    codes: Index, count: int, folds: Folds, *, groups: Index | None = None, whole: bool = False, seed: int = 0
) -> LabelSets:
    """Orders of the rows that exchange labels as :func:`permuted_labels` does: one order serves several sets of labels.

    Parameters
    ----------
    codes : ndarray of int, shape (n_label_sets, n_rows)
        True classes.
    count, folds, groups, whole, seed
        As for :func:`permuted_labels`.  Groups must hold all classes of every set.

    Returns
    -------
    LabelSets
        ``codes (n_orders, n_rows)`` are the rows from which labels are taken.

    Raises
    ------
    OptionError
        As :func:`permuted_labels`.

    Examples
    --------
    >>> folds = Folds(((np.array([2, 3]), np.array([0, 1])), (np.array([0, 1]), np.array([2, 3]))), 4)
    >>> label_orders(np.array([[0, 1, 0, 1]]), 100, folds).codes.tolist()
    [[0, 1, 3, 2], [1, 0, 2, 3], [1, 0, 3, 2]]
    """
    return _drawn(codes, (np.arange(codes.shape[1]), count, seed), folds, groups, whole)


def _drawn(sets: Index, wanted: tuple[Index, int, int], folds: Folds, groups: Index | None, whole: bool) -> LabelSets:
    """Draw exchanges of values (n_rows,) that are allowed for sets of labels (n_label_sets, n_rows)."""
    codes, count, seed = wanted
    joint = joint_classes(sets)
    if count < 1:
        raise OptionError(f"permutations={count}; expected at least 1")
    if groups is None and whole:
        raise OptionError(
            "the rows are a time series: exchanging single rows finds effects where there are none; give groups= (runs or "
            "blocks, of one length), whose whole label sequences are exchanged"
        )
    rng = stream(seed, "labels")
    complete = groups is not None and all(_complete(labels, groups) for labels in sets)
    if whole or (groups is not None and not complete and not one_class_each(joint, groups)):
        assert groups is not None
        return _sequences(codes, groups, count, rng)
    rows = np.arange(len(codes))
    if groups is not None and complete:
        return _inside(codes, rows, groups, count, (rng, "labels within groups"))
    held = groups if groups is not None else folds.groups
    units = rows if held is None or not one_class_each(joint, held) else held
    what = "labels" if units is rows else "labels of whole groups or stimuli"
    blocks = _test_fold(folds)
    if blocks is None or any(one_class_each(labels, blocks) for labels in sets):
        return _inside(codes, units, np.zeros(len(codes), dtype=np.intp), count, (rng, what))
    return _inside(codes, units, blocks, count, (rng, f"{what} within test folds"))


def control_labels(codes: Index, types: Index, count: int, folds: Folds, seed: int) -> Index:
    """Control tasks: every type of stimulus gets a random label (Hewitt & Liang 2019).

    Parameters
    ----------
    codes : ndarray of int, shape (n_rows,)
        True classes; labels are drawn with their frequencies.
    types : ndarray of int, shape (n_rows,)
        Type of each row.
    count : int
        How many tasks.
    folds : Folds
        A draw that leaves a class out of a training set is drawn again.
    seed : int
        Of the draws.

    Returns
    -------
    ndarray of int, shape (n_controls, n_rows)

    Raises
    ------
    OptionError
        When a hundred draws in a row leave out a class: there are too few types.
    """
    rng = stream(seed, "controls")
    n_classes = int(codes.max()) + 1
    kept: list[Index] = []
    failed = 0
    while len(kept) < count:
        drawn = rng.choice(codes, size=int(types.max()) + 1)[types]
        whole = [np.bincount(drawn[train], minlength=n_classes).min() > 0 for train, _ in folds.splits]
        if all(whole) and len(np.unique(drawn)) == n_classes:
            kept.append(drawn)
            failed = 0
            continue
        failed += 1
        if failed > 100:
            raise OptionError(
                f"controls={count}: {types.max() + 1} types of stimuli are too few for {n_classes} classes in every "
                "training set; leave controls out, or give types= that are finer"
            )
    return np.array(kept)


def pvalues(score: npt.NDArray[np.float64], null: npt.NDArray[np.float64]) -> tuple[np.ndarray, np.ndarray]:
    """P-values of scores (...) against null scores (n_permutations, ...), raw and against the best cell of each permutation.

    Examples
    --------
    >>> raw, corrected = pvalues(np.array([0.9, 0.5]), np.array([[0.5, 0.6], [0.4, 0.7], [0.6, 0.4]]))
    >>> raw.tolist(), corrected.tolist()
    ([0.25, 0.75], [0.25, 1.0])
    """
    best = null.reshape(len(null), -1).max(axis=1).reshape(-1, *[1] * score.ndim)
    limit = score - TOLERANCE
    raw, corrected = ((1 + (values >= limit).sum(axis=0)) / (1 + len(null)) for values in (null, best))
    return raw, corrected


def _complete(codes: Index, groups: Index) -> bool:
    """Whether every group holds all classes."""
    table = np.zeros((groups.max() + 1, codes.max() + 1), dtype=bool)
    table[groups, codes] = True
    return bool(table.all())


def _test_fold(folds: Folds) -> Index | None:
    """Fold in which each row is tested; None where rows are tested twice or never."""
    home = np.full(folds.n, -1, dtype=np.intp)
    for f, (_, test) in enumerate(folds.splits):
        if (home[test] >= 0).any():
            return None
        home[test] = f
    return home if (home >= 0).all() else None


def _inside(codes: Index, units: Index, blocks: Index, count: int, rest: tuple[np.random.Generator, str]) -> LabelSets:
    """Exchange the labels of units within blocks."""
    rng, what = rest
    _, first, of_row = np.unique(units, return_index=True, return_inverse=True)
    labels, home = codes[first], blocks[first]
    members = [np.flatnonzero(home == b) for b in np.unique(home)]
    total = prod(_arrangements(labels[m]) for m in members)
    if total < 2:
        raise OptionError(f"exchanging {what} changes nothing; use fewer folds, or groups that hold several classes")
    if total - 1 <= count:
        sets = np.empty((total, len(labels)), dtype=np.intp)
        for i, choice in enumerate(product(*(_distinct(labels[m]) for m in members))):
            for m, values in zip(members, choice, strict=True):
                sets[i, m] = values
        sets = sets[(sets != labels).any(axis=1)]
    else:
        sets = np.tile(labels, (count, 1))
        for m in members:
            sets[:, m] = rng.permuted(sets[:, m], axis=1)
    return LabelSets(sets[:, of_row], what, total - 1 <= count)


def _arrangements(labels: Index) -> int:
    return factorial(len(labels)) // prod(factorial(int(c)) for c in np.bincount(labels))


def _distinct(labels: Index) -> Iterator[tuple[int, ...]]:
    """Every distinct order of the labels, sorted."""
    values = sorted(labels.tolist())
    while True:
        yield tuple(values)
        i = next((i for i in range(len(values) - 2, -1, -1) if values[i] < values[i + 1]), -1)
        if i < 0:
            return
        j = next(j for j in range(len(values) - 1, i, -1) if values[j] > values[i])
        values[i], values[j] = values[j], values[i]
        values[i + 1 :] = values[:i:-1]


def _sequences(codes: Index, groups: Index, count: int, rng: np.random.Generator) -> LabelSets:
    """Exchange whole label sequences between groups of one length."""
    members = [np.flatnonzero(groups == g) for g in range(int(groups.max()) + 1)]
    lengths = np.array([len(m) for m in members])
    kinds = [np.flatnonzero(lengths == n) for n in np.unique(lengths)]
    total = prod(factorial(len(k)) for k in kinds)
    if total < 2:
        raise OptionError(
            f"groups have {sorted(lengths.tolist())} rows: no two are of one length, so their label sequences cannot be "
            "exchanged; cut them to one length, or give groups that hold all classes"
        )
    exhaustive = total - 1 <= count
    orders: Iterator[tuple[tuple[int, ...], ...]] = (
        product(*(permutations(k.tolist()) for k in kinds))
        if exhaustive
        else (tuple(tuple(rng.permutation(k).tolist()) for k in kinds) for _ in range(count))
    )
    sets = np.tile(codes, (total if exhaustive else count, 1))
    for i, order in enumerate(orders):
        for kind, source in zip(kinds, order, strict=True):
            for to, origin in zip(kind, source, strict=True):
                sets[i, members[to]] = codes[members[origin]]
    return LabelSets(sets[1:] if exhaustive else sets, "whole label sequences of groups", exhaustive)
