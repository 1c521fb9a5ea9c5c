"""Carrying out a plan: prepare every part, compare every pair, then intervals and p-values from the states."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr
from threadpoolctl import threadpool_info, threadpool_limits

from repcompare.engine.plan import Plan, make_plan
from repcompare.engine.prepare import Prepared, prepare_part
from repcompare.engine.progress import Tick, ticking
from repcompare.engine.results import CellResult, Cells, to_scores
from repcompare.engine.study import Study, usable_cores
from repcompare.errors import MeasureError, OptionError
from repcompare.labels.schema import sample_dim
from repcompare.measures._measure import Index, Measure, Outcome, as_outcome
from repcompare.statistics.resampling import interval, permutation_pvalues, permutations, subsets

log = logging.getLogger("repcompare.plan")
T = TypeVar("T")
R = TypeVar("R")
Float64 = npt.NDArray[np.float64]
LARGE_PRODUCT = 1e9  # flop
Map = Callable[[Callable[[T], R], Iterable[T]], list[R]]


@dataclass(frozen=True)
class Work:
    """What the tasks of a run share: the plan, the prepared sides, and the workers."""

    plan: Plan
    sources: Sequence[Prepared]
    targets: Sequence[Prepared]
    each: Map[Any, Any]
    tick: Tick

    @property
    def square(self) -> bool:
        """Whether both sides are the same states."""
        return self.sources is self.targets


def run(study: Study) -> xr.Dataset:
    """Plan and carry out a study.

    Parameters
    ----------
    study : Study
        What to compare.

    Returns
    -------
    xarray.Dataset
        Scores.  The same study and seed give the same numbers for any number of threads.

    Raises
    ------
    RepcompareError
        For bad input, naming the part; and when no cell of a measure could be computed.
    """
    started = time.perf_counter()
    plan = make_plan(study)
    _refuse_time_shuffle(plan)
    log.info("plan: %s", plan)
    with _threads(plan) as each, ticking(_n_tasks(plan), study.options.progress) as tick:
        prepared = each(lambda part: _told(prepare_part(part, plan), tick, part.name), plan.parts)
        sources = prepared[: len(study.sources)]
        work = Work(plan, sources, sources if study.square else prepared[len(sources) :], each, tick)
        results = {label: _told(_compare(work, label), tick, label) for label in study.measures}
        resampled = {label: _resample(work, label, results[label].score) for label in study.measures}
    return to_scores(plan, (work.sources, work.targets), results, resampled, time.perf_counter() - started)


def _n_tasks(plan: Plan) -> int:
    options = plan.study.options
    resamples = options.permutations
    if options.confidence:
        resamples += len(subsets(len(plan.stimuli), options.seed)[1])
    able = sum(1 for m in plan.study.measures.values() if m.restrict is not None or options.permutations)
    return len(plan.parts) + len(plan.study.measures) + able * resamples


def _told(result: T, tick: Tick, text: str) -> T:
    tick(text)
    return result


def _refuse_time_shuffle(plan: Plan) -> None:
    continuous = any(sample_dim(p.data) == "time" for p in plan.parts)
    if continuous and (plan.study.options.permutations or plan.study.options.confidence):
        raise OptionError(
            "permutations= and confidence= resample rows one by one, which is invalid for a continuous recording "
            "(sample dim 'time'): its rows are not exchangeable; leave them out"
        )


@contextmanager
def _threads(plan: Plan) -> Iterator[Map[Any, Any]]:
    """Give a ``map`` that runs in ``n_jobs`` threads, with the cores shared out between them and BLAS.

    A single job leaves all cores to BLAS only where the products are large: on small ones its threads cost more than
    they bring (2 to 5 times, measured).  Limits that the user has set are never exceeded.
    """
    n_jobs = plan.study.options.threads
    largest = max(2.0 * len(plan.stimuli) ** 2 * part.data.sizes["unit"] for part in plan.parts)
    allowed = min((lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"), default=1)
    share = max(1, usable_cores() // n_jobs) if n_jobs > 1 or largest > LARGE_PRODUCT else 1
    with threadpool_limits(min(allowed, share), user_api="blas"):
        if n_jobs == 1:
            yield lambda function, items: [function(item) for item in items]
        else:
            with ThreadPoolExecutor(n_jobs) as pool:
                yield lambda function, items: list(pool.map(function, items))


def _compare(work: Work, label: str) -> Cells:
    """All pairs of one measure, batched where the measure can; a cell that fails is NaN with its reason."""
    measure = work.plan.study.measures[label]
    x = [s.as_source[label] for s in work.sources]
    y = [t.as_target[label] for t in work.targets]
    pairwise = measure.accepts_nan and work.plan.study.options.nan == "pairwise"  # each cell counts what it lacks
    batched = None if pairwise else _batched(measure, x, y)
    if batched is not None:
        scores, seconds = batched
        return Cells([[CellResult(Outcome(score=float(v)), "", seconds) for v in row] for row in scores])
    mirrored = measure.symmetric and work.square
    pairs = [(i, j) for i in range(len(x)) for j in range(len(y)) if not (mirrored and j < i)]
    found = dict(zip(pairs, work.each(lambda ij: _cell(measure, x[ij[0]], y[ij[1]]), pairs), strict=True))
    rows = range(len(x)), range(len(y))
    cells = Cells([[found[(j, i) if mirrored and j < i else (i, j)] for j in rows[1]] for i in rows[0]])
    if all(cell.reason for row in cells.rows for cell in row):
        raise MeasureError(f"{label}: no cell could be computed; the first: {cells.rows[0][0].reason}")
    return cells


def _batched(measure: Measure, x: list[Any], y: list[Any]) -> tuple[Float64, float] | None:
    """Scores of all cells by ``compare_many``, and seconds per cell; None where there is none or it does not apply."""
    if measure.compare_many is None:
        return None
    started = time.perf_counter()
    try:
        scores = measure.compare_many(x, y)
    except MeasureError:  # some cell fails: go cell by cell and say which
        return None
    if not np.isfinite(scores).all():
        return None
    return scores, (time.perf_counter() - started) / scores.size


def _cell(measure: Measure, x: Any, y: Any) -> CellResult:
    started = time.perf_counter()
    try:
        outcome = as_outcome(measure.compare(x, y))
        reason = "" if np.isfinite(outcome.score) else f"{measure.name} gave {outcome.score}"
    except MeasureError as error:
        outcome, reason = Outcome(score=np.nan), str(error)
    return CellResult(outcome, reason, time.perf_counter() - started)


def _table(measure: Measure, x: list[Any], y: list[Any]) -> Float64:
    batched = _batched(measure, x, y)
    if batched is not None:
        return batched[0]
    return np.array([[_cell(measure, a, b).outcome.score for b in y] for a in x])


def _resample(work: Work, label: str, score: Float64) -> dict[str, Float64]:
    """Intervals and p-values of one measure, as far as they were asked for and are defined."""
    options = work.plan.study.options
    out: dict[str, Float64] = {}
    if options.confidence and work.plan.study.measures[label].restrict is not None:
        out["score_low"], out["score_high"] = _interval(work, label, score)
    if options.permutations:
        out["score_pvalue"], out["score_pvalue_corrected"] = _pvalues(work, label, score)
    return out


def _interval(work: Work, label: str, score: Float64) -> tuple[Float64, Float64]:
    measure, options, n = work.plan.study.measures[label], work.plan.study.options, len(work.plan.stimuli)
    restrict = measure.restrict
    assert restrict is not None and options.confidence is not None

    def subset(rows: Index) -> Float64:
        y = [restrict(t.as_target[label], rows) for t in work.targets]
        x = y if work.square else [restrict(s.as_source[label], rows) for s in work.sources]
        return _told(_table(measure, x, y), work.tick, label)

    resampled = np.array(work.each(subset, subsets(n, options.seed)[1]))
    return interval(score, resampled, n, options.confidence)


def _pvalues(work: Work, label: str, score: Float64) -> tuple[Float64, Float64]:
    measure, options, n = work.plan.study.measures[label], work.plan.study.options, len(work.plan.stimuli)
    x = [s.as_source[label] for s in work.sources]

    def permuted(order: Index) -> Float64:
        y = [_permute(work, label, target, order) for target in work.targets]
        return _told(_table(measure, x, y), work.tick, label)

    null = np.array(work.each(permuted, permutations(n, options.permutations, options.seed)))
    return permutation_pvalues(score, null, greater=measure.kind != "distance")


def _permute(work: Work, label: str, target: Prepared, order: Index) -> Any:
    measure = work.plan.study.measures[label]
    if measure.restrict is not None:
        return measure.restrict(target.as_target[label], order)
    assert target.values is not None
    return measure.prepared(np.ascontiguousarray(target.values[order]), work.plan.folds, side="target")
