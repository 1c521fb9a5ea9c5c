"""The penalty with the smallest leave-one-out error of each unit, from few residuals.

The leave-one-out error of a penalty is ``sum_i w_i e_i^2`` with the in-sample residuals e and weights ``w_i = 1 /
M_ii^2``.  With equal weights it would cost O(rank) per unit (that is generalised cross-validation), which gives a good
guess.  From the residuals of that guess alone, two bounds of the error of any other penalty follow; they exclude
nearly all of them; of the few that are left float32 excludes most, and the others are computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding._factor import Double
from repcompare.measures.encoding._plan import Mask
from repcompare.measures.encoding._press import Hat, Residuals, weighted
from repcompare.measures.encoding._select import Indices, choose_alpha

ROUNDING = 1e-12  # of the squares that bounds are made of
SLACK = 1e-9  # bounds that exclude a penalty must do so by more than rounding
SINGLE = 1e-5  # products in float32 are right to this share of the size of their factors


@dataclass(frozen=True)
class Path:
    """What every unit shares: a hat for each penalty.

    Attributes
    ----------
    hat : Hat
        Residual maker.
    narrow : Hat
        The same in float32.
    g : ndarray of shape (rank, n_alphas)
        See :meth:`Hat.shrink`.
    weights : ndarray of shape (n_alphas, n)
        ``1 / M_ii^2``.
    spread : ndarray of shape (n_alphas, n)
        Squares of ``weights`` minus their mean over rows.
    """

    hat: Hat
    narrow: Hat
    g: Double
    weights: Double
    spread: Double


def make_path(hat: Hat, alphas: Double) -> Path:
    """Prepare the choice among some penalties."""
    weights = hat.diagonal(alphas) ** -2
    spread = (weights - weights.mean(axis=1)[:, None]) ** 2
    return Path(hat, Hat(hat.q.astype(np.float32), hat.lam), hat.shrink(alphas), weights, spread)


@dataclass(frozen=True)
class _Guess:
    """A penalty per unit: ``own`` columns of g (rank, n_units), ``residuals`` (n, n_units), their ``squares``."""

    own: Double
    residuals: Array
    squares: Array


def choose_all(seen: Residuals, path: Path) -> tuple[Indices, Array]:
    """Return the index of the best penalty of each unit (n_units,), and the residuals (n, n_units) at it."""
    g = path.g
    index = (seen.in_sample(g) * path.weights.mean(axis=1)[:, None]).argmin(axis=0)
    own = g[:, index]
    residuals = seen.at(own)
    if g.shape[1] == 1:
        return index, residuals
    guess = _Guess(own, residuals, np.square(residuals))
    each, at_guess = np.arange(index.size), path.weights @ guess.squares
    low, high = _bounds(seen, path, guess, at_guess)
    errors = np.full(low.shape, np.inf)
    errors[index, each] = at_guess[index, each]
    best = np.minimum(high.min(axis=0), errors.min(axis=0))
    wanted = (low <= best * (1 + SLACK)) & np.isinf(errors)
    if wanted.any():
        _evaluate(errors, seen, (g, path.weights), _thinned(seen, path, errors, wanted))
    chosen = choose_alpha(errors)
    moved = np.flatnonzero(chosen != index)
    if moved.size:
        residuals[:, moved] = seen.at(g[:, chosen[moved]], moved)
    return chosen, residuals


def _bounds(seen: Residuals, path: Path, guess: _Guess, at_guess: Double) -> tuple[Double, Double]:
    """Return what the errors (n_alphas, n_units) are not below, and not above.

    With e0 the residuals of the guess, those of another penalty are ``e = share e0 + f``, f orthogonal to e0 and small.
    In ``sum w e^2 = share^2 sum w e0^2 + 2 share sum w e0 f + sum w f^2`` the first term is known.  The second would be 0
    if weights were equal; by the Cauchy-Schwarz inequality it is not beyond the root of ``sum (w - mean)^2 e0^2 |f|^2``.
    The third lies between the smallest and the largest weight times ``|f|^2``, which costs O(rank).
    """
    g, z, size = path.g, seen.z, guess.squares.sum(axis=0)
    shrunk = guess.own * z
    rest = np.zeros(size.size) if seen.hat.full else np.maximum(size - np.einsum("ij,ij->j", shrunk, shrunk), 0.0)
    inside, product = (g * g).T @ (z * z) + rest, g.T @ (shrunk * z) + rest
    share = np.divide(product, size, out=np.zeros_like(product), where=size > 0)
    apart = np.maximum(inside - share * product, 0.0) + ROUNDING * (inside + size)
    least, most = path.weights.min(axis=1)[:, None], path.weights.max(axis=1)[:, None]
    known = share**2 * at_guess
    slack = 2 * np.abs(share) * np.sqrt(path.spread @ guess.squares * apart) + ROUNDING * most * (inside + size)
    low = np.maximum(known + least * apart, least * inside) - slack
    return low, np.minimum(known + most * apart, most * inside) + slack


def _thinned(seen: Residuals, path: Path, known: Double, wanted: Mask) -> Mask:
    """Return which of the wanted penalties float32 does not exclude either."""
    narrow = Residuals(path.narrow, seen.z.astype(np.float32), seen.centred.astype(np.float32), seen.rest)
    errors = known.copy()
    _evaluate(errors, narrow, (path.g.astype(np.float32), path.weights.astype(np.float32)), wanted)
    total = seen.rest + np.einsum("ij,ij->j", seen.z, seen.z)
    size = SINGLE * np.sqrt(path.weights.max(axis=1)[:, None] * total)
    slack = np.where(wanted, size * (2 * np.sqrt(np.where(wanted, errors, 0.0)) + size), 0.0)
    limit = (errors + slack).min(axis=0)
    return np.asarray(wanted & (errors - slack <= limit * (1 + SLACK)))


def _evaluate(errors: Double, seen: Residuals, each: tuple[Array, Array], wanted: Mask) -> None:
    """Write the leave-one-out errors of the wanted penalties and units in place."""
    g, weights = each
    few, n_units = wanted.copy(), wanted.shape[1]
    for i in np.flatnonzero(2 * wanted.sum(axis=1) > n_units):  # to copy the columns would cost more than computing all
        found = weighted(seen.at(g[:, i]), weights[i])
        errors[i, wanted[i]] = found[wanted[i]]
        few[i] = False
    alphas, units = np.nonzero(few)
    step = max(n_units, 64)
    for start in range(0, alphas.size, step):  # different penalties in the columns of one product
        some = slice(start, start + step)
        _evaluate_columns(errors, seen, each, (alphas[some], units[some]))


def _evaluate_columns(errors: Double, seen: Residuals, each: tuple[Array, Array], pairs: tuple[Index, Index]) -> None:
    """Write the errors of pairs of a penalty, ascending, and a unit."""
    alphas, units = pairs
    squares = seen.at(each[0][:, alphas], units)
    np.square(squares, out=squares)
    for i in np.unique(alphas):
        begin, end = np.searchsorted(alphas, [i, i + 1])
        errors[i, units[begin:end]] = each[1][i] @ squares[:, begin:end]
