"""Ridge regression from one system to another, scored on held-out stimuli.

Minimises ``|y - x b|^2 + alpha |b|^2`` per target unit with an unpenalised intercept (scikit-learn's
convention), for every penalty of a grid at once; the penalty of a fold is chosen inside its training rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError, OptionError, choose
from repcompare.measures._measure import Array, Folds, Index, Measure, Outcome
from repcompare.measures.encoding._factor import Double, Gram, fit_all, make_gram, pieces
from repcompare.measures.encoding._plan import Mask, Plan, make_plan
from repcompare.measures.encoding._scores import Scored, edge_notes, outcome
from repcompare.measures.encoding._select import Errors, Problem, choose_alpha, score_folds, sweep
from repcompare.measures.encoding._target import Pattern, Target, make_target

ALPHAS = tuple(float(a) for a in np.logspace(-3, 6, 20))
CACHE_BYTES = 1 << 30  # factors beyond this are made again per target
BATCH_BYTES = 1 << 28
TARGET_INVARIANCES = frozenset({"translation", "permutation", "scaling", "unit_scaling", "duplication"})
MOST_FLOPS = 1e13  # for the factorisations of missing patterns


@dataclass(frozen=True)
class Options:
    """Options of ridge; ``alphas`` ascending."""

    alphas: Double
    alpha_per_unit: bool
    scoring: Literal["pearson", "r2"]
    summary: Literal["mean", "median"]
    nested: bool

    @property
    def searches_inside(self) -> bool:
        """Whether an inner loop is needed at all."""
        return self.nested and self.alphas.size > 1

    @property
    def fewest_test(self) -> int:
        """Fewest test rows of a fold that can be scored."""
        return 3 if self.scoring == "pearson" else 1


@dataclass(frozen=True)
class Source:
    """A source, prepared.

    Attributes
    ----------
    gram : Gram
        Shifted features, or their kernel.
    plan : Plan
        Training sets and test rows.
    problem : Problem, optional
        The factorised training sets; None where they are too large to keep.
    folds : Folds
        Train and test rows.
    """

    gram: Gram
    plan: Plan
    problem: Problem | None
    folds: Folds

    @property
    def nbytes(self) -> int:
        """Bytes that the state holds."""
        own = sum(a.nbytes for a in (self.gram.features, self.gram.kernel) if a is not None)
        fits = (*self.problem.outer, *self.problem.inner) if self.problem else ()
        return own + sum(f.nbytes for f in fits)


def ridge(
    alphas: npt.ArrayLike = ALPHAS,
    *,
    alpha_per_unit: bool = True,
    scoring: Literal["pearson", "r2"] = "pearson",
    summary: Literal["mean", "median"] = "mean",
    nested: bool = True,
) -> Measure:
    """Held-out predictivity of every target unit by ridge regression.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,)
        Penalties, > 0, absolute; default 20 from 1e-3 to 1e6.
    alpha_per_unit : bool
        Choose per target unit; otherwise one penalty for all, by errors relative to the variance of each
        unit.
    scoring : {"pearson", "r2"}
        ``"pearson"``: r per fold, mean over folds, -1 to 1.  ``"r2"``: 1 - sum SSE / sum SST over folds, with
        SST around the *training* mean, -inf to 1.
    summary : {"mean", "median"}
        Over units.
    nested : bool
        Choose the penalty of a fold inside its training rows.  Otherwise it is chosen on the rows that are
        scored, which the result says.

    Returns
    -------
    Measure
        ``compare`` gives an Outcome with ``unit_scores`` (n_units,), ``fold_scores`` (n_folds,) and details
        ``alphas`` (n_units,) for a final refit on all rows and ``fold_alphas`` (n_folds, n_units), those that
        gave the scores.  Units that are constant in a training (for r also a test) set are NaN, counted, and
        not in the summary.  NaN in the target is accepted: each unit is fitted and scored on the stimuli
        seen.

    Raises
    ------
    OptionError
        For penalties that are not > 0, or an unknown option.

    Notes
    -----
    Hoerl & Kennard 1970.  Exact cross-validation from eigendecompositions of the training sets; all penalties
    of a unit from divided differences, ``d_i d_j = (d_i - d_j) / (lam_j - lam_i)`` with ``d = 1 / (lam +
    alpha)``.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((60, 5))
    >>> y = x @ rng.standard_normal((5, 3)) + rng.standard_normal((60, 3))
    >>> rows = np.arange(60)
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 60)
    >>> measure = ridge(scoring="r2")
    >>> state, target = measure.prepared(x, folds), measure.prepared(y, folds, side="target")
    >>> measure.compare(state, target).unit_scores.round(2)
    array([0.95, 0.6 , 0.64])
    """
    options = Options(_checked_alphas(alphas), alpha_per_unit, scoring, summary, nested)
    choose(scoring, ("pearson", "r2"), "scoring")
    choose(summary, ("mean", "median"), "summary")
    named: dict[str, Any] = {"scoring": scoring, "summary": summary}
    if tuple(options.alphas) != ALPHAS:
        named["alphas"] = options.alphas
    named |= {} if alpha_per_unit else {"alpha_per_unit": False}
    named |= {} if nested else {"nested": False}
    return Measure(
        name="ridge",
        options=named,
        prepare=partial(_prepare, options),
        prepare_target=partial(_prepare_target, options),
        compare=partial(_compare, options),
        kind="predictivity",
        symmetric=False,
        score_range=(-1.0, 1.0) if scoring == "pearson" else (-np.inf, 1.0),
        identical=np.nan,
        invariant_to=frozenset({"rotation", "translation", "permutation"}),
        target_invariant_to=TARGET_INVARIANCES,
        fitted=True,
        accepts_nan=True,
        ceiling="units",
        min_stimuli=6,
        reference="hoerl1970",
    )


def _checked_alphas(alphas: npt.ArrayLike) -> Double:
    try:
        found = np.unique(np.asarray(alphas, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise OptionError(f"alphas={alphas!r}; expected numbers > 0") from error
    if found.size == 0 or not np.isfinite(found).all() or found[0] <= 0:
        raise OptionError(f"alphas={alphas!r}; expected at least one, all finite and > 0")
    found.flags.writeable = False
    return found


def _check_folds(folds: Folds, options: Options) -> None:
    for f, (train, test) in enumerate(folds.splits):
        if test.size < options.fewest_test:
            raise MeasureError(
                f"ridge: fold {f} has {test.size} test rows; r needs at least 3; the largest usable is "
                f"folds={max(folds.n // 3, 1)}, or take scoring='r2'"
            )
        if train.size < 3:
            raise MeasureError(f"ridge: fold {f} has {train.size} training rows; expected at least 3")
    if options.searches_inside and len(folds) < 3:
        raise MeasureError(
            f"ridge: {len(folds)} folds leave no inner folds to choose alpha; give at least 3 folds, one "
            f"alpha, or nested=False"
        )


def _prepare(options: Options, x: Array, folds: Folds) -> Source:
    _check_folds(folds, options)
    gram = make_gram(x)
    plan = make_plan(folds, nested=options.searches_inside)
    if options.searches_inside:
        informed = {fold for task in plan.inner for fold, _ in task.tests}
        missing = sorted(set(range(len(folds))) - informed)
        if missing:
            raise MeasureError(
                f"ridge: fold {missing[0]} has no inner folds with 3 training rows; give more rows, more "
                f"folds, or nested=False"
            )
    kept = _bytes(gram, plan) <= CACHE_BYTES
    problem = _problem(gram, plan, options) if kept else None
    return Source(problem.gram if problem else gram, plan, problem, folds)


def _prepare_target(options: Options, y: Array, folds: Folds) -> Target:
    _check_folds(folds, options)
    return make_target(y, folds)


def _problem(gram: Gram, plan: Plan, options: Options, n_targets: float = np.inf) -> Problem:
    gram, fits = fit_all(gram, plan, options.alphas / gram.scale**2, n_targets=n_targets)
    k = len(plan.outer)
    return Problem(gram, fits[:k], fits[k:], pieces(plan, gram.n) if n_targets > 8 else None, plan.n_folds)


def _bytes(gram: Gram, plan: Plan) -> float:
    """Predict the bytes of the factors."""
    size = 0.0
    for task in (*plan.outer, *plan.inner):
        rank = min(gram.p, task.train.size)
        size += min(gram.p if gram.features is not None else np.inf, task.train.size) * rank
        size += sum(rows.size * rank + rank**2 for _, rows in task.tests)
    return 8 * size


def _check_cost(source: Source, patterns: tuple[Pattern, ...]) -> None:
    """Raise when fitting every missing pattern by itself would take unreasonably long."""
    flops = 0.0
    for pattern in patterns:
        if pattern.seen is None:
            continue
        share = float(pattern.seen.mean())
        for task in (*source.plan.outer, *source.plan.inner):
            flops += 9.0 * min(source.gram.p, share * task.train.size) ** 3
    if flops > MOST_FLOPS:
        count = sum(p.seen is not None for p in patterns)
        raise MeasureError(
            f"ridge: the target's units have {count} patterns of missing rows; fitting each would take "
            f"{flops:.1e} operations, more than {MOST_FLOPS:.0e}; use nan='drop_units' or nan='drop_stimuli'"
        )


@dataclass(frozen=True)
class _Block:
    """Units that are fitted together: their problem, their values, and their places."""

    problem: Problem
    values: Array
    units: Index


def _blocks(source: Source, target: Target, options: Options) -> Iterator[_Block]:
    """Yield blocks of units; rows that a pattern misses are outside its problem and set to 0."""
    n, p, k = source.gram.n, source.gram.p, source.plan.n_folds
    per_unit = 8 * (2 * k * min(n, p) + 6 * n + 3 * (k + 1) * options.alphas.size)
    size = max(64, BATCH_BYTES // per_unit)
    for pattern in target.patterns:
        problem = _pattern_problem(source, pattern, options)
        for start in range(0, pattern.units.size, size):
            units = pattern.units[start : start + size]
            whole = units.size == target.values.shape[1]
            values = target.values if whole else target.values[:, units]
            if pattern.seen is not None:
                values = np.where(pattern.seen[:, None], values, values.dtype.type(0))
            yield _Block(problem, values, units)


def _pattern_problem(source: Source, pattern: Pattern, options: Options) -> Problem:
    if pattern.seen is None:
        return source.problem or _problem(source.gram, source.plan, options)
    plan = make_plan(source.folds, nested=options.searches_inside, seen=pattern.seen)
    return _problem(source.gram, plan, options, n_targets=float(pattern.units.size))


def _compare(options: Options, source: Source, target: Target) -> Outcome:
    if not _same_folds(source.folds, target.folds):
        raise MeasureError("ridge: source and target were prepared with different folds; use the same for both")
    _check_cost(source, target.patterns)
    scored = Scored.empty(source.plan.n_folds, target.values.shape[1])
    if options.alpha_per_unit or options.alphas.size == 1:
        for block in _blocks(source, target, options):
            _fill(scored, block, options, *_choices(block, options))
    else:
        shared = _shared_choices(source, target, options)
        for block in _blocks(source, target, options):
            inner, outer = (np.repeat(c, block.units.size, axis=-1) for c in shared)
            _fill(scored, block, options, inner, outer)
    flags = (target.constant_train, target.constant_test)
    notes = () if options.searches_inside or options.alphas.size == 1 else (SAME_FOLDS,)
    gaps = any(pattern.seen is not None for pattern in target.patterns)
    result = outcome(scored, flags, options.scoring, options.summary, len(target.patterns) if gaps else 0)
    edges = edge_notes(scored.final[~np.isnan(np.asarray(result.unit_scores))], options.alphas)
    return replace(result, notes=(*result.notes, *notes, *edges))


def _same_folds(a: Folds, b: Folds) -> bool:
    if a is b:
        return True
    if a.n != b.n or len(a) != len(b):
        return False
    pairs = zip(a.splits, b.splits, strict=True)
    return all(np.array_equal(s, t) for one, other in pairs for s, t in zip(one, other, strict=True))


SAME_FOLDS = "selection: same_folds; alpha was chosen on the rows that are scored; nested=True avoids this bias"


def _choices(block: _Block, options: Options) -> tuple[Index, Index]:
    """Return indices of alphas, (n_folds, n_units) for the scores and (n_units,) for a refit on all rows."""
    k, t = block.problem.n_folds, block.units.size
    if options.alphas.size == 1:
        return np.zeros((k, t), dtype=np.intp), np.zeros(t, dtype=np.intp)
    errors = sweep(block.problem, block.values, options.alphas / block.problem.gram.scale**2)
    final = choose_alpha(errors.outer)
    if not options.nested:
        return np.repeat(final[None], k, axis=0), final
    return choose_alpha(errors.inner), final


def _shared_choices(source: Source, target: Target, options: Options) -> tuple[Index, Index]:
    """Return indices of alphas for all units together, (n_folds, 1) and (1,), by relative errors."""
    k, a = source.plan.n_folds, options.alphas.size
    inner, outer = np.zeros((k, a, 1)), np.zeros((a, 1))
    for block in _blocks(source, target, options):
        errors: Errors = sweep(block.problem, block.values, options.alphas / block.problem.gram.scale**2)
        fixed: Mask = np.any(target.constant_train[:, block.units], axis=0)
        inner += _relative(errors.inner, errors.inner_total, fixed)
        outer += _relative(errors.outer, errors.outer_total, fixed)
    final = choose_alpha(outer)
    return (choose_alpha(inner) if options.nested else np.repeat(final[None], k, axis=0)), final


def _relative(errors: Double, totals: Double, fixed: Mask) -> Double:
    """Sum errors (..., n_alphas, n_units) over units, each relative to its total; constant units count 0."""
    usable = (totals > 0) & ~fixed
    weights = np.divide(1.0, totals, out=np.zeros_like(totals), where=usable)
    return np.asarray((errors * weights[..., None, :]).sum(axis=-1, keepdims=True))


def _fill(scored: Scored, block: _Block, options: Options, inner: Index, final: Index) -> None:
    """Score one block and write its results in place."""
    alphas = options.alphas
    folds = score_folds(block.problem, block.values, alphas[inner] / block.problem.gram.scale**2)
    tested = np.zeros((block.problem.n_folds, 1), dtype=bool)
    inside = {held.fold for f in block.problem.inner for held in f.tests}
    for fit in block.problem.outer:
        for held in fit.tests:
            informed = held.fold in inside or not options.searches_inside
            tested[held.fold] = informed and held.rows.size >= options.fewest_test
    scored.pearson[:, block.units] = folds.pearson
    scored.error[:, block.units] = folds.error
    scored.total[:, block.units] = folds.total
    scored.used[:, block.units] = tested
    scored.alphas[:, block.units] = alphas[inner]
    scored.final[block.units] = alphas[final]
