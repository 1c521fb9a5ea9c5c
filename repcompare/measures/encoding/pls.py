"""Partial least squares regression from one system to another, scored on held-out stimuli."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from repcompare.errors import OptionError, choose
from repcompare.measures._measure import Array, Folds, HeldOut, Index, Measure, Outcome
from repcompare.measures.encoding._held_out import (
    Double,
    Excluded,
    HeldTarget,
    Kept,
    Scores,
    centred_source,
    check_folds,
    check_same_folds,
    check_scores,
    make_held_target,
    outcome,
    predictions,
    reach,
)
from repcompare.measures.encoding._layout import Layout, plan_layout
from repcompare.measures.encoding._plan import Plan, Task, make_plan
from repcompare.measures.encoding._pls_fit import Direction, Narrow, PlsFit, Wide, fit_narrow, fit_wide
from repcompare.measures.encoding.moments import PieceMoments, piece_moments

TIE = 1e-10
BATCH_BYTES = 1 << 29  # arrays of training sets that are fitted in step
CROSS_BYTES = 1 << 29  # cross-products of all pieces; beyond, each training set reads its rows

Selection = Literal["fixed", "shared", "per_unit"]


@dataclass(frozen=True)
class Options:
    """Options of PLS."""

    n_components: int
    how: Direction
    selection: Selection
    scoring: Literal["pearson", "r2"]
    summary: Literal["mean", "median"]

    @property
    def searches_inside(self) -> bool:
        """Whether the number of components is chosen."""
        return self.selection != "fixed" and self.n_components > 1


@dataclass(frozen=True)
class Source:
    """A source, prepared: narrow with its features and moments, or wide with its kernel.

    Attributes
    ----------
    x : ndarray of shape (n, p), or None
        Minus column means.
    kernel : ndarray of shape (n, n), or None
        ``x x'``.
    moments : PieceMoments, optional
        Of the features, per piece.
    layout : Layout
        Pieces of each training and test set.
    plan : Plan
        Training sets and test rows.
    folds : Folds
        Train and test rows.
    p : int
        Number of features.
    """

    x: Double | None
    kernel: Double | None
    moments: PieceMoments | None
    layout: Layout
    plan: Plan
    folds: Folds
    p: int

    @property
    def nbytes(self) -> int:
        """Bytes that the state holds."""
        parts = self.moments.parts if self.moments else ()
        own = sum(a.nbytes for a in (self.x, self.kernel) if a is not None)
        return int(own + sum(part.xx.nbytes for part in parts if part.xx is not None))

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Outer tasks, then inner ones."""
        return (*self.plan.outer, *self.plan.inner)


