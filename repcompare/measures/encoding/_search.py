"""Units in blocks: their penalties are chosen, their folds scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from repcompare.measures._measure import Array, Folds, HeldOut, Index
from repcompare.measures.encoding._factor import Double, Fit, Gram, Settings, fit_all
from repcompare.measures.encoding._options import Options
from repcompare.measures.encoding._pieces import pieces
from repcompare.measures.encoding._plan import Mask, Plan, make_plan
from repcompare.measures.encoding._press import (
    Hat,
    Residuals,
    all_errors,
    choose_inside,
    inner_errors,
    make_hat,
    score_rows,
    score_units,
)
from repcompare.measures.encoding._press_choice import choose_all, make_path
from repcompare.measures.encoding._refine import refined
from repcompare.measures.encoding._scores import Scored
from repcompare.measures.encoding._select import (
    Errors,
    FoldScores,
    Problem,
    Solution,
    choose_alpha,
    score_folds,
    sweep,
)
from repcompare.measures.encoding._target import Pattern, Target
from repcompare.measures.encoding._workspace import Workspace

BATCH_BYTES = 1 << 28
LEAST_REST = 1e-6  # of a row that its own fit reproduces
TILE_BYTES = 1 << 21  # of residuals that stay in the cache
LEAST_UNITS = 128  # of a tile: products of fewer columns are slower


@dataclass(frozen=True)
class Source:
    """A source, prepared.

    Attributes
    ----------
    gram : Gram
        Shifted features, or their kernel.
    plan : Plan
        Training sets and test rows; empty for leave-one-out.
    problem : Problem, optional
        The factorised training sets; None where they are too large to keep.
    folds : Folds
        Train and test rows.
    hat : Hat, optional
        In place of training sets, for leave-one-out.
    """

    gram: Gram
    plan: Plan
    problem: Problem | None
    folds: Folds
    hat: Hat | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that the state holds."""
        own = sum(a.nbytes for a in (self.gram.features, self.gram.kernel) if a is not None)
        fits = (*self.problem.outer, *self.problem.inner) if self.problem else ()
        return own + sum(f.nbytes for f in fits) + (self.hat.nbytes if self.hat else 0)

    @property
    def solver(self) -> str:
        """Which form is computed, by predicted cost."""
        if self.hat is not None:
            return "leave-one-out in closed form"
        fits = self.problem.outer if self.problem else ()
        if not fits:
            return "primal" if self.gram.features is not None else "dual"
        form = "primal" if fits[0].mean is not None else "dual"
        divided = any(held.divided for held in fits[0].tests)
        return f"{form}, {'divided differences' if divided else 'direct'}"


@dataclass(frozen=True)
class Block:
    """Units that are fitted together.

    Attributes
    ----------
    values : ndarray of shape (n, n_units)
        Rows that are not seen are 0.
    units : ndarray of shape (n_units,)
        Their places in the target.
    seen : ndarray of shape (n_seen,), optional
        Rows seen; None for all.
    problem, hat
        The factorised source for these rows: one of the two.
    """

    values: Array
    units: Index
    seen: Index | None
    problem: Problem | None
    hat: Hat | None


def make_problem(gram: Gram, plan: Plan, options: Options, n_targets: float = np.inf) -> Problem:
    """Factorise every training set of a plan."""
    trace = options.alpha_scale == "trace"
    settings = Settings(options.alphas, options.n_evaluated, trace, options.standardize)
    gram, fits = fit_all(gram, plan, settings, n_targets=np.inf if options.refine else n_targets)
    k = len(plan.outer)
    return Problem(gram, fits[:k], fits[k:], pieces(plan, gram.n) if n_targets > 8 else None, plan.n_folds)


def problem_bytes(gram: Gram, plan: Plan) -> float:
    """Predict the bytes of the factors."""
    size = 0.0
    for task in (*plan.outer, *plan.inner):
        rank = min(gram.p, task.train.size)
        size += min(gram.p if gram.features is not None else np.inf, task.train.size) * rank
        size += sum(rows.size * rank + rank**2 for _, rows in task.tests)
    return 8 * size


