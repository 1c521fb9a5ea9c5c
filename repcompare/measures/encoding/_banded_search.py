"""Search over weights of bands and penalties, per target unit or for all units, and scores of what was chosen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Index
from repcompare.measures.encoding._banded_problem import Problem, Products, tasks_of
from repcompare.measures.encoding._banded_spectral import Factor, squared_errors
from repcompare.measures.encoding._held_out import Scores, reach
from repcompare.measures.encoding._select import choose_alpha, minus_r

Double = npt.NDArray[np.float64]

TIE = 1e-10
CONCENTRATIONS = (0.1, 1.0)
BLOCK_BYTES = 1 << 29
CACHE_BYTES = 1 << 28


def sample_gammas(n_bands: int, n_iter: int, seed: int) -> Double:
    """Return weights of the bands, each row on the simplex.

    The uniform one, each band alone, and equal pairs come first (so that a winner is found exactly; pairs in at most half
    of the rows), then samples of Dirichlet distributions whose concentration is drawn from 0.1 and 1.

    Parameters
    ----------
    n_bands : int
        Number of bands.
    n_iter : int
        Number of rows; the uniform weights and single bands are never left out.
    seed : int
        Of the samples.

    Returns
    -------
    ndarray of shape (n_gammas, n_bands)
        Not negative, rows sum to 1.

    Examples
    --------
    >>> sample_gammas(2, 4, seed=0).round(2)
    array([[0.5 , 0.5 ],
           [1.  , 0.  ],
           [0.  , 1.  ],
           [0.98, 0.02]])
    """
    if n_bands == 1:
        return np.ones((1, 1))
    fixed = [np.full(n_bands, 1 / n_bands), *np.eye(n_bands)]
    if n_bands > 2:
        for a, b in list(combinations(range(n_bands), 2))[: n_iter // 2]:
            fixed.append((np.eye(n_bands)[a] + np.eye(n_bands)[b]) / 2)
    rng = np.random.default_rng(seed)
    drawn: list[Double] = []
    while len(fixed) + len(drawn) < n_iter:
        sample = rng.dirichlet(np.full(n_bands, rng.choice(CONCENTRATIONS)))
        if np.isfinite(sample).all() and sample.sum() > 0:
            drawn.append(sample / sample.sum())
    return np.array(fixed + drawn)


@dataclass(frozen=True)
class Choice:
    """Chosen weights and penalties.

    Attributes
    ----------
    gamma, alpha : ndarray of shape (n_folds, t)
        Places in the lists, for the scores.
    final_gamma, final_alpha : ndarray of shape (t,)
        For a refit on all rows.
    """

    gamma: Index
    alpha: Index
    final_gamma: Index
    final_alpha: Index


@dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Attributes
    ----------
    gammas : ndarray of shape (n_gammas, n_bands)
        Weights.
    alphas : ndarray of shape (n_alphas,)
        Penalties, ascending.
    nested, shared : bool
        Inside the training rows or not; one choice for all units.
    select_by : {"error", "pearson"}
        By held-out squared errors, or by r.
    one_se : bool
        The largest penalty of the best weights within one standard error.
    units : ndarray of shape (n_tasks,), optional
        What penalties of each training set are multiples of; None: absolute.
    """

    gammas: Double
    alphas: Double
    nested: bool
    shared: bool
    select_by: str = "error"
    one_se: bool = False
    units: Double | None = None

    def unit(self, task: int) -> float:
        """Return what the penalties of a training set are multiples of."""
        return 1.0 if self.units is None else float(self.units[task])

    @property
    def trivial(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.gammas) * self.alphas.size == 1


