"""How a streamed ridge fits into a given memory: batches of units, blocks of rows, passes over the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from repcompare.errors import OptionError
from repcompare.measures._measure import Array, HeldOut
from repcompare.measures.encoding._options import Options

USABLE = 0.85  # of the memory at most
LIBRARIES = 3e8  # bytes that the interpreter and its libraries take; at most half of the memory is left to them
READING = 1 / 8  # of the memory, for a block of rows and the copies that reading makes of it
COPIES = 4
SOLVING = 1 / 16  # of the memory, for the units that are solved together
SQUARES = 9  # p x p arrays of float64 that factorising one training set takes, beside those of the pieces
MOST_ROWS, MOST_WIDTH = 8192, 4096


Watch = Callable[[Iterable[HeldOut]], None]


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is asked for beside scores.

    Attributes
    ----------
    weights : bool or ndarray of shape (p, t)
        Also fit on all rows; an array, such as a memory map, is filled in place of one in memory.
    watch : callable, optional
        Called once per batch of units, in their order, with the predictions of every fold, each unit on a scale of its
        own.
    extra : float
        Bytes that ``watch`` keeps.
    per_unit : float
        Bytes that it takes for each unit of a batch while it works.
    """

    weights: bool | Array = False
    watch: Watch | None = None
    extra: float = 0.0
    per_unit: float = 0.0

    @property
    def refit(self) -> bool:
        """Whether all rows are fitted."""
        return self.weights is not False


@dataclass(frozen=True)
class StreamShape:
    """Sizes: rows, features, units, pieces of the rows, folds, and bytes of a number."""

    n: int
    p: int
    t: int
    pieces: int
    folds: int
    itemsize: int


@dataclass(frozen=True)
class StreamPlan:
    """What is done at a time.

    Attributes
    ----------
    units : tuple of slice
        Batches of target units: x is read once per batch, y once in all.
    rows : int
        Rows that are read at a time.
    width : int
        Units that are solved together.
    nbytes : int
        Predicted memory of the arrays.
    """

    units: tuple[slice, ...]
    rows: int
    width: int
    nbytes: int


def plan_stream(shape: StreamShape, options: Options, memory: int, *, wanted: Wanted | None = None) -> StreamPlan:
    """Return the plan with the fewest passes over the data that stays below ``memory`` bytes.

    Parameters
    ----------
    shape : StreamShape
        Sizes.
    options : Options
        Of ridge.
    memory : int
        Bytes of the whole process; below 0.6 GB half of them are for arrays, whatever the interpreter takes.
    wanted : Wanted, optional
        What is kept too: weights (p, t) of a refit, held-out predictions of a batch.

    Raises
    ------
    OptionError
        When not even one unit fits; with the memory that is needed.

    Examples
    --------
    >>> import numpy as np
    >>> shape = StreamShape(20_000, 2_000, 50_000, pieces=5, folds=5, itemsize=4)
    >>> [len(plan_stream(shape, Options(alphas=np.ones(20)), int(gb * 1e9)).units) for gb in (2, 4)]
    [3, 1]
    """
    p, t, item = shape.p, shape.t, shape.itemsize
    wanted = wanted or Wanted()
    errors = options.alphas.size * (shape.folds + 1) * (2 if options.one_se else 1)
    per_unit = item * p * shape.pieces + 8 * (errors + 8 * shape.folds + 3 * shape.pieces + 8)
    if wanted.watch is not None:  # weights of every fold, predictions and data
        per_unit += item * (p * shape.folds + 3 * shape.n) + int(wanted.per_unit)
    fixed = 8 * p * p * (shape.pieces + SQUARES) + (item * p * t if wanted.weights is True else 0) + wanted.extra
    working = READING + SOLVING
    size = int((min(USABLE * memory, max(memory - LIBRARIES, memory / 2)) - working * memory - fixed) // per_unit)
    if size < 1:
        least = fixed + per_unit
        without = min((least + LIBRARIES) / (1 - working), least / (0.5 - working))
        needed = math.ceil(max(least / (USABLE - working), without))
        raise OptionError(
            f"memory={memory:.4g} bytes is too little for {p} features in {shape.pieces} pieces of the rows: expected "
            f"at least {needed} bytes; raise it, take fewer folds, or reduce the features"
        )
    size = math.ceil(t / math.ceil(t / size))
    rows = int(READING * memory / (COPIES * item * (p + size)))
    width = int(SOLVING * memory / (6 * 8 * p))
    return StreamPlan(
        units=tuple(slice(i, min(i + size, t)) for i in range(0, t, size)),
        rows=min(max(rows, 1), MOST_ROWS, shape.n),
        width=min(max(width, 16), MOST_WIDTH, size),
        nbytes=int(fixed + per_unit * size + working * memory),
    )
