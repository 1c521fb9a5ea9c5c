"""Responses that distances can be computed from, and distances that differ by rounding only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.kernels.rdm import close_runs, join_runs, largest_word
from repcompare.measures.rsa import _products
from repcompare.measures.rsa._condensed import Vector
from repcompare.measures.rsa._products import Values

LARGEST = 1e150  # squares of larger values overflow, those of values below its inverse vanish
FEW_RUNS = 64


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
    peak = _peak(x)
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


def _peak(x: Values) -> float:
    """Return the largest absolute value, NaN when any value is: one pass over the bits of an array in order."""
    if not (x.flags.c_contiguous or x.flags.f_contiguous):
        return float(max(-x.min(), x.max()))
    word, bits = (np.uint64, 63) if x.dtype == np.float64 else (np.uint32, 31)
    largest = largest_word(x.ravel(order="K").view(word), word(2**bits - 1))
    return float(np.array(largest, dtype=word).view(x.dtype))


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
    if not ordered.size:
        return distance
    absolute = 2.0**-34 * _products.NEAR * ordered[-1]
    low, high = np.empty((2, FEW_RUNS))
    count = close_runs(ordered, absolute, 2.0**-34, low, high)
    if not count:
        return distance
    if count > FEW_RUNS:
        low, high = np.empty((2, count))
        close_runs(ordered, absolute, 2.0**-34, low, high)
    merged = np.empty_like(distance)
    join_runs(distance, low[:count], high[:count], merged)
    return merged
