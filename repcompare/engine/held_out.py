"""P-values and intervals of encoders from their held-out predictions: every cell is fitted once, none again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.engine.cells import Cells
from repcompare.engine.plan import Plan
from repcompare.engine.prepare import Prepared
from repcompare.engine.progress import Tick
from repcompare.engine.threads import Map
from repcompare.errors import MeasureError
from repcompare.measures._measure import Array, HeldOut, Index, Measure
from repcompare.statistics.encoding_tests import SHORTEST_BLOCK, Blocks, check_blocks, make_blocks, whole_groups
from repcompare.statistics.held_out_intervals import HeldOutErrors, Score, ends, held_out_errors, score_of
from repcompare.statistics.held_out_tests import (
    AcrossTests,
    Counted,
    Exchange,
    above_largest,
    count_units,
    lowered,
    null_width,
    unit_batches,
    whole_orders,
    within_tests,
)
from repcompare.statistics.resampling import permutation_pvalues
from repcompare.statistics.series import draws
from repcompare.statistics.two_factor import benjamini_hochberg

Float64 = npt.NDArray[np.float64]
Sides = tuple[Sequence[Prepared], Sequence[Prepared]]


def why_refitted(plan: Plan, measure: Measure) -> str:
    """Return why permutations of a fitted measure are fitted again; empty where fixed predictions serve."""
    options, folds = plan.study.options, plan.folds
    if measure.held_out is None:
        return "it has no held-out predictions of units"
    assert folds is not None
    if options.null == "refit":
        return "null='refit'"
    if options.nan == "pairwise":
        return "nan='pairwise'"
    if min(test.size for _, test in folds.splits) < 3:
        return "a test set has fewer than 3 rows"
    if options.calibrated and score_of(measure) != Score():
        return "calibrated=True of a score that is not the mean of r"
    if plan.drawn.null is None and not overlapping(plan):
        try:
            check_blocks(tested_blocks(plan, measure))
        except MeasureError:
            return "the test sets have too few groups of one size to exchange"
    return ""


def overlapping(plan: Plan) -> bool:
    """Whether a row is in several test sets."""
    assert plan.folds is not None
    tested = np.concatenate([test for _, test in plan.folds.splits])
    return np.unique(tested).size < tested.size


def tested_blocks(plan: Plan, measure: Measure) -> tuple[Blocks, ...]:
    """Cut the test sets into what is exchanged or left out together: stimuli, their groups, or stretches of time."""
    assert plan.folds is not None
    rows = plan.drawn.rows
    tests = [test for _, test in plan.folds.splits]
    if rows.sample == "time":
        return make_blocks(tests, length=max(plan.folds.gap, measure.reach, SHORTEST_BLOCK))
    return make_blocks(tests, groups=exchanged_groups(plan))


def exchanged_groups(plan: Plan) -> Index | None:
    """Return the groups that are exchanged whole; stimuli of a run are exchanged singly."""
    rows = plan.drawn.rows
    return None if rows.sample == "time" or rows.runs else rows.codes


def check_exchange(plan: Plan, measure: Measure) -> None:
    """Raise ``MeasureError`` where an encoder is to be fitted again, and its groups cannot change places."""
    groups = exchanged_groups(plan)
    if groups is not None and (why_refitted(plan, measure) or overlapping(plan)):
        whole_groups(len(plan.stimuli), groups)


def exchange_of(plan: Plan, measure: Measure) -> Exchange:
    """Draw what is exchanged: once for all sources, targets and units."""
    options, null, folds = plan.study.options, plan.drawn.null, plan.folds
    assert folds is not None
    n, count, width = len(plan.stimuli), options.permutations, null_width(folds)
    tests = tuple(test for _, test in folds.splits)
    if null is not None:
        return AcrossTests(tests, draws(null, n, count, options.seed), width)
    if overlapping(plan):  # an order of each test set by itself would let their errors average out
        return AcrossTests(tests, whole_orders(n, exchanged_groups(plan), count, options.seed), width)
    return within_tests(tested_blocks(plan, measure), count, options.seed, width)


@dataclass
class Table:
    """What is gathered target by target; the null of a unit is counted and never kept.

    Attributes
    ----------
    observed : ndarray of shape (n_sources, n_targets)
        Mean over units of r.
    null : ndarray of shape (n_permutations, n_sources, n_targets)
        The same of randomised targets.
    largest : ndarray of shape (n_permutations,)
        Over all units of all cells.
    units, above : list of ndarray of shape (n_sources, n_units)
        Of each target: r, and how many randomised ones reach it.
    """

    observed: Float64
    null: Float64
    largest: Float64
    units: list[Float64] = field(default_factory=list)
    above: list[Float64] = field(default_factory=list)

    def add(self, j: int, some: Sequence[int], n_units: int, parts: Sequence[tuple[slice, Counted]]) -> None:
        """Enter the sources ``some`` of one target; batches of units are summed in their order."""
        shape = (len(self.observed), n_units)
        units, above = np.full(shape, np.nan), np.full(shape, np.nan)
        total, null = np.zeros((2, len(some))), np.zeros((len(self.largest), len(some)))
        for at, found in parts:
            units[some, at], above[some, at] = found.observed, found.above
            total += np.nansum(found.observed, axis=1), np.isfinite(found.observed).sum(axis=1)
            null += found.null
            self.largest = np.maximum(self.largest, found.largest)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.observed[some, j], self.null[:, some, j] = total[0] / total[1], null / total[1]
        self.units.append(units)
        self.above.append(above)


def fixed_test(plan: Plan, label: str, sides: Sides, each: Map[Any, Any], tick: Tick) -> dict[str, Float64]:
    """Test all cells of an encoder: predictions against randomised targets.

    Returns
    -------
    dict
        ``score_pvalue``, ``score_pvalue_corrected`` and the ``null`` (n_permutations, n_sources, n_targets); with
        ``unit_scores`` also p-values of units (n_sources, n_units of all targets), corrected by the maximum over all of
        them.
    """
    measure, (sources, targets) = plan.study.measures[label], sides
    exchange, shape = exchange_of(plan, measure), (len(sources), len(targets))
    table = Table(np.full(shape, np.nan), np.full((exchange.count, *shape), np.nan), np.full(exchange.count, -np.inf))
    for j, target in enumerate(targets):
        state, values = target.as_target[label], target.values["mean"]

        def predicted(source: Prepared, state: Any = state) -> list[Array] | None:
            found = predictions(measure, source.as_source[label], state)
            return None if found is None else _that_count(plan, found, exchange)

        held = each(predicted, sources)
        some = [i for i, one in enumerate(held) if one is not None]
        own = [one for one in held if one is not None]
        batches = unit_batches(values.shape[1], len(values), exchange.count) if some else []

        def counted(units: slice, own: Any = own, values: Array = values) -> tuple[slice, Counted]:
            return units, count_units([[fold[:, units] for fold in one] for one in own], values[:, units], exchange)

        table.add(j, some, values.shape[1], each(counted, batches))
        tick(label)
    raw, corrected = permutation_pvalues(lowered(table.observed), table.null, greater=True)
    found = {"null": table.null, "score_pvalue": raw, "score_pvalue_corrected": corrected}
    return found | (_of_units(table, exchange.count) if plan.study.options.unit_scores else {})


def predictions(measure: Measure, source: Any, target: Any) -> tuple[HeldOut, ...] | None:
    """Return the predictions of one cell; None where it has no score."""
    assert measure.held_out is not None
    try:
        return measure.held_out(source, target)
    except MeasureError:
        return None


def _that_count(plan: Plan, held: tuple[HeldOut, ...], exchange: Exchange) -> list[Array]:
    """Return the predictions of the rows that are exchanged, test set by test set."""
    assert plan.folds is not None
    tests = (test for _, test in plan.folds.splits)
    return [one.predicted[np.searchsorted(t, kept)] for one, t, kept in zip(held, tests, exchange.kept, strict=True)]


def _of_units(table: Table, count: int) -> dict[str, Float64]:
    units, above = np.hstack(table.units), np.hstack(table.above)
    raw = (1 + above) / (1 + count)
    return {
        "score_unit_pvalue": raw,
        "score_unit_pvalue_corrected": (1 + above_largest(units, table.largest)) / (1 + count),
        "score_unit_pvalue_fdr": false_discoveries(raw),
    }


def false_discoveries(raw: Float64) -> Float64:
    """Return p-values by Benjamini and Hochberg over all that are finite."""
    out, good = np.full(raw.shape, np.nan), np.isfinite(raw)
    if good.any():
        out[good] = benjamini_hochberg(raw[good])
    return out


def fixed_intervals(plan: Plan, label: str, sides: Sides, cells: Cells, each: Map[Any, Any]) -> Intervals:
    """Return intervals of all cells of an encoder, from its predictions or, where these do not do, from its folds."""
    measure, (sources, targets) = plan.study.measures[label], sides
    how, blocks, folds = score_of(measure), tested_blocks(plan, measure), plan.folds
    assert folds is not None

    def error(at: tuple[int, int]) -> HeldOutErrors:
        states = sources[at[0]].as_source[label], targets[at[1]].as_target[label]
        assert measure.held_out is not None
        return held_out_errors(partial(measure.held_out, *states), blocks, how, folds, cells.folds.get(at))

    places = [(i, j) for i in range(len(sources)) for j in range(len(targets)) if cells.reason[i, j] == ""]
    errors, counts = np.full(cells.score.shape, np.nan), np.full(cells.score.shape, np.nan)
    why: dict[str, None] = {}
    for at, found in zip(places, each(error, places), strict=True):
        errors[at], counts[at] = found.score, found.n
        why |= {found.why: None} if found.why else {}
    assert plan.study.options.confidence is not None
    low, high = ends(cells.score, errors, counts, plan.study.options.confidence)
    return Intervals(low, high, _name(plan, blocks), tuple(why))


@dataclass(frozen=True)
class Intervals:
    """Intervals of the cells of an encoder.

    Attributes
    ----------
    low, high : ndarray of shape (n_sources, n_targets)
    name : str
        Over what.
    over_folds : tuple of str
        Why some are over folds.
    """

    low: Float64
    high: Float64
    name: str
    over_folds: tuple[str, ...]


def _name(plan: Plan, blocks: Sequence[Blocks]) -> str:
    lengths = {rows.size for some in blocks for rows in some.rows}
    what = (
        "stimuli"
        if lengths == {1}
        else "groups"
        if plan.drawn.rows.sample != "time"
        else f"blocks of {max(lengths, default=0)} rows"
    )
    return f"jackknife of held-out predictions over {what}"
