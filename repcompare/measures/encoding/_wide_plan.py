"""How a streamed ridge with more features than rows fits into a given memory: blocks of features, batches of units."""

from __future__ import annotations

import math
from dataclasses import dataclass

from repcompare.errors import OptionError
from repcompare.measures.encoding._options import Options
from repcompare.measures.encoding._plan import Plan
from repcompare.measures.encoding._stream_plan import COPIES, LIBRARIES, READING, SOLVING, USABLE, Wanted

SQUARES = 8  # n x n arrays of float64 that one decomposition takes
COPIES_OF_TARGET = 4  # of a batch of units: as read, in float64, prepared, and its projections
MOST_WIDTH = 4096


@dataclass(frozen=True)
class WideShape:
    """Sizes: rows, features, units, and bytes of a number."""

    n: int
    p: int
    t: int
    itemsize: int


@dataclass(frozen=True)
class WidePlan:
    """What is done at a time.

    Attributes
    ----------
    units : tuple of slice
        Batches of target units; x and y are both read once, whatever their number.
    features : int
        Features that are read at a time.
    width : int
        Units that are solved together.
    kept : bool
        The factorised training sets are kept, and serve all batches.
    nbytes : int
        Predicted memory of the arrays.
    """

    units: tuple[slice, ...]
    features: int
    width: int
    kept: bool
    nbytes: int


def factor_bytes(plan: Plan) -> tuple[float, float]:
    """Return the bytes of all factorised training sets, and of the largest one."""
    sizes = [0.0]
    for task in (*plan.outer, *plan.inner):
        rank, tests = task.train.size, [rows.size for _, rows in task.tests]
        sizes.append(8.0 * (rank * rank + sum(m * rank + rank * rank for m in tests)))
    return sum(sizes), max(sizes)


def plan_wide(
    shape: WideShape, folds: Plan, options: Options, memory: int, *, wanted: Wanted | None = None
) -> WidePlan:
    """Return the plan with the fewest batches that stays below ``memory`` bytes.

    Parameters
    ----------
    shape : WideShape
        Sizes.
    folds : Plan
        Training sets.
    options : Options
        Of ridge.
    memory : int
        Bytes of the whole process; below 0.6 GB half of them are for arrays, whatever the interpreter takes.
    wanted : Wanted, optional
        What is kept too: weights of the rows (n, t) and features (p, t) of a refit, held-out predictions of a batch.

    Raises
    ------
    OptionError
        When not even one unit fits; with the memory that is needed.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.arange(1000)
    >>> from repcompare.measures._measure import Folds
    >>> from repcompare.measures.encoding._plan import make_plan
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 1000)
    >>> plan = plan_wide(WideShape(1000, 10**6, 5000, 4), make_plan(folds, nested=True), Options(alphas=np.ones(20)), 10**9)
    >>> len(plan.units), plan.features, plan.kept
    (1, 3906, True)
    """
    n, p, t, item = shape.n, shape.p, shape.t, shape.itemsize
    every, largest = factor_bytes(folds)
    wanted = wanted or Wanted()
    weights = item * ((n * t if wanted.refit else 0) + (p * t if wanted.weights is True else 0))
    fixed = 8.0 * n * n * (1 + SQUARES) + largest + weights + wanted.extra
    errors = options.alphas.size * (len(folds.outer) + 1) * (2 if options.one_se else 1)
    per_unit = (item + 8 * (COPIES_OF_TARGET - 1)) * n + 8 * (2 * errors + 16 * folds.n_folds + 16)
    per_unit += 3 * item * n + int(wanted.per_unit) if wanted.watch is not None else 0
    working = READING + SOLVING
    room = min(USABLE * memory, max(memory - LIBRARIES, memory / 2)) - working * memory
    size = int((room - fixed) // per_unit)
    block = READING * memory / COPIES / (8 * n)
    if size < 1 or block < 1:
        least = max(fixed + per_unit, (0.5 - working) * COPIES * 8 * n / READING)
        without = min((least + LIBRARIES) / (1 - working), least / (0.5 - working))
        needed = math.ceil(max(least / (USABLE - working), without))
        raise OptionError(
            f"memory={memory:.4g} bytes is too little for the products of {n} rows with each other: expected at least "
            f"{needed} bytes; raise it, or take fewer rows"
        )
    kept = fixed + every + per_unit * min(t, size) <= room
    if not kept and fixed + every + per_unit * t / 8 <= room:  # a few more batches are cheaper than factors made again
        kept, size = True, int((room - fixed - every) // per_unit)
    size = math.ceil(t / math.ceil(t / size))
    width = int(SOLVING * memory / (8 * 8 * n))
    return WidePlan(
        units=tuple(slice(i, min(i + size, t)) for i in range(0, t, size)),
        features=min(max(int(block), 1), p),
        width=min(max(width, 16), MOST_WIDTH, size),
        kept=kept,
        nbytes=int(fixed + (every if kept else 0) + per_unit * size + working * memory),
    )
