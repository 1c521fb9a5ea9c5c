"""Targets that hold labels: folds that keep the classes, labels exchanged, and tests and intervals of decoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.engine.plan import Plan
from repcompare.engine.prepare import Prepared
from repcompare.engine.threads import Map
from repcompare.errors import MeasureError
from repcompare.measures._measure import Index, Measure
from repcompare.statistics.label_permutations import TOLERANCE, LabelSets, label_orders
from repcompare.statistics.resampling import permutation_pvalues

Float64 = npt.NDArray[np.float64]
PIECE = 256  # orders of the labels that go to a worker at once: not a share per thread, for the same rounding
Sides = tuple[Sequence[Prepared], Sequence[Prepared]]


def exchanged(plan: Plan) -> LabelSets:
    """Draw orders of the rows that exchange labels: one serves all sources and targets."""
    rows, options, folds = plan.drawn.rows, plan.study.options, plan.folds
    assert rows.classes is not None and folds is not None
    whole, groups = rows.sample == "time", rows.codes
    return label_orders(rows.classes, options.permutations, folds, groups=groups, whole=whole, seed=options.seed)


def label_test(
    plan: Plan, label: str, sides: Sides, score: Float64, each: Map[Any, Any]
) -> tuple[Float64, dict[str, Any]]:
    """Test a decoder against exchanged labels; return the null (n_permutations, n_sources, n_targets) and p-values.

    The largest score is looked for among scores in units of the null of their target: labels with fewer classes score more
    by chance.
    """
    drawn = exchanged(plan)
    measure, orders = plan.study.measures[label], drawn.codes
    assert measure.null_scores is not None
    pieces = [orders[start : start + PIECE] for start in range(0, len(orders), PIECE)]
    null = _every_cell(measure.null_scores, label, sides, pieces, each)
    raw = permutation_pvalues(score - TOLERANCE, null, greater=True)[0]
    centre, spread = np.nanmean(null, axis=(0, 1)), np.nanstd(null, axis=(0, 1))
    spread = np.where(spread > 0, spread, 1.0)
    among = permutation_pvalues((score - TOLERANCE - centre) / spread, (null - centre) / spread, greater=True)[1]
    exchange = drawn.exchange + (" (all there are)" if drawn.exhaustive else "")
    return null, {"score_pvalue": raw, "score_pvalue_corrected": among, "exchange": exchange}


def part_scores(measure: Measure, label: str, sides: Sides, parts: Sequence[Index], each: Map[Any, Any]) -> Float64:
    """Scores on some of the stimuli, decoded as before: (n_parts, n_sources, n_targets)."""
    assert measure.part_scores is not None
    return _every_cell(measure.part_scores, label, sides, [parts], each)


def no_width(label: str, measure: Measure, width: Float64) -> list[str]:
    """Say where an interval of a decoder has no width: no stimulus that is left out changes the score."""
    count = int((width == 0).sum())
    if measure.part_scores is None or not count:
        return []
    return [
        f"no_width: {label}: in {count} cells all stimuli of a class are decoded alike (all right, or all wrong), so "
        "leaving one out changes nothing: the interval there is too narrow"
    ]


def _every_cell(
    function: Callable[..., Float64], label: str, sides: Sides, pieces: Sequence[Any], each: Map[Any, Any]
) -> Float64:
    """Give pieces of work to a function of each pair of states, and join what it makes of them; NaN where a cell fails."""
    sources, targets = sides

    def cell(at: tuple[int, int, int]) -> Float64:
        i, j, k = at
        try:
            return function(sources[i].as_source[label], targets[j].as_target[label], pieces[k])
        except MeasureError:
            return np.full(len(pieces[k]), np.nan)

    n, m = len(sources), len(targets)
    found = each(cell, [(i, j, k) for k in range(len(pieces)) for i in range(n) for j in range(m)])
    tables = [np.stack(found[k * n * m : (k + 1) * n * m], axis=1) for k in range(len(pieces))]
    return np.concatenate(tables).reshape(-1, n, m)
