"""Weights on all rows, with the penalties that cross-validation chose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repcompare.measures._measure import Array, Folds, Index
from repcompare.measures.encoding import _banded_search as engine
from repcompare.measures.encoding._banded_options import Options
from repcompare.measures.encoding._banded_spectral import eigen
from repcompare.measures.encoding.banded import make_problem, make_search

Double = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BandedFit:
    """Ridge with a penalty per band on all rows.

    Attributes
    ----------
    coef : ndarray of shape (p, t)
        Weights.
    intercept : ndarray of shape (t,)
        Of predictions ``x @ coef + intercept``.
    alphas, gammas : ndarray of shape (n_bands, t)
        Penalties (inf: left out) and weights of the bands.
    r2 : ndarray of shape (t,)
        Cross-validated R2 of the chosen penalties, on the folds that chose them; NaN for constant units.
    """

    coef: Double
    intercept: Double
    alphas: Double
    gammas: Double
    r2: Double


def fit_on_all(options: Options, x: Array, y: Array, codes: Index, folds: Folds) -> BandedFit:
    """Choose penalties by the folds (``options.nested`` is False), then fit all rows of x (n, p) and y (n, t)."""
    problem = make_problem(options, x, codes, folds)
    search, t = make_search(options, problem), y.shape[1]
    factors = engine.Factors(problem, search.gammas)
    mean_x, mean_y = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    about, target = x - mean_x, y - mean_y
    slices = list(engine.blocks(problem, len(x), t))
    shared = None
    if search.shared:
        parts = (problem.products(target[:, units]) for units in slices)
        shared = engine.choose_shared(factors, parts, problem, search)
    gamma, alpha = np.empty(t, dtype=np.intp), np.empty(t, dtype=np.intp)
    gain, total = np.zeros(t), np.zeros(t)
    for units in slices:
        products = problem.products(target[:, units])
        if shared is None:
            choice = engine.choose_per_unit(factors, products, problem, search)
        else:
            choice = engine.per_unit(shared, products.squares[0][0].size)
        gamma[units], alpha[units] = choice.final_gamma, choice.final_alpha
        for one in engine.predictions(factors, products, problem, search, choice):
            squares = np.einsum("ij,ij->j", one.truth, one.truth)
            gain[units] += squares - np.einsum("ij,ij->j", one.truth - one.predicted, one.truth - one.predicted)
            total[units] += squares
    coef = weights_on_all(about, target, search.gammas[gamma][:, codes].T, search.alphas[alpha])
    with np.errstate(divide="ignore"):
        alphas = (search.alphas[alpha, None] / search.gammas[gamma]).T
    r2 = np.divide(gain, total, out=np.full(t, np.nan), where=total > 0)
    return BandedFit(coef, mean_y - mean_x @ coef, alphas, search.gammas[gamma].T, r2)


def weights_on_all(x: Double, y: Double, gammas: Double, alphas: Double) -> Double:
    """Return weights (p, t) of centred x (n, p), y (n, t); feature i of unit u is penalised by alphas[u] / gammas[i, u].

    Examples
    --------
    >>> x, y = np.array([[-1.0], [1.0]]), np.array([[-2.0], [2.0]])
    >>> weights_on_all(x, y, np.ones((1, 1)), np.array([2.0]))
    array([[1.]])
    """
    coef = np.zeros((x.shape[1], y.shape[1]))
    kinds, which = np.unique(gammas, axis=1, return_inverse=True)
    for j in range(kinds.shape[1]):
        units = np.flatnonzero(which.ravel() == j)
        scale = np.sqrt(kinds[:, j])
        scaled = x * scale
        narrow = x.shape[1] <= len(x)
        matrix = scaled.T @ scaled if narrow else scaled @ scaled.T
        lam, basis = eigen(matrix, float(matrix.trace()))
        z = basis.T @ (scaled.T @ y[:, units] if narrow else y[:, units])
        found = basis @ (z / (lam[:, None] + alphas[units]))
        coef[:, units] = scale[:, None] * (found if narrow else scaled.T @ found)
    return coef
