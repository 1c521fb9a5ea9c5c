"""Distances as matrix products, exact where subtraction of large sums would lose the small ones.

Both forms stream over blocks of units, so that no second copy of the data is held.  Every pair whose distance
is small beside the products that it is a difference of is computed again from its two patterns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dsyrk, ssyrk

from repcompare.kernels.rdm import gram_distances, pattern_block, row_moments
from repcompare.measures.rsa._condensed import Rows, Vector, condense, pair_rows

Values = npt.NDArray[np.floating[Any]]

EPS = float(np.finfo(np.float64).eps)
NEAR = 2.0**-10  # below this share of the products a distance is recomputed from the patterns
NEAR_SINGLE = 2.0**-8
SINGLE_FROM = 2**32  # multiply-adds from which float32 data are multiplied in float32
BLOCK = 2**20  # values of one block; it should stay in the cache


@dataclass(frozen=True)
class Patterns:
    """Responses and how a pattern enters a distance.

    Attributes
    ----------
    values : ndarray, shape (n_stimuli, n_units)
        NaN where missing.
    centred : bool
        Each pattern's mean over units is subtracted.
    unit_norm : bool
        Each pattern is divided by its norm; the distance is then half the squared difference, one minus the
        cosine, and otherwise the mean over units of the squared difference.
    shift, norm : ndarray, shape (n_stimuli,)
        What is subtracted and divided by; 0 and 1 where nothing is.
    """

    values: Values
    centred: bool
    unit_norm: bool
    shift: Vector
    norm: Vector

    def block(self, part: slice) -> npt.NDArray[np.float64]:
        """Return some units of the patterns as they enter, shape (n_stimuli, n_part), as a new array."""
        block = self.values[:, part].astype(np.float64, order="C")
        if self.centred:
            block -= self.shift[:, None]
        if self.unit_norm:
            block /= self.norm[:, None]
        return block


def complete(patterns: Patterns) -> Vector:
    """Return distances of patterns without NaN.

    Parameters
    ----------
    patterns : Patterns
        Of K stimuli.

    Returns
    -------
    ndarray, shape (K (K - 1) / 2,)
    """
    k, p = patterns.values.shape
    single = patterns.values.dtype == np.float32 and k * k * p >= SINGLE_FROM
    gram = np.zeros((k, k), order="F")
    scale = 1 / patterns.norm
    for part in _blocks(k, p, BLOCK * (4 if single else 1)):
        block = np.empty((k, part.stop - part.start), dtype=np.float32 if single else np.float64)
        pattern_block(patterns.values, part.start, part.stop, patterns.shift, scale, block)
        if single:
            gram += ssyrk(1.0, block.T, trans=1, lower=1)
        else:
            gram = dsyrk(1.0, block.T, beta=1.0, c=gram, trans=1, lower=1, overwrite_c=1)
    distance = np.empty(k * (k - 1) // 2)
    factor = 0.5 if patterns.unit_norm else 1 / p
    # transposed: the upper triangle, in row order; the lower one was never computed
    if gram_distances(gram.T, factor, NEAR_SINGLE if single else NEAR, distance):
        near = np.flatnonzero(np.isnan(distance))
        distance[near] = direct(patterns, pair_rows(near, k))
    return distance


def incomplete(patterns: Patterns, min_units: int) -> tuple[Vector, Vector]:
    """Return distances over the units that are finite in both patterns, and how many units those are.

    ``n = W W'``, ``Sx = X W'``, ``Sxx = X^2 W'``, ``Sxy = X X'`` with the mask W and zero-filled X.  Pairs
    with fewer than ``min_units`` common units, or without variance on them (``unit_norm``), are NaN.

    Parameters
    ----------
    patterns : Patterns
        Of K stimuli.
    min_units : int
        At least 1.

    Returns
    -------
    distance, n_units : ndarray, shape (K (K - 1) / 2,)
    """
    n, sx, sxx, sxy = _masked_products(patterns)
    count = condense(n)
    n = np.maximum(n, 1)
    if patterns.unit_norm:
        distance, near = _one_minus_cosine(n, sx, sxx, sxy)
    else:
        sums = sxx + sxx.T
        distance = np.maximum(condense((sums - 2 * sxy) / n), 0.0)
        near = distance <= NEAR * condense(sums / n)
    few = count < min_units
    again = np.flatnonzero(near & ~few)
    if again.size:
        distance[again] = direct(patterns, pair_rows(again, len(n)))
    distance[few] = np.nan
    return distance, count


def direct(patterns: Patterns, pairs: tuple[Rows, Rows]) -> Vector:
    """Return distances of the given pairs from their two patterns, over the units that are finite in both.

    Without variance on those units the value is NaN (``unit_norm``).

    Parameters
    ----------
    patterns : Patterns
    pairs : tuple of ndarray of int, shape (n_chosen,)
        Rows of the first and of the second pattern.

    Returns
    -------
    ndarray, shape (n_chosen,)
    """
    values, centred = patterns.values, patterns.centred
    out = np.empty(pairs[0].size)
    step = max(1, BLOCK // (4 * values.shape[1]))
    for start in range(0, out.size, step):
        part = slice(start, start + step)
        a, b = (values[rows[part]].astype(np.float64) for rows in pairs)
        both = np.isfinite(a) & np.isfinite(b)
        n = both.sum(axis=1)
        a, b = np.where(both, a, 0.0), np.where(both, b, 0.0)
        if patterns.unit_norm:
            a, a_error = _unit_rows(a, both, n, centred=centred)
            b, b_error = _unit_rows(b, both, n, centred=centred)
            found = 0.5 * np.square(a - b).sum(axis=1)
            found[found <= np.square(a_error + b_error)] = 0.0  # patterns that differ by a factor and a constant only
            out[part] = found
        else:
            out[part] = np.square(a - b).sum(axis=1) / n
    return out


def row_stats(
    values: Values, *, centred: bool, has_nan: bool = True
) -> tuple[Vector, Vector, Vector, npt.NDArray[np.bool_]]:
    """Return each pattern's mean (0 unless ``centred``), norm around it, finite units, whether it is flat.

    A pattern is flat when its norm is 0 up to rounding; its norm is given as 1.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_units)
        NaN where missing.
    centred : bool
        Subtract each pattern's mean over units.
    has_nan : bool
        A value is missing.

    Returns
    -------
    mean, norm, n, flat : ndarray, shape (n_stimuli,)
    """
    k, p = values.shape
    mean, n, square = np.zeros(k), np.full(k, float(p)), np.zeros(k)
    if not has_nan:
        row_moments(values, centred, mean, square)
        flat = square <= n * np.square(16 * EPS * mean)
        return mean, np.sqrt(np.where(flat, 1.0, square)), n, flat
    for part in _blocks(p, k, BLOCK // 4):
        block = values[part].astype(np.float64)
        missing = np.isnan(block)
        if missing.any():
            n[part] -= missing.sum(axis=1)
            block[missing] = 0.0
        if centred:
            mean[part] = block.sum(axis=1) / np.maximum(n[part], 1)
            block -= mean[part, None]
            block[missing] = 0.0
        square[part] = np.einsum("ij,ij->i", block, block)
    flat = square <= n * np.square(16 * EPS * mean)
    return mean, np.sqrt(np.where(flat, 1.0, square)), n, flat


def _masked_products(patterns: Patterns) -> tuple[Any, Any, Any, Any]:
    """Return n, Sx, Sxx, Sxy, each (n_stimuli, n_stimuli): row i's sums over the units that i and j share."""
    k, p = patterns.values.shape
    n, sx, sxx, sxy = (np.zeros((k, k)) for _ in range(4))
    for part in _blocks(k, p, 2 * BLOCK):
        block = patterns.block(part)
        finite = np.isfinite(block)
        mask = finite.astype(np.float64)
        if not patterns.unit_norm:
            block -= block.sum(axis=0, where=finite) / np.maximum(finite.sum(axis=0), 1)
        np.copyto(block, 0.0, where=~finite)
        n += mask @ mask.T
        sxy += block @ block.T
        if patterns.centred:
            sx += block @ mask.T
        sxx += np.square(block) @ mask.T
    return n, sx, sxx, sxy


