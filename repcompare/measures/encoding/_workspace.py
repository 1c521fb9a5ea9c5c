"""Arrays that are used again: to fill fresh memory costs as much as a pass over it."""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Array


class Workspace:
    """Memory by name, for one call.

    Examples
    --------
    >>> room = Workspace()
    >>> one = room.take("predicted", (4, 5), np.float64)
    >>> np.shares_memory(one, room.take("predicted", (5, 3), np.float64))
    True
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[object, np.dtype], Array] = {}

    def take(self, name: object, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Return an array that is not filled; what was taken by the same name before is lost."""
        key, size = (name, np.dtype(dtype)), prod(shape)
        kept = self._kept.get(key)
        if kept is None or kept.size < size:
            kept = self._kept[key] = np.empty(size, dtype)
        return kept[:size].reshape(shape)
