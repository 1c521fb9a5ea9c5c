"""Sums of products over pieces of the rows: one pass over the data serves every training and test set.

After provisional shifts of both sides (all later formulas are shift-invariant; without them float32 and offsets of
1e4 give nonsense) each piece of rows keeps its count, sums and cross-products.  The statistics of any union of
pieces -- folds, folds inside folds, runs, gaps, learning curves -- are sums of theirs, those of sub-blocks of features
are slices, so the data are never read again (Engstrom 2024, arXiv 2401.13185).

Cost n p^2 + 2 n p t in all, whatever the number of pieces.  Memory per piece 8 (p^2 + p t) bytes; take
:func:`unit_batches` where p t is too large: the x-sized part is then made once, the rest per batch of units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures._measure import Array, Folds, Index
from repcompare.measures.encoding._layout import Layout, plan_layout
from repcompare.measures.encoding._plan import Plan, make_plan

Double = npt.NDArray[np.float64]

ROWS = {4: 512, 8: 8192}  # per product, by bytes of a number: what float32 may sum before float64 takes over
CANCELLED = 1e4  # sums are not made by taking away where less than this share of a total would be left
CONSTANT = 64 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Moments:
    """Sums over a set of rows of shifted x (n, p) and y (n, t).

    Attributes
    ----------
    n : int
        Number of rows.
    sum_x, sum_y : ndarray of shape (p,), (t,)
        Sums.
    xx : ndarray of shape (p, p), or None
        ``x' x``; None where only the part of the target was asked for.
    xy : ndarray of shape (p, t)
        ``x' y``.
    yy : ndarray of shape (t,)
        Sums of squares of y.

    Examples
    --------
    >>> a = Moments(2, np.array([4.0]), np.array([2.0]), np.array([[10.0]]), np.array([[6.0]]), np.array([4.0]))
    >>> (a + a).n, a.centred().xx, a.centred().xy
    (4, array([[2.]]), array([[2.]]))
    """

    n: int
    sum_x: Double
    sum_y: Double
    xx: Double | None
    xy: Double
    yy: Double

    def __add__(self, other: Moments) -> Moments:
        pairs = zip(self._sums(), other._sums(), strict=True)
        xx = None if self.xx is None or other.xx is None else self.xx + other.xx
        x, y, xy, yy = (a + b for a, b in pairs)
        return Moments(self.n + other.n, x, y, xx, xy, yy)

    def __sub__(self, other: Moments) -> Moments:
        pairs = zip(self._sums(), other._sums(), strict=True)
        xx = None if self.xx is None or other.xx is None else self.xx - other.xx
        x, y, xy, yy = (a - b for a, b in pairs)
        return Moments(self.n - other.n, x, y, xx, xy, yy)

    def _sums(self) -> tuple[Double, Double, Double, Double]:
        return self.sum_x, self.sum_y, self.xy, self.yy

    @property
    def mean_x(self) -> Double:
        """Mean of the shifted x, shape (p,)."""
        return self.sum_x / self.n

    @property
    def mean_y(self) -> Double:
        """Mean of the shifted y, shape (t,)."""
        return self.sum_y / self.n

    def about(self, mean_x: Double, mean_y: Double) -> Moments:
        """Return the sums of ``x - mean_x`` and ``y - mean_y`` over the same rows."""
        n, xx = self.n, None
        if self.xx is not None:
            cross = np.outer(self.sum_x - n / 2 * mean_x, mean_x)  # exactly symmetric with its transpose
            xx = self.xx - cross - cross.T
        xy = self.xy - np.outer(self.sum_x, mean_y) - np.outer(mean_x, self.sum_y - n * mean_y)
        yy = self.yy - mean_y * (2 * self.sum_y - n * mean_y)
        return Moments(n, self.sum_x - n * mean_x, self.sum_y - n * mean_y, xx, xy, np.maximum(yy, 0.0))

    def centred(self) -> Moments:
        """Return the sums about the means of these rows."""
        return self.about(self.mean_x, self.mean_y)

    def scaled(self, scale_x: Double) -> Moments:
        """Return the sums with every feature multiplied by its entry of ``scale_x`` (p,)."""
        xx = None if self.xx is None else self.xx * scale_x * scale_x[:, None]
        return replace(self, sum_x=self.sum_x * scale_x, xx=xx, xy=self.xy * scale_x[:, None])

    def features(self, which: Any) -> Moments:
        """Return the sums of some features: an index, a slice or a mask."""
        xx = None if self.xx is None else self.xx[which][:, which]
        return replace(self, sum_x=self.sum_x[which], xx=xx, xy=self.xy[which])

    def units(self, which: Any) -> Moments:
        """Return the sums of some target units: an index, a slice or a mask."""
        return replace(self, sum_y=self.sum_y[which], xy=self.xy[:, which], yy=self.yy[which])


@dataclass(frozen=True)
class PieceMoments:
    """Moments of pieces of the rows.

    Attributes
    ----------
    parts : tuple of Moments
        One per piece, about the shifts.
    shift_x, shift_y : ndarray of shape (p,), (t,)
        What was subtracted; ``shift_x + train.mean_x`` is a training mean of the data.
    """

    parts: tuple[Moments, ...]
    shift_x: Double
    shift_y: Double

    @cached_property
    def total(self) -> Moments:
        """Moments of all pieces together."""
        return _sum(self.parts)

    def union(self, plus: Index, minus: Index | None = None) -> Moments:
        """Return the moments of pieces ``plus`` without those of ``minus`` (which they contain).

        A union of most pieces is the total minus the rest, unless digits would be lost.
        """
        if minus is not None and minus.size:
            return _sum([self.parts[i] for i in plus]) - _sum([self.parts[i] for i in minus])
        rest = np.setdiff1d(np.arange(len(self.parts)), plus)
        if plus.size <= rest.size + 1 or self._cancels(plus):
            return _sum([self.parts[i] for i in plus])
        return self.total if rest.size == 0 else self.total - _sum([self.parts[i] for i in rest])

    def _cancels(self, plus: Index) -> bool:
        """Whether some column of the total is far larger than in these pieces."""
        for total, parts in ((self._squares[0].sum(axis=0), self._squares[0]), (self.total.yy, self._squares[1])):
            if (total > CANCELLED * parts[plus].sum(axis=0)).any():
                return True
        return False

    @cached_property
    def _squares(self) -> tuple[Double, Double]:
        p = self.shift_x.size
        diagonal = [np.zeros(p) if part.xx is None else part.xx.diagonal() for part in self.parts]
        return np.array(diagonal), np.array([part.yy for part in self.parts])

    def inverse_sd(self, train: Moments) -> Double:
        """Return 1 / SD of each feature over the training rows, shape (p,); 0 for constant ones.

        ``train.centred().scaled(...)`` is then the training set with standardised features, and
        ``test.about(train.mean_x, train.mean_y).scaled(...)`` a test set by the same means and SDs.
        """
        centred = train.centred()
        assert centred.xx is not None
        variance = np.maximum(centred.xx.diagonal(), 0.0) / train.n
        floor = CONSTANT * self._squares[0].sum(axis=0) / train.n + (CONSTANT * self.shift_x) ** 2
        fixed = variance <= floor
        return np.where(fixed, 0.0, 1 / np.sqrt(np.where(fixed, 1.0, variance)))


def _sum(parts: Sequence[Moments]) -> Moments:
    found = parts[0]
    for part in parts[1:]:
        found = found + part
    return found


class MomentAccumulator:
    """Collect the moments of pieces chunk by chunk; the order and size of the chunks do not matter.

    Parameters
    ----------
    n_features, n_units : int
        p and t; t may be 0.
    n_pieces : int
        Number of pieces.
    dtype : dtype
        Of the products: float32 halves their time; sums are float64 in any case.
    xx : bool
        Whether to keep ``x' x``; without it a further batch of target units costs only its own part.
    shifts : (ndarray of shape (p,), ndarray of shape (t,)), optional
        Provisional means; those of the first chunk by default.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(10, 2)) + 1e4, rng.normal(size=(10, 1))
    >>> sums = MomentAccumulator(2, 1, n_pieces=2)
    >>> for rows in (slice(0, 4), slice(4, 10)):
    ...     sums.add(x[rows], y[rows], np.arange(10)[rows] % 2)
    >>> even = sums.result().parts[0].centred()
    >>> np.allclose(even.xx, 5 * np.cov(x[::2].T, bias=True))
    True
    """

    def __init__(
        self,
        n_features: int,
        n_units: int,
        n_pieces: int,
        dtype: npt.DTypeLike = np.float64,
        *,
        xx: bool = True,
        shifts: tuple[Double, Double] | None = None,
    ) -> None:
        p, t, k = n_features, n_units, n_pieces
        self._dtype = np.dtype(dtype)
        self._shifts = shifts
        self._shape = (p, t)
        self._n = np.zeros(k, dtype=np.intp)
        self._x, self._y, self._yy = np.zeros((k, p)), np.zeros((k, t)), np.zeros((k, t))
        self._xx = np.zeros((k, p, p)) if xx else None
        self._xy = np.zeros((k, p, t))

    def add(self, x: Array, y: Array, piece: npt.NDArray[Any]) -> None:
        """Add a chunk of rows.

        Parameters
        ----------
        x, y : ndarray of shape (n_rows, p), (n_rows, t)
            Finite values, not shifted.
        piece : ndarray of shape (n_rows,) of int, or (n_rows, n_pieces) of bool
            The piece of each row, -1 for none; or membership, where pieces overlap.

        Raises
        ------
        MeasureError
            For shapes that do not match, unknown pieces, or values that are not finite.
        """
        self._check(x, y, piece)
        if self._shifts is None:
            self._shifts = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
        for j in range(self._n.size):
            rows = np.flatnonzero(piece[:, j] if piece.ndim == 2 else piece == j)
            step = ROWS[self._dtype.itemsize]
            for start in range(0, rows.size, step):
                block = rows[start : start + step]
                self._add(j, x[block], y[block])

    def _add(self, j: int, x: Array, y: Array) -> None:
        assert self._shifts is not None
        shifted_x, shifted_y = x - self._shifts[0], y - self._shifts[1]
        self._n[j] += len(x)
        self._x[j] += shifted_x.sum(axis=0)
        self._y[j] += shifted_y.sum(axis=0)
        self._yy[j] += np.einsum("ij,ij->j", shifted_y, shifted_y)
        narrow_x, narrow_y = (v.astype(self._dtype, copy=False) for v in (shifted_x, shifted_y))
        if self._xx is not None:
            self._xx[j] += narrow_x.T @ narrow_x
        self._xy[j] += narrow_x.T @ narrow_y

    def _check(self, x: Array, y: Array, piece: npt.NDArray[Any]) -> None:
        (p, t), k = self._shape, self._n.size
        if x.ndim != 2 or y.shape != (len(x), t) or x.shape[1] != p:
            raise MeasureError(f"a chunk has shapes {x.shape} and {y.shape}; expected (n_rows, {p}) and (n_rows, {t})")
        if piece.shape not in ((len(x),), (len(x), k)):
            raise MeasureError(f"pieces have shape {piece.shape}; expected ({len(x)},) or ({len(x)}, {k})")
        if piece.ndim == 1 and piece.size and not -1 <= piece.min() <= piece.max() < k:
            raise MeasureError(f"pieces go from {piece.min()} to {piece.max()}; expected -1 to {k - 1}")
        if not (np.isfinite(x.sum(dtype=np.float64)) and np.isfinite(y.sum(dtype=np.float64))):
            raise MeasureError(
                "a chunk holds NaN or infinite values; expected finite numbers; drop those rows or units"
            )

    def result(self) -> PieceMoments:
        """Return the moments of every piece so far.

        Raises
        ------
        MeasureError
            When no rows were added.
        """
        if self._shifts is None or not self._n.any():
            raise MeasureError("no rows were added; expected at least one chunk")
        xx: Any = [None] * self._n.size if self._xx is None else self._xx
        sums = zip(self._n.tolist(), self._x, self._y, xx, self._xy, self._yy, strict=True)
        parts = tuple(Moments(*one) for one in sums)
        return PieceMoments(parts, *self._shifts)


@dataclass(frozen=True)
class FoldMoments:
    """Moments of the training and test sets of a (nested) cross-validation.

    Attributes
    ----------
    pieces : PieceMoments
        Of the pieces of the rows.
    plan : Plan
        Training and test sets: the tasks of ``plan.outer``, then those of ``plan.inner``.
    layout : Layout
        Pieces of each set: per task its training set, then its test sets.
    """

    pieces: PieceMoments
    plan: Plan
    layout: Layout

    def train(self, task: int) -> Moments:
        """Return the moments of a task's training rows, about the provisional shifts."""
        return self._of(self._first(task))

    def test(self, task: int, which: int = 0) -> Moments:
        """Return the moments of a task's test rows, about the provisional shifts."""
        return self._of(self._first(task) + 1 + which)

    def _first(self, task: int) -> int:
        return sum(1 + len(other.tests) for other in (*self.plan.outer, *self.plan.inner)[:task])

    def _of(self, j: int) -> Moments:
        return self.pieces.union(self.layout.plus[j], self.layout.minus[j])


