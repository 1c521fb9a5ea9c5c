"""Intervals and p-values of a table, from states that are restricted or permuted, never prepared again where avoidable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.engine.cells import Cells
from repcompare.engine.held_out import (
    check_exchange,
    exchanged_groups,
    false_discoveries,
    fixed_intervals,
    fixed_test,
    why_refitted,
)
from repcompare.engine.labels import label_test, no_width, part_scores
from repcompare.engine.pairs import scores
from repcompare.engine.plan import Plan
from repcompare.engine.prepare import Prepared
from repcompare.engine.progress import Tick
from repcompare.engine.threads import Map
from repcompare.errors import MeasureError
from repcompare.measures._measure import Index
from repcompare.statistics.held_out_intervals import Score, score_of
from repcompare.statistics.held_out_tests import whole_orders
from repcompare.statistics.influence import above_floor, calibrate, permutation_floor
from repcompare.statistics.resampling import interval, permutation_pvalues
from repcompare.statistics.series import Phases, draws

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """What resampling needs: the plan, both prepared sides (one object for a similarity matrix), and the workers."""

    plan: Plan
    sources: Sequence[Prepared]
    targets: Sequence[Prepared]
    each: Map[Any, Any]
    tick: Tick


def n_resamples(plan: Plan) -> int:
    """Return how many resampling tasks a plan has.

    Raises
    ------
    MeasureError
        Where groups of stimuli cannot change places.
    """
    options = plan.study.options
    count = 0
    for measure in plan.study.measures.values():
        if options.permutations and measure.null_scores is None:
            fixed = measure.fitted and not why_refitted(plan, measure)
            if measure.fitted:
                check_exchange(plan, measure)
            count += len(plan.study.targets) if fixed else options.permutations
        if plan.drawn.subsets is not None and measure.restrict is not None:
            count += len(plan.drawn.subsets.rows)
    return count


@dataclass(frozen=True)
class Resampled:
    """Intervals and p-values of one measure, as far as they were asked for and are defined.

    Attributes
    ----------
    cells : dict of str to ndarray of shape (n_sources, n_targets)
    units : dict of str to ndarray of shape (n_sources, n_units of all targets)
    interval : str
        Name of the intervals, where they are not those of the whole table.
    notes : tuple of str
        What was decided.
    exchange : str
        What permutations of labels exchanged.
    """

    cells: dict[str, Float64] = field(default_factory=dict)
    units: dict[str, Float64] = field(default_factory=dict)
    interval: str = ""
    notes: tuple[str, ...] = ()
    exchange: str = ""


def resample(work: Work, label: str, cells: Cells) -> Resampled:
    """Intervals and p-values of one measure."""
    options, measure = work.plan.study.options, work.plan.study.measures[label]
    out, units, name, notes, exchange = {}, {}, "", [], ""
    if options.confidence and (measure.restrict is not None or measure.part_scores is not None):
        out["score_low"], out["score_high"] = _interval(work, label, cells.score)
        notes += no_width(label, measure, out["score_high"] - out["score_low"])
    elif options.confidence and measure.held_out is not None:
        found = fixed_intervals(work.plan, label, (work.sources, work.targets), cells, work.each)
        out |= {"score_low": found.low, "score_high": found.high}
        name = found.name
        notes += [f"interval_over_folds: {label}: {why}; it may be too narrow" for why in found.over_folds]
    if options.permutations:
        tested = _tested(work, label, cells.score)
        exchange = str(tested.pop("exchange", ""))
        units = {key: values for key, values in tested.items() if key.startswith("score_unit")}
        out |= {key: values for key, values in tested.items() if key not in units}
        out["score_pvalue_fdr"] = false_discoveries(out["score_pvalue"])
        why = why_refitted(work.plan, measure) if measure.fitted and measure.null_scores is None else ""
        notes += [f"refitted: {label} was fitted again under every permutation: {why}"] if why else []
    return Resampled(out, units, name, tuple(notes), exchange)


def _tested(work: Work, label: str, score: Float64) -> dict[str, Any]:
    """P-values, floor and calibrated scores of one measure; of encoders by fixed predictions where these will do."""
    measure, options = work.plan.study.measures[label], work.plan.study.options
    greater = measure.kind != "distance"
    if measure.null_scores is not None:
        null, out = label_test(work.plan, label, (work.sources, work.targets), score, work.each)
    elif measure.fitted and not why_refitted(work.plan, measure):
        out = fixed_test(work.plan, label, (work.sources, work.targets), work.each, work.tick)
        null = out.pop("null")
        if score_of(measure) != Score():
            return out  # the null is one of r, whatever the score
    else:
        null, out = _null(work, label), {}
        out["score_pvalue"], out["score_pvalue_corrected"] = permutation_pvalues(score, null, greater=greater)
    out["score_floor"] = null.mean(axis=0)
    best = measure.score_range[1] if greater else measure.score_range[0]
    if options.calibrated and np.isfinite(best):
        out["score_calibrated"] = calibrate(score, null, maximum=best, greater=greater)
        out["score_calibrated_best"] = _calibrated_best(score, null, best, greater)
    return out


def _calibrated_best(score: Float64, null: Float64, maximum: float, greater: bool) -> Float64:
    """Scores above the floor of the best source: its largest value over sources is the calibrated maximum of the layers.

    One permutation serves all sources, so that the best of them under it is what chance gives the best of so many.
    """
    best = np.fmax.reduce if greater else np.fmin.reduce
    top, drawn = best(score, axis=0), best(null, axis=1)
    floor = permutation_floor(top, drawn, greater=greater)
    return above_floor(score, floor, maximum=maximum, greater=greater)


def _interval(work: Work, label: str, score: Float64) -> tuple[Float64, Float64]:
    measure, options, removed = work.plan.study.measures[label], work.plan.study.options, work.plan.drawn.subsets
    restrict = measure.restrict
    assert options.confidence is not None and removed is not None
    if measure.part_scores is not None:
        parts = part_scores(measure, label, (work.sources, work.targets), removed.rows, work.each)
        return interval(score, parts, removed.n, options.confidence)
    assert restrict is not None

    def subset(rows: Index) -> Float64:
        y = [restrict(t.as_target[label], rows) for t in work.targets]
        x = y if work.sources is work.targets else [restrict(s.as_source[label], rows) for s in work.sources]
        found = scores(measure, x, y)
        work.tick(label)
        return found

    resampled = np.array(work.each(subset, removed.rows))
    return interval(score, resampled, removed.n, options.confidence)


def _null(work: Work, label: str) -> Float64:
    """Scores under permuted stimuli, shape (n_permutations, n_sources, n_targets)."""
    measure, options, n = work.plan.study.measures[label], work.plan.study.options, len(work.plan.stimuli)
    x = [s.as_source[label] for s in work.sources]

    def permuted(order: Index | Phases) -> Float64:
        found = scores(measure, x, [_permute(work, label, target, order) for target in work.targets])
        work.tick(label)
        return found

    null = work.plan.drawn.null
    if null is None:
        groups = exchanged_groups(work.plan) if measure.fitted else None
        return np.array(work.each(permuted, whole_orders(n, groups, options.permutations, options.seed)))
    return np.array(work.each(permuted, draws(null, n, options.permutations, options.seed)))


def _permute(work: Work, label: str, target: Prepared, order: Index | Phases) -> Any:
    measure = work.plan.study.measures[label]
    if isinstance(order, Phases):
        values = order.apply(target.values[measure.needs])
        try:
            return measure.prepared(values, work.plan.folds, side="target")
        except MeasureError as error:
            raise MeasureError(f"{label}: random phases cannot be compared: {error}; try null='shift'") from error
    if measure.restrict is not None:
        return measure.restrict(target.as_target[label], order)
    values = np.ascontiguousarray(np.take(target.values[measure.needs], order, axis=-2))
    return measure.prepared(values, work.plan.folds, side="target")
