"""The target side of ridge: squared errors of every penalty, the choice among them, and scores of the chosen.

Errors of all penalties come from divided differences (two skinny products for any number of penalties) or
from explicit predictions, whichever is cheaper; scores always come from explicit predictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding._factor import Double, Fit, Gram, Held, total

TIE = 1e-10
FEW = 4096  # columns up to which the predictions of all penalties are one product

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Problem:
    """A factorised source (for one set of rows), ready for targets.

    Attributes
    ----------
    gram : Gram
        The source.
    outer, inner : sequences of Fit
        One per task.
    pieces : (rows of each piece, pieces of each task), optional
        See :func:`repcompare.measures.encoding._factor.pieces`.
    n_folds : int
        Number of outer folds.
    """

    gram: Gram
    outer: tuple[Fit, ...]
    inner: tuple[Fit, ...]
    pieces: tuple[tuple[Index, ...], tuple[Index, ...]] | None
    n_folds: int


@dataclass(frozen=True)
class Errors:
    """Held-out squared errors.

    Attributes
    ----------
    inner : ndarray of shape (n_folds, n_alphas, n_units)
        Summed over the inner test sets of each outer fold.
    outer : ndarray of shape (n_alphas, n_units)
        Summed over the outer test sets.
    inner_total : ndarray of shape (n_folds, n_units)
        Squares around the inner training means, ``outer_total`` (n_units,) around the outer ones.
    """

    inner: Double
    outer: Double
    inner_total: Double
    outer_total: Double


@dataclass(frozen=True)
class FoldScores:
    """Scores of the outer folds; NaN in folds that were not scored.  All of shape (n_folds, n_units)."""

    pearson: Double
    error: Double
    total: Double


def solutions(problem: Problem, y: Array, *, inner: bool) -> Iterator[tuple[Fit, Array, Array, bool]]:
    """Yield every fit with its training means (n_units,), its z (rank, n_units), and whether it is outer."""
    fits = (*problem.outer, *(problem.inner if inner else ()))
    features, used = problem.gram.features, problem.pieces[1] if problem.pieces else ()
    sums: list[Array] = []
    products: list[Array] = []
    if problem.pieces:
        sums = [y[r].sum(axis=0, dtype=np.float64) for r in problem.pieces[0]]
        if features is not None and any(f.mean is not None for f in fits):
            products = [features[r].T @ y[r] for r in problem.pieces[0]]
    for j, fit in enumerate(fits):
        mean = (total(sums, used[j]) / fit.train.size).astype(y.dtype) if sums else y[fit.train].mean(axis=0)
        if fit.mean is None or features is None:
            cross = y[fit.train] - mean
        elif products:
            cross = total(products, used[j])
            cross -= np.outer(fit.train.size * fit.mean, mean)
        else:
            cross = features[fit.train].T @ (y[fit.train] - mean)
        yield fit, mean, np.asarray(fit.basis.T @ cross), j < len(problem.outer)


def sweep(problem: Problem, y: Array, alphas: Double) -> Errors:
    """Return the held-out squared errors of every penalty.

    Units that are predicted almost perfectly are computed again from explicit predictions: there the divided
    form has no digits left.
    """
    errors = _sweep(problem, y, alphas, explicit=False)
    if not any(held.divided for f in (*problem.outer, *problem.inner) for held in f.tests):
        return errors
    floor = 1e-3 if any(f.basis.dtype == np.float32 for f in problem.outer) or y.dtype == np.float32 else 1e-6
    bad = errors.outer.min(axis=0) < floor * errors.outer_total
    bad |= (errors.inner.min(axis=1) < floor * errors.inner_total).any(axis=0)
    if bad.any():
        again = _sweep(problem, y[:, bad], alphas, explicit=True)
        for name in ("inner", "outer", "inner_total", "outer_total"):
            getattr(errors, name)[..., bad] = getattr(again, name)
    return errors


def _sweep(problem: Problem, y: Array, alphas: Double, *, explicit: bool) -> Errors:
    k, a, t = problem.n_folds, alphas.size, y.shape[1]
    errors = Errors(np.zeros((k, a, t)), np.zeros((a, t)), np.zeros((k, t)), np.zeros(t))
    for fit, mean, z, outer in solutions(problem, y, inner=True):
        for held in fit.tests:
            truth = y[held.rows] - mean
            squares = np.einsum("ij,ij->j", truth, truth, dtype=np.float64)
            form = _explicit if explicit or held.divided is None else _divided
            found = form(held, fit.lam, alphas, z, truth, squares)
            if outer:
                np.add(errors.outer, found, out=errors.outer)
                np.add(errors.outer_total, squares, out=errors.outer_total)
            else:
                errors.inner[held.fold] += found
                errors.inner_total[held.fold] += squares
    return errors


def _explicit(held: Held, lam: Double, alphas: Double, z: Array, truth: Array, squares: Double) -> Double:
    """Return squared errors (n_alphas, n_units) from the predictions of every penalty."""
    d = (1 / (lam[:, None] + alphas)).astype(z.dtype, copy=False)
    a, t = alphas.size, z.shape[1]
    if a * t <= FEW:
        predicted = held.a @ (d[:, :, None] * z[:, None, :]).reshape(lam.size, a * t)
        rest = truth[:, None, :] - predicted.reshape(-1, a, t)
        return np.asarray(np.einsum("ijk,ijk->jk", rest, rest, dtype=np.float64))
    found = np.empty((a, t))
    for i in range(a):
        rest = truth - held.a @ (d[:, i, None] * z)
        found[i] = np.einsum("ij,ij->j", rest, rest, dtype=np.float64)
    return found


def _divided(held: Held, lam: Double, alphas: Double, z: Array, truth: Array, squares: Double) -> Double:
    """Return squared errors (n_alphas, n_units) without predictions.

    SSE = yy - 2 sum_i d_i Z_i W_i + sum_ij d_i d_j G_ij Z_i Z_j with W = A' y_V and G = A' A.
    """
    assert held.divided is not None
    near = held.divided.near
    d = 1 / (alphas[:, None] + lam)
    linear = 2 * z * (held.divided.far @ z - held.a.T @ truth)
    square = z * (near[:, None] * z if near.ndim == 1 else near @ z)
    found = d.astype(z.dtype) @ linear + (d * d).astype(z.dtype) @ square
    return np.asarray(squares + found, dtype=np.float64)


def choose_alpha(errors: Double) -> Indices:
    """Return the index of the penalty with the smallest error along axis -2; ties go to the larger penalty.

    Examples
    --------
    >>> import numpy as np
    >>> choose_alpha(np.array([[3.0, 1.0], [2.0, 1.0], [2.5, 1.0 + 1e-12]]))
    array([1, 2])
    """
    best = errors.min(axis=-2, keepdims=True)
    good = errors <= best + TIE * np.abs(best)
    last = errors.shape[-2] - 1 - np.argmax(good[..., ::-1, :], axis=-2)
    return np.asarray(last, dtype=np.intp)


def score_folds(problem: Problem, y: Array, alphas: Double) -> FoldScores:
    """Predict the outer test rows with one penalty per fold and unit.

    Parameters
    ----------
    problem : Problem
        The factorised source.
    y : ndarray of shape (n, n_units)
        Shifted and scaled target.
    alphas : ndarray of shape (n_folds, n_units)
        Penalties in units of the scaled source.
    """
    shape = (problem.n_folds, y.shape[1])
    scores = FoldScores(np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan))
    for fit, mean, z, _ in solutions(problem, y, inner=False):
        for held in fit.tests:
            dz = z / (fit.lam[:, None] + alphas[held.fold]).astype(z.dtype, copy=False)
            predicted = (held.a @ dz).astype(np.float64)
            truth = (y[held.rows] - mean).astype(np.float64)
            rest = truth - predicted
            scores.error[held.fold] = np.einsum("ij,ij->j", rest, rest)
            scores.total[held.fold] = np.einsum("ij,ij->j", truth, truth)
            scores.pearson[held.fold] = _pearson(predicted, truth, _rounding(fit, held, dz))
    return scores


def _rounding(fit: Fit, held: Held, dz: Array) -> Double:
    """Return the rounding error of a column of predictions, shape (n_units,)."""
    if fit.lam.size == 0:
        return np.zeros(dz.shape[1])
    reach = float(np.sqrt(fit.lam[-1]) if fit.mean is not None else fit.lam[-1])
    row = 4 * np.finfo(dz.dtype).eps * float(np.sqrt(np.einsum("ij,ij->i", held.a, held.a).max()))
    size = np.sqrt(np.einsum("ij,ij->j", dz, dz, dtype=np.float64))
    return np.asarray(np.sqrt(held.rows.size) * (row + 32 * np.finfo(np.float64).eps * reach) * size)


def _pearson(predicted: Double, truth: Double, rounding: Double) -> Double:
    """Return r per column; NaN where predictions vary within their rounding error, or truth not at all."""
    p, t = predicted - predicted.mean(axis=0), truth - truth.mean(axis=0)
    pp, tt = np.einsum("ij,ij->j", p, p), np.einsum("ij,ij->j", t, t)
    defined = (np.sqrt(pp) > rounding) & (tt > 0)
    r = np.full(pp.shape, np.nan)
    np.divide(np.einsum("ij,ij->j", p, t), np.sqrt(pp) * np.sqrt(tt), out=r, where=defined)
    return np.clip(r, -1.0, 1.0)