def moments(
    x: Array,
    y: Array,
    folds: Folds,
    *,
    inner: bool = False,
    xx: bool = True,
    dtype: npt.DTypeLike | None = None,
) -> FoldMoments:
    """Return the moments of every training and test set of some folds, in one pass.

    Parameters
    ----------
    x, y : ndarray of shape (n, p), (n, t)
        Source and target; ``y[:, :0]`` for the source alone.
    folds : Folds
        Train and test rows; gaps and overlapping test sets are allowed.
    inner : bool
        Also the inner folds of nested cross-validation.
    xx : bool
        Whether ``x' x`` is wanted.
    dtype : dtype, optional
        Of the products; float32 where both sides are, else float64.

    Returns
    -------
    FoldMoments
        ``.train(j)`` and ``.test(j)`` of fold j; inner tasks follow the outer ones.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x, y, rows = rng.normal(size=(12, 2)), rng.normal(size=(12, 3)), np.arange(12)
    >>> folds = Folds(tuple((rows[rows % 3 != f], rows[rows % 3 == f]) for f in range(3)), 12)
    >>> found = moments(x, y, folds)
    >>> train = found.train(0).centred()
    >>> np.allclose(train.xx, 8 * np.cov(x[folds.splits[0][0]].T, bias=True))
    True
    """
    plan = make_plan(folds, nested=inner)
    pieces = plan_layout(plan, folds.n)
    if dtype is None:
        dtype = np.float32 if x.dtype == y.dtype == np.float32 else np.float64
    return FoldMoments(piece_moments(x, y, pieces, xx=xx, dtype=dtype), plan, pieces)


