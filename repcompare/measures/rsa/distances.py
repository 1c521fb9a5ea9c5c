"""Distances between the patterns of every pair of stimuli: representational dissimilarity matrices (RDMs).

References ---------- Kriegeskorte, Mur & Bandettini 2008, Frontiers in Systems Neuroscience 2:4; Nili et al.
2014, PLoS Computational Biology 10:e1003553; Walther et al. 2016, NeuroImage 137:188.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures.rsa import _products
from repcompare.measures.rsa._condensed import Vector
from repcompare.measures.rsa._products import Patterns, Values

LARGEST = 1e150  # squares of larger values overflow, those of values below its inverse vanish


@dataclass(frozen=True, kw_only=True)
class Distance:
    """One entry of the menu of distances.

    Attributes
    ----------
    centred : bool
        Each pattern's mean over units is subtracted first.
    unit_norm : bool
        Each pattern is divided by its norm: the distance is one minus the cosine.
    root : bool
        The square root of the mean squared difference is taken.
    invariant_to : frozenset of str
        What leaves the RDM unchanged up to one positive factor; names of
        :data:`repcompare.measures._measure.INVARIANCES`.
    """

    centred: bool = False
    unit_norm: bool = False
    root: bool = False
    invariant_to: frozenset[str]


_ALWAYS = frozenset({"permutation", "scaling", "duplication"})

DISTANCES: dict[str, Distance] = {
    "correlation": Distance(
        centred=True, unit_norm=True, invariant_to=_ALWAYS | {"pattern_scaling", "pattern_translation"}
    ),
    "cosine": Distance(unit_norm=True, invariant_to=_ALWAYS | {"pattern_scaling", "rotation"}),
    "squared_euclidean": Distance(invariant_to=_ALWAYS | {"rotation", "translation"}),
    "euclidean": Distance(root=True, invariant_to=_ALWAYS | {"rotation", "translation"}),
}


def rdm(
    values: npt.ArrayLike,
    distance: str = "correlation",
    *,
    normalize_units: bool = True,
    nan: Literal["raise", "pairwise"] = "raise",
    min_units: int = 10,
) -> Vector:
    """Return the distances between the patterns of every pair of stimuli.

    Parameters
    ----------
    values : array_like of real numbers, shape (n_stimuli, n_units)
        Responses; at least 2 stimuli.  Float32 data are multiplied in float32 only where the products exceed
        4e9 multiply-adds; every sum over them is float64.
    distance : {"correlation", "cosine", "squared_euclidean", "euclidean"}
        ``1 - r``, ``1 - cos``, the mean over units of the squared difference, or its square root.
    normalize_units : bool
        Divide squared differences by the number of units; ``False`` gives their sum.  Correlation and cosine
        have no such factor.
    nan : {"raise", "pairwise"}
        With ``"pairwise"`` each pair uses the units that are finite in both patterns; a pair that shares
        fewer than ``min_units``, or has no variance on them, is missing (NaN).  With
        ``normalize_units=False`` the mean over the shared units is multiplied by the number of all units.
    min_units : int
        Used only where values are missing.

    Returns
    -------
    ndarray of float64, shape (n_stimuli (n_stimuli - 1) / 2,)
        Pairs (i < j) row by row, the order of ``np.triu_indices(n_stimuli, 1)``.  In [0, 2] for correlation
        and cosine, otherwise in [0, inf).  Values that differ by no more than rounding are made equal, so
        that tied distances have tied ranks.

    Raises
    ------
    MeasureError
        On infinite values, NaN without ``nan="pairwise"``, patterns without variance (correlation) or without
        length (cosine), fewer than 2 stimuli, or when every pair is missing.
    OptionError
        On an option that is not on the menu.

    Examples
    --------
    >>> rdm([[0, 0], [1, 1], [2, 2]], "squared_euclidean")
    array([1., 4., 1.])
    >>> rdm([[0, 0], [3, 4], [0, 0]], "euclidean", normalize_units=False)
    array([5., 0., 5.])
    """
    choose(distance, DISTANCES, "distance")
    choose(nan, ("raise", "pairwise"), "nan")
    if min_units < 1:
        raise OptionError(f"min_units={min_units}; expected at least 1 shared unit")
    x, has_nan = checked(values, nan)
    kind = DISTANCES[distance]
    patterns = _patterns(x, distance, has_nan)
    if has_nan:
        found, count = _products.incomplete(patterns, min_units)
        if np.isnan(found).all():
            raise MeasureError(
                f"no pair of stimuli has {min_units} units that are finite in both and vary (at most "
                f"{int(count.max())} are shared); lower min_units, or drop units or stimuli"
            )
    else:
        found = _products.complete(patterns)
    found = merge_rounding(found)
    if not kind.unit_norm and not normalize_units:
        found *= x.shape[1]
    return np.sqrt(found) if kind.root else found


def checked(values: npt.ArrayLike, nan: str) -> tuple[Values, bool]:
    """Return responses as a float array (n_stimuli, n_units), and whether any is missing.

    Raises
    ------
    MeasureError
        Unless they are real, finite (NaN under ``nan="pairwise"``), and neither too large nor too small to
        square.
    """
    x: npt.NDArray[Any] = np.asarray(values)
    if x.dtype.kind not in "fiub":
        raise MeasureError(f"responses have dtype {x.dtype}; expected real numbers")
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float64)
    if x.ndim != 2 or x.shape[0] < 2 or x.shape[1] < 1:
        raise MeasureError(f"responses have shape {x.shape}; expected (n_stimuli, n_units), 2 stimuli or more")
    peak = float(max(-x.min(), x.max()))  # NaN when any value is
    has_nan = bool(np.isnan(peak))
    if has_nan:
        missing = np.isnan(x)
        if nan == "raise":
            raise MeasureError(
                f"{int(missing.sum())} missing values (NaN); take nan='pairwise', or drop units or stimuli"
            )
        peak = float(np.abs(x).max(initial=0.0, where=~missing))
    if np.isinf(peak):
        raise MeasureError(f"{int(np.isinf(x).sum())} infinite values; expected finite numbers")
    if peak > LARGEST or 0 < peak < 1 / LARGEST:
        raise MeasureError(f"the largest response is {peak:g}, whose square is out of range; rescale the responses")
    return x, has_nan


def merge_rounding(distance: Vector) -> Vector:
    """Return distances in which runs of values that differ by no more than rounding are made equal.

    Distances that are tied by construction (a categorical model) come out of a matrix product with different
    last digits; ranks would take those for an order.  Neighbours in sorted order are joined when their gap is
    below 6e-11 of their value and below 6e-14 of the largest distance, the errors that
    :mod:`repcompare.measures.rsa._products` leaves.

    Parameters
    ----------
    distance : ndarray, shape (n_pairs,)
        Non-negative; NaN where missing.

    Returns
    -------
    ndarray, shape (n_pairs,)

    Examples
    --------
    >>> merge_rounding(np.array([0.3, 0.1 + 0.2, 1.0, 0.0]))
    array([0.3, 0.3, 1. , 0. ])
    """
    ordered = np.sort(distance)
    ordered = ordered[: np.searchsorted(ordered, np.nan)]
    gap = np.diff(ordered)
    close = np.flatnonzero(gap <= 2.0**-34 * _products.NEAR * ordered[-1:])
    close = close[gap[close] <= 2.0**-34 * ordered[close + 1]]
    fresh = np.diff(close, prepend=-2) > 1  # neighbours that follow one another are one run
    low = ordered[close[fresh]]
    high = ordered[close[np.roll(fresh, -1)] + 1]
    low, high = low[high > low], high[high > low]
    if not low.size:
        return distance
    edges = np.column_stack([low, np.nextafter(high, np.inf)]).ravel()
    place = np.searchsorted(edges, distance, side="right")  # odd inside a run
    inside = np.flatnonzero(place & 1)
    merged = distance.copy()
    merged[inside] = low[place[inside] // 2]
    return merged


def _patterns(x: Values, distance: str, has_nan: bool) -> Patterns:
    """Return the patterns as the distance takes them; raise for those that it is not defined on.

    Under ``nan="pairwise"`` a pattern without variance only makes its own pairs missing.
    """
    kind, k = DISTANCES[distance], len(x)
    if not kind.unit_norm:
        return Patterns(x, kind.centred, kind.unit_norm, np.zeros(k), np.ones(k))
    mean, norm, _, flat = _products.row_stats(x, centred=kind.centred)
    bad = np.flatnonzero(flat)
    if bad.size and not has_nan:
        what = "zero variance over units" if kind.centred else "zero responses only"
        raise MeasureError(
            f"distance={distance!r}: stimulus rows {bad.tolist()} have {what}; drop these stimuli, or take"
            " distance='squared_euclidean'",
            rows=bad.tolist(),
        )
    return Patterns(x, kind.centred, kind.unit_norm, mean, norm)
