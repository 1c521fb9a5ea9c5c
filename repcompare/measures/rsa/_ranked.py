"""Orders of distances: mid-ranks, and counts of concordant pairs from one sort per RDM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.kernels.ranks import fill_midranks
from repcompare.kernels.tau import (
    LONGEST_BITS,
    discordant_bits,
    discordant_merge,
    filter_order,
    mark_ties,
    tied_in_both,
)
from repcompare.measures.rsa._condensed import Vector

Matrix = npt.NDArray[np.float64]
Present = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Sorted:
    """What one sort of a complete vector of n values gives.

    Attributes
    ----------
    order : ndarray of int32, shape (n,)
        Items by ascending value.
    place, stop : ndarray of int32, shape (n,)
        Each item's position in the order, and the end of its group of tied items.
    tied : int
        Tied pairs of items.
    """

    order: Positions
    place: Positions
    stop: Positions
    tied: int

    @property
    def untied(self) -> int:
        """Pairs of items that are not tied: the squared length of the vector of their signs."""
        n = self.order.size
        return n * (n - 1) // 2 - self.tied


def midranks(values: npt.ArrayLike) -> Vector:
    """Return the ranks 1 ... n of a vector; ties share their mean rank, NaN stays NaN and is not counted.

    Examples
    --------
    >>> midranks([8, 6, 10, np.nan])
    array([ 2.,  1.,  3., nan])
    """
    given = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(given)
    inside = given if present.all() else given[present]
    ranks = np.empty(inside.size)
    fill_midranks(inside, np.argsort(inside), ranks)
    if inside is given:
        return ranks
    out = np.full(given.size, np.nan)
    out[present] = ranks
    return out


def sort(values: Vector, order: Positions | None = None) -> Sorted:
    """Sort a complete vector; ``order`` where it is known."""
    found = np.argsort(values).astype(np.int32) if order is None else order
    place, stop = np.empty(values.size, np.int32), np.empty(values.size, np.int32)
    tied = mark_ties(values, found, place, stop)
    return Sorted(found, place, stop, int(tied))


def orders_present(orders: Sequence[Positions], present: Present) -> list[Positions]:
    """Return the orders of what is left of some vectors when only some items are, without sorting again.

    Each of ``orders`` sorts the finite items of a vector; all items that are present are finite.
    """
    kept = np.cumsum(present)
    index = np.where(present, kept - 1, -1).astype(np.int32)
    found = []
    for order in orders:
        out = np.empty(int(kept[-1]), np.int32)
        filter_order(order, index, out)
        found.append(out)
    return found


def order_of(values: Vector) -> Positions:
    """Return the finite items of a vector by ascending value."""
    return np.argsort(values)[: int(np.isfinite(values).sum())].astype(np.int32)  # NaN sorts last


def signs(a: Sorted, b: Sorted) -> int:
    """Return concordant minus discordant pairs of items.

    Examples
    --------
    >>> signs(sort(np.array([1.0, 2.0, 3.0])), sort(np.array([2.0, 2.0, 1.0])))
    -2
    """
    n = a.order.size
    both = 0
    if a.tied and b.tied:
        both = int(tied_in_both(a.order, a.stop, b.stop, np.zeros(n + 1, np.int32)))
    count = discordant_bits if n <= LONGEST_BITS else discordant_merge
    return n * (n - 1) // 2 - a.tied - b.tied + both - 2 * int(count(a.order, a.stop, b.place, b.stop))


def signs_many(first: Sequence[Sorted], second: Sequence[Sorted]) -> Matrix:
    """Return :func:`signs` of all combinations, (n_first, n_second)."""
    return np.array([[signs(a, b) for b in second] for a in first], dtype=np.float64).reshape(len(first), len(second))