def pls(  # noqa: PLR0913  (a public door: every option is keyword-only)
    n_components: int = 25,
    *,
    solver: Literal["exact", "nipals"] = "exact",
    tol: float = 1e-6,
    max_iter: int = 500,
    selection: Selection = "fixed",
    scoring: Literal["pearson", "r2"] = "pearson",
    summary: Literal["mean", "median"] = "mean",
) -> Measure:
    """Held-out predictivity of target units by partial least squares of all units together.

    Parameters
    ----------
    n_components : int
        Number of components, lowered to min(n_features, n_train - 1) with a note.
    solver : {"exact", "nipals"}
        Exact leading singular directions, or power iterations that stop at ``tol`` as those of scikit-learn's
        ``PLSRegression(scale=False)`` do: the same iteration counts and predictions.  At 1e-6 they have not
        converged; predictions differ from the exact ones by up to 5 % of their SD.
    tol, max_iter : float, int
        Of ``"nipals"``: stop when the squared change of the weights is below ``tol``.
    selection : {"fixed", "shared", "per_unit"}
        Take ``n_components``, or choose 1 ... ``n_components`` inside the training rows of each fold: one number
        for all units (by errors relative to each unit's variance), or one per unit.
    scoring : {"pearson", "r2"}
        r per fold, mean over folds, or 1 - sum SSE / sum SST over folds, with SST around the training mean.
    summary : {"mean", "median"}
        Over units.

    Returns
    -------
    Measure
        ``compare`` gives an Outcome with ``unit_scores`` (n_units,), ``fold_scores`` (n_folds,) and details
        ``fold_components`` (n_folds, n_units), ``components`` (n_units,) for a refit on all rows,
        ``n_components_used`` (n_folds,), those before nothing was left to explain, and ``iterations``
        (n_folds, n_components), 0 where there were none.

    Raises
    ------
    OptionError
        For an unknown option or value.

    Notes
    -----
    Dayal & MacGregor 1997, improved kernel PLS; training sets from sums over folds (Engstrom 2024).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((60, 5))
    >>> y = x @ rng.standard_normal((5, 3)) + rng.standard_normal((60, 3))
    >>> rows = np.arange(60)
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 60)
    >>> measure = pls(2, scoring="r2")
    >>> state, target = measure.prepared(x, folds), measure.prepared(y, folds, side="target")
    >>> measure.compare(state, target).unit_scores.round(2)
    array([0.86, 0.46, 0.43])
    """
    check_scores(scoring, summary)
    choose(solver, ("exact", "nipals"), "solver")
    choose(selection, ("fixed", "shared", "per_unit"), "selection")
    if not (isinstance(n_components, (int, np.integer)) and n_components >= 1):
        raise OptionError(f"n_components={n_components!r}; expected a number >= 1")
    if not (tol >= 0 and max_iter >= 1):
        raise OptionError(f"tol={tol!r}, max_iter={max_iter!r}; expected tol >= 0 and max_iter >= 1")
    options = Options(int(n_components), Direction(solver, tol, max_iter), selection, scoring, summary)
    named: dict[str, Any] = {"n_components": options.n_components, "scoring": scoring, "summary": summary}
    named |= {} if solver == "exact" else {"solver": solver, "tol": tol, "max_iter": max_iter}
    named |= {} if selection == "fixed" else {"selection": selection}
    return Measure(
        name="pls",
        options=named,
        prepare=partial(_prepare, options),
        prepare_target=partial(_prepare_target, options),
        compare=partial(_compare, options),
        kind="predictivity",
        symmetric=False,
        score_range=(-1.0, 1.0) if scoring == "pearson" else (-np.inf, 1.0),
        identical=np.nan,
        invariant_to=frozenset({"rotation", "translation", "permutation", "scaling", "duplication"}),
        target_invariant_to=frozenset({"translation", "scaling", "duplication"})
        | (frozenset({"permutation"}) if solver == "exact" else frozenset()),
        fitted=True,
        held_out=partial(_held_out, options),
        ceiling="units",
        min_stimuli=6,
        reference="dayal1997",
    )


def _check(folds: Folds, options: Options) -> None:
    check_folds(folds, "pls", 3 if options.scoring == "pearson" else 1)


def _prepare(options: Options, x: Array, folds: Folds) -> Source:
    _check(folds, options)
    values = centred_source(x, "pls")
    plan = make_plan(folds, nested=options.searches_inside)
    pieces = plan_layout(plan, folds.n)
    (n, p), k = values.shape, len(plan.outer) + len(plan.inner)
    m = options.n_components
    narrow, wide = n * p * p + 8.0 * k * m * p * p, float(n) * n * p + 8.0 * m * n * n  # 8: read from memory
    if p <= n and narrow <= wide:
        source = piece_moments(values, values[:, :0], pieces)
        return Source(values, None, source, pieces, plan, folds, p)
    return Source(None, values @ values.T, None, pieces, plan, folds, p)


def _prepare_target(options: Options, y: Array, folds: Folds) -> HeldTarget:
    _check(folds, options)
    return make_held_target(y, folds)


@dataclass(frozen=True)
class _Fitted:
    """A task's place and components, and its truth (n_test, t) about the training means."""

    place: int
    task: Task
    fit: PlsFit
    mean: Double


def _held_out(options: Options, source: Source, target: HeldTarget) -> tuple[HeldOut, ...]:
    return predictions(lambda kept: _compare(options, source, target, kept), target.folds, target.values.shape[1])