def predict_fold(fit: Fit, gram: Gram, values: Array, alphas: Double) -> HeldOut:
    """Return predictions and data (n_test, t) of one outer fold, by penalties (n_folds, t) of the scaled source."""
    (held,) = fit.tests
    mean = values[fit.train].mean(axis=0, dtype=np.float64)
    shrunk = 1 / (fit.lam[:, None] + alphas[held.fold])
    predicted = held.a @ (shrunk * _projected(fit, gram, values[fit.train] - mean))
    return HeldOut(predicted, values[held.rows] - mean, partial(_without_row, fit, gram, (values, mean), shrunk))


def _projected(fit: Fit, gram: Gram, y: Double) -> Double:
    """Return the products (rank, t) of the training projections with a centred target (n_train, t)."""
    if fit.mean is None:
        return np.asarray(fit.basis.T @ y)
    assert gram.features is not None
    return np.asarray(fit.basis.T @ ((gram.features[fit.train] - fit.mean).T @ y))


def _without_row(fit: Fit, gram: Gram, target: tuple[Array, Double], shrunk: Double, gradient: Array) -> Double:
    """Return what leaving out each training row does to a function of the predictions, (n_train, t).

    Without row j predictions are less by ``(1 / n + a S b_j') e_j / (1 - h_j)``: S (rank, t) is ``shrunk``, b_j the
    projection of the row, e_j its residual and h_j its leverage in the fit of all training rows.
    """
    (held,) = fit.tests
    values, mean = target
    y, n = values[fit.train] - mean, fit.train.size
    rows, weight = fit.basis, fit.lam[:, None] * shrunk
    if fit.mean is not None:
        assert gram.features is not None
        rows, weight = (gram.features[fit.train] - fit.mean) @ fit.basis, shrunk
    residual = y - rows @ (weight * _projected(fit, gram, y))
    leverage = 1 / n + rows**2 @ weight
    change = rows @ (shrunk * (held.a.T @ gradient)) + gradient.sum(axis=0) / n
    return np.asarray(-change * residual / np.maximum(1 - leverage, LEAST_REST))


