"""From the products of all rows with each other to penalties and scores of a batch of units, one training set at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Array, Folds, HeldOut
from repcompare.measures.encoding._factor import Double, Fit, Gram, Settings, eigen, fit
from repcompare.measures.encoding._options import Options
from repcompare.measures.encoding._plan import Plan
from repcompare.measures.encoding._press import Hat
from repcompare.measures.encoding._refine import refined
from repcompare.measures.encoding._scores import Scored
from repcompare.measures.encoding._search import Source, fill, predict_fold, relative_errors
from repcompare.measures.encoding._select import Errors, FoldScores, Problem, choose_alpha, score_folds, sweep
from repcompare.measures.encoding._target import Target

Tick = Callable[[str], None]


@dataclass(frozen=True)
class Kernels:
    """A source by the products of its rows, with the training sets that are factorised, and perhaps kept.

    Attributes
    ----------
    gram : Gram
        Without features.
    plan : Plan
        Training and test rows; empty for leave-one-out.
    folds : Folds
        Train and test rows.
    hat : Hat, optional
        For leave-one-out in closed form.
    kept : dict, optional
        Factorised training sets by place; None: they are made again each time.
    """

    gram: Gram
    plan: Plan
    folds: Folds
    options: Options
    hat: Hat | None
    kept: dict[int, Fit] | None = field(default_factory=dict)

    def fit(self, place: int) -> Fit:
        """Factorise a training set; outer ones come first."""
        if self.kept is not None and place in self.kept:
            return self.kept[place]
        options = self.options
        settings = Settings(options.alphas, options.n_evaluated, options.alpha_scale == "trace")
        dtype: npt.DTypeLike = np.float32 if self.gram.single else np.float64
        task = (*self.plan.outer, *self.plan.inner)[place]
        found = fit(self.gram, task, settings, n_targets=np.inf, dtype=dtype)
        if self.kept is not None:
            self.kept[place] = found
        return found

    def problem(self, place: int) -> Problem:
        """Return one training set as a problem of its own."""
        own = (self.fit(place),)
        outer = place < len(self.plan.outer)
        return Problem(self.gram, own if outer else (), () if outer else own, None, self.plan.n_folds)

    def dual_weights(self, y: Double, alphas: Double) -> Double:
        """Return weights of the rows (n, t) of a fit on all rows: ``(K + alpha)^-1 y`` about the means.

        ``y`` (n, t) is about its mean; ``alphas`` (t,) are absolute, the weights for features as they are.
        """
        lam, vectors = self._whole
        found = vectors.T @ y
        found /= lam[:, None] * self.gram.scale**2 + alphas
        return np.asarray(vectors @ found)

    @cached_property
    def _whole(self) -> tuple[Double, Double]:
        kernel = self.gram.kernel
        assert kernel is not None
        mean = kernel.mean(axis=0)
        vectors, lam = eigen(kernel - mean - mean[:, None] + mean.mean())
        return lam, vectors


def solve_units(kernels: Kernels, target: Target, width: int, tick: Tick) -> Scored:
    """Choose penalties and score a batch of units."""
    options, plan = kernels.options, kernels.plan
    k, t = len(kernels.folds), target.values.shape[1]
    scored = Scored.empty(k, t, rows=kernels.hat is not None)
    if kernels.hat is not None:
        fill(scored, Source(kernels.gram, plan, None, kernels.folds, kernels.hat), target, options)
        tick("leave-one-out")
        return scored
    blocks = [slice(i, min(i + width, t)) for i in range(0, t, width)]
    errors: list[Errors] = []
    if options.alphas.size > 1:
        errors = _errors(kernels, target.values, blocks, tick)
    inner, final = _choose(kernels, target, blocks, errors)
    _score(kernels, target.values, (blocks, inner, final), scored, tick)
    return scored


def _errors(kernels: Kernels, y: Array, blocks: list[slice], tick: Tick) -> list[Errors]:
    """Return the errors of every penalty, block by block of units."""
    options, plan, a = kernels.options, kernels.plan, kernels.options.alphas.size
    found = [Errors.empty(plan.n_folds, a, b.stop - b.start, squares=options.one_se) for b in blocks]
    for place in range(len(plan.outer) + len(plan.inner)):
        problem = kernels.problem(place)
        for b, into in zip(blocks, found, strict=True):
            own, _ = sweep(
                problem,
                np.ascontiguousarray(y[:, b]),
                options.alphas,
                inner=options.searches_inside,
                select_by=options.select_by,
                squares=options.one_se,
            )
            for name, value in vars(own).items():
                if value is not None:
                    getattr(into, name)[...] += value
        tick(f"training set {place + 1} of {len(plan.outer) + len(plan.inner)}")
    return found


def _choose(kernels: Kernels, target: Target, blocks: list[slice], errors: list[Errors]) -> tuple[Double, Double]:
    """Return penalties (n_folds, t) for the scores and (t,) for a refit, on the grid's scale."""
    options, k, t = kernels.options, kernels.plan.n_folds, target.values.shape[1]
    alphas = options.alphas
    if not errors:
        return np.full((k, t), alphas[0]), np.full(t, alphas[0])
    if not options.alpha_per_unit:
        fixed = np.any(target.constant_train, axis=0)
        sums = [
            (relative_errors(e.inner, e.inner_total, fixed[b]), relative_errors(e.outer, e.outer_total, fixed[b]))
            for b, e in zip(blocks, errors, strict=True)
        ]
        final = choose_alpha(np.sum([outer for _, outer in sums], axis=0))
        inner = choose_alpha(np.sum([inside for inside, _ in sums], axis=0)) if options.nested else final[None]
        return np.tile(alphas[inner], (k // len(inner), t)), np.repeat(alphas[final], t)
    chosen = [_per_unit(kernels, target.values[:, b], e) for b, e in zip(blocks, errors, strict=True)]
    return np.hstack([inner for inner, _ in chosen]), np.concatenate([final for _, final in chosen])


def _per_unit(kernels: Kernels, y: Array, errors: Errors) -> tuple[Double, Double]:
    options, plan = kernels.options, kernels.plan
    final = choose_alpha(errors.outer, errors.outer_squares, len(plan.outer))
    inner = np.repeat(final[None], plan.n_folds, axis=0)
    if options.nested:
        folds = [fold for task in plan.inner for fold, _ in task.tests]
        counts = np.bincount(np.array(folds, dtype=np.intp), minlength=plan.n_folds)
        squares = errors.inner_squares
        inner = np.array(
            [
                choose_alpha(e, None if squares is None else squares[f], int(counts[f]))
                for f, e in enumerate(errors.inner)
            ]
        )
    if options.refine:
        k = len(plan.outer)
        fits = [kernels.fit(place) for place in range(k + len(plan.inner))]
        whole = Problem(kernels.gram, tuple(fits[:k]), tuple(fits[k:]), None, plan.n_folds)
        return refined(whole, np.ascontiguousarray(y), options.alphas, errors, (inner, final), options.nested)
    return options.alphas[inner], options.alphas[final]


Chosen = tuple[list[slice], Double, Double]


def _score(kernels: Kernels, y: Array, chosen: Chosen, scored: Scored, tick: Tick) -> None:
    """Score the outer folds with the chosen penalties, in place."""
    (blocks, inner, final), options, plan = chosen, kernels.options, kernels.plan
    scores = [FoldScores.empty(plan.n_folds, b.stop - b.start) for b in blocks]
    inside = {fold for task in plan.inner for fold, _ in task.tests}
    used = np.zeros((plan.n_folds, 1), dtype=bool)
    absolute, relative = np.full((plan.n_folds, 1), np.nan), np.full((plan.n_folds, 1), np.nan)
    for place, task in enumerate(plan.outer):
        problem = kernels.problem(place)
        ((fold, rows),) = task.tests
        own = problem.outer[0]
        used[fold] = (fold in inside or not options.searches_inside) and rows.size >= options.fewest_test
        absolute[fold], relative[fold] = own.unit * kernels.gram.scale**2, own.unit / own.spread
        for b, into in zip(blocks, scores, strict=True):
            values = np.ascontiguousarray(y[:, b])
            found = score_folds(problem, values, inner[:, b], r=options.scoring == "pearson")
            for name, value in vars(found).items():
                getattr(into, name)[fold] = value[fold]
        tick(f"scores of fold {fold}")
    for b, into in zip(blocks, scores, strict=True):
        places = np.arange(b.start, b.stop)
        scored.write(places, into, used, chosen=(inner[:, b], final[b]), units_of=(absolute, relative))


def fold_predictions(kernels: Kernels, y: Array, alphas: Double) -> Iterator[HeldOut]:
    """Yield the predictions of every outer test set, for a prepared target (n, t), in the order of the folds.

    ``alphas`` (n_folds, t) are penalties on the grid's scale.
    """
    for place in range(len(kernels.plan.outer)):
        own = kernels.fit(place)
        yield predict_fold(own, kernels.gram, y, alphas * own.unit)
