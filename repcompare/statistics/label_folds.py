"""Folds for labels: every class on both sides of every split, groups and stimuli on one side.

Rows arrive in the order of the sorted stimulus ids, as in :mod:`repcompare.statistics.folds`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._measure import Folds, Index
from repcompare.statistics.folds import FORCES, Sample, make_folds

LEAVE_ONE_OUT = "leave_one_out"


def label_folds(  # noqa: PLR0913  (a public door: every option is keyword-only)
    codes: Index,
    folds: Any = 5,
    *,
    groups: npt.ArrayLike | None = None,
    units: npt.ArrayLike | None = None,
    seed: int = 0,
    sample: Sample = "stimulus",
    gap: int = 0,
    force: Iterable[str] = (),
) -> Folds:
    """Draw folds that keep the proportions of the classes.

    Parameters
    ----------
    codes : ndarray of int, shape (n_rows,) or (n_label_sets, n_rows)
        Class of each row; of several sets of labels the proportions of all are kept.
    folds : int, "loo", list of (train, test), or scikit-learn splitter
        ``"loo"`` with ``groups`` leaves out one group at a time.
    groups : array-like of shape (n_rows,), optional
        Held out whole.  Where every group is of one class they are dealt out like ``units``.
    units : array-like of shape (n_rows,), optional
        Stimulus of each row, of one class each: all rows of a stimulus stay on one side.
    seed : int
        Of the shuffle.
    sample : {"stimulus", "presentation", "time"}
        Rows of a time series are cut into blocks, never shuffled.
    gap : int
        Rows left out beside a test block of a time series.
    force : iterable of str
        Guards to override: ``"leave_one_out"``, ``"repeats"``, ``"time_shuffle"``.

    Returns
    -------
    Folds
        ``groups`` holds what was held out together.

    Raises
    ------
    OptionError
        When folds leave out one row (or one group of a single class) at a time and that is not forced: a decoder then knows
        from the missing row which class it is, and a majority vote scores 0.  Or when there are too few groups.
    MeasureError
        When a class has fewer than two rows, or none among the training rows of a fold.

    Examples
    --------
    >>> codes = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1])
    >>> [np.bincount(codes[test]).tolist() for _, test in label_folds(codes, 3).splits]
    [[1, 2], [1, 2], [1, 2]]
    """
    force = (force,) if isinstance(force, str) else tuple(force)
    for name in force:
        choose(name, (*FORCES, LEAVE_ONE_OUT), "force")
    if gap and sample != "time":
        raise OptionError(
            f"gap={gap}, but the rows are not a time series; only a time series has neighbours; leave it at 0"
        )
    sets = np.atleast_2d(codes)
    codes = joint_classes(sets)
    held = groups if groups is not None else units
    pure = held is not None and one_class_each(codes, np.asarray(held))
    _refuse_single(folds, held is None, pure, force)
    single = held is None or pure
    passed = tuple(name for name in force if name in FORCES)
    n = len(codes)
    counted = isinstance(folds, (int, np.integer)) and not isinstance(folds, bool)
    if counted and sample != "time" and (held is None or pure):
        names = np.arange(n) if held is None else np.unique(np.asarray(held), return_inverse=True)[1]
        drawn = _stratified((codes, sets), names.astype(np.intp), int(folds), seed)
    else:
        rows = _splits(folds, codes, held) if not isinstance(folds, str) and hasattr(folds, "split") else folds
        how: Sample = "presentation" if held is not None and sample == "stimulus" else sample
        drawn = make_folds(n, rows, groups=held, seed=seed, sample=how, gap=gap, force=passed, min_test=1)
    if single and LEAVE_ONE_OUT not in force:
        _refuse_one_each(drawn, np.arange(n) if held is None else np.asarray(held), held is None, folds)
    if held is not None:
        drawn = replace(drawn, groups=np.unique(np.asarray(held), return_inverse=True)[1].astype(np.intp))
    return replace(drawn, forced=force, gap=gap)


def check_classes(folds: Folds, codes: Index, classes: npt.NDArray[Any]) -> None:
    """Raise unless every class has two rows, and one among the training rows of every fold."""
    counts = np.bincount(codes, minlength=len(classes))
    if (counts < 2).any():
        k = int(np.argmin(counts))
        raise MeasureError(
            f"class {classes[k].item()!r} has {counts[k]} rows; expected at least 2, one to fit and one to test; "
            "leave the class out or add rows"
        )
    for f, (train, _) in enumerate(folds.splits):
        absent = np.bincount(codes[train], minlength=len(classes)) == 0
        if absent.any():
            name = classes[int(np.argmax(absent))].item()
            raise MeasureError(
                f"fold {f}: class {name!r} has no training rows (all its rows are held out together); expected every class "
                "among the training rows of every fold; use other folds or groups, or leave the class out"
            )


def one_class_each(codes: Index, units: npt.NDArray[Any]) -> bool:
    """Whether all rows of a unit have one class."""
    names = np.unique(units, return_inverse=True)[1]
    first = np.zeros(names.max() + 1, dtype=np.intp)
    first[names] = codes
    return bool((first[names] == codes).all())


def _refuse_single(folds: Any, ungrouped: bool, pure: bool, force: tuple[str, ...]) -> None:
    if LEAVE_ONE_OUT in force or not (isinstance(folds, str) or type(folds).__name__ in ("LeaveOneOut", "LeavePOut")):
        return
    if ungrouped or pure:
        raise OptionError(_single(f"folds={folds!r}", ungrouped))


def _refuse_one_each(drawn: Folds, held: npt.NDArray[Any], ungrouped: bool, folds: Any) -> None:
    """Raise where folds that were not called so leave out one at a time."""
    if all(len(np.unique(held[test])) == 1 for _, test in drawn.splits):
        raise OptionError(
            _single("the folds given" if isinstance(folds, (list, tuple)) else f"folds={folds!r}", ungrouped)
        )


def _single(folds: str, ungrouped: bool) -> str:
    what = "one row" if ungrouped else "one group of a single class"
    return (
        f"{folds} leaves out {what} at a time: its class is then the rarer one in training, so scores without information "
        "lie below chance; use fewer folds, such as 5, or force=('leave_one_out',)"
    )


def joint_classes(sets: Index) -> Index:
    """Number the combinations of classes (n_label_sets, n_rows) that rows have, (n_rows,).

    Examples
    --------
    >>> joint_classes(np.array([[0, 0, 1], [1, 0, 1]])).tolist()
    [1, 0, 2]
    """
    return np.unique(sets, axis=1, return_inverse=True)[1].reshape(-1).astype(np.intp)


def _stratified(classes: tuple[Index, Index], units: Index, k: int, seed: int) -> Folds:
    """Deal out the units of each class, largest first, each to the fold with the fewest rows of that class, then of all.

    Combinations of the classes of several sets of labels come first, then the classes of each set: combinations may be too
    rare to balance them.
    """
    codes, sets = classes
    if k < 2:
        raise OptionError(f"folds={k}; expected at least 2")
    sizes = np.bincount(units)
    label = np.zeros(len(sizes), dtype=np.intp)
    label[units] = codes
    available = len(sizes)
    if k > available:
        raise OptionError(
            f"folds={k}, but only {available} rows or groups are available; use folds={available} or fewer"
        )
    home, load = np.zeros(len(sizes), dtype=np.intp), np.zeros(k, dtype=np.intp)
    alike = np.zeros((len(sets), sets.max() + 1, k), dtype=np.intp)  # rows of each class in each fold
    every, own_classes = np.arange(len(sets)), np.zeros((len(sets), len(sizes)), dtype=np.intp)
    own_classes[:, units] = sets
    rng = np.random.default_rng(seed)
    for c in np.unique(label):
        own = rng.permutation(np.flatnonzero(label == c))
        of_class = np.zeros(k, dtype=np.intp)
        for unit in own[np.argsort(-sizes[own], kind="stable")]:
            home[unit] = np.lexsort((load, alike[every, own_classes[:, unit]].sum(axis=0), of_class))[0]
            of_class[home[unit]] += sizes[unit]
            alike[every, own_classes[:, unit], home[unit]] += sizes[unit]
            load[home[unit]] += sizes[unit]
    fold = home[units]
    if (np.bincount(fold, minlength=k) == 0).any():
        raise OptionError(f"folds={k} leaves a fold empty; use fewer folds")
    rows = tuple((np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(k))
    return Folds(rows, len(codes), f"{k} stratified folds, seed {seed}")


def _splits(folds: Any, codes: Index, groups: npt.ArrayLike | None) -> list[Any]:
    """Return rows of a scikit-learn splitter that may look at the classes."""
    if getattr(folds, "random_state", 0) is None and getattr(folds, "shuffle", True):
        raise OptionError(f"{type(folds).__name__} shuffles without a seed; give it random_state=0")
    try:
        return list(folds.split(np.zeros((len(codes), 1)), codes, groups))
    except (ValueError, TypeError) as error:
        raise OptionError(f"{type(folds).__name__} cannot split {len(codes)} rows: {error}") from error
