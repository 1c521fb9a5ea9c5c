"""The jackknife of R2 and of parts of it, over folds or test rows: gains are sums, so that leaving one out subtracts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from repcompare.measures.encoding._held_out import Double
from repcompare.measures.encoding._plan import Mask

Subsets = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Jackknife:
    """R2 and parts (n_subsets, n_units) with standard errors, filled block by block of units; NaN where constant.

    Attributes
    ----------
    subsets : tuple of tuple of int
        Sets of bands.
    decompose : callable
        ``(r2 (n_subsets, ...), subsets) -> parts``, linear.
    r2, r2_se, parts, parts_se : ndarray of shape (n_subsets, n_units)
        Results.
    moved : ndarray of shape (n_subsets, n_groups)
        Sums over units of the parts with each group left out.
    used : ndarray of bool, shape (n_groups,)
        Groups that are tested at all.
    """

    subsets: Subsets
    decompose: Callable[[Double, Subsets], Double]
    r2: Double
    r2_se: Double
    parts: Double
    parts_se: Double
    moved: Double
    used: Mask

    @classmethod
    def empty(
        cls, subsets: Subsets, n_groups: int, n_units: int, decompose: Callable[[Double, Subsets], Double]
    ) -> Jackknife:
        """Return one to be filled."""
        r2, r2_se, parts, parts_se = (np.full((len(subsets), n_units), np.nan) for _ in range(4))
        moved, used = np.zeros((len(subsets), n_groups)), np.zeros(n_groups, dtype=bool)
        return cls(subsets, decompose, r2, r2_se, parts, parts_se, moved, used)

    @property
    def n_left_out(self) -> int:
        """How many groups are left out, one at a time."""
        return int(self.used.sum())

    def add(self, units: slice, gain: Double, total: Double, good: Mask) -> None:
        """Add units with gains (n_subsets, n_groups, b) and squares (n_groups, b); others than ``good`` stay NaN."""
        places = np.arange(units.start, units.stop)[good]
        if not places.size:
            return
        gain, total = gain[..., good], total[:, good]
        self.used[:] |= total.any(axis=1)
        whole, squares = gain.sum(axis=1), total.sum(axis=0)
        self.r2[:, places] = whole / squares
        self.parts[:, places] = self.decompose(self.r2[:, places], self.subsets)
        left = (whole[:, None] - gain) / (squares - total)
        self.r2_se[:, places] = self._error(left)
        left = self.decompose(left, self.subsets)
        self.parts_se[:, places] = self._error(left)
        self.moved[:] += left.sum(axis=2)

    def of_mean(self) -> tuple[Double, Double]:
        """Return the means of the parts over units (n_subsets,), and their standard errors."""
        good = np.isfinite(self.parts[-1])
        return self.parts[:, good].mean(axis=1), self._error(self.moved / good.sum())

    def _error(self, left: Double) -> Double:
        """Return standard errors from values (n_subsets, n_groups, ...) with each group left out."""
        left, k = left[:, self.used], self.n_left_out
        return np.asarray(np.sqrt((k - 1) / k * np.square(left - left.mean(axis=1, keepdims=True)).sum(axis=1)))
