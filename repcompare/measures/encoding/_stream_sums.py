"""Sums over pieces of the rows that are read once: what every fold of a streamed ridge is computed from.

The x-sized part is a :class:`~repcompare.measures.encoding.moments.MomentAccumulator` in float64.  The part with the
target is kept here in the precision of the data, in blocks of units, and added to in place: at 50,000 units a temporary
product would cost as much memory traffic as the product itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas

from repcompare.errors import MeasureError
from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding._factor import Double
from repcompare.measures.encoding._layout import Layout
from repcompare.measures.encoding.moments import MomentAccumulator, Moments, PieceMoments

NO_UNITS: Double = np.zeros(0)


def power_of_two(size: npt.ArrayLike) -> Double:
    """Return the powers of two next to some sizes; 1 for sizes of 0.

    Examples
    --------
    >>> power_of_two([0.0, 3.0, 0.3])
    array([1.  , 4.  , 0.25])
    """
    sizes = np.asarray(size, dtype=np.float64)
    return np.asarray(2.0 ** np.round(np.log2(np.where(sizes > 0, sizes, 1.0))))


class SourceSums:
    """The sums of x alone, in float64, with provisional means and one scale for all features.

    Parameters
    ----------
    first : ndarray of shape (n_rows, p)
        The first chunk: shift and scale are its mean and its typical length of a row.
    layout : Layout
        Pieces of the rows, and of each set.
    """

    def __init__(self, first: Array, layout: Layout) -> None:
        self.shift = first.mean(axis=0, dtype=np.float64).astype(first.dtype)
        apart = first - self.shift
        squares = float(np.einsum("ij,ij->", apart, apart, dtype=np.float64)) or float(np.square(self.shift).sum())
        self.scale = float(power_of_two(np.sqrt(squares / len(first))))
        self.layout = layout
        k, p = layout.member.shape[1], first.shape[1]
        self._sums = MomentAccumulator(p, 0, k, shifts=(self.shift.astype(np.float64), NO_UNITS))
        self.pieces: PieceMoments | None = None

    def prepared(self, x: Array, dtype: npt.DTypeLike) -> Array:
        """Return shifted and scaled rows, C-ordered."""
        found = x.astype(dtype, copy=False) - self.shift.astype(dtype)
        found *= found.dtype.type(1 / self.scale)
        return np.ascontiguousarray(found)

    def add(self, x: Array, rows: Index) -> None:
        """Add a chunk; ``rows`` are its places among all rows."""
        self._sums.add(x, np.zeros((len(x), 0)), self.layout.member[rows])

    def close(self) -> None:
        """Say that all rows were added."""
        found = self._sums.result()
        p = found.shift_x.size
        self.pieces = replace(found, parts=tuple(part.scaled(np.full(p, 1 / self.scale)) for part in found.parts))
        del self._sums

    def of(self, j: int) -> Moments:
        """Return the sums of one set of rows, about the provisional means."""
        assert self.pieces is not None
        return self.pieces.union(self.layout.plus[j], self.layout.minus[j])

    @property
    def total(self) -> Moments:
        """The sums of all rows; pieces that overlap have all rows as their first."""
        assert self.pieces is not None
        every = int(self.layout.member[:, 0].all())
        return self.pieces.parts[0] if every else self.pieces.total


@dataclass(frozen=True)
class Part:
    """Sums of one set of rows and one block of units: count, ``sum_y``, ``yy`` (b,) in float64, and ``xy`` (p, b)."""

    n: int
    sum_y: Double
    yy: Double
    xy: Array


class TargetSums:
    """The sums of a batch of target units, and of their products with x.

    Parameters
    ----------
    first : ndarray of shape (n_rows, n_units)
        The first chunk of these units.
    n_features : int
        p.
    layout : Layout
        Pieces of the rows.
    dtype : dtype
        Of the products and of their sums.
    width : int
        Units per block.
    """

    def __init__(self, first: Array, n_features: int, layout: Layout, dtype: npt.DTypeLike, width: int) -> None:
        k, t = layout.member.shape[1], first.shape[1]
        self.layout, self.dtype = layout, np.dtype(dtype)
        self.blocks = [slice(i, min(i + width, t)) for i in range(0, t, width)]
        self.shift = first.mean(axis=0, dtype=np.float64).astype(first.dtype)
        spread = first.std(axis=0, dtype=np.float64)
        self.scale = power_of_two(np.where(spread > 0, spread, np.abs(self.shift)))
        self.n = np.zeros(k, dtype=np.intp)
        self.sum_y, self.yy = np.zeros((k, t)), np.zeros((k, t))
        self.low = np.full((k, t), np.inf, dtype=first.dtype)
        self.high = np.full((k, t), -np.inf, dtype=first.dtype)
        self.xy = [np.zeros((k, n_features, b.stop - b.start), dtype=self.dtype) for b in self.blocks]
        self._gemm: Any = blas.sgemm if self.dtype == np.float32 else blas.dgemm

    @property
    def n_units(self) -> int:
        """How many units."""
        return int(self.shift.size)

    def add(self, x: Array, y: Array, rows: Index) -> None:
        """Add a chunk.

        Parameters
        ----------
        x : ndarray of shape (n_rows, p)
            Prepared by :class:`SourceSums`.
        y : ndarray of shape (n_rows, n_units)
            As stored.
        rows : ndarray of shape (n_rows,)
            Their places among all rows.

        Raises
        ------
        MeasureError
            When values are missing or infinite.
        """
        if not np.isfinite(y.sum(dtype=np.float64)):
            raise MeasureError(
                f"ridge: {int((~np.isfinite(y)).sum())} missing (NaN) or infinite values in one block of rows of the "
                "target; with memory= all units are fitted on the same rows: drop those units or stimuli first"
            )
        member = self.layout.member[rows]
        for j in range(self.n.size):
            own = np.flatnonzero(member[:, j])
            if own.size:
                self.n[j] += own.size
                self._add(j, x[own], y, own)

    def _add(self, j: int, x: Array, y: Array, own: Index) -> None:
        for b, xy in zip(self.blocks, self.xy, strict=True):
            part = y[:, b][own]
            self.low[j, b] = np.minimum(self.low[j, b], part.min(axis=0))
            self.high[j, b] = np.maximum(self.high[j, b], part.max(axis=0))
            part = part.astype(self.dtype, copy=False)
            part -= self.shift[b]  # in the precision of the data: numbers near each other are subtracted exactly
            part *= (1 / self.scale[b]).astype(part.dtype)
            self.sum_y[j, b] += part.sum(axis=0, dtype=np.float64)
            self.yy[j, b] += np.einsum("ij,ij->j", part, part, dtype=np.float64)
            into = xy[j].T  # Fortran's view of it
            found = self._gemm(1.0, part.T, x.T, beta=1.0, c=into, trans_b=1, overwrite_c=1)
            assert np.shares_memory(found, into)

    def of(self, j: int, block: int) -> Part:
        """Return the sums of one set of rows and one block of units."""
        return self._union(self.layout.plus[j], self.layout.minus[j], block)

    def everything(self, block: int) -> Part:
        """Return the sums of all rows; pieces that overlap have all rows as their first."""
        k = 1 if self.layout.member[:, 0].all() else self.n.size
        return self._union(np.arange(k), np.arange(0), block)

    def _union(self, plus: Index, minus: Index, block: int) -> Part:
        b, xy = self.blocks[block], self.xy[block]
        cross = xy[plus[0]].copy()
        for i in plus[1:]:
            cross += xy[i]
        for i in minus:
            cross -= xy[i]
        n, first, square = (
            values[plus].sum(axis=0) - values[minus].sum(axis=0) for values in (self.n, self.sum_y[:, b], self.yy[:, b])
        )
        return Part(int(n), first, square, cross)

    def constant(self, j: int) -> npt.NDArray[np.bool_]:
        """Flag units that do not vary over a set of rows, shape (n_units,)."""
        plus, minus = self.layout.plus[j], self.layout.minus[j]
        slack = 4 * np.finfo(self.low.dtype).eps * np.abs(self.shift.astype(np.float64))
        if not minus.size:
            span = self.high[plus].max(axis=0).astype(np.float64) - self.low[plus].min(axis=0)
            return np.asarray(span <= slack)
        n, first, square = (v[plus].sum(axis=0) - v[minus].sum(axis=0) for v in (self.n, self.sum_y, self.yy))
        apart = square - first**2 / n
        return np.asarray(
            apart <= 64 * np.finfo(np.float64).eps * self.yy[plus].sum(axis=0) + (slack / self.scale) ** 2
        )
