"""Least squares of minimum norm, and the single best source unit, scored on held-out stimuli."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import scipy.linalg

from repcompare.measures._linalg import thin_factor
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
    pearson,
    predictions,
    reach,
)
from repcompare.measures.encoding._layout import Layout, plan_layout
from repcompare.measures.encoding._plan import make_plan
from repcompare.measures.encoding.moments import PieceMoments, piece_moments, unit_batches

RCOND = 1e-10  # of a Gram matrix: below it, singular values near the square root of rounding are not resolved
BATCH_BYTES = 1 << 28

Scoring = Literal["pearson", "r2"]


@dataclass(frozen=True)
class Options:
    """Options of both models."""

    model: Literal["linear", "best_unit"]
    scoring: Scoring
    summary: Literal["mean", "median"]

    @property
    def fewest_test(self) -> int:
        """Fewest test rows of a fold."""
        return 3 if self.scoring == "pearson" else 1


@dataclass(frozen=True)
class LinearSource:
    """A source of least squares: a factor of each training set.

    Attributes
    ----------
    x : ndarray of shape (n, p), or None
        Minus column means, where some factor is of a scatter matrix.
    factors : tuple of Factor
        One per fold.
    layout : Layout
        Pieces of the folds.
    folds : Folds
        Train and test rows.
    p : int
        Number of features that vary.
    """

    x: Double | None
    factors: tuple[Factor, ...]
    layout: Layout
    folds: Folds
    p: int

    @property
    def nbytes(self) -> int:
        """Bytes that the state holds."""
        own = 0 if self.x is None else self.x.nbytes
        return int(own + sum(a.nbytes for f in self.factors for a in (f.left, f.right)))


@dataclass(frozen=True)
class Factor:
    """A factorised training set; predictions of test rows are ``right @ weights``.

    Attributes
    ----------
    kind : {"scatter", "kernel", "svd"}
        Cholesky factor of X'X or of XX' over the training rows, or singular vectors.
    left, right : ndarray
        See ``kind``; of shape (p, p) and (n_test, p), (n_train, n_train) and (n_test, n_train), or (n_train, rank)
        and (n_test, rank).
    """

    kind: Literal["scatter", "kernel", "svd"]
    left: Double
    right: Double


def linear(*, scoring: Scoring = "pearson", summary: Literal["mean", "median"] = "mean") -> Measure:
    """Held-out predictivity of every target unit by least squares of minimum norm, without a penalty.

    Parameters
    ----------
    scoring : {"pearson", "r2"}
        r per fold, mean over folds, or 1 - sum SSE / sum SST over folds, with SST around the training mean.
    summary : {"mean", "median"}
        Over units.

    Returns
    -------
    Measure
        ``compare`` gives an Outcome with ``unit_scores`` (n_units,) and ``fold_scores`` (n_folds,).  Notes say when a
        training set has fewer than two rows per feature, and what noise would reach in sample: scores are always held
        out.

    Raises
    ------
    OptionError
        For an unknown option or value.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((60, 5))
    >>> y = x @ rng.standard_normal((5, 3)) + rng.standard_normal((60, 3))
    >>> rows = np.arange(60)
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 60)
    >>> measure = linear(scoring="r2")
    >>> state, target = measure.prepared(x, folds), measure.prepared(y, folds, side="target")
    >>> measure.compare(state, target).unit_scores.round(2)
    array([0.95, 0.61, 0.64])
    """
    check_scores(scoring, summary)
    options = Options("linear", scoring, summary)
    kept = frozenset({"rotation", "translation", "permutation", "scaling", "affine", "unit_scaling", "duplication"})
    return _measure(options, _prepare_linear, _compare_linear, kept)


def best_unit(*, scoring: Scoring = "pearson", summary: Literal["mean", "median"] = "mean") -> Measure:
    """Held-out predictivity of every target unit by one source unit, the one with the highest training r.

    Parameters
    ----------
    scoring : {"pearson", "r2"}
        r of the source unit itself, its sign included, or R2 of its regression line.
    summary : {"mean", "median"}
        Over units.

    Returns
    -------
    Measure
        ``compare`` gives an Outcome with ``unit_scores`` (n_units,), ``fold_scores`` (n_folds,) and details ``sources``
        (n_folds, n_units), the chosen source units, and ``train_pearson`` (n_folds, n_units).

    Raises
    ------
    OptionError
        For an unknown option or value.

    Notes
    -----
    Arend et al. 2018.  Source units that are constant over a training set are not candidates.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((60, 5))
    >>> y = x[:, [3, 0]] + rng.standard_normal((60, 2))
    >>> rows = np.arange(60)
    >>> folds = Folds(tuple((rows[rows % 5 != f], rows[rows % 5 == f]) for f in range(5)), 60)
    >>> measure = best_unit()
    >>> state, target = measure.prepared(x, folds), measure.prepared(y, folds, side="target")
    >>> measure.compare(state, target).details["sources"][0]
    array([3, 0])
    """
    check_scores(scoring, summary)
    options = Options("best_unit", scoring, summary)
    kept = frozenset({"translation", "permutation", "scaling", "unit_scaling", "duplication"})
    return _measure(options, _prepare_best, _compare_best, kept)


def _measure(
    options: Options, prepare: Callable[..., Any], compare: Callable[..., Outcome], kept: frozenset[str]
) -> Measure:
    return Measure(
        name=options.model,
        options={"scoring": options.scoring, "summary": options.summary},
        prepare=partial(prepare, options),
        prepare_target=partial(_prepare_target, options),
        compare=partial(compare, options),
        kind="predictivity",
        symmetric=False,
        score_range=(-1.0, 1.0) if options.scoring == "pearson" else (-np.inf, 1.0),
        identical=np.nan,
        invariant_to=kept,
        target_invariant_to=frozenset({"translation", "permutation", "scaling", "unit_scaling", "duplication"}),
        fitted=True,
        held_out=partial(_held_out, partial(compare, options)),
        ceiling="units",
        min_stimuli=6,
        state_bytes=_linear_bytes if options.model == "linear" else _best_bytes,
        reference="schrimpf2018" if options.model == "linear" else "arend2018",
    )


def _linear_bytes(n: int, p: int, itemsize: int, folds: int) -> int:
    return 8 * ((n * p if p < n else 0) + folds * n * min(n, p))


def _best_bytes(n: int, p: int, itemsize: int, folds: int) -> int:
    return 8 * p * (n + folds)


def _held_out(compare: Callable[..., Outcome], source: Any, target: HeldTarget) -> tuple[HeldOut, ...]:
    return predictions(lambda kept: compare(source, target, kept), target.folds, target.values.shape[1])


def _prepare_target(options: Options, y: Array, folds: Folds) -> HeldTarget:
    check_folds(folds, options.model, options.fewest_test)
    return make_held_target(y, folds)


def _prepare_linear(options: Options, x: Array, folds: Folds) -> LinearSource:
    check_folds(folds, options.model, options.fewest_test)
    values, slack = centred_source(x, options.model), _slack(x)
    values = values[:, np.ptp(values, axis=0) > slack]
    p, eps = values.shape[1], float(np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps)
    pieces = plan_layout(make_plan(folds, nested=False), folds.n)
    sizes = [train.size for train, _ in folds.splits]
    sums = piece_moments(values, values[:, :0], pieces) if p < max(sizes) else None
    kernel = values @ values.T if p >= min(sizes) else None
    factors = []
    for fold, pair in enumerate(folds.splits):
        if sums is not None and p < sizes[fold]:
            train = sums.union(pieces.plus[2 * fold], pieces.minus[2 * fold])
            factor = _scatter_factor(values[pair[1]] - sums.shift_x - train.mean_x, train.centred().xx)
        else:
            factor = _kernel_factor(kernel, pair)
        factors.append(factor or _svd_factor(values, pair, eps))
    kept = values if any(factor.kind == "scatter" for factor in factors) else None
    return LinearSource(kept, tuple(factors), pieces, folds, p)


def _slack(x: Array) -> Double:
    """Return what rounding makes of a constant column, shape (p,)."""
    eps = np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps
    return np.asarray(4 * eps * np.abs(x.mean(axis=0, dtype=np.float64)), dtype=np.float64)


def _scatter_factor(held: Double, scatter: Double | None) -> Factor | None:
    factor = None if scatter is None else _cholesky(scatter)
    return None if factor is None else Factor("scatter", factor, held)


def _kernel_factor(kernel: Double | None, pair: tuple[Index, Index]) -> Factor | None:
    """Factorise the kernel of the training rows, centred by their mean."""
    assert kernel is not None
    train, test = pair
    inside, across = kernel[np.ix_(train, train)], kernel[np.ix_(test, train)]
    means = inside.mean(axis=0)
    across = across - across.mean(axis=1, keepdims=True) - means + means.mean()
    inside = inside - means - means[:, None] + means.mean()
    inside += inside.trace() / train.size**2  # fills the direction that centring empties: targets have no part in it
    factor = _cholesky(inside)
    return None if factor is None else Factor("kernel", factor, across)


def _svd_factor(x: Double, pair: tuple[Index, Index], eps: float) -> Factor:
    train, test = pair
    mean = x[train].mean(axis=0)
    fitted, held = x[train] - mean, x[test] - mean
    if not np.any(fitted):
        return Factor("svd", np.zeros((len(fitted), 0)), np.zeros((len(held), 0)))
    u, s, vt = thin_factor(fitted, eps)
    return Factor("svd", u, held @ vt.T / s)


def _cholesky(gram: Double) -> Double | None:
    """Return the lower factor, or None where the condition of the matrix is worse than 1 / RCOND."""
    norm = float(np.abs(gram).sum(axis=0).max())
    factor, info = scipy.linalg.lapack.dpotrf(gram, lower=1, clean=1)
    if info or not norm > 0:
        return None
    rcond, info = scipy.linalg.lapack.dpocon(factor, norm, uplo="L")
    return None if info or rcond < RCOND else np.asarray(factor)


def _predicted(factor: Factor, rows: Double, cross: Double | None) -> tuple[Double, Double]:
    """Return predictions (n_test, t) and their reach (t,) from centred training rows, or their cross-products."""
    if factor.kind == "svd":
        weights = factor.left.T @ rows
    else:
        right = cross if factor.kind == "scatter" else rows
        weights = scipy.linalg.cho_solve((factor.left, True), right, check_finite=False)
    return factor.right @ weights, reach(factor.right, weights)


def _compare_linear(options: Options, source: LinearSource, target: HeldTarget, kept: Kept | None = None) -> Outcome:
    check_same_folds(source.folds, target.folds, options.model)
    (n, t), p = target.values.shape, source.p
    scores = Scores.empty(len(source.folds), t, kept)
    for units in unit_batches(t, n + (0 if source.x is None else p), 1 + source.layout.member.shape[1], BATCH_BYTES):
        y = target.values[:, units]
        sums = None if source.x is None else piece_moments(source.x, y, source.layout, xx=False)
        for fold, (train, test) in enumerate(source.folds.splits):
            mean, factor, cross = y[train].mean(axis=0), source.factors[fold], None
            if sums is not None and factor.kind == "scatter":
                cross = sums.union(source.layout.plus[2 * fold], source.layout.minus[2 * fold]).centred().xy
            predicted, size = _predicted(factor, y[train] - mean, cross)
            scores.fill(fold, predicted, y[test] - mean, size, units)
    fewest = min(train.size for train, _ in source.folds.splits)
    if fewest < 2 * p:
        scores.notes.append(
            f"few_rows: {fewest} training rows for {p} features; least squares without a penalty is unstable below "
            f"{2 * p} rows; consider model='ridge'"
        )
    scores.notes.append(
        f"in_sample: noise alone would reach R2 = {min(p / (n - 1), 1):.2g} in sample; scores are held out"
    )
    return _outcome(options, scores, target)


def _outcome(options: Options, scores: Scores, target: HeldTarget) -> Outcome:
    excluded = Excluded(target.constant_train | (target.constant_test & (options.scoring == "pearson")))
    return outcome(options.model, scores, excluded, pooled=options.scoring == "r2", summary=options.summary)


@dataclass(frozen=True)
class BestSource:
    """A source of single units: values (n, p), pieces of the rows, and scatter of each training set.

    Attributes
    ----------
    x : ndarray of shape (n, p)
        Minus column means.
    size : ndarray of shape (n_folds, p)
        Norm of each centred unit over the training rows; 0 where constant.
    layout : Layout
        Pieces of the folds.
    folds : Folds
        Train and test rows.
    """

    x: Double
    size: Double
    layout: Layout
    folds: Folds

    @property
    def nbytes(self) -> int:
        """Bytes that the state holds."""
        return int(self.x.nbytes + self.size.nbytes)


def _prepare_best(options: Options, x: Array, folds: Folds) -> BestSource:
    check_folds(folds, options.model, options.fewest_test)
    values = centred_source(x, options.model)
    slack = _slack(x)
    size = np.zeros((len(folds), x.shape[1]))
    for fold, (train, _) in enumerate(folds.splits):
        fitted = values[train] - values[train].mean(axis=0)
        norm = np.sqrt(np.einsum("ij,ij->j", fitted, fitted))
        size[fold] = np.where(np.ptp(values[train], axis=0) <= slack, 0.0, norm)
    return BestSource(values, size, plan_layout(make_plan(folds, nested=False), folds.n), folds)


def _compare_best(options: Options, source: BestSource, target: HeldTarget, kept: Kept | None = None) -> Outcome:
    check_same_folds(source.folds, target.folds, options.model)
    k, t = len(source.folds), target.values.shape[1]
    scores = Scores.empty(k, t, kept)
    sources, trained = np.full((k, t), -1, dtype=np.intp), np.full((k, t), np.nan)
    for units in unit_batches(t, source.x.shape[1], 2 + source.layout.member.shape[1], BATCH_BYTES):
        y = target.values[:, units]
        cross = piece_moments(source.x, y, source.layout, xx=False)
        for fold in range(k):
            picked, r = _best(source, cross, fold, target.constant_train[fold, units])
            sources[fold, units], trained[fold, units] = picked, r
            _fill_best(scores, source, (fold, units), picked, y)
    scores.details.update(sources=sources, train_pearson=trained)
    return _outcome(options, scores, target)


def _best(source: BestSource, cross: PieceMoments, fold: int, fixed: Any) -> tuple[Index, Double]:
    """Return the source unit with the highest training r of every target unit (t,), and that r."""
    train = cross.union(source.layout.plus[2 * fold], source.layout.minus[2 * fold]).centred()
    size = source.size[fold]
    scale = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    r = train.xy * scale[:, None]
    r[size == 0] = -np.inf
    picked = np.argmax(r, axis=0)
    found = r[picked, np.arange(r.shape[1])] / np.sqrt(np.where(train.yy > 0, train.yy, np.inf))
    return np.where(fixed, -1, picked), np.where(fixed, np.nan, np.clip(found, -1, 1))


def _fill_best(scores: Scores, source: BestSource, place: tuple[int, slice], picked: Index, y: Double) -> None:
    """Score one fold: r of the source units themselves, squared errors of their regression lines."""
    fold, units = place
    train, test = source.folds.splits[fold]
    x = source.x[:, picked]
    mean_x, mean_y = x[train].mean(axis=0), y[train].mean(axis=0)
    fitted, held, truth = x[train] - mean_x, x[test] - mean_x, y[test] - mean_y
    square = np.einsum("ij,ij->j", fitted, fitted)
    slope = np.einsum("ij,ij->j", fitted, y[train] - mean_y) / np.where(square > 0, square, np.inf)
    scores.fill(fold, held * slope, truth, np.abs(held * slope).max(axis=0), units)
    scores.pearson[fold, units] = pearson(held, truth, np.abs(held).max(axis=0))
