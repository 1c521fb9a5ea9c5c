"""The target side of ridge: squared errors of every penalty, the choice among them, and scores of the chosen.

Errors of all penalties come from divided differences (two skinny products for any number of penalties) or
from explicit predictions, whichever is cheaper; scores always come from explicit predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding._factor import Double, Fit, Gram, Held
from repcompare.measures.encoding._pieces import total

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
        See :func:`repcompare.measures.encoding._pieces.pieces`.
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
    """What the choice of a penalty minimises: held-out squared errors, or minus r.

    Attributes
    ----------
    inner : ndarray of shape (n_folds, n_alphas, n_units)
        Summed over the inner test sets of each outer fold.
    outer : ndarray of shape (n_alphas, n_units)
        Summed over the outer test sets.
    inner_total : ndarray of shape (n_folds, n_units)
        Squares around the inner training means, ``outer_total`` (n_units,) around the outer ones.
    inner_squares, outer_squares : ndarray, optional
        Sums of the squares of what ``inner`` and ``outer`` sum, for its standard error.
    """

    inner: Double
    outer: Double
    inner_total: Double
    outer_total: Double
    inner_squares: Double | None = None
    outer_squares: Double | None = None

    @classmethod
    def empty(cls, n_folds: int, n_alphas: int, n_units: int, *, squares: bool) -> Errors:
        """Return zeros."""
        k, a, t = n_folds, n_alphas, n_units
        sums = np.zeros((k, a, t)), np.zeros((a, t)), np.zeros((k, t)), np.zeros(t)
        return cls(*sums, *((np.zeros((k, a, t)), np.zeros((a, t))) if squares else (None, None)))

    def add(self, fold: int | None, found: Double, squares: Double) -> None:
        """Add one test set: of an inner loop, or of the outer one (None)."""
        errors = self.outer if fold is None else self.inner[fold]
        sizes = self.outer_total if fold is None else self.inner_total[fold]
        np.add(errors, found, out=errors)
        np.add(sizes, squares, out=sizes)
        if self.inner_squares is not None and self.outer_squares is not None:
            spread = self.outer_squares if fold is None else self.inner_squares[fold]
            np.add(spread, found**2, out=spread)


@dataclass(frozen=True)
class FoldScores:
    """Scores of the outer folds; NaN in folds that were not scored.  All of shape (n_folds, n_units).

    Attributes
    ----------
    pearson, error : ndarray
        r and squared errors.
    total, spread : ndarray
        Squares around the training mean, and around the mean of the test rows.
    """

    pearson: Double
    error: Double
    total: Double
    spread: Double

    @classmethod
    def empty(cls, n_folds: int, n_units: int) -> FoldScores:
        """Return NaN everywhere."""
        return cls(*(np.full((n_folds, n_units), np.nan) for _ in range(4)))


@dataclass(frozen=True)
class Solution:
    """A fit with its training means (n_units,) and its z (rank, n_units)."""

    fit: Fit
    mean: Array
    z: Array


def solutions(problem: Problem, y: Array, *, inner: bool) -> Iterator[Solution]:
    """Yield the solution of every outer training set, then of the inner ones."""
    fits = (*problem.outer, *(problem.inner if inner else ()))
    features, used = problem.gram.features, problem.pieces[1] if problem.pieces else ()
    sums: list[Array] = []
    products: list[Array] = []
    primal = features is not None and any(f.mean is not None for f in fits)
    if problem.pieces:
        for rows in problem.pieces[0]:
            piece = y[rows]
            sums.append(piece.sum(axis=0, dtype=np.float64))
            if primal and features is not None:
                products.append(features[rows].T @ piece)
    for j, fit in enumerate(fits):
        mean = (total(sums, used[j]) / fit.train.size).astype(y.dtype) if sums else y[fit.train].mean(axis=0)
        if fit.mean is None or features is None:
            cross = y[fit.train] - mean
        elif products:
            cross = total(products, used[j])
            cross -= np.outer(fit.train.size * fit.mean, mean)
        else:
            cross = features[fit.train].T @ (y[fit.train] - mean)
        yield Solution(fit, mean, np.asarray(fit.basis.T @ cross))


def sweep(
    problem: Problem, y: Array, alphas: Double, *, inner: bool, select_by: str = "error", squares: bool = False
) -> tuple[Errors, list[Solution]]:
    """Return what the choice of every penalty costs, and the outer solutions.

    Units that are predicted almost perfectly are computed again from explicit predictions: there the divided
    form has no digits left.
    """
    k, a, t = problem.n_folds, alphas.size, y.shape[1]
    form = _unlike if select_by == "pearson" else _cheapest
    errors = Errors.empty(k, a, t, squares=squares)
    outer = _sweep(problem, y, alphas, form, inner, errors)
    if select_by == "pearson" or not any(held.divided for f in (*problem.outer, *problem.inner) for held in f.tests):
        return errors, outer
    bad = without_digits(problem, errors, y)
    if bad.any():
        again = Errors.empty(k, a, int(bad.sum()), squares=squares)
        _sweep(problem, y[:, bad], alphas, _explicit, inner, again)
        for name, value in vars(again).items():
            if value is not None:
                getattr(errors, name)[..., bad] = value
    return errors, outer


def without_digits(problem: Problem, errors: Errors, y: Array) -> npt.NDArray[np.bool_]:
    """Flag units whose smallest errors the divided form cannot resolve, shape (n_units,)."""
    floor = 1e-3 if any(f.basis.dtype == np.float32 for f in problem.outer) or y.dtype == np.float32 else 1e-6
    bad = errors.outer.min(axis=0) < floor * errors.outer_total
    return np.asarray(bad | (errors.inner.min(axis=1) < floor * errors.inner_total).any(axis=0))


Form = Callable[[Held, Double, Double, Array, Array, Double], Double]


def _sweep(problem: Problem, y: Array, alphas: Double, form: Form, inner: bool, errors: Errors) -> list[Solution]:
    """Add up the errors of every test set in place; return the outer solutions."""
    outer: list[Solution] = []
    for j, one in enumerate(solutions(problem, y, inner=inner)):
        outside = j < len(problem.outer)
        outer += [one] if outside else []
        for held in one.fit.tests:
            truth = y[held.rows] - one.mean
            size = np.einsum("ij,ij->j", truth, truth, dtype=np.float64)
            found = form(held, one.fit.lam, alphas * one.fit.unit, one.z, truth, size)
            errors.add(None if outside else held.fold, found, size)
    return outer


def _cheapest(held: Held, lam: Double, alphas: Double, z: Array, truth: Array, squares: Double) -> Double:
    return (_explicit if held.divided is None else _divided)(held, lam, alphas, z, truth, squares)


def _unlike(held: Held, lam: Double, alphas: Double, z: Array, truth: Array, squares: Double) -> Double:
    """Return minus r (n_alphas, n_units) of the predictions of every penalty; 0 where it is not defined."""
    found = np.empty((alphas.size, z.shape[1]))
    for i, alpha in enumerate(alphas):
        dz = z / (lam[:, None] + alpha).astype(z.dtype, copy=False)
        r = pearson((held.a @ dz).astype(np.float64), truth.astype(np.float64), np.zeros(dz.shape[1]))
        found[i] = -np.nan_to_num(r)
    return found


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
    d = 1 / (alphas[:, None] + lam)
    linear, square = divided_terms(held, z, truth)
    found = d.astype(z.dtype) @ linear + (d * d).astype(z.dtype) @ square
    return np.asarray(squares + found, dtype=np.float64)


def divided_terms(held: Held, z: Array, truth: Array) -> tuple[Array, Array]:
    """Return what 1 / (lam + alpha) and its square multiply in the squared error, (rank, n_units) each."""
    assert held.divided is not None
    linear = held.divided.far @ z
    linear -= held.a.T @ truth
    linear *= z
    linear *= 2
    square = held.divided.times_near(z)
    square *= z
    return linear, square


def choose_alpha(errors: Double, squares: Double | None = None, count: int = 0) -> Indices:
    """Return the index of the penalty with the smallest error along axis -2; ties go to the larger penalty.

    With ``squares`` the largest penalty within one standard error of the best, over ``count`` test sets.

    Examples
    --------
    >>> import numpy as np
    >>> choose_alpha(np.array([[3.0, 1.0], [2.0, 1.0], [2.5, 1.0 + 1e-12]]))
    array([1, 2])
    """
    best = errors.min(axis=-2, keepdims=True)
    limit = best + TIE * np.abs(best)
    if squares is not None and count > 1:
        at = errors.argmin(axis=-2, keepdims=True)
        spread = np.take_along_axis(squares, at, axis=-2) - best**2 / count
        limit = limit + np.sqrt(count / (count - 1) * np.maximum(spread, 0.0))
    good = errors <= limit
    last = errors.shape[-2] - 1 - np.argmax(good[..., ::-1, :], axis=-2)
    return np.asarray(last, dtype=np.intp)


def score_folds(
    problem: Problem, y: Array, alphas: Double, outer: Iterable[Solution] | None = None, *, r: bool = True
) -> FoldScores:
    """Predict the outer test rows with one penalty per fold and unit.

    Parameters
    ----------
    problem : Problem
        The factorised source.
    y : ndarray of shape (n, n_units)
        Shifted and scaled target.
    alphas : ndarray of shape (n_folds, n_units)
        Penalties in the unit of the fits.
    outer : iterable of Solution, optional
        Where they are known.
    r : bool
        Whether r is wanted.
    """
    scores = FoldScores.empty(problem.n_folds, y.shape[1])
    for one in outer or solutions(problem, y, inner=False):
        fit, mean, z = one.fit, one.mean, one.z
        for held in fit.tests:
            dz = z / (fit.lam[:, None] + alphas[held.fold] * fit.unit).astype(z.dtype, copy=False)
            predicted, truth = held.a @ dz, y[held.rows] - mean
            rest = truth - predicted
            scores.error[held.fold] = np.einsum("ij,ij->j", rest, rest, dtype=np.float64)
            scores.total[held.fold] = np.einsum("ij,ij->j", truth, truth, dtype=np.float64)
            apart = len(truth) * truth.mean(axis=0, dtype=np.float64) ** 2
            scores.spread[held.fold] = np.maximum(scores.total[held.fold] - apart, 0.0)
            if r:
                both = predicted.astype(np.float64, copy=False), truth.astype(np.float64, copy=False)
                scores.pearson[held.fold] = pearson(*both, _rounding(fit, held, dz))
    return scores


def _rounding(fit: Fit, held: Held, dz: Array) -> Double:
    """Return the rounding error of a column of predictions, shape (n_units,)."""
    if fit.lam.size == 0:
        return np.zeros(dz.shape[1])
    reach = float(np.sqrt(fit.lam[-1]) if fit.mean is not None else fit.lam[-1])
    row = 4 * np.finfo(dz.dtype).eps * float(np.sqrt(np.einsum("ij,ij->i", held.a, held.a).max()))
    size = np.sqrt(np.einsum("ij,ij->j", dz, dz, dtype=np.float64))
    return np.asarray(np.sqrt(held.rows.size) * (row + 32 * np.finfo(np.float64).eps * reach) * size)


def pearson(predicted: Double, truth: Double, rounding: Double) -> Double:
    """Return r per column; NaN where predictions vary within their rounding error, or truth not at all."""
    p, t = predicted - predicted.mean(axis=0), truth - truth.mean(axis=0)
    pp, tt = np.einsum("ij,ij->j", p, p), np.einsum("ij,ij->j", t, t)
    defined = (np.sqrt(pp) > rounding) & (tt > 0)
    r = np.full(pp.shape, np.nan)
    np.divide(np.einsum("ij,ij->j", p, t), np.sqrt(pp) * np.sqrt(tt), out=r, where=defined)
    return np.clip(r, -1.0, 1.0)
