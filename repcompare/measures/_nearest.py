"""Nearest neighbours of every stimulus: a source as lists of indices, found once.

Cosine and Euclidean neighbours are one search: patterns of length 1 are the nearer the larger their cosine, and distances
between centred patterns keep their digits when all patterns share a large offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.kernels.neighbours import select_nearest
from repcompare.measures._blas import add_gram
from repcompare.measures._linalg import BLOCK_BYTES, centre64, input_eps, require_variance
from repcompare.measures._measure import Array, Index

Float64 = npt.NDArray[np.float64]
Metric = Literal["cosine", "euclidean"]
TIE = 1e-13  # squared distances closer than this share of the mean squared length are equal


@dataclass(frozen=True)
class Patterns:
    """Centred patterns of mean squared length 1, or their products where those are smaller.

    Attributes
    ----------
    rows : ndarray, shape (n_stimuli, n_units), optional
        The patterns, or
    gram : ndarray, shape (n_stimuli, n_stimuli), optional
        their products.
    own : ndarray, shape (n_stimuli,)
        Squared lengths.
    scale : float
        Squared distances times this are those of patterns of length 1 (cosine).
    """

    rows: Float64 | None
    gram: Float64 | None
    own: Float64
    scale: float

    def take(self, rows: Index) -> Patterns:
        """Patterns of some stimuli; distances do not care for the mean."""
        patterns = None if self.rows is None else self.rows[rows]
        products = None if self.gram is None else self.gram[np.ix_(rows, rows)]
        return Patterns(patterns, products, self.own[rows], self.scale)

    def nearness(self, start: int, stop: int) -> Float64:
        """Minus the squared distances (stop - start, n_stimuli) of some stimuli to all."""
        if self.rows is not None:
            products = self.rows[start:stop] @ self.rows.T
        else:
            assert self.gram is not None
            products = self.gram[start:stop].copy()
        products *= 2
        products -= self.own[start:stop, None]
        products -= self.own
        return products

    def cosines(self, i: Index, j: Index) -> Float64:
        """Cosines of pairs of stimuli."""
        if self.gram is not None:
            products = self.gram[i, j]
        else:
            assert self.rows is not None
            width = max(1, BLOCK_BYTES // (8 * self.rows.shape[1]))
            blocks = (slice(s, s + width) for s in range(0, len(i), width))
            products = np.concatenate([np.einsum("ij,ij->i", self.rows[i[b]], self.rows[j[b]]) for b in blocks])
        return 1 + self.scale * (products - (self.own[i] + self.own[j]) / 2)


@dataclass(frozen=True)
class NeighbourState:
    """A prepared source.

    Attributes
    ----------
    lists : ndarray of int, shape (n_stimuli, k)
        The k nearest stimuli of each, ascending by index; never itself.
    values : ndarray, shape (n_stimuli, k)
        Cosines to them (``metric="euclidean"``: minus squared distances, up to scale).
    patterns : Patterns
        What the lists were made from.
    tied : int
        Stimuli whose last neighbours were chosen by index among equally near ones.
    measure : str
        For messages.
    norm : float
        ``cknna``: root of the self-term.
    back : ndarray of int, shape (n_stimuli, k), optional
        ``cknna``: where a stimulus stands in the list of each of its neighbours, -1 where it does not.
    """

    lists: npt.NDArray[np.int32]
    values: Float64
    patterns: Patterns
    tied: int
    measure: str
    norm: float = 1.0
    back: npt.NDArray[np.int32] | None = None


def patterns_of(values: Array, metric: Metric, what: str) -> Patterns:
    """Patterns to search neighbours among.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_units)
    metric : {"cosine", "euclidean"}
        Patterns are first divided by their length, or left as they are.
    what : str
        Name of the measure, for messages.

    Raises
    ------
    MeasureError
        For a pattern of zeros (cosine), or when nothing varies.
    """
    n, p = values.shape
    lengths = pattern_lengths(values, what) if metric == "cosine" else _power_of_two(values)
    width = p if p < n else max(64, BLOCK_BYTES // (8 * n))
    lower, largest, spread = np.zeros((n, n) if p >= n else (0, 0)), 0.0, 0.0
    rows: Float64 | None = None
    for start in range(0, p, width):
        scaled = values[:, start : start + width] / lengths
        block = centre64(scaled)
        largest, spread = max(largest, float(np.abs(scaled).max())), max(spread, float(np.abs(block).max()))
        if p < n:
            rows = block
        else:
            add_gram(block, lower)
    require_variance(spread if spread > 4 * input_eps(values) * largest else 0.0, what)
    if rows is not None:
        scale = float(np.square(rows).sum()) / n
        rows /= np.sqrt(scale)
        return Patterns(rows, None, np.square(rows).sum(axis=1), scale)
    scale = float(np.trace(lower)) / n
    lower /= scale
    gram = lower + np.tril(lower, -1).T
    return Patterns(None, gram, gram.diagonal().copy(), scale)


def _power_of_two(values: Array) -> Float64:
    """A number (1, 1) near the largest value, by which division is exact."""
    largest = float(np.abs(values).max())
    return np.full((1, 1), 2.0 ** np.ceil(np.log2(largest)) if largest > 0 else 1.0)


def pattern_lengths(values: Array, what: str) -> Float64:
    """Lengths (n_stimuli, 1) of the patterns in float64."""
    largest = np.abs(values).max(axis=1, keepdims=True).astype(np.float64)
    empty = [int(i) for i in np.flatnonzero(largest == 0)]
    if empty:
        raise MeasureError(
            f"{what}: {len(empty)} stimuli have a response of 0 in every unit (first: row {empty[0]}); the cosine to "
            "them is undefined; expected patterns that are not 0; drop these stimuli",
            rows=empty,
        )
    width = max(64, BLOCK_BYTES // (8 * len(values)))
    squares = np.zeros_like(largest)
    for start in range(0, values.shape[1], width):
        squares += np.square(values[:, start : start + width] / largest).sum(axis=1, keepdims=True)
    return np.asarray(largest * np.sqrt(squares))


def find_neighbours(patterns: Patterns, k: int, metric: Metric, what: str) -> NeighbourState:
    """Find the k nearest stimuli of every stimulus, by blocks of products; ties go to the lower index.

    Raises
    ------
    MeasureError
        When every stimulus is equally near to every other.
    """
    n = len(patterns.own)
    lists, values, ties = np.empty((n, k), np.int32), np.empty((n, k)), np.zeros(n, np.intp)
    width = max(16, BLOCK_BYTES // (8 * n))
    for start in range(0, n, width):
        stop = min(start + width, n)
        near = patterns.nearness(start, stop)
        near[np.arange(stop - start), np.arange(start, stop)] = -np.inf
        threshold = np.partition(near, n - k, axis=1)[:, n - k]
        slack = TIE * np.maximum(1, patterns.own[start:stop])
        select_nearest(near, threshold, slack, lists[start:stop], values[start:stop], ties[start:stop])
    if (ties == n - 1).all():
        raise MeasureError(
            f"{what}: every stimulus is equally near to every other (as in one-hot codes): there are no nearest "
            "neighbours; expected distances that differ"
        )
    if metric == "cosine":
        values = 1 + patterns.scale * values / 2
    return NeighbourState(lists, values, patterns, int((ties > 0).sum()), what)


def check_pair(x: NeighbourState, y: NeighbourState) -> int:
    """Return the number of stimuli, which must be that of both sides."""
    n = len(x.lists)
    if n != len(y.lists):
        raise MeasureError(f"{x.measure}: {n} stimuli against {len(y.lists)}; expected the same stimuli on both sides")
    return n


def tie_report(x: NeighbourState, y: NeighbourState) -> dict[str, Any]:
    """Counts and notes of an outcome where neighbours were chosen by index."""
    tied = max(x.tied, y.tied)
    if not tied:
        return {}
    note = (
        f"neighbours_tied: {tied} of {len(x.lists)} stimuli have equally near neighbours, of which the first were taken"
    )
    return {"counts": {"neighbours_tied": tied}, "notes": (note,) if 10 * tied > len(x.lists) else ()}
