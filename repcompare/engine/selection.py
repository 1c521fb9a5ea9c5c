"""What the choice of the best source needs, cell by cell: scores on the stimuli of each choice, and on those held out.

The choice itself is made over a whole table (:mod:`repcompare.engine.best`), so that tiles, checkpoints and joined tables
know nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.engine.cells import Cells
from repcompare.engine.pairs import compare_tile, scores
from repcompare.engine.plan import Plan
from repcompare.engine.prepare import Prepared
from repcompare.engine.threads import Map
from repcompare.errors import MeasureError
from repcompare.measures._measure import Folds, Index, Measure

Float64 = npt.NDArray[np.float64]
Sides = tuple[Sequence[Prepared], Sequence[Prepared]]


def add_reverse(cells: Cells, label: str, measure: Measure, sides: Sides, each: Map[Any, Any]) -> None:
    """Enter the scores of the sources predicted from the targets, on the same folds."""
    sources, targets = sides
    x, y = [t.as_source[label] for t in targets], [s.as_target[label] for s in sources]
    back = compare_tile(measure, x, y, each, counting=False)
    cells.reverse[:] = back.score.T
    for j, i in np.argwhere(back.reason != "").tolist():
        cells.add_note((i, j), f"no_reverse: {back.reason[j, i]}")


def add_selection(cells: Cells, label: str, plan: Plan, sides: Sides, each: Map[Any, Any]) -> None:
    """Enter the scores of each choice; NaN where a part cannot be compared on so few stimuli."""
    choices, measure = plan.drawn.choices, plan.study.measures[label]
    assert choices is not None
    if measure.fitted:
        inner = list(each(lambda task: _subset_scores(label, measure, sides, *task), choices.inner))
        for at, folds in cells.folds.items():
            cells.outer[at] = folds
    else:
        tasks = [(rows, None) for pair in choices.halves for rows in pair]
        inner = list(each(lambda task: _subset_scores(label, measure, sides, *task), tasks))
        other = [inner[i ^ 1] for i in range(len(inner))]  # the other half of the same split
        cells.outer |= _by_cell(other)
    cells.inner |= _by_cell(inner)


def _by_cell(found: Sequence[Float64]) -> dict[tuple[int, int], Float64]:
    stacked = np.stack(found, axis=-1)
    return {(i, j): stacked[i, j] for i in range(stacked.shape[0]) for j in range(stacked.shape[1])}


def _subset_scores(label: str, measure: Measure, sides: Sides, rows: Index, folds: Folds | None) -> Float64:
    """Scores (n_sources, n_targets) on some of the rows, where folds index these rows."""
    made: dict[tuple[int, str], Any] = {}

    def state(part: Prepared, side: str) -> Any:
        key = (id(part), side if measure.prepare_target is not None else "")
        if key not in made:
            made[key] = _restricted(part, label, measure, side, (rows, folds))
        return made[key]

    x, y = [state(s, "source") for s in sides[0]], [state(t, "target") for t in sides[1]]
    out = np.full((len(x), len(y)), np.nan)
    i, j = ([k for k, one in enumerate(side) if one is not None] for side in (x, y))
    if i and j:
        out[np.ix_(i, j)] = scores(measure, [x[k] for k in i], [y[k] for k in j])
    return out


def _restricted(part: Prepared, label: str, measure: Measure, side: str, task: tuple[Index, Folds | None]) -> Any:
    """State of some rows; None where the part cannot be prepared on them (a unit that is constant there ...)."""
    rows, folds = task
    try:
        if measure.restrict is not None and not measure.fitted:
            return measure.restrict((part.as_source if side == "source" else part.as_target)[label], rows)
        values = np.ascontiguousarray(np.take(part.values[measure.needs], rows, axis=-2))
        return measure.prepared(values, folds, side=side)
    except MeasureError:
        return None