def piece_moments(
    x: Array, y: Array, pieces: Layout, *, xx: bool = True, dtype: npt.DTypeLike = np.float64
) -> PieceMoments:
    """Return the moments of pieces of arrays in memory, about the median of the pieces' means."""
    shifts = _central(x, pieces), _central(y, pieces)
    sums = MomentAccumulator(x.shape[1], y.shape[1], pieces.member.shape[1], dtype, xx=xx, shifts=shifts)
    sums.add(x, y, pieces.member)
    return sums.result()


def _central(values: Array, pieces: Layout) -> Double:
    """Return the median over pieces of their means: no piece of outliers can move it far."""
    weights = pieces.member / np.maximum(pieces.member.sum(axis=0), 1)
    return np.asarray(np.median(weights.T @ values, axis=0), dtype=np.float64)


def unit_batches(n_units: int, n_features: int, n_pieces: int, budget: int) -> Iterator[slice]:
    """Yield slices of target units whose cross-products with all features fit in ``budget`` bytes (at least one).

    Examples
    --------
    >>> list(unit_batches(10, 100, 5, budget=20_000))
    [slice(0, 5, None), slice(5, 10, None)]
    """
    size = max(1, budget // (8 * n_features * n_pieces))
    for start in range(0, n_units, size):
        yield slice(start, min(start + size, n_units))


def held_out(test: Moments, weights: Double) -> tuple[Double, Double]:
    """Return squared errors and r of linear predictions on a test set, without the data.

    Parameters
    ----------
    test : Moments
        Of the test rows, about the *training* means.
    weights : ndarray of shape (p, t)
        Predictions are ``x @ weights``, x about the training mean.

    Returns
    -------
    (ndarray of shape (t,), ndarray of shape (t,))
        Squared errors; r in [-1, 1], NaN where predictions or data do not vary.

    Examples
    --------
    >>> x, y = np.array([[-1.0], [0.0], [2.0]]), np.array([[-2.0], [1.0], [3.0]])
    >>> test = Moments(3, x.sum(0), y.sum(0), x.T @ x, x.T @ y, (y**2).sum(0))
    >>> error, r = held_out(test, np.array([[1.0]]))
    >>> float(error[0]), round(float(r[0]), 4) == round(float(np.corrcoef(x.T, y.T)[0, 1]), 4)
    (3.0, True)
    """
    assert test.xx is not None
    cross = np.einsum("ij,ij->j", weights, test.xy)
    square = np.einsum("ij,ij->j", weights, test.xx @ weights)
    mean = test.mean_x @ weights
    predicted, truth = square - test.n * mean**2, test.yy - test.n * test.mean_y**2
    varies = (predicted > 1e-12 * square) & (truth > 1e-14 * test.yy)
    r = np.full(cross.shape, np.nan)
    np.divide(cross - mean * test.sum_y, np.sqrt(np.where(varies, predicted * truth, 1.0)), out=r, where=varies)
    return np.asarray(np.maximum(test.yy - 2 * cross + square, 0.0)), np.clip(r, -1.0, 1.0)