def _compare(options: Options, source: Source, target: HeldTarget, keep: Kept | None = None) -> Outcome:
    check_same_folds(source.folds, target.folds, "pls")
    k, t, m = len(source.folds), target.values.shape[1], options.n_components
    inner, outer = np.zeros((k, m, t)), np.zeros((m, t))
    totals = np.zeros((k, t))
    kept: list[_Fitted] = []
    for one in _fits(source, target.values, options):
        errors, squares = _errors(one, target.values, m) if options.searches_inside else ([], [])
        if one.place < len(source.plan.outer):
            kept.append(one)
            outer += sum(errors, start=np.zeros((m, t)))
        else:
            for (fold, _), error, square in zip(one.task.tests, errors, squares, strict=True):
                inner[fold] += error
                totals[fold] += square
    chosen, final = _chosen(options, (inner, outer, totals))
    scores = Scores.empty(k, t, keep)
    for one in kept:
        ((fold, rows),) = one.task.tests
        loadings = one.fit.loadings * (np.arange(len(one.fit.loadings))[:, None] < chosen[fold])
        truth = target.values[rows] - one.mean
        scores.fill(fold, one.fit.scores @ loadings, truth, reach(one.fit.scores, loadings))
    scores.details.update(_details(kept, chosen, final, options))
    scores.notes.extend(_notes(source, kept, options))
    excluded = Excluded(target.constant_train | (target.constant_test & (options.scoring == "pearson")))
    return outcome("pls", scores, excluded, pooled=options.scoring == "r2", summary=options.summary)


def _limit(source: Source, task: Task, options: Options) -> int:
    return min(options.n_components, source.p, task.train.size - 1)


def _centred(y: Double, train: Index) -> tuple[Double, Double]:
    """Return training rows about their mean, with exact zeros for constant units, and the mean."""
    mean = y[train].mean(axis=0)
    rows = y[train] - mean
    flat = np.abs(rows).max(axis=0) <= 8 * np.finfo(np.float64).eps * np.abs(y[train]).max(axis=0)
    rows[:, flat] = 0.0
    return rows, mean


