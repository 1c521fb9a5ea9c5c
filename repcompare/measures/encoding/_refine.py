"""Penalties between those of the grid: golden-section search, O(rank) per unit and step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from repcompare.measures._measure import Array
from repcompare.measures.encoding._factor import Double
from repcompare.measures.encoding._select import Errors, Indices, Problem, divided_terms, solutions, without_digits

STEPS = 25
GOLDEN = (np.sqrt(5) - 1) / 2

Term = tuple[
    Double, Array, Array
]  # eigenvalues in units of the penalty, and what divides by lam + alpha once and twice


def refined(
    problem: Problem, y: Array, alphas: Double, errors: Errors, chosen: tuple[Indices, Indices], nested: bool
) -> tuple[Double, Double]:
    """Return penalties at least as good as the chosen ones of the grid, between their neighbours.

    Parameters
    ----------
    problem : Problem
        Every test set with divided differences.
    y : ndarray of shape (n, n_units)
        Target.
    alphas : ndarray of shape (n_alphas,)
        The grid.
    errors : Errors
        Of the grid; units whose errors the divided form cannot resolve stay on it.
    chosen : (ndarray of shape (n_folds, n_units), ndarray of shape (n_units,))
        Indices into the grid, for the scores and for the refit.
    nested : bool
        Whether folds have penalties of their own.
    """
    keep = without_digits(problem, errors, y)
    inner, final = alphas[chosen[0]], alphas[chosen[1]]
    by_fold: dict[int | None, list[Term]] = {}
    for fold, term in _terms(problem, y, nested):
        by_fold.setdefault(fold, []).append(term)
    final = np.where(keep, final, golden(by_fold[None], alphas, chosen[1]))
    if not nested:
        return np.repeat(final[None], problem.n_folds, axis=0), final
    for fold in range(problem.n_folds):
        if fold in by_fold:
            inner[fold] = np.where(keep, inner[fold], golden(by_fold[fold], alphas, chosen[0][fold]))
    return inner, final


def _terms(problem: Problem, y: Array, nested: bool) -> Iterator[tuple[int | None, Term]]:
    n_outer = len(problem.outer)
    for j, one in enumerate(solutions(problem, y, inner=nested)):
        for held in one.fit.tests:
            if held.divided is None:  # a training set without variation: every penalty predicts its mean
                continue
            truth = y[held.rows] - one.mean
            lam = one.fit.lam / one.fit.unit
            linear, square = divided_terms(held, one.z, truth)
            yield None if j < n_outer else held.fold, (lam, linear / one.fit.unit, square / one.fit.unit**2)


def golden(terms: list[Term], alphas: Double, at: Indices) -> Double:
    """Minimise the sum of squared errors of each unit over log alpha, starting from the grid.

    Parameters
    ----------
    terms : list of (lam, linear, square)
        One per test set; the error is a constant plus ``sum_i linear_i d_i + square_i d_i^2``, d = 1 / (lam + alpha).
    alphas : ndarray of shape (n_alphas,)
        The grid.
    at : ndarray of shape (n_units,)
        Where each unit starts.
    """
    grid = np.log(alphas)
    low, high = grid[np.maximum(at - 1, 0)], grid[np.minimum(at + 1, alphas.size - 1)]
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    f_left, f_right = _error(terms, left), _error(terms, right)
    for _ in range(STEPS):
        lower = f_left < f_right
        low, high = np.where(lower, low, left), np.where(lower, right, high)
        fresh = np.where(lower, high - GOLDEN * (high - low), low + GOLDEN * (high - low))
        f_fresh = _error(terms, fresh)
        left, right = np.where(lower, fresh, right), np.where(lower, left, fresh)
        f_left, f_right = np.where(lower, f_fresh, f_right), np.where(lower, f_left, f_fresh)
    best = np.where(f_left < f_right, left, right)
    better = np.minimum(f_left, f_right) < _error(terms, grid[at])
    return np.asarray(np.where(better, np.exp(best), alphas[at]))


def _error(terms: list[Term], log_alpha: Double) -> Double:
    found = np.zeros(log_alpha.size)
    alpha = np.exp(log_alpha)
    for lam, linear, square in terms:
        d = 1 / (lam[:, None] + alpha)
        found += np.einsum("ij,ij->j", d, linear + d * square)
    return found
