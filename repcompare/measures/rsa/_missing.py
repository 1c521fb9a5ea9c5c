"""Distances under missing values that take the noise or partitions into account: per pair, the units that it has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.kernels.crossnobis import masked_crossnobis
from repcompare.measures.rsa._condensed import Rows, Vector, pair_rows
from repcompare.measures.rsa._covariance import Noise
from repcompare.measures.rsa._trials import Trials, require_partitions

Cells = npt.NDArray[np.float64]
Present = npt.NDArray[np.bool_]

MOST_SETS = 64
BLOCK = 2**22  # values of one block of pairs


def crossnobis_present(data: Trials, noise: Noise | None) -> tuple[Vector, Vector]:
    """Return crossnobis over the units that a pair has in 2 partitions or more, and how many units those are.

    Without noise the mean over units of each unit's own crossnobis; with noise the units that all partitions of the pair
    have, in the inverse of their sub-block of the covariance.

    Parameters
    ----------
    data : Trials
        NaN where missing.
    noise : Noise, optional

    Returns
    -------
    distance, n_units : ndarray, shape (n_pairs,)
        Divided by the number of units; NaN without any.

    Raises
    ------
    MeasureError
        With noise, when pairs have more than 64 distinct sets of units.
    """
    require_partitions(data)
    cells = data.means_present()
    present = np.isfinite(cells)
    filled = np.where(present, cells, 0.0)
    _centre_present(filled, present)
    if noise is not None:
        return over_common_units(filled, present, noise, cross_validated=True)
    k = len(cells)
    distance, units = np.empty(k * (k - 1) // 2), np.empty(k * (k - 1) // 2)
    mask = present.astype(np.float32)
    if filled.shape[1] % 2:  # the kernel takes partitions two by two
        filled, mask = (np.concatenate([v, np.zeros_like(v[:, :1])], axis=1) for v in (filled, mask))
    masked_crossnobis(filled, mask, distance, units)
    return distance, units


def mahalanobis_present(values: Cells, noise: Noise) -> tuple[Vector, Vector]:
    """Return squared Mahalanobis distances over the units finite in both patterns, and how many units those are.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_units)
        NaN where missing.
    noise : Noise
    """
    present = np.isfinite(values)[:, None, :]
    filled = np.where(present, values[:, None, :], 0.0).astype(np.float64)
    _centre_present(filled, present)
    return over_common_units(filled, present, noise, cross_validated=False)


def over_common_units(filled: Cells, present: Present, noise: Noise, *, cross_validated: bool) -> tuple[Vector, Vector]:
    """Return distances of pairs over their common units, whitened once per distinct set of units.

    Parameters
    ----------
    filled, present : ndarray, shape (K, M, P)
        Cell means, 0 where missing.
    noise : Noise
    cross_validated : bool
        Products of different partitions, or (M = 1) squares.
    """
    k, m, _ = filled.shape
    held: Present = np.asarray(present.any(axis=2))
    sets, which = _unit_sets(present, held)
    distance, units = np.full(which.size, np.nan), np.zeros(which.size)
    for s, members in enumerate(sets):
        pairs = np.flatnonzero(which == s)
        units[pairs] = members.sum()
        if not members.any():
            continue
        part = noise.restrict(members)
        white = part.whiten(np.ascontiguousarray(filled[:, :, members]).reshape(k * m, -1)).reshape(k, m, -1)
        for block in _blocks(pairs, white[0].size):
            distance[block] = _differences(white, held, pair_rows(block, k), cross_validated=cross_validated)
    return distance, units


def _differences(white: Cells, held: Present, pairs: tuple[Rows, Rows], *, cross_validated: bool) -> Vector:
    """Return the distances of pairs from whitened cells (K, M, U)."""
    i, j = pairs
    both = held[i] & held[j]
    delta = (white[i] - white[j]) * both[:, :, None]
    squares = np.einsum("bmu,bmu->b", delta, delta)
    if not cross_validated:
        found: Vector = squares / white.shape[2]
        return found
    n = both.sum(axis=1)
    total = delta.sum(axis=1)
    cross = np.einsum("bu,bu->b", total, total) - squares
    return np.where(n > 1, cross / np.maximum(n * (n - 1), 1) / white.shape[2], np.nan)


def _unit_sets(present: Present, held: Present) -> tuple[Present, Rows]:
    """Return the distinct sets of units (S, P) that pairs have, and the set of each pair.

    A unit belongs to a pair when both stimuli have it in every partition that holds both.
    """
    k, _, p = present.shape
    i, j = np.triu_indices(k, 1)
    found: dict[bytes, int] = {}
    which = np.empty(i.size, dtype=np.intp)
    for block in _blocks(np.arange(i.size), present[0].size):
        both = held[i[block]] & held[j[block]]
        some: Present = np.asarray(both.any(axis=1))
        common = ((present[i[block]] & present[j[block]]) | ~both[:, :, None]).all(axis=1) & some[:, None]
        for position, row in zip(block, np.packbits(common, axis=1), strict=True):
            which[position] = found.setdefault(row.tobytes(), len(found))
        if len(found) > MOST_SETS:
            raise MeasureError(
                f"the pairs of stimuli have more than {MOST_SETS} distinct sets of common units: each would need its own"
                " inverse of the noise covariance; take nan='drop_units', or noise='diag'"
            )
    bits = np.array([np.frombuffer(key, dtype=np.uint8) for key in found])
    return np.unpackbits(bits, axis=1, count=p).astype(bool), which


def _centre_present(filled: Cells, present: Present) -> None:
    """Subtract from each partition and unit its mean over the stimuli that have it, in place."""
    n = np.maximum(present.sum(axis=0), 1)
    filled -= filled.sum(axis=0) / n
    filled[~present] = 0.0


def _blocks(positions: Rows, width: int) -> Iterator[Rows]:
    step = max(1, BLOCK // max(width, 1))
    for start in range(0, positions.size, step):
        yield positions[start : start + step]
