"""Comparing prepared parts: all pairs of a tile at once where the measure can, else cell by cell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.engine.cells import Cells
from repcompare.engine.threads import Map
from repcompare.errors import MeasureError
from repcompare.measures._measure import Measure, Outcome, as_outcome

Float64 = npt.NDArray[np.float64]


def compare_tile(measure: Measure, x: Sequence[Any], y: Sequence[Any], each: Map[Any, Any], *, counting: bool) -> Cells:
    """Compare states of sources with states of targets; a cell that fails is NaN with its reason.

    Parameters
    ----------
    measure : Measure
    x, y : sequence of states
        The same states in the same order where a part of a similarity matrix is compared with itself.
    each : callable
        ``map`` of the workers.
    counting : bool
        Each cell shall count what it leaves out (missing values), so that the batched form will not do.
    """
    cells = Cells.empty(len(x), len(y))
    batched = None if counting else _batched(measure, x, y)
    if batched is not None:
        cells.score[:], cells.seconds[:] = batched
        if measure.annotate is not None:
            for i, a in enumerate(x):
                for j, b in enumerate(y):
                    cells.note((i, j), measure.annotate(a, b))
        return cells
    mirrored = measure.symmetric and len(x) == len(y) and all(a is b for a, b in zip(x, y, strict=True))
    pairs = [(i, j) for i in range(len(x)) for j in range(len(y)) if not (mirrored and j < i)]
    for (i, j), found in zip(pairs, each(lambda at: _cell(measure, x[at[0]], y[at[1]]), pairs), strict=True):
        cells.put((i, j), *found)
        if mirrored and i != j:
            cells.put((j, i), *found)
    return cells


def scores(measure: Measure, x: Sequence[Any], y: Sequence[Any]) -> Float64:
    """Scores alone, shape (n_sources, n_targets), NaN where a cell fails: for resampling."""
    batched = _batched(measure, x, y)
    if batched is not None:
        return batched[0]
    return np.array([[_cell(measure, a, b)[0].score for b in y] for a in x])


def _batched(measure: Measure, x: Sequence[Any], y: Sequence[Any]) -> tuple[Float64, float] | None:
    """Scores of all cells by ``compare_many``, and seconds per cell; None where there is none or it does not apply."""
    if measure.compare_many is None:
        return None
    started = time.perf_counter()
    try:
        found = measure.compare_many(x, y)
    except MeasureError:  # some cell fails: go cell by cell and say which
        return None
    if not np.isfinite(found).all():
        return None
    return found, (time.perf_counter() - started) / found.size


def _cell(measure: Measure, x: Any, y: Any) -> tuple[Outcome, str, float]:
    started = time.perf_counter()
    try:
        outcome = as_outcome(measure.compare(x, y))
        reason = "" if np.isfinite(outcome.score) else f"{measure.name} gave {outcome.score}"
    except MeasureError as error:
        outcome, reason = Outcome(score=np.nan), str(error)
    return outcome, reason, time.perf_counter() - started
