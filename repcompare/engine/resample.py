"""Intervals and p-values of a table, from states that are restricted or permuted, never prepared again where avoidable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.engine.pairs import scores
from repcompare.engine.plan import Plan
from repcompare.engine.prepare import Prepared
from repcompare.engine.progress import Tick
from repcompare.engine.threads import Map
from repcompare.errors import MeasureError
from repcompare.measures._measure import Index
from repcompare.statistics.influence import above_floor, calibrate, permutation_floor
from repcompare.statistics.resampling import interval, permutation_pvalues, permutations
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
    """Return how many resampling tasks a plan has."""
    options = plan.study.options
    count = 0
    for measure in plan.study.measures.values():
        count += options.permutations
        if plan.drawn.subsets is not None and measure.restrict is not None:
            count += len(plan.drawn.subsets.rows)
    return count


def resample(work: Work, label: str, score: Float64) -> dict[str, Float64]:
    """Intervals and p-values of one measure, as far as they were asked for and are defined."""
    options = work.plan.study.options
    out: dict[str, Float64] = {}
    if options.confidence and work.plan.study.measures[label].restrict is not None:
        out["score_low"], out["score_high"] = _interval(work, label, score)
    if options.permutations:
        null = _null(work, label)
        measure = work.plan.study.measures[label]
        greater = measure.kind != "distance"
        best = measure.score_range[1] if greater else measure.score_range[0]
        out["score_floor"] = null.mean(axis=0)
        if options.calibrated and np.isfinite(best):
            out["score_calibrated"] = calibrate(score, null, maximum=best, greater=greater)
            out["score_calibrated_best"] = _calibrated_best(score, null, best, greater)
        out["score_pvalue"], out["score_pvalue_corrected"] = permutation_pvalues(score, null, greater=greater)
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
    assert restrict is not None and options.confidence is not None and removed is not None

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
        return np.array(work.each(permuted, permutations(n, options.permutations, options.seed)))
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
