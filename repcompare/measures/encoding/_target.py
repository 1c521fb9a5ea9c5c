"""The target of an encoder: shifted, scaled, and looked at for constant units and missing rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Array, Folds, Index
from repcompare.measures.encoding._options import is_leave_one_out
from repcompare.measures.encoding._plan import Mask

ROWS = 32  # of the target at a time, so that they stay in the cache


@dataclass(frozen=True)
class Pattern:
    """Units that miss the same rows: ``seen`` (n,), or None where nothing is; ``units`` (n_units,)."""

    seen: Mask | None
    units: Index


@dataclass(frozen=True)
class Target:
    """A target, prepared.

    Attributes
    ----------
    values : ndarray of shape (n, n_units)
        Minus the mean over seen rows, divided by a power of two near the standard deviation.
    patterns : tuple of Pattern
        Units by missing rows.
    constant_train, constant_test : ndarray of shape (n_folds, n_units)
        Units that do not vary over the seen training (test) rows of a fold.
    folds : Folds
        Train and test rows.
    scale : ndarray of shape (n_units,), optional
        What the units were divided by.
    """

    values: Array
    patterns: tuple[Pattern, ...]
    constant_train: Mask
    constant_test: Mask
    folds: Folds
    scale: Array | None = None


def make_target(y: Array, folds: Folds) -> Target:
    """Prepare a target of shape (n, n_units); NaN marks rows that were not seen."""
    dtype = y.dtype if y.dtype == np.float32 else np.dtype(np.float64)
    missing = np.isnan(y) if np.isnan(y.sum()) else None
    gaps = missing is not None and bool(missing.any())
    count = np.maximum((~missing).sum(axis=0), 1) if gaps and missing is not None else np.full(y.shape[1], y.shape[0])
    mean = (np.nansum(y, axis=0, dtype=np.float64) if gaps else y.sum(axis=0, dtype=np.float64)) / count
    values, squares = np.empty(y.shape, dtype=dtype), np.zeros(y.shape[1])
    for start in range(0, len(y), ROWS):  # in float64, a few rows at a time
        shifted = y[start : start + ROWS] - mean
        values[start : start + ROWS] = shifted
        seen = np.nan_to_num(shifted, copy=False) if gaps else shifted
        squares += np.einsum("ij,ij->j", seen, seen)
    sd = np.sqrt(squares / count)
    scale = 2.0 ** np.round(np.log2(np.where(sd > 0, sd, 1.0)))
    values *= (1 / scale).astype(dtype)
    slack = 4 * np.finfo(dtype).eps * np.abs(mean) / scale  # what rounding makes of a constant
    if is_leave_one_out(folds):
        constant_train = _constant_without(values, np.array([test[0] for _, test in folds.splits]), slack)
        constant_test = np.broadcast_to(True, values.shape)
    else:
        constant_train, constant_test = _constant(values, folds, slack, gaps)
    patterns = _patterns(missing) if gaps and missing is not None else (Pattern(None, np.arange(y.shape[1])),)
    return Target(values, patterns, constant_train, constant_test, folds, scale)


def _constant(values: Array, folds: Folds, slack: Array, gaps: bool) -> tuple[Mask, Mask]:
    """Flag units that do not vary over the training and the test rows of each fold."""
    if gaps or not _partition(folds):
        return (
            np.array([_span(values[train], gaps) <= slack for train, _ in folds.splits]),
            np.array([_span(values[test], gaps) <= slack for _, test in folds.splits]),
        )
    low, high = np.empty((len(folds), values.shape[1])), np.empty((len(folds), values.shape[1]))
    for f, (_, test) in enumerate(folds.splits):
        part = values[test]
        low[f], high[f] = part.min(axis=0), part.max(axis=0)
    others = [np.arange(len(folds)) != f for f in range(len(folds))]
    spans = np.array([high[rest].max(axis=0) - low[rest].min(axis=0) for rest in others])
    return spans <= slack, high - low <= slack


def _partition(folds: Folds) -> bool:
    """Whether every row is tested once, from all others."""
    tested = np.concatenate([test for _, test in folds.splits])
    if tested.size != folds.n or len(folds) < 2 or not np.array_equal(np.sort(tested), np.arange(folds.n)):
        return False
    return all(train.size + test.size == folds.n for train, test in folds.splits)


def _span(values: Array, gaps: bool) -> Array:
    """Return the range of each column over its seen rows; NaN where none is seen."""
    if not gaps:
        return np.asarray(np.ptp(values, axis=0))
    return np.asarray(np.fmax.reduce(values, axis=0) - np.fmin.reduce(values, axis=0))


def _constant_without(values: Array, rows: Index, slack: Array) -> Mask:
    """Flag columns (n_rows, n_units) that do not vary when one row is left out."""
    found = np.zeros((rows.size, values.shape[1]), dtype=bool)
    first = values[:3]
    apart = np.abs(first - np.roll(first, 1, axis=0)).min(axis=0) > slack  # three values: two stay
    units = np.flatnonzero(~apart)
    some = values[:, units]
    low, high = (np.where(np.isnan(some), end, some) for end in (np.inf, -np.inf))
    lowest, highest = np.sort(low, axis=0)[:2], np.sort(high, axis=0)[-2:]
    least = np.where(low[rows] == lowest[0], lowest[1], lowest[0])
    most = np.where(high[rows] == highest[1], highest[0], highest[1])
    found[:, units] = most - least <= slack[units]
    return found


def _patterns(missing: npt.NDArray[np.bool_]) -> tuple[Pattern, ...]:
    kinds, code = np.unique(np.packbits(missing, axis=0).T, axis=0, return_inverse=True)
    found = []
    for c in range(len(kinds)):
        units = np.flatnonzero(code.ravel() == c)
        seen = ~missing[:, units[0]]
        found.append(Pattern(None if seen.all() else seen, units))
    return tuple(found)