def _one_minus_cosine(n: Any, sx: Any, sxx: Any, sxy: Any) -> tuple[Vector, npt.NDArray[np.bool_]]:
    """Return one minus the cosine around the means ``sx / n``, and which pairs lost digits to subtraction."""
    own = sxx - sx**2 / n  # of i, over the units that i and j share
    small = own <= NEAR * sxx
    lost = condense(small | small.T) > 0
    own[small] = 1.0
    distance = np.maximum(condense(1 - (sxy - sx * sx.T / n) / np.sqrt(own * own.T)), 0.0)
    return distance, lost | (distance < NEAR)


def _unit_rows(x: Vector, both: npt.NDArray[np.bool_], n: Rows, *, centred: bool) -> tuple[Vector, Vector]:
    """Return rows of norm 1 (NaN for flat ones), and the size of the rounding error of each."""
    raw = np.linalg.norm(x, axis=1)
    mean = x.sum(axis=1) / n if centred else np.zeros(len(x))
    x = np.where(both, x - mean[:, None], 0.0)
    norm = np.linalg.norm(x, axis=1)
    norm[norm <= np.sqrt(n) * 16 * EPS * np.abs(mean)] = np.nan
    return x / norm[:, None], 16 * EPS * np.maximum(raw / norm, 1.0)


def _blocks(width: int, length: int, values: int) -> Iterator[slice]:
    """Yield slices over ``length`` rows or columns of ``width``, of about ``values`` values each."""
    step = max(1, values // width)
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))
