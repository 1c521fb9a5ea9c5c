"""Ridge on sources with more features than rows that do not fit in memory: the layer itself is never resident.

Blocks of features of all rows are read once, shifted by their means, and added to the products of the rows with each
other, ``K = x x'`` in float64, from which penalties, scores and weights of the rows follow as in memory.  Weights of the
features take a second pass over x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._blas import add_gram
from repcompare.measures._measure import Array, Folds, Outcome
from repcompare.measures.encoding._factor import Double, Gram
from repcompare.measures.encoding._held_out import check_folds
from repcompare.measures.encoding._options import Options, is_leave_one_out
from repcompare.measures.encoding._plan import Mask, Plan, make_plan
from repcompare.measures.encoding._press import make_hat
from repcompare.measures.encoding._refit import Weights
from repcompare.measures.encoding._scores import SAME_FOLDS, Scored, Summary, edge_notes, outcome
from repcompare.measures.encoding._stream_plan import Wanted
from repcompare.measures.encoding._target import make_target
from repcompare.measures.encoding._wide_plan import WidePlan, WideShape, plan_wide
from repcompare.measures.encoding._wide_solve import Kernels, fold_predictions, solve_units
from repcompare.measures.encoding.ridge import LEAST_REST
from repcompare.measures.encoding.streaming import Progress, Streamed, counter


@dataclass(frozen=True)
class WideStream:
    """Two sides that are read in blocks of columns.

    Attributes
    ----------
    n, p, t : int
        Rows, features and target units.
    dtype : dtype
        float32 where both sides are, else float64.
    features, units : callable
        ``slice -> ndarray``: columns of x (n, width), and of y, in matching order of all rows.
    step : int
        Features that the file keeps together; 1 where they can be read singly.
    """

    n: int
    p: int
    t: int
    dtype: npt.DTypeLike
    features: Callable[[slice], Array]
    units: Callable[[slice], Array]
    step: int = 1


@dataclass(frozen=True)
class _Job:
    stream: WideStream
    folds: Folds
    options: Options
    how: WidePlan
    tasks: Plan
    dtype: np.dtype[Any]
    wanted: Wanted
    tick: Callable[[str], None]


def goes_wide(n: int, p: int, folds: Folds, options: Options) -> bool:
    """Whether the products of the rows are what is added up: more features than rows, or leave-one-out in closed form.

    Examples
    --------
    >>> rows = np.arange(6)
    >>> folds = Folds(tuple((rows[rows % 3 != f], rows[rows % 3 == f]) for f in range(3)), 6)
    >>> [goes_wide(6, p, folds, Options(alphas=np.ones(2))) for p in (5, 7)]
    [False, True]
    """
    if options.standardize:  # scales of features differ between training sets, and so would K
        return False
    return p > n or (is_leave_one_out(folds) and options.closed_form)


def ridge_wide_stream(
    stream: WideStream,
    folds: Folds,
    options: Options,
    *,
    memory: int,
    wanted: Wanted | None = None,
    progress: Progress | None = None,
) -> Streamed:
    """Score ridge on held-out rows of a source that is read in blocks of features.

    Parameters
    ----------
    stream : WideStream
        Both sides, finite.
    folds : Folds
        Train and test rows.
    options : Options
        Of :func:`repcompare.measures.encoding.ridge.ridge`, without ``standardize``.
    memory : int
        Bytes that may be used in all.
    wanted : Wanted, optional
        Weights on all rows, which are filled in blocks of features; held-out predictions.
    progress : callable, optional
        ``(done, total, text)`` after every block of features and every training set.

    Returns
    -------
    Streamed
        Scores equal those of ridge in memory up to the rounding of sums.

    Raises
    ------
    OptionError
        When the memory is too little.
    MeasureError
        For values that are not finite, folds that cannot be scored, or a source that does not vary.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((60, 200))
    >>> y, rows = x[:, :5] @ rng.standard_normal((5, 3)), np.arange(60)
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 60)
    >>> stream = WideStream(60, 200, 3, np.float64, lambda some: x[:, some], lambda some: y[:, some])
    >>> found = ridge_wide_stream(stream, folds, Options(alphas=np.logspace(0, 4, 9)), memory=10**7)
    >>> found.outcome.unit_scores.round(1), found.plan.features
    (array([0.7, 0.7, 0.6]), 200)
    """
    job = _job(stream, folds, options, (memory, wanted or Wanted()), progress)
    kernels, mean = _read_source(job)
    done = [_batch(job, kernels, units) for units in job.how.units]
    scored = _joined([one.scored for one in done])
    flags = np.hstack([one.constant[0] for one in done]), np.hstack([one.constant[1] for one in done])
    found = _outcome(job, kernels, scored, flags)
    if not job.wanted.refit:
        return Streamed(found, None, job.how)
    dual = np.hstack([one.dual for one in done if one.dual is not None])
    return Streamed(found, _weights(job, dual, (mean, np.concatenate([one.mean for one in done]))), job.how)


@dataclass(frozen=True)
class _Done:
    """A batch of units: scores, flags of constant ones, means (b,), and weights of the rows (n, b)."""

    scored: Scored
    constant: tuple[Mask, Mask]
    mean: Double
    dual: Array | None


def _batch(job: _Job, kernels: Kernels, units: slice) -> _Done:
    """Read and solve a batch of units."""
    y = _finite(job.stream.units(units).astype(job.dtype, copy=False), "target", "units", units)
    job.tick(f"reading units {units.start} to {units.stop}")
    target = make_target(y, job.folds)
    scored = solve_units(kernels, target, job.how.width, job.tick)
    if job.wanted.watch is not None:
        job.wanted.watch(fold_predictions(kernels, target.values, scored.chosen))
    mean, dual = y.mean(axis=0, dtype=np.float64), None
    if job.wanted.refit:
        dual = kernels.dual_weights(y - mean, _absolute(job.options, kernels.gram, scored.final)).astype(job.dtype)
    return _Done(scored, (target.constant_train, target.constant_test), mean, dual)


def _job(
    stream: WideStream, folds: Folds, options: Options, room: tuple[int, Wanted], progress: Progress | None
) -> _Job:
    if options.standardize:
        raise OptionError("standardize=True needs the features of each training set; standardise the file before")
    check_folds(folds, "ridge", options.fewest_test)
    loo = is_leave_one_out(folds) and options.closed_form
    tasks = Plan((), (), len(folds)) if loo else make_plan(folds, nested=options.searches_inside)
    informed = {fold for task in tasks.inner for fold, _ in task.tests}
    missing = sorted(set(range(len(folds))) - informed) if options.searches_inside and not loo else []
    if missing:
        raise MeasureError(
            f"ridge: fold {missing[0]} has no inner folds with 3 training rows; give more rows, more folds, or nested=False"
        )
    dtype = np.dtype(np.float64 if options.precision == "double" else stream.dtype)
    shape = WideShape(stream.n, stream.p, stream.t, dtype.itemsize)
    how = plan_wide(shape, tasks, options, room[0], wanted=room[1])
    if how.features > stream.step:
        how = replace(how, features=how.features // stream.step * stream.step)  # whole chunks of the file
    if not options.alpha_per_unit and options.alphas.size > 1 and len(how.units) > 1:
        raise OptionError(
            f"alpha_per_unit=False needs the errors of all {stream.t} units at once, and memory={room[0]:.4g} bytes holds "
            f"{how.units[0].stop}; raise it, or choose per unit"
        )
    if loo and room[1].watch is not None:
        raise OptionError("predictions of leave-one-out have one row per fold; give folds=5")
    if options.refine and not (how.kept or loo):
        raise OptionError(f"refine=True needs all training sets at once, more than memory={room[0]:.4g}; raise it")
    passes, k = 1 + room[1].refit, len(tasks.outer)
    sweeps = 0 if options.alphas.size == 1 else k + len(tasks.inner)
    per_batch = 2 if loo else 1 + sweeps + k
    total = passes * -(-stream.p // how.features) + len(how.units) * per_batch
    return _Job(stream, folds, options, how, tasks, dtype, room[1], counter(total, progress))


def _finite(values: Array, side: str, what: str, some: slice) -> Array:
    if not np.isfinite(values.sum(dtype=np.float64)) and not np.isfinite(values).all():
        raise MeasureError(
            f"ridge: {int((~np.isfinite(values)).sum())} missing (NaN) or infinite values in {what} {some.start} to "
            f"{some.stop} of the {side}; expected finite numbers; drop them with nan='drop_units' or 'drop_stimuli'"
        )
    return values


def _blocks(job: _Job) -> list[slice]:
    p, size = job.stream.p, job.how.features
    return [slice(i, min(i + size, p)) for i in range(0, p, size)]


def _read_source(job: _Job) -> tuple[Kernels, Double]:
    """Read x once; return its kernel about the means of the features, and those means (p,)."""
    n, p = job.stream.n, job.stream.p
    lower, mean = np.zeros((n, n)), np.empty(p)
    for some in _blocks(job):
        values = _finite(job.stream.features(some), "source", "features", some)
        mean[some] = values.mean(axis=0, dtype=np.float64)
        add_gram(np.ascontiguousarray(values - mean[some]), lower)
        job.tick(f"reading features {some.start} to {some.stop}")
    kernel = np.tril(lower, -1)
    kernel += lower.T
    squares = float(np.trace(kernel))
    size = max(float(np.abs(mean).max()), float(np.finfo(np.float64).tiny))
    if np.sqrt(squares / (n * p)) <= 8 * np.finfo(np.float64).eps * size:
        raise MeasureError(f"ridge: no feature of the source varies over its {n} stimuli; check the source")
    scale = float(2.0 ** np.round(np.log2(np.sqrt(squares / n))))
    kernel /= scale**2
    gram = Gram(None, kernel, scale, n, p, job.dtype == np.float32, squares / scale**2 / p)
    hat = None
    if is_leave_one_out(job.folds) and job.options.closed_form:
        hat = make_hat(gram)
        rest = hat.diagonal(np.array([float(job.options.alphas[0]) / scale**2]))[0]
        if not hat.full and rest.min() < LEAST_REST:
            raise MeasureError(
                f"ridge: at the smallest alpha row {int(rest.argmin())} is predicted by itself alone, so leaving it out "
                "cannot be computed from all rows; give larger alphas, or folds=5"
            )
    return Kernels(gram, job.tasks, job.folds, job.options, hat, {} if job.how.kept else None), mean


def _absolute(options: Options, gram: Gram, final: Double) -> Double:
    return np.asarray(final * (gram.spread * gram.scale**2 if options.alpha_scale == "trace" else 1.0))


def _joined(parts: list[Scored]) -> Scored:
    """Put batches of units side by side."""
    if len(parts) == 1:
        return parts[0]
    folds = type(parts[0].folds)(*(np.hstack([getattr(p.folds, name) for p in parts]) for name in vars(parts[0].folds)))
    if not parts[0].folds.pearson.flags.writeable:  # leave-one-out has no r
        nothing = np.broadcast_to(np.nan, folds.error.shape)
        folds = replace(folds, pearson=nothing, spread=nothing)
    side_by_side = {n: np.hstack([getattr(p, n) for p in parts]) for n in ("used", "chosen", "alphas", "relative")}
    final = np.concatenate([p.final for p in parts])
    return replace(parts[0], folds=folds, final=final, **side_by_side)


def _outcome(job: _Job, kernels: Kernels, scored: Scored, flags: tuple[Any, Any]) -> Outcome:
    options, how = job.options, job.how
    found = outcome(scored, flags, Summary(options.scoring, options.summary, options.fisher_z), 0)
    notes = () if options.searches_inside or options.alphas.size == 1 else (SAME_FOLDS,)
    edges = edge_notes(scored.final[~np.isnan(np.asarray(found.unit_scores))], options.alphas)
    count = len(how.units)
    parts, chunk = -(-job.stream.step // how.features), job.stream.step
    times = "once" if parts == 1 else f"{parts} times (its chunks hold {chunk} features; more memory= reads them once)"
    passes = (
        f"streamed: x was read {times}, in blocks of {how.features} features, and y once, in {count} "
        f"batch{'es' * (count > 1)} of units; about {how.nbytes / 1e9:.3g} GB of arrays"
    )
    absolute = _absolute(options, kernels.gram, scored.final)
    spread = kernels.gram.spread * kernels.gram.scale**2
    form = "leave-one-out in closed form" if kernels.hat is not None else "dual"
    details = dict(found.details) | {
        "alphas": absolute,
        "alphas_relative": absolute / spread,
        "solver": f"streamed, {form}",
    }
    return replace(found, details=details, notes=(*found.notes, *notes, *edges, passes))


def _weights(job: _Job, dual: Array, means: tuple[Double, Double]) -> Weights:
    """Read x once more: weights of the features (p, t) from those of the rows (n, t)."""
    (mean, mean_y), coef = means, job.wanted.weights
    if isinstance(coef, bool):
        coef = np.empty((job.stream.p, job.stream.t), job.dtype)
    offset = np.zeros(job.stream.t)
    for some in _blocks(job):
        values = (job.stream.features(some) - mean[some]).astype(job.dtype, copy=False)
        coef[some] = values.T @ dual
        offset += mean[some] @ coef[some]
        job.tick(f"weights of features {some.start} to {some.stop}")
    return Weights(coef, (mean_y - offset).astype(job.dtype))