class Factors:
    """Factors of training sets by weights; the latest fill a limited memory, so that scores do not make them again."""

    def __init__(self, problem: Problem, gammas: Double) -> None:
        self._problem, self._gammas = problem, gammas
        self._known: dict[tuple[int, int], Factor] = {}
        self._bytes = 0

    def get(self, task: int, g: int) -> Factor:
        """Return the factor of a task under the weights of row g."""
        found = self._known.get((task, g))
        if found is None:
            found = self._problem.factor(task, self._gammas[g])
            if task < len(self._problem.plan.outer) and self._bytes + found.nbytes <= CACHE_BYTES:
                self._known[task, g] = found
                self._bytes += found.nbytes
        return found


def blocks(problem: Problem, n: int, t: int) -> Iterator[slice]:
    """Yield slices of target units whose products fit in memory."""
    tests = sum(len(task.tests) for task in tasks_of(problem.plan))
    size = max(16, BLOCK_BYTES // (8 * ((len(tasks_of(problem.plan)) + tests) * problem.width + 4 * n)))
    for start in range(0, t, size):
        yield slice(start, min(start + size, t))


def errors(
    factors: Factors, products: Products, problem: Problem, g: int, search: Search
) -> tuple[Double, Double | None]:
    """Return what the choice of every penalty costs, and for one standard error the squares of what is summed.

    Both (n_folds + 1, n_alphas, t): sums over the inner test sets per fold, then over the outer folds; of squared errors, or
    of minus r.
    """
    t = products.squares[0][0].size
    found = np.zeros((problem.plan.n_folds + 1, search.alphas.size, t))
    squares = np.zeros_like(found) if search.one_se else None
    n_outer = len(problem.plan.outer)
    for j, task in enumerate(tasks_of(problem.plan)):
        factor, alphas = factors.get(j, g), search.alphas * search.unit(j)
        z = factor.basis.T @ products.train[j]
        for v, (fold, _) in enumerate(task.tests):
            if search.select_by == "pearson":
                rows = problem.rows(j, v, search.gammas[g], factor)
                one = minus_r(rows, factor.lam, z, products.truth[j][v], alphas)
            else:
                w = factor.projections[v].T @ products.test[j][v]
                one = squared_errors(factor, v, (z, w, products.squares[j][v]), alphas)
            found[-1 if j < n_outer else fold] += one
            if squares is not None:
                squares[-1 if j < n_outer else fold] += one**2
    return found, squares


def n_test_sets(problem: Problem) -> Index:
    """Return how many test sets are summed for each fold, and for the choice on all rows, (n_folds + 1,)."""
    inner = [fold for task in problem.plan.inner for fold, _ in task.tests]
    found = np.bincount(np.array(inner, dtype=np.intp), minlength=problem.plan.n_folds + 1)
    found[-1] = len(problem.plan.outer)
    return found.astype(np.intp)


def totals(products: Products, problem: Problem) -> Double:
    """Return the squares (n_folds + 1, t) that go with :func:`errors`."""
    found = np.zeros((problem.plan.n_folds + 1, products.squares[0][0].size))
    for j, task in enumerate(tasks_of(problem.plan)):
        for v, (fold, _) in enumerate(task.tests):
            found[-1 if j < len(problem.plan.outer) else fold] += products.squares[j][v]
    return found


def choose_per_unit(factors: Factors, products: Products, problem: Problem, search: Search) -> Choice:
    """Return the best weights and penalty of each unit; earlier weights and larger penalties win ties."""
    k, t = problem.plan.n_folds, products.squares[0][0].size
    best = np.full((k + 1, t), np.inf)
    gamma, alpha = np.zeros((k + 1, t), dtype=np.intp), np.zeros((k + 1, t), dtype=np.intp)
    for g in range(0 if search.trivial else len(search.gammas)):
        table, squares = errors(factors, products, problem, g, search)
        place = choose_alpha(table)
        value = np.take_along_axis(table, place[:, None], axis=1)[:, 0]
        if squares is not None:
            rows = zip(table, squares, n_test_sets(problem).tolist(), strict=True)
            place = np.array([choose_alpha(*row) for row in rows])
        better = value < best - TIE * np.abs(best) if g else np.ones_like(value, dtype=bool)
        best[better], gamma[better], alpha[better] = value[better], g, place[better]
    return _choice(gamma, alpha, search)


def _choice(gamma: Index, alpha: Index, search: Search) -> Choice:
    """Split choices (n_folds + 1, t) into those of the folds and the final ones."""
    if not search.nested:
        gamma[:-1], alpha[:-1] = gamma[-1], alpha[-1]
    return Choice(gamma[:-1], alpha[:-1], gamma[-1], alpha[-1])


def choose_shared(factors: Factors, parts: Iterator[Products], problem: Problem, search: Search) -> Choice:
    """Return the weights and the penalty with the smallest sum of errors, each relative to its unit; units of 1."""
    k = problem.plan.n_folds
    table = np.zeros((len(search.gammas), k + 1, search.alphas.size))
    for products in parts:
        squares = totals(products, problem)
        weights = np.divide(1.0, squares, out=np.zeros_like(squares), where=squares > 0)
        for g in range(len(search.gammas)):
            table[g] += (errors(factors, products, problem, g, search)[0] * weights[:, None]).sum(axis=2)
    place = choose_alpha(table.transpose(1, 2, 0))  # (n_folds + 1, n_gammas)
    value = np.take_along_axis(table.transpose(1, 2, 0), place[:, None], axis=1)[:, 0]
    gamma = np.argmax(value <= value.min(axis=1, keepdims=True) * (1 + TIE), axis=1)[:, None]
    return _choice(gamma, np.take_along_axis(place, gamma, axis=1), search)


@dataclass(frozen=True)
class Fitted:
    """Predictions of one outer test set.

    Attributes
    ----------
    fold : int
        Which.
    predicted : ndarray of shape (n_test, t)
        Around the training mean of the target.
    truth : ndarray of shape (n_test, t)
        The target around the same mean.
    reach : ndarray of shape (t,)
        The largest size that a prediction could have had.
    bands : ndarray of shape (n_bands, n_test, t), or None
        What each band adds to ``predicted``.
    """

    fold: int
    predicted: Double
    truth: Double
    reach: Double
    bands: Double | None


def predictions(
    factors: Factors, products: Products, problem: Problem, search: Search, choice: Choice, *, by_band: bool = False
) -> Iterator[Fitted]:
    """Yield the predictions of every outer fold by its choices (n_folds, t)."""
    for j, task in enumerate(problem.plan.outer):
        ((fold, _),) = task.tests
        truth = products.truth[j][0]
        predicted, size = np.zeros_like(truth), np.zeros(truth.shape[1])
        bands = np.zeros((problem.n_bands, *truth.shape)) if by_band else None
        for g in np.unique(choice.gamma[fold]):
            units = np.flatnonzero(choice.gamma[fold] == g)
            factor, gamma = factors.get(j, int(g)), search.gammas[g]
            z = factor.basis.T @ products.train[j][:, units]
            z /= factor.lam[:, None] + search.unit(j) * search.alphas[choice.alpha[fold, units]]
            rows = problem.rows(j, 0, gamma, factor)
            predicted[:, units] = rows @ z
            size[units] = reach(rows, z)
            if bands is not None:
                bands[:, :, units] = [part @ z for part in problem.band_rows(j, 0, gamma, factor)]
        yield Fitted(fold, predicted, truth, size, bands)


def fill(scores: Scores, units: slice, found: Fitted) -> None:
    """Write the scores of one fold and some units in place."""
    part = Scores.empty(1, found.truth.shape[1])
    part.fill(0, found.predicted, found.truth, found.reach)
    if scores.kept is not None:
        scores.kept.write(found.fold, units, found.predicted, found.truth)
    for name in ("pearson", "gain", "total"):
        getattr(scores, name)[found.fold, units] = getattr(part, name)[0]


def per_unit(choice: Choice, t: int) -> Choice:
    """Repeat a shared choice for t units."""
    wide = [np.repeat(a, t, axis=-1) if a.shape[-1] == 1 else a for a in vars(choice).values()]
    return Choice(*wide)
