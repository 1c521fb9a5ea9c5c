"""Ridge on data that do not fit in memory: scores, penalties and weights from sums over one pass.

The rows are read block by block, in any order, and added to the sums of disjoint pieces: count, sums, ``x'x`` in
float64, ``x'y`` in the precision of the data.  The statistics of every training and test set, of the folds and of the
folds inside them, are sums of those, and squared errors and r of held-out rows follow from them without the rows:

    SSE = y'y - 2 d'(Z W) + d'(Z G Z) d,   Z = U' x_T' y_T,  W = U' x_V' y_V,  G = U' x_V' x_V U,  d = 1 / (lam + alpha)

for all penalties at once by divided differences.  Units whose error or predicted variance has no digits left in float32
are computed again in float64.  If ``x'y`` of all units does not fit, x is read once per batch of units, y once in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError
from repcompare.measures._measure import Array, Folds, Index, Outcome
from repcompare.measures.encoding._held_out import check_folds
from repcompare.measures.encoding._layout import Layout, plan_layout
from repcompare.measures.encoding._options import Options
from repcompare.measures.encoding._plan import Plan, make_plan
from repcompare.measures.encoding._refit import Weights
from repcompare.measures.encoding._scores import SAME_FOLDS, Scored, Summary, edge_notes, outcome
from repcompare.measures.encoding._stream_plan import StreamPlan, StreamShape, Wanted, plan_stream
from repcompare.measures.encoding._stream_predict import predict_batch
from repcompare.measures.encoding._stream_solve import Batch, mean_eigenvalue, refit_batch, solve_batch
from repcompare.measures.encoding._stream_sums import SourceSums, TargetSums
from repcompare.measures.encoding._wide_plan import WidePlan

Chunk = tuple[Array, Array, Index]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Stream:
    """Two sides that are read in blocks of rows.

    Attributes
    ----------
    n, p, t : int
        Rows, features and target units.
    dtype : dtype
        float32 where both sides are, else float64.
    chunks : callable
        ``(n_rows, units) -> iterator of (x, y, rows)``: blocks (n_rows, p) and (n_rows, units) of matching rows, which
        are ``rows`` among all; every row once, in any order.
    """

    n: int
    p: int
    t: int
    dtype: npt.DTypeLike
    chunks: Callable[[int, slice], Iterable[Chunk]]


@dataclass(frozen=True, eq=False)
class Streamed:
    """What :func:`ridge_stream` found: an outcome as that of ridge, weights where asked for, and the plan."""

    outcome: Outcome
    weights: Weights | None
    plan: StreamPlan | WidePlan


@dataclass(frozen=True)
class _Job:
    """All that stays the same over batches of units."""

    stream: Stream
    options: Options
    folds: Plan
    layout: Layout
    dtype: np.dtype[Any]
    plan: StreamPlan
    wanted: Wanted
    tick: Callable[[str], None]


def ridge_stream(
    stream: Stream,
    folds: Folds,
    options: Options,
    *,
    memory: int,
    wanted: Wanted | None = None,
    progress: Progress | None = None,
) -> Streamed:
    """Score ridge on held-out rows of data that are read in blocks.

    Parameters
    ----------
    stream : Stream
        Both sides, finite.
    folds : Folds
        Train and test rows.
    options : Options
        Of :func:`repcompare.measures.encoding.ridge.ridge`; ``select_by="error"`` and ``refine=False``.
    memory : int
        Bytes that may be used in all.
    wanted : Wanted, optional
        Weights of a fit on all rows; held-out predictions, for which all is read once more.
    progress : callable, optional
        ``(done, total, text)`` after every block of rows and every training set.

    Returns
    -------
    Streamed
        Scores equal those of ridge in memory up to rounding: 1e-9 in float64, 1e-4 in float32 (r and R2).

    Raises
    ------
    OptionError
        When the memory is too little, or an option needs the rows.
    MeasureError
        For values that are not finite, folds that cannot be scored, or a source that does not vary.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((60, 5))
    >>> y, rows = x @ rng.standard_normal((5, 3)) + rng.standard_normal((60, 3)), np.arange(60)
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 60)
    >>> def chunks(size, units):
    ...     for at in (rows[i : i + size] for i in range(0, 60, size)):
    ...         yield x[at], y[at][:, units], at
    >>> options = Options(alphas=np.logspace(-3, 6, 20), scoring="r2")
    >>> found = ridge_stream(Stream(60, 5, 3, np.float64, chunks), folds, options, memory=30_000)
    >>> found.outcome.unit_scores.round(2), len(found.plan.units)
    (array([0.95, 0.6 , 0.64]), 1)
    """
    job = _job(stream, folds, options, (memory, wanted or Wanted()), progress)
    scored = Scored.empty(len(folds), stream.t)
    constant: npt.NDArray[np.bool_] = np.zeros((2, len(folds), stream.t), dtype=bool)
    coef = _room_for_weights(job)
    source: SourceSums | None = None
    for units in job.plan.units:
        source, target = _read(job, source, units)
        batch = Batch(source, target, job.folds, options)
        constant[:, :, units] = batch.constant
        final = solve_batch(batch, scored, units, job.tick)
        if job.wanted.watch is not None:
            job.wanted.watch(predict_batch(batch, scored.chosen[:, units], _read_again(job, units)))
        if coef is not None:
            coef.coef[:, units], coef.intercept[units] = refit_batch(batch, final)
            job.tick("weights")
    assert source is not None
    return Streamed(_outcome(job, scored, constant, source), coef, job.plan)


def _room_for_weights(job: _Job) -> Weights | None:
    coef = job.wanted.weights
    if coef is False:
        return None
    if isinstance(coef, bool):
        coef = np.empty((job.stream.p, job.stream.t), job.dtype)
    return Weights(coef, np.empty(job.stream.t, job.dtype))


def _job(stream: Stream, folds: Folds, options: Options, room: tuple[int, Wanted], progress: Progress | None) -> _Job:
    """Check the options and lay out the work."""
    if options.refine or options.select_by != "error":
        raise OptionError(
            "refine=True and select_by='pearson' need predictions, so all rows in memory; leave out memory= or that option"
        )
    check_folds(folds, "ridge", options.fewest_test)
    plan = make_plan(folds, nested=options.searches_inside)
    informed = {fold for task in plan.inner for fold, _ in task.tests}
    missing = sorted(set(range(len(folds))) - informed) if options.searches_inside else []
    if missing:
        raise MeasureError(
            f"ridge: fold {missing[0]} has no inner folds with 3 training rows; give more rows, more folds, or nested=False"
        )
    layout = _everything(plan_layout(plan, folds.n))
    dtype = np.dtype(np.float64 if options.precision == "double" else stream.dtype)
    shape = StreamShape(stream.n, stream.p, stream.t, layout.member.shape[1], len(folds), dtype.itemsize)
    how = plan_stream(shape, options, room[0], wanted=room[1])
    shared = not options.alpha_per_unit and options.alphas.size > 1
    if shared and len(how.units) > 1:
        raise OptionError(
            f"alpha_per_unit=False needs the errors of all {stream.t} units at once, and memory={room[0]:.4g} bytes holds "
            f"{how.units[0].stop}; raise it, or choose per unit"
        )
    again = 0 if options.nested or options.alphas.size == 1 else len(plan.outer)
    blocks = -(-stream.n // how.rows)
    more = room[1].refit + (blocks if room[1].watch is not None else 0)
    total = len(how.units) * (blocks + len(plan.outer) + len(plan.inner) + again + more)
    return _Job(stream, options, plan, layout, dtype, how, room[1], counter(total, progress))


def _everything(layout: Layout) -> Layout:
    """Return the layout with the rows that no fold uses, if any, as a further piece."""
    unused = np.flatnonzero(~np.any(layout.member, axis=1))
    if not unused.size:
        return layout
    piece = np.isin(np.arange(len(layout.member)), unused)
    return Layout(np.hstack([layout.member, piece[:, None]]), layout.plus, layout.minus)


def counter(total: int, progress: Progress | None) -> Callable[[str], None]:
    """Return what counts steps and tells ``progress``."""
    done = iter(range(1, total + 1))

    def tick(text: str) -> None:
        count = next(done, total)
        if progress is not None:
            progress(count, total, text)

    return tick


def _read(job: _Job, source: SourceSums | None, units: slice) -> tuple[SourceSums, TargetSums]:
    """Read all rows of a batch of units; the sums of x are made in the first batch."""
    known, target = source is not None, None
    for x, y, rows in _checked(job, units):
        if source is None:
            source = SourceSums(x, job.layout)
        if target is None:
            target = TargetSums(y, x.shape[1], job.layout, job.dtype, job.plan.width)
        if not known:
            source.add(x, rows)
        target.add(source.prepared(x, job.dtype), y, rows)
        job.tick(f"reading units {units.start} to {units.stop}")
    assert source is not None and target is not None
    if not known:
        source.close()
        _check_varies(source)
    return source, target


def _read_again(job: _Job, units: slice) -> Iterator[Chunk]:
    for chunk in job.stream.chunks(job.plan.rows, units):
        yield chunk
        job.tick(f"predicting units {units.start} to {units.stop}")


def _checked(job: _Job, units: slice) -> Iterator[Chunk]:
    seen = np.zeros(job.stream.n, dtype=np.intp)
    for x, y, rows in job.stream.chunks(job.plan.rows, units):
        seen[rows] += 1
        yield x, y, rows
    if not (seen == 1).all():
        raise MeasureError(f"ridge: {int((seen != 1).sum())} of {seen.size} rows were not read exactly once")


def _check_varies(source: SourceSums) -> None:
    """Raise where no feature varies over the rows."""
    total = source.total
    squares, size = total.centred().xx, float(np.abs(source.shift).max()) / source.scale
    assert squares is not None
    rms = np.sqrt(max(float(np.trace(squares)), 0.0) / (total.n * len(squares)))
    if rms <= 8 * np.finfo(np.float64).eps * max(size, float(np.finfo(np.float64).tiny)):
        raise MeasureError(f"ridge: no feature of the source varies over its {total.n} stimuli; check the source")


def _outcome(job: _Job, scored: Scored, constant: npt.NDArray[np.bool_], source: SourceSums) -> Outcome:
    options, count = job.options, len(job.plan.units)
    found = outcome(scored, (constant[0], constant[1]), Summary(options.scoring, options.summary, options.fisher_z), 0)
    notes = () if options.searches_inside or options.alphas.size == 1 else (SAME_FOLDS,)
    edges = edge_notes(scored.final[~np.isnan(np.asarray(found.unit_scores))], options.alphas)
    again = 1 + (job.wanted.watch is not None)
    passes = (
        f"streamed: x was read {count * again} time{'s' * (count * again > 1)} and y {'twice' if again > 1 else 'once'}, "
        f"in blocks of {job.plan.rows} rows; "
        f"about {job.plan.nbytes / 1e9:.3g} GB of arrays"
    )
    spread = mean_eigenvalue(source, options)
    absolute = scored.final * (spread if options.alpha_scale == "trace" else 1.0)
    details = dict(found.details) | {
        "alphas": absolute,
        "alphas_relative": absolute / spread,
        "solver": "streamed, divided differences",
    }
    return Outcome(
        score=found.score,
        unit_scores=found.unit_scores,
        fold_scores=found.fold_scores,
        details=details,
        counts=found.counts,
        notes=(*found.notes, *notes, *edges, passes),
    )
