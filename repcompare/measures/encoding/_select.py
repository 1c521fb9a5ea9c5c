"""The target side of ridge: squared errors of every penalty, the choice among them, and scores of the chosen.

Errors of all penalties come from divided differences (two skinny products for any number of penalties) or
from explicit predictions, whichever is cheaper; scores always come from explicit predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.kernels import encoding as kernels
from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding._factor import Double, Fit, Gram, Held
from repcompare.measures.encoding._pieces import run, total
from repcompare.measures.encoding._workspace import Workspace

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
    """A fit of some units.

    Attributes
    ----------
    fit : Fit
        Training set.
    mean : ndarray of shape (n_units,)
        Training means.
    stack : ndarray of shape (rank + most test rows, n_units)
        z, and room for a test set below it.
    """

    fit: Fit
    mean: Array
    stack: Array

    @property
    def z(self) -> Array:
        """Projections of the target, (rank, n_units)."""
        return self.stack[: self.fit.lam.size]

    def place(self, held: Held, y: Array) -> tuple[Array, Array]:
        """Write the training mean minus a test set below z; return it (n_test, n_units), and both together."""
        rank = self.fit.lam.size
        both = self.stack[: rank + held.rows.size]
        np.subtract(self.mean, y[run(held.rows)], out=both[rank:])
        return both[rank:], both


def solutions(problem: Problem, y: Array, *, inner: bool, room: Workspace | None = None) -> Iterator[Solution]:
    """Yield the solution of every outer training set, then of the inner ones; each inner one replaces the one before."""
    room = room or Workspace()
    fits = (*problem.outer, *(problem.inner if inner else ()))
    used = problem.pieces[1] if problem.pieces else ()
    sums, products = _piece_sums(problem, y, fits, room)
    for j, fit in enumerate(fits):
        mean = (total(sums, used[j]) / fit.train.size).astype(y.dtype) if sums else y[fit.train].mean(axis=0)
        cross = _cross(problem, y, (fit, mean), products, used[j] if used else None, room)
        name = ("stack", j if j < len(problem.outer) else "inner")
        rank, dtype = fit.lam.size, np.result_type(fit.basis, cross)
        most = max((held.rows.size for held in fit.tests), default=0)
        stack = room.take(name, (rank + most, y.shape[1]), dtype)
        np.matmul(fit.basis.T, cross, out=stack[:rank])
        yield Solution(fit, mean, stack)


def _piece_sums(
    problem: Problem, y: Array, fits: tuple[Fit, ...], room: Workspace
) -> tuple[list[Double], Array | None]:
    """Return the sums of each piece of the target, and their products with the features (n_pieces, p, n_units)."""
    features, sums = problem.gram.features, []
    if problem.pieces is None:
        return [], None
    parts = problem.pieces[0]
    products = None
    if features is not None and any(f.mean is not None for f in fits):
        shape = (len(parts), features.shape[1], y.shape[1])
        products = room.take("products", shape, np.result_type(features, y))
    for g, rows in enumerate(parts):
        piece = y[run(rows)]
        sums.append(np.empty(y.shape[1]))
        kernels.column_sums(piece, sums[-1])
        if products is not None and features is not None:
            np.matmul(features[run(rows)].T, piece, out=products[g])
    return sums, products


def _cross(
    problem: Problem,
    y: Array,
    trained: tuple[Fit, Array],
    products: Array | None,
    used: Index | None,
    room: Workspace,
) -> Array:
    """Return products of the centred features (p, n_units), or in the dual form the centred target."""
    (fit, mean), features = trained, problem.gram.features
    if fit.mean is None or features is None:
        return np.asarray(y[fit.train] - mean)
    if products is None or used is None:
        return np.asarray(features[fit.train].T @ (y[fit.train] - mean))
    cross = room.take("cross", products.shape[1:], products.dtype)
    left = (fit.train.size * fit.mean).astype(products.dtype)
    kernels.union_products(products, used, left, mean.astype(products.dtype, copy=False), cross)
    return cross


def sweep(  # noqa: PLR0913
    problem: Problem,
    y: Array,
    alphas: Double,
    *,
    inner: bool,
    select_by: str = "error",
    squares: bool = False,
    room: Workspace | None = None,
) -> tuple[Errors, list[Solution]]:
    """Return what the choice of every penalty costs, and the outer solutions.

    Units that are predicted almost perfectly are computed again from explicit predictions: there the divided
    form has no digits left.
    """
    k, a, t = problem.n_folds, alphas.size, y.shape[1]
    form = _unlike if select_by == "pearson" else _cheapest
    errors = Errors.empty(k, a, t, squares=squares)
    outer = _sweep(problem, y, alphas, form, inner, errors, room)
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


Form = Callable[[Held, Double, Double, Array, Double, Workspace], Double]


def _sweep(  # noqa: PLR0913
    problem: Problem,
    y: Array,
    alphas: Double,
    form: Form,
    inner: bool,
    errors: Errors,
    room: Workspace | None = None,
) -> list[Solution]:
    """Add up the errors of every test set in place; return the outer solutions."""
    outer: list[Solution] = []
    room = room or Workspace()
    for j, one in enumerate(solutions(problem, y, inner=inner, room=room)):
        outside = j < len(problem.outer)
        outer += [one] if outside else []
        for held in one.fit.tests:
            below, both = one.place(held, y)
            size = np.empty(y.shape[1])
            kernels.column_squares(below, size)
            found = form(held, one.fit.lam, alphas * one.fit.unit, both, size, room)
            errors.add(None if outside else held.fold, found, size)
    return outer


def _cheapest(held: Held, lam: Double, alphas: Double, both: Array, squares: Double, room: Workspace) -> Double:
    return (_explicit if held.joined is None else _divided)(held, lam, alphas, both, squares, room)


def _unlike(held: Held, lam: Double, alphas: Double, both: Array, squares: Double, room: Workspace) -> Double:
    """Return minus r (n_alphas, n_units) of the predictions of every penalty; 0 where it is not defined."""
    return minus_r(held.a, lam, both[: lam.size], -both[lam.size :].astype(np.float64), alphas)


def minus_r(rows: Array, lam: Double, z: Array, truth: Double, alphas: Double) -> Double:
    """Return minus r (n_alphas, n_units) of data with the predictions ``rows @ (z / (lam + alpha))``; 0 where undefined.

    Examples
    --------
    >>> rows = np.array([[1.0], [2.0], [3.0]])
    >>> minus_r(rows, np.ones(1), np.array([[2.0]]), -rows, np.array([1.0]))
    array([[1.]])
    """
    found = np.empty((alphas.size, z.shape[1]))
    for i, alpha in enumerate(alphas):
        dz = z / (lam[:, None] + alpha).astype(z.dtype, copy=False)
        r = pearson((rows @ dz).astype(np.float64), truth, np.zeros(dz.shape[1]))
        found[i] = -np.nan_to_num(r)
    return found


def _explicit(held: Held, lam: Double, alphas: Double, both: Array, squares: Double, room: Workspace) -> Double:
    """Return squared errors (n_alphas, n_units) from the predictions of every penalty."""
    z, below = both[: lam.size], both[lam.size :]
    d = (1 / (lam[:, None] + alphas)).astype(z.dtype, copy=False)
    a, t = alphas.size, z.shape[1]
    if a * t <= FEW:
        predicted = held.a @ (d[:, :, None] * z[:, None, :]).reshape(lam.size, a * t)
        rest = below[:, None, :] + predicted.reshape(-1, a, t)
        return np.asarray(np.einsum("ijk,ijk->jk", rest, rest, dtype=np.float64))
    found = np.empty((a, t))
    for i in range(a):
        dz = np.multiply(d[:, i, None], z, out=room.take("dz", z.shape, z.dtype))
        rest = np.matmul(held.a, dz, out=room.take("predicted", below.shape, below.dtype))
        rest += below
        kernels.column_squares(rest, found[i])
    return found


def _divided(held: Held, lam: Double, alphas: Double, both: Array, squares: Double, room: Workspace) -> Double:
    """Return squared errors (n_alphas, n_units) without predictions.

    SSE = yy - 2 sum_i d_i Z_i W_i + sum_ij d_i d_j G_ij Z_i Z_j with W = A' y_V and G = A' A.
    """
    assert held.divided is not None and held.joined is not None
    z, d = both[: lam.size], 1 / (alphas[:, None] + lam)
    linear = np.matmul(held.joined, both, out=room.take("linear", z.shape, z.dtype))
    linear *= z
    square = held.divided.times_near(z, out=room.take("square", z.shape, z.dtype))
    square *= z
    found = (2 * d).astype(z.dtype) @ linear
    found += (d * d).astype(z.dtype) @ square
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
    problem: Problem,
    y: Array,
    alphas: Double,
    outer: Iterable[Solution] | None = None,
    *,
    r: bool = True,
    room: Workspace | None = None,
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
    room : Workspace, optional
        Where memory is taken from.
    """
    scores, room = FoldScores.empty(problem.n_folds, y.shape[1]), room or Workspace()
    for one in outer or solutions(problem, y, inner=False, room=room):
        fit, z = one.fit, one.z
        for held in fit.tests:
            f, (below, _) = held.fold, one.place(held, y)
            dz = room.take("dz", z.shape, z.dtype)
            np.add(fit.lam.astype(z.dtype)[:, None], (alphas[f] * fit.unit).astype(z.dtype), out=dz)
            np.divide(z, dz, out=dz)
            predicted = np.matmul(held.a, dz, out=room.take("predicted", below.shape, below.dtype))
            first = np.empty(y.shape[1])
            kernels.fold_sums(below, predicted, scores.error[f], scores.total[f], first)
            scores.spread[f] = np.maximum(scores.total[f] - first**2 / len(below), 0.0)
            if r:
                both = predicted.astype(np.float64, copy=False), -below.astype(np.float64, copy=False)
                scores.pearson[f] = pearson(*both, _rounding(fit, held, dz))
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
