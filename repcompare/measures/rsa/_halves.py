"""What two halves of the repeats say about the best score that the noise of an RDM allows.

The Spearman-Brown formula does not hold for RDMs: their noise is a product of noises, so that halving the repeats raises
its variance up to fourfold, and the noise also shifts distances (squared ones grow, correlation distances move towards 1).
Both are undone before the halves are multiplied.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures.rsa._condensed import Vector, condense, count_stimuli
from repcompare.measures.rsa._methods import Comparator
from repcompare.measures.rsa._products import row_stats
from repcompare.measures.rsa._whitened import Matrix, coordinates
from repcompare.measures.rsa.comparators import Embedded

LEAST = 0.25  # of the mean: what is left of a pattern or distance without noise is not taken to be smaller
TINY = 1e-12


def shared(first: Embedded, second: Embedded, full: Embedded, *, root: bool = False) -> float:
    """Return the squared score that a model without noise is expected to reach with an RDM.

    Parameters
    ----------
    first, second : Embedded
        RDMs of two halves of the repeats.
    full : Embedded
        RDM of all of them.
    root : bool
        Whether distances are the roots of squared ones, which alone are unbiased up to a constant.

    Returns
    -------
    float
        About the squared ceiling: unbiased for correlations of squared distances, to first order for the others; ranks
        by the relation of rank correlations to Pearson's in the normal distribution.  Negative where the halves do not
        agree, NaN where pairs are missing under a whitened method.
    """
    rdms = [side.rdm for side in (first, second, full)]
    how = full.how
    here = np.asarray(np.isfinite(rdms).all(axis=0))
    if how.kind.whitened and not here.all():
        return float("nan")
    sizes = [side.sizes for side in (first, second, full) if side.sizes is not None]
    if len(sizes) == len(rdms):
        true, signal = _rescaled(rdms, sizes)
    else:
        squares = [d**2 for d in rdms] if root else rdms
        true, signal = _lowered([d[here] for d in squares], root and not how.kind.ordinal)
        if root and how.kind.ordinal:
            rdms = squares
        here = here[here]
    d = rdms[2][np.isfinite(rdms).all(axis=0)]
    t1, t2, s1, s2, e = (_linear(v, how) for v in (*(x[here] for x in (*true, *signal)), d))
    own, cross = float(t1 @ t2), 0.5 * float(t1 @ s2 + t2 @ s1)
    ratio = cross / own if own > 0 and cross > 0 else 1.0
    return _on_scale(cross * ratio / float(e @ e), how)


Sides = tuple[list[Vector], list[Vector]]


def _lowered(squares: list[Vector], root: bool) -> Sides:
    """Return squared distances of the halves without what noise adds to them, and with what it adds in the full data."""
    d1, d2, d = squares
    floor = float(np.mean(0.5 * (d1 + d2) - d))
    true, signal = [d1 - 2 * floor, d2 - 2 * floor], [d1 - floor, d2 - floor]
    if not root:
        return true, signal
    clean = np.maximum(d - floor, LEAST * max(float(np.mean(d - floor)), 0.0) + TINY * float(d.max()))
    whole = np.maximum(d, TINY * float(d.max()))
    return [_near_root(x, clean) for x in true], [_near_root(x, whole) for x in signal]


def _near_root(x: Vector, at: Vector) -> Vector:
    """Return the root of x to first order around a point: linear, so that the noise of x keeps its mean."""
    found: Vector = np.sqrt(at) + (x - at) / (2 * np.sqrt(at))
    return found


def _rescaled(rdms: list[Vector], sizes: list[Vector]) -> Sides:
    """Return 1 - similarity of the halves, divided by the sizes that patterns have without noise, and in the full data."""
    clean = np.sqrt(_noiseless(*(size**2 for size in sizes)))
    true, signal = [], []
    for half, own in zip(rdms[:2], sizes[:2], strict=True):
        product = (1 - half) * _pairs(own)
        true.append(1 - product / _pairs(clean))
        signal.append(1 - product / _pairs(sizes[2]))
    return true, signal


def _noiseless(s1: Vector, s2: Vector, s: Vector) -> Vector:
    """Return the squared sizes of patterns without noise, drawn to their mean as far as halves do not agree on them."""
    mean = float(s.mean())
    left = max(
        mean - float(np.mean(0.5 * (s1 + s2) - s)), TINY * mean
    )  # the halves have twice the noise of the full data
    spread = float(np.var(s))
    agreed = float(np.mean((s1 - s1.mean()) * (s2 - s2.mean()))) / spread if spread > 0 else 0.0
    return np.maximum(left + min(max(agreed, 0.0), 1.0) * (s - mean), LEAST * left)


def _pairs(sizes: Vector) -> Vector:
    return condense(np.outer(sizes, sizes) - np.diag(sizes**2))


def _linear(values: Vector, how: Comparator) -> Vector:
    """Return distances centred and whitened as the method does with them, or with their ranks."""
    row: Matrix = values[None]
    if how.kind.centred or how.kind.family == "tau":
        row = row - row.mean()
    if how.kind.whitened:
        row = coordinates(row, how.noise_of(count_stimuli(values.size)))
    found: Vector = row[0]
    return found


def _on_scale(reliability: float, how: Comparator) -> float:
    """Return a squared correlation of distances as the squared rank correlation that goes with it, sign kept."""
    if not how.kind.ordinal:
        return reliability
    r = np.sqrt(min(abs(reliability), 1.0))
    rank = 2 / np.pi * np.arcsin(r) if how.kind.family == "tau" else 6 / np.pi * np.arcsin(r / 2)
    return float(np.sign(reliability) * rank**2)


def pattern_sizes(values: npt.NDArray[Any], centred: bool) -> Vector:
    """Return the root mean square (n_stimuli,) of patterns (n_stimuli, n_units) over their finite units."""
    _, norm, count, flat = row_stats(np.asarray(values), centred=centred)
    if not count.all():
        raise MeasureError(f"{int((count == 0).sum())} stimuli have no finite unit; drop them")
    sizes: Vector = np.where(flat, 0.0, norm) / np.sqrt(count)
    return sizes
