"""The target of an encoder: shifted, scaled, and looked at for constant units and missing rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Array, Folds, Index
from repcompare.measures.encoding._plan import Mask


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
    """

    values: Array
    patterns: tuple[Pattern, ...]
    constant_train: Mask
    constant_test: Mask
    folds: Folds


def make_target(y: Array, folds: Folds) -> Target:
    """Prepare a target of shape (n, n_units); NaN marks rows that were not seen."""
    dtype = y.dtype if y.dtype == np.float32 else np.dtype(np.float64)
    missing = np.isnan(y)
    gaps = bool(missing.any())
    count = np.maximum((~missing).sum(axis=0), 1) if gaps else np.full(y.shape[1], y.shape[0])
    mean = (np.where(missing, 0.0, y) if gaps else y).sum(axis=0, dtype=np.float64) / count
    shifted = y - mean
    squares = np.where(missing, 0.0, shifted) if gaps else shifted
    sd = np.sqrt(np.einsum("ij,ij->j", squares, squares) / count)
    scale = 2.0 ** np.round(np.log2(np.where(sd > 0, sd, 1.0)))
    values = (shifted / scale).astype(dtype, copy=False)
    slack = 4 * np.finfo(dtype).eps * np.abs(mean) / scale  # what rounding makes of a constant
    constant_train = np.array([_span(values[train], gaps) <= slack for train, _ in folds.splits])
    constant_test = np.array([_span(values[test], gaps) <= slack for _, test in folds.splits])
    patterns = _patterns(missing) if gaps else (Pattern(None, np.arange(y.shape[1])),)
    return Target(values, patterns, constant_train, constant_test, folds)


def _span(values: Array, gaps: bool) -> Array:
    """Return the range of each column over its seen rows; NaN where none is seen."""
    if not gaps:
        return np.asarray(np.ptp(values, axis=0))
    return np.asarray(np.fmax.reduce(values, axis=0) - np.fmin.reduce(values, axis=0))


def _patterns(missing: npt.NDArray[np.bool_]) -> tuple[Pattern, ...]:
    kinds, code = np.unique(np.packbits(missing, axis=0).T, axis=0, return_inverse=True)
    found = []
    for c in range(len(kinds)):
        units = np.flatnonzero(code.ravel() == c)
        seen = ~missing[:, units[0]]
        found.append(Pattern(None if seen.all() else seen, units))
    return tuple(found)
