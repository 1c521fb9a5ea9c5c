"""Penalties of the bands off the grid: L-BFGS on their logarithms, with gradients from the statistics of the folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.optimize

from repcompare.measures._measure import Index
from repcompare.measures.encoding._banded_problem import Narrow, Problem, Products, Wide, centred_blocks, tasks_of
from repcompare.measures.encoding._banded_search import Choice, Search, totals

Double = npt.NDArray[np.float64]

REACH = float(np.log(1e4))  # how far a penalty may move from the grid
STEPS = 60


def errors_and_gradient(
    problem: Problem, products: Products, where: tuple[int, int], units: Index, theta: Double
) -> tuple[Double, Double]:
    """Return held-out squared errors of a test set and their derivatives by the log penalties of the bands.

    Parameters
    ----------
    problem : Problem
        The source.
    products : Products
        The target.
    where : (int, int)
        Task and test set.
    units : ndarray of shape (t,)
        Target units.
    theta : ndarray of shape (n_bands,)
        Log penalties; inf leaves a band out.

    Returns
    -------
    (ndarray of shape (t,), ndarray of shape (n_bands, t))

    Notes
    -----
    Narrow: ``B = (S_T + L)^-1 C_T``, ``E = S_V B - C_V``, ``Q = (S_T + L)^-1 E``, and
    ``dSSE / dtheta_b = -2 alpha_b sum_{i in b} Q_i B_i``.  Wide: with ``K = sum_b K_b / alpha_b``, ``c = (K_T + I)^-1 y``
    and ``Q = (K_T + I)^-1 K_VT' E``, ``dSSE / dtheta_b = 2 / alpha_b (Q' K_b,T c - E' K_b,V c)``.
    """
    form = _narrow if isinstance(problem, Narrow) else _wide
    return form(problem, products, where, units, theta)  # type: ignore[arg-type]


def _narrow(
    problem: Narrow, products: Products, where: tuple[int, int], units: Index, theta: Double
) -> tuple[Double, Double]:
    task, which = where
    active = np.flatnonzero(np.isfinite(theta)[problem.bands])
    sums = problem.statistics(task)
    inside, held = sums.train, sums.tests[which]
    penalty = np.exp(theta[problem.bands[active]])
    matrix = inside[active[:, None], active]
    matrix[np.diag_indices_from(matrix)] += penalty
    factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    weights = scipy.linalg.cho_solve(factor, products.train[task][np.ix_(active, units)], check_finite=False)
    cross = products.test[task][which][np.ix_(active, units)]
    rest = held[active[:, None], active] @ weights - cross
    squares = products.squares[task][which][units]
    found = squares + np.einsum("ij,ij->j", weights, rest - cross)
    change = -2 * penalty[:, None] * scipy.linalg.cho_solve(factor, rest, check_finite=False) * weights
    gradient = np.zeros((theta.size, units.size))
    np.add.at(gradient, problem.bands[active], change)
    return np.asarray(found), gradient


def _wide(
    problem: Wide, products: Products, where: tuple[int, int], units: Index, theta: Double
) -> tuple[Double, Double]:
    task, which = where
    one = tasks_of(problem.plan)[task]
    scale = np.exp(-theta)
    parts = {}
    for b in np.flatnonzero(np.isfinite(theta)).tolist():
        blocks = list(centred_blocks(problem.band(task, b), one))
        parts[b] = scale[b] * blocks[0], scale[b] * blocks[1 + which]
    inside, cross = (sum(part[i] for part in parts.values()) for i in (0, 1))
    factor = scipy.linalg.cho_factor(inside + np.eye(one.train.size), lower=True, check_finite=False)
    dual = scipy.linalg.cho_solve(factor, products.train[task][:, units], check_finite=False)
    rest = cross @ dual - products.truth[task][which][:, units]
    back = scipy.linalg.cho_solve(factor, cross.T @ rest, check_finite=False)
    gradient = np.zeros((theta.size, units.size))
    for b, (train, test) in parts.items():
        gradient[b] = 2 * (np.einsum("ij,ij->j", back, train @ dual) - np.einsum("ij,ij->j", rest, test @ dual))
    return np.einsum("ij,ij->j", rest, rest), gradient


def refine(problem: Problem, products: Products, search: Search, choice: Choice) -> tuple[Search, Choice]:
    """Return refined choices; units that chose the same weights and penalty share every factorisation.

    The sum of their errors, each relative to its unit, is made smaller.  New weights and penalties are appended to those
    of the search, so that places stay valid.
    """
    k = problem.plan.n_folds
    gamma = np.vstack([choice.gamma, choice.final_gamma])
    alpha = np.vstack([choice.alpha, choice.final_alpha])
    found_gamma, found_alpha = gamma.copy(), alpha.copy()
    gammas, alphas = [*search.gammas], [*search.alphas]
    squares = totals(products, problem)
    for row in range(k + 1) if search.nested else (k,):
        for pair in np.unique(np.stack([gamma[row], alpha[row]]), axis=1).T:
            units = np.flatnonzero((gamma[row] == pair[0]) & (alpha[row] == pair[1]) & (squares[row] > 0))
            if not units.size:
                continue
            with np.errstate(divide="ignore"):
                theta = np.log(search.alphas[pair[1]] / search.gammas[pair[0]])
            best = _descend((problem, search), products, row, (units, 1 / squares[row, units]), theta)
            precision = np.exp(-best)
            found_gamma[row, units], found_alpha[row, units] = len(gammas), len(alphas)
            gammas.append(precision / precision.sum())
            alphas.append(1 / precision.sum())
    if not search.nested:
        found_gamma[:-1], found_alpha[:-1] = found_gamma[-1], found_alpha[-1]
    new = Choice(found_gamma[:-1], found_alpha[:-1], found_gamma[-1], found_alpha[-1])
    return replace(search, gammas=np.array(gammas), alphas=np.array(alphas)), new


def _descend(
    source: tuple[Problem, Search], products: Products, row: int, group: tuple[Index, Double], theta: Double
) -> Double:
    """Return the log penalties (n_bands,) of a group of units for one fold (the last row: for a refit on all rows)."""
    problem, search = source
    units, weights = group
    n_outer, last = len(problem.plan.outer), row == problem.plan.n_folds
    wanted = [
        (j, v)
        for j, task in enumerate(tasks_of(problem.plan))
        for v, (fold, _) in enumerate(task.tests)
        if (j < n_outer if last else j >= n_outer and fold == row)
    ]
    free = np.flatnonzero(np.isfinite(theta))
    shift = {j: float(np.log(search.unit(j))) for j, _ in wanted}

    def objective(values: Double) -> tuple[float, Double]:
        moved = theta.copy()
        moved[free] = values
        value, slope = 0.0, np.zeros(free.size)
        for where in wanted:
            errors, gradient = errors_and_gradient(problem, products, where, units, moved + shift[where[0]])
            value += float(errors @ weights)
            slope += gradient[free] @ weights
        return value, slope

    bounds = [(v - REACH, v + REACH) for v in theta[free]]
    found = scipy.optimize.minimize(
        objective, theta[free], jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}
    )
    result = theta.copy()
    result[free] = found.x
    return result
