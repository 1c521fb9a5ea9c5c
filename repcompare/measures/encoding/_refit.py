"""Weights of ridge, and predictions from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from repcompare.errors import MeasureError
from repcompare.measures._measure import Array, Index
from repcompare.measures.encoding._factor import CUT, SINGLE, Double, inverse_sd

BATCH_BYTES = 1 << 27


@dataclass(frozen=True, eq=False)
class Weights:
    """A fitted linear map ``y = x coef + intercept``.

    Attributes
    ----------
    coef : ndarray of shape (n_features, n_units)
        In units of y per unit of x.
    intercept : ndarray of shape (n_units,)
        In units of y.
    """

    coef: Array = field(repr=False)
    intercept: Array = field(repr=False)

    def predict(self, x: Array) -> Array:
        """Return predictions (n, n_units) for a source of shape (n, n_features).

        Raises
        ------
        MeasureError
            For another number of features, or values that are not finite.

        Examples
        --------
        >>> Weights(np.array([[2.0]]), np.array([1.0])).predict(np.array([[3.0]]))
        array([[7.]])
        """
        x = np.asarray(x)
        if x.ndim != 2 or x.shape[1] != len(self.coef):
            raise MeasureError(f"x has shape {x.shape}; expected (n, {len(self.coef)}), the features that were fitted")
        if not np.isfinite(x.sum()):
            raise MeasureError("x holds NaN or infinite values; expected finite numbers; drop those rows")
        found = x @ self.coef
        found += self.intercept
        return found


def refit(x: Array, y: Array, alphas: Double, *, standardize: bool = False) -> Weights:
    """Fit ridge on all rows, with one penalty per unit.

    Parameters
    ----------
    x : ndarray of shape (n, p)
        Source, finite.
    y : ndarray of shape (n, n_units)
        Target; NaN marks rows that a unit misses: it is fitted on the others.
    alphas : ndarray of shape (n_units,)
        Penalties, absolute; one per unit costs the same as one for all.
    standardize : bool
        The penalties are for features divided by their SD; weights are for x as it is.

    Returns
    -------
    Weights
        NaN for units whose penalty is NaN.

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> found = refit(x, 2 * x + 1, np.array([2.0]))
    >>> found.coef, found.intercept
    (array([[1.]]), array([2.]))
    """
    single = x.dtype == np.float32 and y.dtype == np.float32
    dtype: npt.DTypeLike = np.float32 if single else np.float64
    coef, intercept = np.full((x.shape[1], y.shape[1]), np.nan, dtype), np.full(y.shape[1], np.nan, dtype)
    for rows, units in _patterns(y):
        if rows is not None and rows.size < 2:
            continue
        factor = _factorise(x if rows is None else x[rows], dtype, standardize, float(np.nanmin(alphas)))
        kind = factor.basis.dtype
        step = max(1, BATCH_BYTES // (8 * (len(x) + 2 * x.shape[1])))
        for start in range(0, units.size, step):
            some: Index | slice = units[start : start + step]
            if rows is None and units.size == y.shape[1]:
                some = slice(start, start + step)  # a view
            values = y[:, some] if rows is None else y[rows][:, some]
            mean = values.mean(axis=0, dtype=np.float64)
            weights = factor.solve(values.astype(kind, copy=False) - mean.astype(kind), alphas[some])
            coef[:, some] = weights
            intercept[some] = mean - factor.mean.astype(kind) @ weights
    return Weights(coef, intercept)


@dataclass(frozen=True)
class _Factor:
    """A decomposed source: centred ``x`` (n, p), its ``mean`` (p,), and ``basis`` (p, rank) or, dual, (n, rank)."""

    x: Array
    mean: Double
    sd: Double | None
    basis: Array
    lam: Double
    primal: bool

    def solve(self, y: Array, alphas: Double) -> Array:
        """Return weights (p, n_units) for a centred target."""
        z = self.basis.T @ (self.x.T @ y if self.primal else y)
        z /= (self.lam[:, None] + alphas).astype(z.dtype, copy=False)
        weights = self.basis @ z
        if not self.primal:
            weights = self.x.T @ weights
        return np.asarray(weights if self.sd is None else weights * self.sd[:, None])


def _factorise(x: Array, dtype: npt.DTypeLike, standardize: bool, lowest: float) -> _Factor:
    mean = x.mean(axis=0, dtype=np.float64)
    centred = x - mean
    sd = None
    if standardize:
        sd = inverse_sd(np.einsum("ij,ij->j", centred, centred), len(x))
        centred *= sd
    primal = x.shape[1] <= len(x)
    lam, basis = np.linalg.eigh(centred.T @ centred if primal else centred @ centred.T)
    kept = int(np.searchsorted(lam, CUT * max(float(lam[-1]), np.finfo(np.float64).tiny), side="right"))
    lam, basis = lam[kept:], basis[:, kept:]
    if lam.size and lam[0] + lowest < SINGLE * lam[-1]:
        dtype = np.float64
    return _Factor(centred.astype(dtype, copy=False), mean, sd, basis.astype(dtype, copy=False), lam, primal)


def _patterns(y: Array) -> Iterator[tuple[Index | None, Index]]:
    """Yield units that miss the same rows: the rows they have (None for all), and the units."""
    if not np.isnan(y.sum()):
        yield None, np.arange(y.shape[1])
        return
    seen = ~np.isnan(y)
    kinds, code = np.unique(seen, axis=1, return_inverse=True)
    for j in range(kinds.shape[1]):
        rows = None if kinds[:, j].all() else np.flatnonzero(kinds[:, j])
        yield rows, np.flatnonzero(code.ravel() == j)
