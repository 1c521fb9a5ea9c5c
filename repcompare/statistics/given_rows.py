"""Rows that a user numbers (folds, groups) are rows of the input; the rows that are compared have another order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from repcompare.errors import AlignmentError
from repcompare.measures._measure import Folds, Index


@dataclass(frozen=True)
class Origin:
    """Where the rows that are compared come from.

    Attributes
    ----------
    rows : ndarray of int, shape (n,)
        Row of the input of each row.
    n : int
        Rows of the input.
    one_order : bool
        Both sides have their rows in one order, so that a number means the same row of both.
    """

    rows: Index
    n: int
    one_order: bool = True

    def take(self, values: np.ndarray, what: str) -> np.ndarray:
        """Bring one value per row of the input into the order of the rows; other lengths are refused later."""
        if len(values) != self.n:
            return values
        self._check(what)
        found: np.ndarray = values[self.rows]
        return found

    def kept(self, rows: Index) -> Origin:
        """Return the origin of some of the rows."""
        return replace(self, rows=self.rows[rows])

    def given(self, folds: Any) -> Any:
        """Folds that were given as rows of the input, in terms of the rows; others as they are."""
        if isinstance(folds, (int, np.integer, str)) or hasattr(folds, "split"):
            return folds
        try:
            pairs = [(np.asarray(train), np.asarray(test)) for train, test in folds]
        except (TypeError, ValueError):
            return folds  # refused by name where folds are drawn
        self._check("folds")
        place = np.full(self.n, -1, dtype=np.intp)
        place[self.rows] = np.arange(len(self.rows))
        return [tuple(self._placed(side, place) for side in pair) for pair in pairs]

    def _placed(self, side: np.ndarray, place: Index) -> np.ndarray:
        if side.dtype == bool and side.shape != (self.n,):
            return side
        if side.dtype != bool and (side.dtype.kind not in "iu" or side.ndim != 1):
            return side
        numbers = np.flatnonzero(side) if side.dtype == bool else side
        if numbers.size and (numbers.min() < 0 or numbers.max() >= self.n):
            raise AlignmentError(f"folds name rows {numbers.min()} to {numbers.max()}; expected 0 to {self.n - 1}")
        found: np.ndarray = place[numbers]
        return found[found >= 0]  # the others were dropped for missing values

    def numbered(self, folds: Folds) -> Folds:
        """Folds in terms of the rows of the input."""
        if self.n == len(self.rows) and np.array_equal(self.rows, np.arange(self.n)):
            return folds
        splits = tuple((np.sort(self.rows[a]), np.sort(self.rows[b])) for a, b in folds.splits)
        return replace(folds, splits=splits, n=self.n, groups=None, segments=None)

    def _check(self, what: str) -> None:
        if not self.one_order:
            raise AlignmentError(
                f"{what}= numbers rows, and the rows of the sides are in different orders; expected one order; bring them "
                "into that of the first (y.sel(stimulus=x.stimulus)), or give groups= as the name of a label"
            )