def _fits(source: Source, y: Double, options: Options) -> Iterator[_Fitted]:
    """Yield every task, fitted; outer ones first."""
    tasks = source.tasks
    if source.kernel is None:
        yield from _narrow_fits(source, y, options)
        return
    n, t = y.shape
    size = max(1, BATCH_BYTES // (8 * n * (2 * t + 3 * options.n_components)))
    product = source.kernel @ y
    sums = source.kernel.sum(axis=1)
    for start in range(0, len(tasks), size):
        batch, means = [], []
        limits = [_limit(source, task, options) for task in tasks[start : start + size]]
        for task, limit in zip(tasks[start : start + size], limits, strict=True):
            rows, mean = _centred(y, task.train)
            places = task.train, np.concatenate([r for _, r in task.tests])
            known = _product(source.kernel, y, task.train, (product, sums, mean))
            batch.append(Wide(source.kernel, places, rows, known, limit))
            means.append(mean)
        for j, fit in enumerate(fit_wide(source.kernel, batch, limits, options.how)):
            yield _Fitted(start + j, tasks[start + j], fit, means[j])


def _product(kernel: Double, y: Double, train: Index, known: tuple[Double, Double, Double]) -> Double | None:
    """Return ``kernel[:, train] @ (y[train] - mean)`` from that of all rows, where this is cheaper."""
    product, sums, mean = known
    out = np.setdiff1d(np.arange(len(y)), train)
    if 2 * out.size > len(y) or y.shape[1] > train.size:
        return None
    columns = kernel[:, out]
    return np.asarray(product - columns @ y[out] - np.outer(sums - columns.sum(axis=1), mean))


def _narrow_fits(source: Source, y: Double, options: Options) -> Iterator[_Fitted]:
    assert source.x is not None
    assert source.moments is not None
    k, t = source.layout.member.shape[1], y.shape[1]
    cross = None
    if 8 * k * source.p * t <= CROSS_BYTES:
        cross = piece_moments(source.x, y, source.layout, xx=False)
    first = 0
    for place, task in enumerate(source.tasks):
        pieces = source.layout.plus[first], source.layout.minus[first]
        first += 1 + len(task.tests)
        train = source.moments.union(*pieces)
        gram = train.centred().xx
        assert gram is not None
        mean_x = source.moments.shift_x + train.mean_x
        rows, mean = _centred(y, task.train)
        if cross is None:
            products = source.x[task.train].T @ rows
        else:
            products = cross.union(*pieces).centred().xy
            products[:, ~rows.any(axis=0)] = 0.0
        test = source.x[np.concatenate([r for _, r in task.tests])] - mean_x
        limit = _limit(source, task, options)
        fitted = fit_narrow(Narrow(gram, products, test, limit), limit, options.how)
        yield _Fitted(place, task, fitted, mean)


def _errors(one: _Fitted, y: Double, m: int) -> tuple[list[Double], list[Double]]:
    """Return per test set the squared errors (m, t) of 1 ... m components, and squares around the training mean."""
    errors, squares, start = [], [], 0
    for _, rows in one.task.tests:
        rest = y[rows] - one.mean
        scores = one.fit.scores[start : start + rows.size]
        start += rows.size
        squares.append(np.einsum("ij,ij->j", rest, rest))
        found = np.empty((m, rest.shape[1]))
        for i in range(m):
            if i < scores.shape[1]:
                rest = rest - np.outer(scores[:, i], one.fit.loadings[i])
            found[i] = np.einsum("ij,ij->j", rest, rest)
        errors.append(found)
    return errors, squares


def _chosen(options: Options, found: tuple[Double, Double, Double]) -> tuple[Index, Index]:
    """Return numbers of components, (n_folds, t) for the scores and (t,) for a refit on all rows."""
    inner, outer, totals = found
    k, m, t = inner.shape
    if not options.searches_inside:
        return np.full((k, t), m, dtype=np.intp), np.full(t, m, dtype=np.intp)
    if options.selection == "shared":
        weights = np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)
        inner = np.repeat((inner * weights[:, None]).sum(axis=2, keepdims=True), t, axis=2)
        outer = np.repeat((outer * weights.mean(axis=0)).sum(axis=1, keepdims=True), t, axis=1)
    return _smallest(inner), _smallest(outer)


def _smallest(errors: Double) -> Index:
    """Return the fewest components whose error is smallest, along axis -2."""
    best = errors.min(axis=-2, keepdims=True)
    return np.asarray(1 + np.argmax(errors <= best * (1 + TIE), axis=-2), dtype=np.intp)


def _details(kept: list[_Fitted], chosen: Index, final: Index, options: Options) -> dict[str, Any]:
    used, iterations = (
        np.zeros(len(chosen), dtype=np.intp),
        np.zeros((len(chosen), options.n_components), dtype=np.intp),
    )
    for one in kept:
        fold = one.task.tests[0][0]
        used[fold] = len(one.fit.loadings)
        iterations[fold, : used[fold]] = one.fit.n_iter
    return {"fold_components": chosen, "components": final, "n_components_used": used, "iterations": iterations}


def _notes(source: Source, kept: list[_Fitted], options: Options) -> Iterator[str]:
    limits = [_limit(source, one.task, options) for one in kept]
    if min(limits) < options.n_components:
        yield (
            f"n_components: lowered from {options.n_components} to {min(limits)}, the number of features or of "
            f"training rows less one"
        )
    early = [len(one.fit.loadings) for one, limit in zip(kept, limits, strict=True) if len(one.fit.loadings) < limit]
    if early:
        yield f"early_stop: nothing was left to explain after {min(early)} components in {len(early)} of {len(kept)} folds"
    if options.how.solver == "nipals" and any((one.fit.n_iter >= options.how.max_iter).any() for one in kept):
        yield f"max_iter: some components did not reach tol={options.how.tol:g} in {options.how.max_iter} iterations"