def make_blocks(source: Source, target: Target, options: Options) -> Iterator[Block]:
    """Yield blocks of units, those with the same missing rows together."""
    n, p, k = source.gram.n, source.gram.p, 2 if source.hat else source.plan.n_folds
    depth = 4 * k if options.refine else 1
    per_unit = target.values.dtype.itemsize * (2 * k * min(n, p) * depth + 6 * n + 3 * (k + 1) * options.alphas.size)
    size = max(64, BATCH_BYTES // per_unit)
    for pattern in target.patterns:
        problem, hat = _pattern_source(source, pattern, options)
        seen = None if pattern.seen is None else np.flatnonzero(pattern.seen)
        for start in range(0, pattern.units.size, size):
            units = pattern.units[start : start + size]
            every = pattern.units.size == target.values.shape[1]
            values = target.values[:, start : start + size] if every else target.values[:, units]
            values = np.ascontiguousarray(values)
            if seen is not None and pattern.seen is not None:
                values = np.where(pattern.seen[:, None], values, values.dtype.type(0))
            yield Block(values, units, seen, problem, hat)


def _pattern_source(source: Source, pattern: Pattern, options: Options) -> tuple[Problem | None, Hat | None]:
    if source.hat is not None:
        return None, source.hat if pattern.seen is None else make_hat(source.gram, np.flatnonzero(pattern.seen))
    if pattern.seen is None:
        return source.problem or make_problem(source.gram, source.plan, options), None
    plan = make_plan(source.folds, nested=options.searches_inside, seen=pattern.seen)
    return make_problem(source.gram, plan, options, n_targets=float(pattern.units.size)), None


def fill(
    scored: Scored, source: Source, target: Target, options: Options, on_all: Callable[..., None] | None = None
) -> None:
    """Choose penalties and score every unit; results are written in place.

    ``on_all(units, alphas, room)`` is called for each block of units, with their penalties for all rows.
    """
    shared = None
    if not options.alpha_per_unit and options.alphas.size > 1:
        shared = _shared_choices(source, target, options)
    room = Workspace()
    for block in make_blocks(source, target, options):
        if block.hat is not None:
            _fill_rows(scored, source, block, options, shared)
        else:
            _fill_folds(scored, block, options, shared, room)
        if on_all is not None:
            on_all(block.units, scored.final[block.units], room)


Shared = tuple[Index, Index] | None


def _fill_folds(scored: Scored, block: Block, options: Options, shared: Shared, room: Workspace) -> None:
    problem = block.problem
    assert problem is not None
    alphas, solved = options.alphas, None
    if shared is not None:
        inner, final = (np.repeat(alphas[c], block.units.size, axis=-1) for c in shared)
    else:
        inner, final, solved = _choices(problem, block, options, room)
    folds = score_folds(problem, block.values, inner, solved, r=options.scoring == "pearson", room=room)
    tested = np.zeros((problem.n_folds, 1), dtype=bool)
    inside = {held.fold for f in problem.inner for held in f.tests}
    absolute = np.full((problem.n_folds, 1), np.nan)
    relative = absolute.copy()
    back = 1.0 if options.standardize else problem.gram.scale**2
    for fit in problem.outer:
        for held in fit.tests:
            informed = held.fold in inside or not options.searches_inside
            tested[held.fold] = informed and held.rows.size >= options.fewest_test
            absolute[held.fold], relative[held.fold] = fit.unit * back, fit.unit / fit.spread
    scored.write(block.units, folds, tested, chosen=(inner, final), units_of=(absolute, relative))


def _fill_rows(scored: Scored, source: Source, block: Block, options: Options, shared: Shared) -> None:
    """Leave-one-out; rows that are not seen are folds that are not scored."""
    assert block.hat is not None
    rows = np.arange(source.gram.n) if block.seen is None else block.seen
    alphas, scale = options.alphas, source.gram.scale**2
    grid = np.arange(alphas.size) if shared is None else shared[1]
    path, places = make_path(block.hat, alphas[grid] / scale), _places(source, rows)
    used = np.ones((1, 1), dtype=bool) if places is None else (places >= 0)[:, None]
    step = block.units.size if options.searches_inside else max(LEAST_UNITS, TILE_BYTES // (8 * rows.size))
    for start in range(0, block.units.size, step):
        units = block.units[start : start + step]
        y = block.values[:, start : start + step]
        own = Residuals.of(block.hat, y if block.seen is None else y[rows])
        if options.searches_inside:
            final = grid[choose_all(own, path)[0]]
            inner = np.repeat(shared[0][rows], units.size, axis=-1) if shared else choose_inside(own, alphas / scale)
            chosen = alphas[inner]
            folds = score_rows(own, chosen / scale)
        else:
            best, residuals = choose_all(own, path)
            final, folds = grid[best], score_units(own, residuals, path.weights, best)
            chosen = np.broadcast_to(alphas[final], (rows.size, units.size))
        if places is not None:
            chosen, *parts = (np.where(used, part[places], np.nan) for part in (chosen, *vars(folds).values()))
            folds = FoldScores(*parts)
        scored.write(units, folds, used, chosen=(chosen, alphas[final]))


def _places(source: Source, rows: Index) -> Index | None:
    """Return the place of each fold's row among the rows seen, -1 for others; None where both are the same."""
    n, test_row = source.gram.n, np.array([test[0] for _, test in source.folds.splits])
    if rows.size == n and np.array_equal(test_row, rows):
        return None
    place = np.full(n, -1)
    place[rows] = np.arange(rows.size)
    return np.asarray(place[test_row])


def _choices(
    problem: Problem, block: Block, options: Options, room: Workspace
) -> tuple[Double, Double, list[Solution] | None]:
    """Return penalties, (n_folds, n_units) for the scores and (n_units,) for a refit, and the outer solutions."""
    k, t, alphas = problem.n_folds, block.units.size, options.alphas
    if alphas.size == 1:
        return np.full((k, t), alphas[0]), np.full(t, alphas[0]), None
    errors, solved = sweep(
        problem,
        block.values,
        alphas,
        inner=options.searches_inside,
        select_by=options.select_by,
        squares=options.one_se,
        room=room,
    )
    final = choose_alpha(errors.outer, errors.outer_squares, len(problem.outer))
    inner = np.repeat(final[None], k, axis=0)
    if options.nested:
        inner = np.array([choose_alpha(*_inner(errors, f), count) for f, count in enumerate(_inner_counts(problem))])
    if options.refine:
        return (*refined(problem, block.values, alphas, errors, (inner, final), options.nested), solved)
    return alphas[inner], alphas[final], solved


def _inner(errors: Errors, fold: int) -> tuple[Double, Double | None]:
    return errors.inner[fold], None if errors.inner_squares is None else errors.inner_squares[fold]


def _inner_counts(problem: Problem) -> Index:
    """Return how many inner test sets inform each fold."""
    folds = [held.fold for fit in problem.inner for held in fit.tests]
    return np.bincount(np.array(folds, dtype=np.intp), minlength=problem.n_folds)


def _shared_choices(source: Source, target: Target, options: Options) -> tuple[Index, Index]:
    """Return indices of alphas for all units together, (n_folds, 1) and (1,), by relative errors."""
    k, a = source.plan.n_folds, options.alphas.size
    inner, outer = np.zeros((k, a, 1)), np.zeros((a, 1))
    for block in make_blocks(source, target, options):
        fixed: Mask = np.any(target.constant_train[:, block.units], axis=0)
        errors = (_row_errors if block.hat is not None else _fold_errors)(source, block, options)
        inner += relative_errors(errors.inner, errors.inner_total, fixed)
        outer += relative_errors(errors.outer, errors.outer_total, fixed)
    final = choose_alpha(outer)
    return (choose_alpha(inner) if options.nested else np.repeat(final[None], k, axis=0)), final


def _fold_errors(source: Source, block: Block, options: Options) -> Errors:
    assert block.problem is not None
    return sweep(block.problem, block.values, options.alphas, inner=options.searches_inside)[0]


def _row_errors(source: Source, block: Block, options: Options) -> Errors:
    """Leave-one-out errors of every penalty; rows are folds."""
    assert block.hat is not None
    rows = np.arange(source.gram.n) if block.seen is None else block.seen
    y = block.values[rows].astype(np.float64)
    y -= y.mean(axis=0)
    own, alphas, n = Residuals.of(block.hat, y), options.alphas / source.gram.scale**2, rows.size
    errors = Errors.empty(source.gram.n, alphas.size, y.shape[1], squares=False)
    errors.outer[:] = all_errors(own, alphas)
    errors.outer_total[:] = (y**2).sum(axis=0) * (n / (n - 1)) ** 2
    if options.searches_inside:
        for i, found in enumerate(inner_errors(own, alphas)):
            errors.inner[rows, i] = found
        apart = (y**2).sum(axis=0) - y**2 * (n / (n - 1))  # around the mean of the others
        errors.inner_total[rows] = apart * ((n - 1) / (n - 2)) ** 2
    return errors


def relative_errors(errors: Double, totals: Double, fixed: Mask) -> Double:
    """Sum errors (..., n_alphas, n_units) over units, each relative to its total; constant units count 0."""
    usable = (totals > 0) & ~fixed
    weights = np.divide(1.0, totals, out=np.zeros_like(totals), where=usable)
    return np.asarray((errors * weights[..., None, :]).sum(axis=-1, keepdims=True))
